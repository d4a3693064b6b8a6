"""Ids that sort by the instant they were made."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from service.store.ids import first_id_at, is_id, new_id

NOT_OF_TIME = "42613e5e-51f6-4349-aae2-e83407f2101e"


def made_at(job_id: str) -> datetime:
    return datetime.fromtimestamp((uuid.UUID(job_id).int >> 80) / 1000, UTC)


def test_an_id_is_a_version_7_uuid():
    job_id = new_id()
    assert uuid.UUID(job_id).version == 7
    assert uuid.UUID(job_id).variant == uuid.RFC_4122
    assert is_id(job_id)


def test_every_id_is_later_than_the_one_before():
    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_threads_never_get_the_same_id():
    with ThreadPoolExecutor(4) as threads:
        ids = [one for some in threads.map(lambda _: [new_id() for _ in range(500)], range(20)) for one in some]
    assert len(set(ids)) == 10_000


@pytest.mark.parametrize(
    "text",
    ["", "x", "../../etc/passwd", str(uuid.UUID(int=0)), NOT_OF_TIME, "a" * 36, "{}\n", "0" * 4000, "\0"],
)
def test_whatever_else_is_no_id(text):
    assert not is_id(text)


def test_an_id_with_anything_around_it_is_no_id():
    job_id = new_id()
    assert not any(is_id(text) for text in (job_id + "\n", " " + job_id, job_id.upper(), job_id[:-1], job_id + "0"))


def test_an_instant_bounds_the_ids_made_at_it_and_later():
    job_id = new_id()
    moment = made_at(job_id)
    millisecond = timedelta(milliseconds=1)
    assert first_id_at(moment - millisecond) <= first_id_at(moment) <= job_id < first_id_at(moment + millisecond)


@pytest.mark.parametrize("instant", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)])
def test_an_instant_outside_of_what_ids_can_hold_is_still_a_bound(instant):
    bound = first_id_at(instant)
    assert len(bound) == 36
    assert (bound < new_id()) == (instant.year == 1)

"""Nothing in the client and on the command line keeps the answers of many jobs."""

import weakref
from io import BytesIO

import httpx
import pytest

from service.cli import jobs as cli_jobs
from service.cli import render
from service.cli.exits import Tally
from service.client import Filemill, Source
from service.client.answers import parse_job
from service.client.calls import SMALL_FIELDS, jobs_call
from tests.unit.test_client import URL, always, job_json


class Kept:
    """Makes jobs, and knows how many of them somebody still holds."""

    def __init__(self):
        self.alive: weakref.WeakSet[_Job] = weakref.WeakSet()
        self.most = 0

    def make(self, *_, **__):
        job = _Job(job_json(state="succeeded", finished_at=job_json()["created_at"]))
        self.alive.add(job)
        self.most = max(self.most, len(self.alive))
        return job


class _Job:
    """A job that can be watched over: the client's own has slots."""

    def __init__(self, body):
        self._job = parse_job(body)

    def __getattr__(self, name):
        return getattr(self._job, name)


@pytest.fixture
def kept():
    return Kept()


@pytest.mark.parametrize("json", [True, False])
def test_the_ends_of_many_jobs_are_printed_without_keeping_them(kept, capsys, json):
    mill = type("Mill", (), {"wait": kept.make})()
    cli_jobs.print_result(cli_jobs.wait_for(mill, ["j1"] * 50, None, Tally()), json=json, many=True)
    assert capsys.readouterr().out.count("j1") >= 50
    assert kept.most <= 2, "the one that is printed, and the next"


def test_a_table_of_many_jobs_keeps_their_cells_alone(kept, capsys):
    render.print_jobs(kept.make() for _ in range(render.PAGE))
    assert len(capsys.readouterr().out.splitlines()) == render.PAGE + 1
    assert kept.most <= 2


def test_of_many_files_one_is_sent_at_a_time_and_the_next_is_taken_when_it_is_asked_for():
    taken, answered = [], []

    def files():
        for number in range(100):
            taken.append(number)
            yield Source(f"{number}.txt", BytesIO(b"x"))

    def answer(request):
        request.read()
        answered.append(request)
        return httpx.Response(202, json=job_json())

    mill = Filemill(URL, transport=httpx.MockTransport(answer))
    jobs = mill.submit_many("a.b", files())
    for number in range(1, 4):
        next(jobs)
        assert (len(taken), len(answered)) == (number, number)


def test_a_list_may_ask_for_less():
    query = jobs_call({}, large=["inputs"]).query
    assert query["fields"] == ",".join([*SMALL_FIELDS, "inputs"])
    small = job_json(omitted=["inputs"], input_count=30)
    for name in ("params", "metadata", "result", "error", "outputs"):
        del small[name]
    (job,) = always(200, {"items": [small], "next_cursor": None}).list(large=["inputs"])
    assert (job.params, job.metadata, job.result, job.outputs) == ({}, {}, None, ())
    assert (job.omitted, job.input_count) == (("inputs",), 30)

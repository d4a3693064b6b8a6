"""A clock that is set back or forward by an hour: jobs still run, and every history stays legal."""

import httpx

from tests.acceptance.invariants import require_sound, rows
from tests.chaos.sabotaged import run_sabotaged

HOUR_S = 3600.0


def submit(server, **fields):
    body = {"processor": "text.write", "params": {"name": "a.txt", "content": "a line\n"}, **fields}
    answer = httpx.post(f"{server.url}/v1/jobs", json=body, headers={"Prefer": "wait=20"}, trust_env=False, timeout=60)
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_a_clock_that_is_set_by_an_hour_neither_loses_nor_stops_a_job(tmp_path):
    with run_sabotaged(tmp_path / "data") as server:
        jobs = [submit(server)]
        server.order(clock_s=-HOUR_S)
        jobs.append(submit(server))
        held = httpx.post(f"{server.url}/v1/jobs?processor=file.checksum", content=b"x", trust_env=False).json()
        server.kill()
        server.spawn_with(clock_s=HOUR_S)  # and the next start is two hours later at once
        server.require_listening()
        jobs.append(submit(server))
        listed = httpx.get(f"{server.url}/v1/jobs", trust_env=False).json()["items"]
        assert {job["id"] for job in listed} == {job["id"] for job in (*jobs, held)}
        assert [job["state"] for job in jobs] == ["succeeded"] * 3
        require_sound(server.url, server.data_dir, [job["id"] for job in (*jobs, held)])
        assert len(rows(server.data_dir, "SELECT id FROM jobs")) == 4


def test_what_is_due_later_comes_when_the_clock_says_so(tmp_path):
    with run_sabotaged(tmp_path / "data") as server:
        due = rows_of(server, httpx.post(
            f"{server.url}/v1/jobs", trust_env=False,
            json={"processor": "text.write", "params": {"name": "a", "content": ""}, "run_after": later_by(HOUR_S / 2)},
        ).json()["id"])  # fmt: skip
        assert due["state"] == "queued"
        server.order(clock_s=HOUR_S)
        require_sound(server.url, server.data_dir, [due["id"]])
        assert rows_of(server, due["id"])["state"] == "succeeded"


def rows_of(server, job_id):
    return rows(server.data_dir, "SELECT * FROM jobs WHERE id = ?", job_id)[0]


def later_by(seconds):
    from service.clock import SystemClock, later  # noqa: PLC0415

    return later(SystemClock().now(), seconds).isoformat()

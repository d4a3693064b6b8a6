"""A disk that is full, read-only, or refuses: what a user sees, and that all goes on when it is well again."""

import contextlib
import errno
import os
import subprocess
import time

import httpx
import pytest

from tests.acceptance.invariants import require, require_sound, rows
from tests.acceptance.server import STOP_LIMIT_S, Server, run_server
from tests.chaos.sabotaged import run_sabotaged
from tests.chaos.trace import injected, why_not
from tests.web.answers import assert_problem

SMALL, LARGE = os.urandom(100_000), bytes(6 * 1024**2)
DISK_MIB = 16
NO_STRACE = why_not()


def post(server, body=SMALL, processor="file.checksum", **headers):
    url = f"{server.url}/v1/jobs?processor={processor}"
    return httpx.post(url, content=body, headers=headers, trust_env=False, timeout=60)


def get(server, path, **headers):
    return httpx.get(server.url + path, headers=headers, trust_env=False, timeout=60)


def accepted(server):
    answer = post(server, Prefer="wait=20")
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk")
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "filemill-test", place]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_on_a_full_disk_uploads_get_507_outputs_are_tried_again_and_what_was_accepted_survives(disk):
    with run_server(disk / "data", min_free_bytes=0, retry_base_s=0.2, retry_cap_s=0.5, job_max_attempts=100) as server:
        jobs = [accepted(server)]
        ballast = disk / "ballast"
        fill(ballast, leave=2 * 1024**2)
        problem = assert_problem(post(server, LARGE), 507, "storage_full")
        assert "the disk is full" in problem["detail"]
        made = {"processor": "text.write", "params": {"name": "a.txt", "content": "x" * 1024, "repeat": 4096}}
        waiting = httpx.post(f"{server.url}/v1/jobs", json=made, trust_env=False).json()["id"]
        failed = "SELECT data ->> 'reason' AS reason FROM events WHERE data ->> 'reason' = 'back_off'"
        require(lambda: [] if rows(server.data_dir, failed) else ["it has not failed yet"], time.monotonic() + 20)
        fill(ballast, leave=0)
        answers = [post(server), post(server, b"")]
        for answer in answers:
            assert answer.status_code in {503, 507}, answer.text
            assert answer.headers["retry-after"]
        server.readiness(503)
        assert get(server, f"/v1/jobs/{jobs[0]}").status_code == 200
        ballast.unlink()
        server.readiness(200)
        jobs += [waiting, accepted(server)]
        require_sound(server.url, server.data_dir, jobs)
        assert {row["state"] for row in rows(server.data_dir, "SELECT state FROM jobs")} == {"succeeded"}


def fill(path, leave):
    """Fill the disk but for so many bytes."""
    with path.open("ab") as file, contextlib.suppress(OSError):
        while (free := os.fstatvfs(file.fileno())).f_bavail * free.f_frsize > leave:
            left = free.f_bavail * free.f_frsize - leave
            file.write(bytes(min(left, 1024**2)))
            file.flush()


def test_a_folder_that_cannot_be_written_is_refused_at_the_start_in_a_sentence(disk):
    (disk / "data").mkdir()
    server = Server(disk.with_name("data"))
    server.data_dir.symlink_to(disk / "data")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    server.spawn()
    assert server.process.wait(STOP_LIMIT_S) == 1
    said = " ".join(server.output.split())
    assert "cannot be used: Read-only file system" in said
    assert "Traceback" not in said


REFUSALS = [
    ("write", errno.EIO, 500, "storage_failed", "Input/output error"),
    ("write", errno.ENOSPC, 507, "storage_full", "the disk is full"),
    ("write", errno.EROFS, 500, "storage_failed", "Read-only file system"),
    ("fsync", errno.EIO, 500, "storage_failed", "Input/output error"),
    ("fsync", errno.ENOSPC, 507, "storage_full", "the disk is full"),
    ("rename", errno.EIO, 500, "storage_failed", "Input/output error"),
    ("folder_fsync", errno.EIO, 500, "storage_failed", "Input/output error"),
]


def test_a_disk_that_refuses_an_upload_gets_a_clear_answer_and_nothing_stays(tmp_path, subtests):
    with run_sabotaged(tmp_path / "data") as server:
        jobs = [accepted(server)]
        for step, number, status, code, words in REFUSALS:
            with subtests.test(step=step, error=errno.errorcode[number]):
                server.order(fail={step: number})
                for body in (SMALL, LARGE):
                    assert words in assert_problem(post(server, body), status, code)["detail"]
                server.order()
                assert len(os.listdir(server.data_dir / "files")) == len(jobs)  # noqa: PTH208 - only how many
                jobs.append(accepted(server))
        require_sound(server.url, server.data_dir, jobs)


def test_an_output_that_the_disk_refuses_fails_the_attempt_and_the_next_one_succeeds(tmp_path):
    with run_sabotaged(tmp_path / "data", retry_base_s=0.3, retry_cap_s=0.3, job_max_attempts=100) as server:
        server.order(fail={"output": errno.EIO})
        made = {"processor": "text.write", "params": {"name": "a.txt", "content": "a line\n"}}
        job_id = httpx.post(f"{server.url}/v1/jobs", json=made, trust_env=False).json()["id"]
        error = "SELECT error ->> 'code' AS code FROM jobs WHERE error IS NOT NULL"
        require(lambda: [] if rows(server.data_dir, error) else ["no attempt failed"], time.monotonic() + STOP_LIMIT_S)
        server.order()
        job = get(server, f"/v1/jobs/{job_id}", Prefer="wait=20").json()
        assert (job["state"], job["error"]) == ("succeeded", None)
        assert job["attempt"] > 1
        require_sound(server.url, server.data_dir, [job_id])


@pytest.mark.skipif(NO_STRACE is not None, reason=str(NO_STRACE))
def test_a_sync_of_the_database_that_fails_means_that_nothing_was_accepted(tmp_path, subtests):
    with run_server(tmp_path / "data", retry_base_s=0.05) as server:
        jobs = [accepted(server)]
        for rule in ("fdatasync:error=EIO", "pwrite64:error=EIO", "pwrite64:error=ENOSPC"):
            with subtests.test(rule=rule):
                with injected(server.pid, rule):
                    problem = assert_problem(post(server), 503, "database_unavailable")
                    assert "the database refused" in problem["detail"]
                    server.readiness(503)
                    assert get(server, f"/v1/jobs/{jobs[0]}").status_code == 200
                jobs.append(accepted(server))
        require_sound(server.url, server.data_dir, jobs)
        assert len(rows(server.data_dir, "SELECT id FROM jobs")) == len(jobs)

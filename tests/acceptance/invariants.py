"""What must hold of a server and its data folder, whatever was done to them.

    python -m tests.acceptance.invariants --url http://127.0.0.1:8000 --data-dir ./filemill-data accepted.json

A program of its own: it imports nothing of the service, and sees it only by the API, in the database file and in the
folder. So it has its own idea of which state follows which. Each check returns one sentence for each thing that is
wrong; `accepted.json` is `{"accepted": [job ids], "deleted": [job ids]}`.
"""

import argparse
import hashlib
import json
import os
import sqlite3
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

POLL_S = 0.05
NOT_FINISHED = ("queued", "running")
FINISHED = ("succeeded", "failed", "cancelled")
# reason of the event: the states that it may leave, and the one that it leads to
MOVES: dict[str, tuple[tuple[str, ...], str]] = {
    "submit": ((), "queued"),
    "claim": (("queued",), "running"),
    "succeed": (("running",), "succeeded"),
    "fail": (("running",), "failed"),
    "back_off": (("running",), "queued"),
    "snooze": (("running",), "queued"),
    "release": (("running",), "queued"),
    "rescue": (("running",), "queued"),
    "give_up": (("running",), "failed"),
    "cancel": (("queued", "running"), "cancelled"),
    "retry": (("failed", "cancelled"), "queued"),
}
UNCOUNTED = ("snooze", "release", "rescue")  # they give the attempt back
LOST = ("rescue", "give_up")  # the server died
ANEW = ("snooze", "back_off", "retry")  # they begin the count of losses anew
MAX_LOSSES = 5


def require_sound(
    url: str,
    data_dir: Path,
    accepted: Collection[str],
    limit_s: float = 60,
    *,
    deleted: Collection[str] = (),
    max_losses: int = MAX_LOSSES,
) -> None:
    """Fail unless every accepted job comes to its end, and nothing is lost, damaged or left over.

    The server must run, and nobody may submit meanwhile. What a start clears away in the background gets
    `limit_s` seconds to go. `deleted` are jobs whose deletion was answered with 204.
    """
    wrong = find_faults(url, data_dir, accepted, limit_s, deleted=deleted, max_losses=max_losses)
    assert not wrong, told(wrong)


def find_faults(
    url: str,
    data_dir: Path,
    accepted: Collection[str],
    limit_s: float = 60,
    *,
    deleted: Collection[str] = (),
    max_losses: int = MAX_LOSSES,
) -> list[str]:
    """Return all that is wrong once the jobs have ended, or the time is up."""
    deadline = time.monotonic() + limit_s
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as api:
        wrong = [*_last(lambda: unfinished(data_dir), deadline)]
        wrong += _last(lambda: [*leftovers(data_dir), *bytes_without_row(data_dir)], deadline)
        wrong += [*lost_jobs(api, set(accepted) - set(deleted)), *remains(api, data_dir, deleted)]
        wrong += [*database_faults(data_dir), *rows_without_bytes(data_dir), *files_of_nobody(data_dir)]
        wrong += [*broken_histories(data_dir), *broken_rows(data_dir), *damaged_files(api, data_dir)]
        wrong += unfair_losses(data_dir, max_losses)
    return wrong


def require(check: Callable[[], Collection[str]], deadline: float) -> None:
    """Repeat the check until it finds nothing; fail with what it finds when the time is up."""
    found = _last(check, deadline)
    if found:
        raise AssertionError(told(found))


def _last(check: Callable[[], Collection[str]], deadline: float) -> Collection[str]:
    """Repeat the check until it finds nothing or the time is up; return what it found last."""
    while (found := check()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return found


def told(wrong: Collection[str]) -> str:
    """Return how many things are wrong, and the first of them."""
    return "\n".join([f"{len(wrong)} wrong:", *list(wrong)[:20]])


# ---- by the API


def lost_jobs(api: httpx.Client, accepted: Collection[str]) -> Iterator[str]:
    """Accepted jobs that the server does not know, or that are not at an end."""
    for job_id in sorted(accepted):
        answer = api.get(f"/v1/jobs/{job_id}")
        if answer.status_code != 200:
            yield f"job {job_id} was accepted and is answered with {answer.status_code}"
        elif (state := answer.json()["state"]) not in FINISHED:
            yield f"job {job_id} was accepted and is {state}"


def remains(api: httpx.Client, data_dir: Path, deleted: Collection[str]) -> Iterator[str]:
    """What is left of deleted jobs: their files, if any, are found as files that belong to no job."""
    for table, column in (("jobs", "id"), ("job_files", "job_id"), ("events", "job_id")):
        left = {row[column] for row in rows(data_dir, f"SELECT {column} FROM {table}")} & set(deleted)  # noqa: S608
        yield from (f"job {job_id} was deleted and is still in {table}" for job_id in sorted(left))
    for job_id in sorted(deleted):
        if (status := api.get(f"/v1/jobs/{job_id}").status_code) != 404:
            yield f"job {job_id} was deleted and is answered with {status}"


def damaged_files(api: httpx.Client, data_dir: Path) -> Iterator[str]:
    """Files whose bytes, as they are downloaded, are not those of their row."""
    for file in rows(data_dir, "SELECT id, size_bytes, sha256 FROM files"):
        digest, size_bytes = hashlib.sha256(), 0
        with api.stream("GET", f"/v1/files/{file['id']}/content") as answer:
            for piece in answer.iter_bytes():
                digest.update(piece)
                size_bytes += len(piece)
        if (size_bytes, digest.hexdigest()) != (file["size_bytes"], file["sha256"]):
            yield f"the download of file {file['id']} has {size_bytes} bytes that its row does not describe"


# ---- in the database


def rows(data_dir: Path, query: str, *values: str) -> list[dict[str, Any]]:
    """Ask the database of a data folder, without being able to change it."""
    with closing(sqlite3.connect(f"file:{data_dir / 'filemill.db'}?mode=ro", uri=True, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query, values)]


def unfinished(data_dir: Path) -> list[str]:
    """Jobs that are not at an end."""
    found = rows(data_dir, "SELECT id, state, attempt, run_after FROM jobs WHERE state IN ('queued', 'running')")
    return [f"job {job['id']} is {job['state']} in attempt {job['attempt']}" for job in found]


def database_faults(data_dir: Path) -> Iterator[str]:
    """What SQLite itself finds wrong: broken pages and indexes, references to nothing."""
    for row in rows(data_dir, "PRAGMA integrity_check"):
        if row["integrity_check"] != "ok":
            yield f"integrity check: {row['integrity_check']}"
    for row in rows(data_dir, "PRAGMA foreign_key_check"):
        yield f"foreign key check: {row}"


def files_of_nobody(data_dir: Path) -> Iterator[str]:
    """Files that are neither kept for themselves nor any job's."""
    query = "SELECT id FROM files WHERE NOT kept AND id NOT IN (SELECT file_id FROM job_files)"
    for row in rows(data_dir, query):
        yield f"file {row['id']} belongs to no job"


def broken_rows(data_dir: Path) -> Iterator[str]:
    """Jobs whose row contradicts itself: too many attempts, an end without its moment, outputs of an attempt lost."""
    outputs = {row["job_id"] for row in rows(data_dir, "SELECT job_id FROM job_files WHERE role = 'output'")}
    for job in rows(data_dir, "SELECT * FROM jobs"):
        name, state = f"job {job['id']}", job["state"]
        if not 0 <= job["attempt"] <= job["max_attempts"]:
            yield f"{name} had {job['attempt']} attempts of {job['max_attempts']}"
        if (state in FINISHED) != (job["finished_at"] is not None):
            yield f"{name} is {state} with finished_at {job['finished_at']}"
        if (state == "running") != (job["worker_id"] is not None):
            yield f"{name} is {state} with worker {job['worker_id']}"
        if state in {"succeeded", "failed", "cancelled"} and (state == "succeeded") != (job["error"] is None):
            yield f"{name} is {state} with error {job['error']}"
        if job["id"] in outputs and state != "succeeded":
            yield f"{name} is {state} and has outputs"


def broken_histories(data_dir: Path) -> Iterator[str]:
    """Jobs whose recorded moves are no legal walk to the state and the counts of their row, or succeed twice."""
    moves: dict[str, list[tuple[str, int, int | None]]] = defaultdict(list)
    for event in rows(data_dir, "SELECT job_id, attempt, data FROM events WHERE kind = 'state' ORDER BY id"):
        data = json.loads(event["data"])
        moves[event["job_id"]].append((data["reason"], event["attempt"], data.get("losses")))
    for job in rows(data_dir, "SELECT id, state, attempt, losses FROM jobs"):
        history = moves[job["id"]]
        walked = ", ".join(f"{reason} ({attempt})" for reason, attempt, _ in history)
        if Counter(reason for reason, *_ in history)["succeed"] > 1:
            yield f"job {job['id']} succeeded twice: {walked}"
        if _walk(history) != (job["state"], job["attempt"], job["losses"]):
            yield f"job {job['id']} is {job['state']} in attempt {job['attempt']}, lost {job['losses']}, after {walked}"


def _walk(history: list[tuple[str, int, int | None]]) -> tuple[str, int, int] | None:
    """Return the state, the attempt and the losses that a history leads to; None where a move was forbidden."""
    if not history or history[0][:2] != ("submit", 0):
        return None
    state, attempt, losses = "queued", 0, 0
    for reason, of, told_losses in history[1:]:
        sources, target = MOVES[reason]
        attempt += reason == "claim"
        losses = 0 if reason in ANEW else losses + (reason in LOST)
        if state not in sources or of != attempt or told_losses not in {None, losses}:
            return None
        state = target
        attempt -= reason in UNCOUNTED
    return state, attempt, losses


def unfair_losses(data_dir: Path, max_losses: int) -> Iterator[str]:
    """Jobs that failed because the server died, though it died too seldom under them, or under others that failed."""
    for job in rows(data_dir, "SELECT id, losses FROM jobs WHERE error ->> 'code' = 'worker_lost'"):
        if job["losses"] < max_losses:
            yield f"job {job['id']} failed after {job['losses']} losses of {max_losses}"
    given_up = "SELECT at, count(*) AS jobs FROM events WHERE data ->> 'reason' = 'give_up' GROUP BY at"
    for start in rows(data_dir, given_up):
        if start["jobs"] > 1 and max_losses > 1:
            yield f"one death of the server failed {start['jobs']} jobs"


# ---- in the folder


def rows_without_bytes(data_dir: Path) -> list[str]:
    """File rows whose bytes are gone."""
    return [f"file {file_id} has a row and no bytes" for file_id in sorted(_known(data_dir) - _stored(data_dir))]


def bytes_without_row(data_dir: Path) -> list[str]:
    """Stored files that no row knows."""
    return [f"file {file_id} has bytes and no row" for file_id in sorted(_stored(data_dir) - _known(data_dir))]


def leftovers(data_dir: Path) -> Iterator[str]:
    """Temporary files, and folders of starts that are over."""
    for place in ("incoming", "work"):
        boots = sorted((data_dir / place).iterdir(), key=lambda boot: boot.stat().st_mtime)
        if len(boots) > 1:
            yield f"{place} holds {len(boots)} starts"
        yield from (f"{place} holds {path.relative_to(data_dir)}" for boot in boots[-1:] for path in boot.iterdir())


def _known(data_dir: Path) -> set[str]:
    return {row["id"] for row in rows(data_dir, "SELECT id FROM files")}


def _stored(data_dir: Path) -> set[str]:
    return set(os.listdir(data_dir / "files"))  # noqa: PTH208 - only the names are wanted


# ---- among the processes


def processes_of(data_dir: Path, server_pids: Collection[int]) -> list[str]:
    """Processes of these servers, or at work in their folder; where there is no /proc, none are seen."""
    parents = {str(pid) for pid in server_pids}
    return [
        f"process {pid} is left: {' '.join(command)}"
        for pid, command, folder in _processes()
        if str(pid) in parents
        or str(data_dir) in command
        or folder.startswith(str(data_dir))
        or ("service.worker.child" in command and command[-1] in parents)
    ]


def _processes() -> Iterator[tuple[int, list[str], str]]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            yield int(entry.name), command, str((entry / "cwd").readlink())
        except OSError:  # it has ended, or is another user's
            continue


# ---- from the command line


def main(arguments: list[str] | None = None) -> int:
    """Print what is wrong; return 1 if anything is."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.invariants")
    parser.add_argument("--url", required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--limit-s", type=float, default=60.0, help="time for the jobs to end")
    parser.add_argument("jobs", type=Path, nargs="?", help='file of {"accepted": [...], "deleted": [...]}')
    given = parser.parse_args(arguments)
    jobs: Mapping[str, list[str]] = json.loads(given.jobs.read_text()) if given.jobs else {}
    accepted, deleted = jobs.get("accepted", []), jobs.get("deleted", [])
    wrong = find_faults(given.url, given.data_dir, accepted, given.limit_s, deleted=deleted)
    print("\n".join(wrong) or "nothing is wrong")  # noqa: T201 - that is what it is for
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

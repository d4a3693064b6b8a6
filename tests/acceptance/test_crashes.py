"""The heart of the promises: whatever got a 202 survives SIGKILL at any moment."""

import hashlib
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pyvips  # type: ignore[import-untyped]

from tests.acceptance import killing_processors
from tests.acceptance.invariants import processes_of, require, require_sound, rows, unfinished
from tests.acceptance.server import Server, run_server

PHOTO = Path(__file__).parents[1] / "samples" / "rocket.jpg"
KILLS = 21
CLIENTS = 8
PAUSE_S = 0.1
DRAIN_LIMIT_S = 120  # longer than a job waits that was lost again and again
LEAST = 300  # jobs
BESIDE = 3  # jobs

Check = Callable[[httpx.Client, dict[str, Any]], None]


@dataclass
class Submission:
    """A request, and how to see afterwards that the job did what it asked for."""

    request: dict[str, Any]
    check: Check
    key: str | None = None


@dataclass
class Load:
    """Clients that submit while the server comes and goes; `accepted` are the jobs that got a 202."""

    server: Server
    seed: int
    up: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    accepted: dict[str, Submission] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    surprises: list[str] = field(default_factory=list)
    unknown: int = 0

    def run_client(self, number: int) -> None:
        """Submit one job after the other until it is over."""
        rng, count = random.Random(f"{self.seed}/{number}"), 0
        with httpx.Client(trust_env=False, timeout=30) as http:
            while not self.over.wait(rng.uniform(0, PAUSE_S)):
                count += 1
                self._submit(http, any_submission(rng, f"{number}-{count}"))

    def _submit(self, http: httpx.Client, submission: Submission) -> None:
        """Send it, again and again where a key makes that safe."""
        if submission.key:
            self.keys.add(submission.key)
        while not self._send(http, submission) and submission.key and not self.over.is_set():
            pass

    def _send(self, http: httpx.Client, submission: Submission) -> bool:
        """Send it once; only an answer counts, a connection that breaks says nothing."""
        self.up.wait(timeout=1)
        headers = {"Idempotency-Key": submission.key} if submission.key else {}
        try:
            answer = http.post(f"{self.server.url}/v1/jobs", headers=headers, **submission.request)
        except httpx.TransportError:
            self.unknown += 1
            return False
        if answer.status_code == 202:
            self.accepted[answer.json()["id"]] = submission
        else:
            self.surprises.append(f"{answer.status_code}: {answer.text}")
        return True


@pytest.mark.timeout(300)
def test_every_accepted_job_survives_a_server_that_is_killed_again_and_again(tmp_path):
    seed = int(os.environ.get("CRASH_SEED", random.getrandbits(32)))
    print(f"repeat this run with CRASH_SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    # with as many losses as there are kills no job may fail, however often it was hit: an attempt lost costs none
    max_losses = KILLS + 2
    with run_server(tmp_path / "data", job_max_attempts=1, max_losses=max_losses) as server:
        load = Load(server, seed)
        pids = run_load_and_kill(load)
        assert not load.surprises
        assert load.unknown >= KILLS / 2  # the kills did hit requests on their way ...
        assert rows(server.data_dir, "SELECT 1 FROM events WHERE data ->> 'reason' = 'rescue'")  # ... and jobs
        require_sound(server.url, server.data_dir, load.accepted, DRAIN_LIMIT_S, max_losses=max_losses)
        check_results(server.url, load.accepted)
        require_one_job_for_each_key(server.data_dir, load.keys)
        assert server.stop() == 0
        require(lambda: processes_of(server.data_dir, pids), time.monotonic() + 10)


@pytest.mark.timeout(120)
def test_a_job_that_ends_the_server_from_within_fails_in_the_end_and_takes_no_other_with_it(tmp_path):
    begun = tmp_path / "begun"
    begun.mkdir()
    processors = Path(killing_processors.__file__)
    with (
        run_server(tmp_path / "data", processors=processors, max_losses=2, job_max_attempts=1) as server,
        httpx.Client(trust_env=False, timeout=30) as http,
    ):

        def submit(processor: str, **params: Any) -> str:
            body = {"processor": processor, "params": {"folder": str(begun), **params}}
            return str(http.post(f"{server.url}/v1/jobs", json=body).json()["id"])

        killer = submit("killing.exit", names=BESIDE + 1)
        beside = [submit("killing.wait") for _ in range(BESIDE)]
        (begun / "all are submitted").touch()
        deaths = live_on(server)
        require_sound(server.url, server.data_dir, [killer, *beside], max_losses=2)
        jobs = {job_id: http.get(f"{server.url}/v1/jobs/{job_id}").json() for job_id in [killer, *beside]}
        assert deaths == 2
        assert (jobs[killer]["state"], jobs[killer]["error"]["code"], jobs[killer]["losses"]) == (
            "failed",
            "worker_lost",
            2,
        )
        assert {(jobs[one]["state"], jobs[one]["result"], jobs[one]["losses"]) for one in beside} == {
            ("succeeded", 1, 1)
        }
        assert server.stop() == 0


def live_on(server: Server) -> int:
    """Start the server whenever it has ended, until no job is left; return how often it did."""
    deaths = 0

    def left() -> list[str]:
        nonlocal deaths
        if server.process.poll() is not None:
            deaths += 1
            server.spawn()
        return unfinished(server.data_dir)

    require(left, time.monotonic() + DRAIN_LIMIT_S)
    server.require_listening()
    return deaths


def run_load_and_kill(load: Load) -> list[int]:
    """Submit from all sides and kill the server between and within its starts; return the ids of all processes."""
    # daemons: a test that is given up must not wait for them
    clients = [threading.Thread(target=load.run_client, args=[number], daemon=True) for number in range(CLIENTS)]
    load.up.set()
    for client in clients:
        client.start()
    try:
        pids = kill_again_and_again(load.server, load.up, random.Random(load.seed))
        require(lambda: [] if len(load.accepted) >= LEAST else ["too few jobs"], time.monotonic() + DRAIN_LIMIT_S)
    finally:
        load.over.set()
        load.up.set()
    for client in clients:
        client.join(DRAIN_LIMIT_S)
        assert not client.is_alive(), "a client got no answer"
    return pids


def kill_again_and_again(server: Server, up: threading.Event, rng: random.Random) -> list[int]:
    """Kill it at random moments, every third time before it has come up, and leave it running."""
    pids = [server.pid]
    for kill in range(KILLS):
        time.sleep(rng.uniform(0, 0.7))  # the moment is the point
        up.clear()
        server.kill()
        if kill % 3 == 2:
            server.spawn()
        else:
            server.start()
            up.set()
        pids.append(server.pid)
    if not up.is_set():
        server.kill()
        server.start()
        up.set()
        pids.append(server.pid)
    return pids


# ---- what is submitted, and what must come of it


def any_submission(rng: random.Random, name: str) -> Submission:
    make = rng.choices(
        [text_as_json, text_as_form, checksum_as_form, checksum_as_raw, thumbnail_as_form], (4, 2, 3, 3, 3)
    )
    submission = make[0](rng, name)
    submission.key = name if rng.random() < 0.5 else None
    return submission


def text_as_json(rng: random.Random, name: str) -> Submission:
    params, check = _text(rng, name)
    return Submission({"json": {"processor": "text.write", "params": params, "metadata": {"name": name}}}, check)


def text_as_form(rng: random.Random, name: str) -> Submission:
    params, check = _text(rng, name)
    fields = {"processor": "text.write", "params": json.dumps(params), "metadata": json.dumps({"name": name})}
    return Submission({"files": {key: (None, value) for key, value in fields.items()}}, check)


def checksum_as_form(rng: random.Random, name: str) -> Submission:
    body = rng.randbytes(rng.randrange(1, 200_000))
    data = {"processor": "file.checksum", "metadata": json.dumps({"name": name})}
    return Submission({"data": data, "files": {"file": (name, body)}}, _has_checksum(body))


def checksum_as_raw(rng: random.Random, name: str) -> Submission:
    body = rng.randbytes(rng.randrange(1, 3_000_000))
    query = {"processor": "file.checksum", "filename": name, "metadata": json.dumps({"name": name})}
    return Submission({"params": query, "content": body}, _has_checksum(body))


def thumbnail_as_form(rng: random.Random, name: str) -> Submission:
    width = rng.randrange(50, 600)
    data = {
        "processor": "image.thumbnail",
        "params": json.dumps({"width": width}),
        "metadata": json.dumps({"name": name}),
    }
    return Submission({"data": data, "files": {"file": (f"{name}.jpg", PHOTO.read_bytes())}}, _is_jpeg(width))


def _text(rng: random.Random, name: str) -> tuple[dict[str, Any], Check]:
    params = {"name": f"{name}.txt", "content": f"line of {name}\n", "repeat": rng.choice([1, 100, 100_000])}
    wanted = hashlib.sha256(str(params["content"]).encode() * int(str(params["repeat"]))).hexdigest()

    def check(_: httpx.Client, job: dict[str, Any]) -> None:
        assert [(file["name"], file["sha256"]) for file in job["outputs"]] == [(params["name"], wanted)]

    return params, check


def _has_checksum(body: bytes) -> Check:
    def check(_: httpx.Client, job: dict[str, Any]) -> None:
        wanted = hashlib.sha256(body).hexdigest()
        assert job["result"]["files"][0]["digests"] == {"sha256": wanted}
        assert [file["sha256"] for file in job["inputs"]] == [wanted]

    return check


def _is_jpeg(width: int) -> Check:
    def check(api: httpx.Client, job: dict[str, Any]) -> None:
        (output,) = job["outputs"]
        image = pyvips.Image.new_from_buffer(api.get(output["links"]["content"]).content, "")
        assert (image.get("vips-loader"), image.width) == ("jpegload_buffer", width)

    return check


def check_results(url: str, accepted: dict[str, Submission]) -> None:
    """Look at every accepted job."""
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as api:
        for job_id, submission in accepted.items():
            job = api.get(f"/v1/jobs/{job_id}").json()
            assert job["state"] == "succeeded", job
            submission.check(api, job)


def require_one_job_for_each_key(data_dir: Path, keys: set[str]) -> None:
    """A request that was repeated, whether its first answer arrived or not, made one job."""
    names = Counter(json.loads(job["metadata"])["name"] for job in rows(data_dir, "SELECT metadata FROM jobs"))
    assert {name: names[name] for name in keys if names[name] > 1} == {}

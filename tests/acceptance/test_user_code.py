"""What the code of processors does on the event loop of a server, and what it must not come to."""

import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.acceptance import ruthless_processors
from tests.acceptance.invariants import require
from tests.acceptance.server import STOP_LIMIT_S, run_server

PATIENCE_S = 30


@pytest.fixture
def server(tmp_path):
    place = Path(ruthless_processors.__file__)
    with run_server(tmp_path / "data", processors=place, consumers=2, child_processes=1, shutdown_grace_s=5) as server:
        yield server


def ask(server, method, path, **rest):
    return httpx.request(method, f"{server.url}{path}", trust_env=False, timeout=2 * PATIENCE_S, **rest)


def submit(server, processor, **fields):
    answer = ask(server, "POST", "/v1/jobs", json={"processor": processor, "max_attempts": 1, **fields})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def ended(server, job_id):
    return ask(server, "GET", f"/v1/jobs/{job_id}", headers={"Prefer": f"wait={PATIENCE_S}"}).json()


def run(server, processor, **fields):
    return ended(server, submit(server, processor, **fields))


def require_well(server):
    """Require that the server says that it is well, and that it is."""
    assert ask(server, "GET", "/livez").json() == {"status": "ok"}
    assert server.readiness(200)["workers"] == "ok"
    assert [run(server, "ruthless.none")["result"] for _ in range(4)] == ["well"] * 4


def test_whatever_a_processor_does_on_the_loop_the_server_goes_on_and_can_be_stopped(server):
    for _ in range(3):  # more often than there are consumers
        failed = run(server, "ruthless.exit")
        error = failed["error"]
        assert (error["code"], error["message"]) == ("failed", "the processor raised SystemExit: 3")
    require_well(server)
    for name in ("callback", "stop"):
        assert run(server, f"ruthless.{name}")["result"] == "unharmed"
        require_well(server)
    assert "Cannot close a running event loop" in run(server, "ruthless.close")["error"]["message"]
    # its own task, and the server's main one: that cannot be hidden, and takes no notice
    assert run(server, "ruthless.cancel")["result"] == 2
    require_well(server)
    assert run(server, "ruthless.fork")["result"] == 1
    require_well(server)
    assert run(server, "ruthless.fork_and_await")["result"] == [1] * 4
    assert server.output.count("came back to the loop, and was ended") == 4
    require_well(server)
    assert run(server, "ruthless.factory")["result"] == "taken"
    told = "a task factory, which was taken back"
    require(lambda: [] if told in server.output else ["no task factory taken back"], soon())
    assert run(server, "ruthless.signals")["result"] == "taken"
    require(
        lambda: [] if server.output.count("signal, which was taken back") == 2 else ["no signal taken back"], soon()
    )
    assert server.stop() == 0
    assert "Task was destroyed" not in server.output


def test_threads_and_tasks_that_processors_leave_behind_hold_up_neither_the_server_nor_its_end(server):
    assert run(server, "ruthless.threads")["result"] == "held"
    assert run(server, "ruthless.leave_a_task")["result"] == "left"
    assert run(server, "ruthless.exit_again")["result"] == "left"
    stored = ask(server, "POST", "/v1/files", content=b"some bytes", headers={"Content-Type": "text/plain"})
    assert stored.status_code == 201, stored.text
    require_well(server)
    assert server.stop() == 0
    assert "tasks that processors left do not end" in server.output
    assert "threads of processors do not end" in server.output


def test_a_worker_that_a_processor_forks_holds_no_connection_of_a_client_and_heeds_signals(server, tmp_path):
    ends = tmp_path / "ends"
    with socket.create_connection(urlsplit(server.url).netloc.split(":"), PATIENCE_S) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: any\r\n\r\n")
        assert client.recv(10_000).startswith(b"HTTP/1.1 200")
        job = submit(server, "ruthless.worker", params={"until": str(ends)})
        require(lambda: [] if ends.with_suffix(".begun").exists() else ["no worker"], soon())
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n")
        while client.recv(10_000):
            pass
    ends.touch()
    assert ended(server, job)["result"] == [-signal.SIGTERM, 1, 2]
    assert server.stop() == 0


def soon():
    return time.monotonic() + STOP_LIMIT_S

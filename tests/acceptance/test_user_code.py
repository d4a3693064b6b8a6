"""What the code of processors does on the event loop of a server, and what it must not come to."""

import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.acceptance import ruthless_processors
from tests.acceptance.invariants import require
from tests.acceptance.server import STOP_LIMIT_S, run_server

PATIENCE_S = 30
LIMIT_S, PAUSE_S = 6.0, 7.0


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
        assert failed["error"] == {"code": "failed", "message": "the processor raised SystemExit: 3"}
    require_well(server)
    for name in ("callback", "stop"):
        assert run(server, f"ruthless.{name}")["result"] == "unharmed"
        require_well(server)
    assert "Cannot close a running event loop" in run(server, "ruthless.close")["error"]["message"]
    # its own task, and the server's main one: that cannot be hidden, and takes no notice
    assert run(server, "ruthless.cancel")["result"] == 2
    require_well(server)
    assert run(server, "ruthless.signals")["result"] == "taken"
    require(lambda: [] if server.output.count("which was taken back") == 2 else ["no signal taken back"], soon())
    assert server.stop() == 0
    assert "Task was destroyed" not in server.output


def test_a_server_that_was_paused_counts_no_time_in_which_it_did_not_run(server, tmp_path):
    told, go = tmp_path / "told", tmp_path / "go"
    run(server, "ruthless.none")
    in_child = submit(server, "ruthless.go", params={"told": str(told), "go": str(go)}, timeout_s=LIMIT_S)
    require(lambda: [] if told.exists() else ["the child has not begun"], soon())
    on_loop = submit(server, "ruthless.go_on_loop", params={"told": f"{told}-2", "nap_s": 1}, timeout_s=LIMIT_S)
    require(lambda: [] if Path(f"{told}-2").exists() else ["the loop has not begun"], soon())
    os.kill(server.pid, signal.SIGSTOP)
    go.touch()  # the child ends while the server cannot hear of it
    require(lambda: ["the child has not ended"] if told.exists() else [], soon())
    time.sleep(PAUSE_S)  # what is tested: the limit of both is long past
    os.kill(server.pid, signal.SIGCONT)
    assert [ended(server, job_id)["result"] for job_id in (in_child, on_loop)] == ["done", "done"]


def soon():
    return time.monotonic() + STOP_LIMIT_S

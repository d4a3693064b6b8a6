"""Clients that hold what they do not use, or send next to nothing, and a server that has few descriptors."""

import contextlib
import os
import resource
import socket
import sys
import threading
import time

import httpx
import pytest

from tests.acceptance.invariants import require, require_sound
from tests.acceptance.server import Server, run_server

IDLE = int(os.environ.get("IDLE_CONNECTIONS", "500"))
FEW = 64
CROWD = 80
BODY = b"sixteen bytes..." * 4
LIMIT_S = 60


def connect(server, sent=b""):
    url = httpx.URL(server.url)
    connection = socket.create_connection((url.host, url.port or 80), timeout=LIMIT_S)
    connection.sendall(sent)
    return connection


def submit(server):
    query = {"processor": "file.checksum", "filename": "x"}
    answer = httpx.post(f"{server.url}/v1/jobs", params=query, content=BODY, trust_env=False, timeout=LIMIT_S)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def descriptors(server):
    return len(os.listdir(f"/proc/{server.pid}/fd"))  # noqa: PTH208 - only how many


@pytest.fixture
def many_descriptors():
    """Let this process, and what it starts, open as many as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < IDLE + 200:
        pytest.skip(f"a process may open {hard} descriptors here")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_connections_that_send_nothing_hold_up_nobody_and_leave_nothing(tmp_path):
    with run_server(tmp_path / "data") as server, contextlib.ExitStack() as stack:
        jobs = [submit(server)]
        before = descriptors(server)
        idle = [stack.enter_context(connect(server)) for _ in range(IDLE)]
        half = [stack.enter_context(connect(server, b"GET /livez HTTP/1.1\r\nHost:")) for _ in range(10)]
        assert httpx.get(f"{server.url}/livez", trust_env=False, timeout=LIMIT_S).status_code == 200
        assert httpx.get(f"{server.url}/readyz", trust_env=False, timeout=LIMIT_S).status_code == 200
        jobs.append(submit(server))
        for connection in (*idle, *half):
            connection.close()
        require(
            lambda: [] if descriptors(server) <= before + 20 else ["descriptors are left"], time.monotonic() + LIMIT_S
        )
        require_sound(server.url, server.data_dir, jobs)


def test_a_client_of_a_few_bytes_a_second_is_served_and_holds_up_nobody(tmp_path):
    with run_server(tmp_path / "data", upload_stall_s=2) as server:
        done = threading.Event()
        answers: list[bytes] = []
        slow = threading.Thread(target=trickle, args=[server, answers, done])
        slow.start()
        jobs = []
        while not done.is_set():
            jobs.append(submit(server))
            done.wait(0.1)
        slow.join()
        assert answers[0].startswith(b"HTTP/1.1 202")
        assert len(jobs) > 3
        require_sound(server.url, server.data_dir, jobs)


def trickle(server, answers, done):
    """Send a body byte by byte."""
    head = f"POST /v1/jobs?processor=file.checksum HTTP/1.1\r\nHost: t\r\nContent-Length: {len(BODY)}\r\n\r\n"
    with connect(server, head.encode()) as connection:
        for byte in BODY:
            connection.sendall(bytes([byte]))
            time.sleep(0.03)  # in all as long as the time after which silence is given up
        answers.append(connection.recv(4096))
    done.set()


def test_a_server_out_of_descriptors_refuses_or_delays_and_goes_on_when_there_are_some(tmp_path):
    server = Server(tmp_path / "data", child_processes=1, consumers=2)
    server.launcher = ("bash", "-c", f'ulimit -n {FEW} && exec "$0" "$@"', sys.executable, "-m", "service")
    try:
        server.start()
        jobs = [submit(server)]
        with contextlib.ExitStack() as stack:
            for _ in range(CROWD):
                with contextlib.suppress(OSError):
                    stack.enter_context(connect(server))
            for _ in range(5):
                with contextlib.suppress(httpx.TransportError):
                    answer = httpx.post(
                        f"{server.url}/v1/jobs?processor=file.checksum", content=BODY, trust_env=False, timeout=1
                    )
                    assert answer.status_code in {202, 500, 503}, answer.text
                    if answer.status_code == 202:
                        jobs.append(answer.json()["id"])
                    else:
                        assert answer.json()["code"] in {"storage_failed", "database_unavailable"}
        assert server.process.poll() is None
        require(lambda: [] if is_ready(server) else ["it is not ready"], time.monotonic() + LIMIT_S)
        jobs.append(submit(server))
        require_sound(server.url, server.data_dir, jobs)
        assert server.stop() == 0
    finally:
        server.destroy()


def is_ready(server):
    try:
        return httpx.get(f"{server.url}/readyz", trust_env=False, timeout=2).status_code == 200
    except httpx.TransportError:
        return False

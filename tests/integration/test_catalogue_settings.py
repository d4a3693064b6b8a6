"""Processors of the catalogue go by the settings of the server that runs them, and never hold the loop up."""

import asyncio
import subprocess
import sys

import pytest

from service.catalogue.http.request import request
from service.testing import arun_processor, open_app
from service.tls import open_tls


@pytest.fixture
async def port():
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def _ended(app, name, params):
    job = await app.submit(name, (), params, max_attempts=1)
    await app.drain()
    return (await app.get(job["links"]["self"])).json()


async def test_a_call_goes_by_the_settings_of_the_server_and_not_by_the_environment(port, monkeypatch):
    url = f"http://127.0.0.1:{port}/"
    async with open_app(outgoing_allow="127.0.0.1") as app:
        assert (await _ended(app, "http.request", {"url": url}))["result"]["status"] == 200
    monkeypatch.setenv("FILEMILL_OUTGOING_ALLOW", "127.0.0.1")
    async with open_app(outgoing_allow="") as app:
        assert (await _ended(app, "http.request", {"url": url}))["error"]["code"] == "address_forbidden"


async def test_without_a_server_the_environment_counts(port, monkeypatch):
    monkeypatch.setenv("FILEMILL_OUTGOING_ALLOW", "127.0.0.1")
    run = await arun_processor(request, (), {"url": f"http://127.0.0.1:{port}/"})
    assert run.result["status"] == 200


async def test_mail_goes_by_the_settings_of_the_server(unused_port):
    message = {"to": ["ann@example.org"], "subject": "a", "text": "b"}
    async with open_app(smtp_host="127.0.0.1", smtp_port=unused_port) as app:
        assert "the mail server cannot be reached" in (await _ended(app, "mail.send", message))["error"]["message"]
    async with open_app(smtp_host="") as app:
        assert (await _ended(app, "mail.send", message))["result"]["sent"] is False


@pytest.fixture
async def unused_port():
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def test_certificates_are_read_once():
    assert await open_tls() is await open_tls()


WATCHED = """
import asyncio, sys, threading
from pathlib import Path
from service.catalogue.http.request import request
from service.processors.base import Fail, JobContext
from service.processors.calling import acall

threads = {}

class Watch:
    def find_spec(self, name, *_):
        threads.setdefault(name, threading.current_thread())

assert "httpx" not in sys.modules
sys.meta_path.insert(0, Watch())
try:
    asyncio.run(acall(request, JobContext("1", 1, 1, (), Path("."), {}, print), {"url": "http://127.0.0.1:9/"}))
except Fail as fail:
    assert fail.code == "address_forbidden", fail
assert threads["httpx"] is not threading.main_thread()
"""


def test_the_first_call_imports_httpx_in_a_thread():
    subprocess.run([sys.executable, "-c", WATCHED], check=True, timeout=60)

"""The Python client against a real server, and the examples of its documentation."""

import asyncio
import doctest
import hashlib
import inspect
import io
import os
import shutil

import pytest

from service.client import AsyncFilemill, Filemill, Source, asynchronous, sync
from service.client.operations import Operations
from service.states import State
from tests.acceptance.server import REPOSITORY, run_server

PHOTO = REPOSITORY / "tests" / "samples" / "rocket.jpg"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with run_server(tmp_path_factory.mktemp("client") / "data") as server:
        yield server


@pytest.mark.parametrize("module", [sync, asynchronous])
def test_the_examples_of_the_documentation_run(server, tmp_path, monkeypatch, module):
    shutil.copy(PHOTO, tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FILEMILL_URL", server.url)
    ended = doctest.testmod(module)
    assert ended.attempted > 0
    assert ended.failed == 0


def test_both_clients_can_do_the_same():
    operations = {name for name, one in vars(Operations).items() if inspect.isfunction(one) and name[0] != "_"}
    assert {name for name in vars(Filemill) if name[0] != "_"} == operations
    for name in operations:
        assert inspect.signature(getattr(Filemill, name)) == inspect.signature(getattr(AsyncFilemill, name))


def test_many_files_become_many_jobs_and_the_same_call_again_makes_no_more(server):
    with Filemill(server.url) as mill:
        files = [PHOTO, PHOTO.with_name("iris.csv")]
        first = [job.id for job in mill.submit_many("file.checksum", files, idempotency_key="k")]
        again = [job.id for job in mill.submit_many("file.checksum", files, idempotency_key="k")]
        assert first == again
        assert len(set(first)) == 2
        assert all(mill.wait(job_id, timeout_s=30).state is State.SUCCEEDED for job_id in first)


async def test_an_event_loop_goes_on_while_a_large_file_is_sent_and_fetched(server, tmp_path):
    path, turns, told = tmp_path / "big.bin", 0, list[tuple[int, int | None]]()
    path.write_bytes(os.urandom(20_000_000))

    async def turn():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with AsyncFilemill(server.url) as mill:
        turning = asyncio.create_task(turn())
        job = await mill.submit("file.checksum", [path], on_progress=lambda *step: told.append(step))
        target = await mill.download(job.inputs[0], tmp_path / "back.bin")
        turning.cancel()
    assert told[-1] == (20_000_000, 20_000_000)
    assert turns > len(told) > 100
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest()


def test_the_figures_of_the_service_are_typed(server):
    with Filemill(server.url) as mill:
        job = mill.submit("file.checksum", [Source("a", io.BytesIO(b"x"))], wait_s=30)
        stats = mill.stats()
        while stats.jobs["succeeded"] == 0:  # a count may be given again for some milliseconds
            stats = mill.stats()
    assert job.is_finished
    assert stats.processors["file.checksum"]["succeeded"] >= 1
    assert sum(stats.throughput) > 0
    assert stats.occupancy.keys() == {"loop", "child"}

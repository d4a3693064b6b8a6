"""The inputs of an attempt are its own: whatever a processor does to them, what was uploaded stays as it is."""

import asyncio
import errno
import hashlib
import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.catalogue.files.processors import checksum
from service.errors import InvalidRequestError, StorageFailedError
from service.storage import copying
from service.testing import open_app, run_processor
from service.worker.views import Views
from tests.integration import spoiling_processors
from tests.integration.spoiling_processors import REMOVE, SPOIL
from tests.integration.stores import new_file

SPOILING = Path(spoiling_processors.__file__)


def files_for(tools, size=20_000):
    """Return a file for each tool, and two that become outputs; no two are alike, but two have one name."""
    names = [f"{tool}.jpg" for tool in tools] + ["a b.tar.gz", "a b.tar.gz"]
    return [(name, os.urandom(size) + str(number).encode()) for number, name in enumerate(names)]


@pytest.mark.parametrize(
    ("name", "tools"),
    [("spoil.child", tuple(SPOIL)), ("spoil.loop", tuple(SPOIL)), ("spoil.reads_only", REMOVE)],
)
async def test_whatever_tools_do_to_their_input_the_original_stays(name, tools, tmp_path):
    files = files_for(tools)
    hashes = [hashlib.sha256(content).hexdigest() for _, content in files]
    async with open_app(SPOILING, data_dir=tmp_path) as app:
        form = [("file", file) for file in files] + [
            ("processor", (None, name)), ("params", (None, json.dumps({"tools": tools}))),
        ]  # fmt: skip
        job = (await app.post("/v1/jobs", files=form)).json()
        await app.drain(60)
        job = (await app.get(job["links"]["self"])).json()
        assert (job["state"], job["attempt"]) == ("succeeded", 2), job["error"]
        assert job["result"] == [[file[0].replace(" ", "_"), one] for file, one in zip(files, hashes, strict=True)]
        for original, one in zip(job["inputs"], hashes, strict=True):
            whole = await app.get(original["links"]["content"])
            assert (whole.status_code, whole.headers["etag"]) == (200, f'"{one}"'), original["name"]
            assert hashlib.sha256(whole.content).hexdigest() == one, original["name"]
        outputs = [(await app.get(output["links"]["content"])).content for output in job["outputs"]]
        assert [hashlib.sha256(content).hexdigest() for content in outputs] == hashes[-2:]
        async with asyncio.timeout(60):  # they go after the job has ended
            while list((tmp_path / "work").glob("*/*")):
                await asyncio.sleep(0)
        stored = tmp_path / "files"
        assert [path.stat().st_nlink for path in stored.iterdir()] == [1] * len(list(stored.iterdir()))


def user_is(monkeypatch, user_id):
    """Have the executor take the user for this one."""
    monkeypatch.setattr("service.worker.executor.os.geteuid", lambda: user_id)


async def write_through(tmp_path):
    """Run one that writes into its input, against its word; return what the upload is then, and what it has found."""
    async with open_app(SPOILING, data_dir=tmp_path) as app:
        job = await app.submit("spoil.liar", {"a.txt": "whole"})
        await app.drain(60)
        job = (await app.get(job["links"]["self"])).json()
        stored = tmp_path / "files" / job["inputs"][0]["id"]
        return stored.read_bytes(), job["result"]


@pytest.mark.skipif(os.geteuid() != 0, reason="others cannot write into what is stored")
async def test_what_root_writes_against_its_word_does_not_reach_the_upload(tmp_path):
    assert await write_through(tmp_path) == (b"whole", {"links": 1, "wrote": True})


async def test_whoever_is_not_root_has_a_link_to_read(tmp_path, monkeypatch):
    user_is(monkeypatch, 1000)
    assert (await write_through(tmp_path))[1]["links"] == 2


async def test_the_catalogue_has_a_link_to_read_also_as_root(tmp_path, monkeypatch):
    user_is(monkeypatch, 0)
    monkeypatch.setattr(copying, "copy", None)
    async with open_app(data_dir=tmp_path) as app:
        job = await app.submit("file.checksum", {"a.txt": "whole"})
        await app.drain(60)
        assert (await app.get(job["links"]["self"])).json()["state"] == "succeeded"


@pytest.mark.parametrize("name", ["spoil.child", "spoil.loop"])
@pytest.mark.parametrize(
    ("content", "code"), [(None, "storage_failed"), (b"x", "file_changed"), (bytes(20_001), "file_changed")],
    ids=["gone", "another size", "other bytes"],
)  # fmt: skip
async def test_what_is_not_what_was_uploaded_is_not_run(name, content, code, tmp_path):
    async with open_app(SPOILING, data_dir=tmp_path) as app:
        stored = (await app.post("/v1/files", content=bytes(range(250)) * 80 + b"x")).json()
        (path := tmp_path / "files" / stored["id"]).unlink()
        if content is not None:
            path.write_bytes(content)
        body = {"processor": name, "params": {"tools": []}, "files": [stored["id"]], "max_attempts": 2}
        job = (await app.post("/v1/jobs", json=body)).json()
        await app.drain(60)
        job = (await app.get(job["links"]["self"])).json()
    assert (job["state"], job["attempt"], job["error"]["code"]) == ("failed", 2, code)


async def test_a_disk_that_is_full_while_a_view_is_made_fails_the_attempt_and_another_follows(tmp_path, monkeypatch):
    calls = iter([OSError(errno.ENOSPC, "No space left on device")])

    def full_at_first(*args, **options):
        for error in calls:
            raise error
        return copy(*args, **options)

    copy = copying.copy
    monkeypatch.setattr(copying, "copy", full_at_first)
    async with open_app(SPOILING, data_dir=tmp_path, retry_base_s=0.01) as app:
        job = await app.submit("spoil.child", {"a": "1", "b": "2"}, {"tools": []})
        await app.drain(60)
        events = (await app.get(job["links"]["self"] + "/events")).text
        job = (await app.get(job["links"]["self"])).json()
    assert (job["state"], job["attempt"]) == ("succeeded", 2)
    assert '"storage_full"' in events
    assert list((tmp_path / "work").glob("*/*")) == []


async def test_an_input_may_be_larger_than_what_an_attempt_may_write(tmp_path):
    async with open_app(SPOILING, data_dir=tmp_path, job_file_limit_bytes=1024**2) as app:
        job = await app.submit("spoil.child", {"a": bytes(2 * 1024**2), "b": bytes(2 * 1024**2 + 1)}, {"tools": []})
        await app.drain(60)
        assert (await app.get(job["links"]["self"])).json()["state"] == "succeeded"


async def test_a_view_that_would_take_what_is_kept_in_reserve_is_not_begun(tmp_path, monkeypatch):
    async with open_app(SPOILING, data_dir=tmp_path) as app:
        stored = (await app.post("/v1/files", content=b"x" * 1000)).json()
        monkeypatch.setattr(app.runtime.storage, "_min_free_bytes", 2**62)
        body = {"processor": "spoil.loop", "params": {"tools": []}, "files": [stored["id"]], "max_attempts": 1}
        job = (await app.post("/v1/jobs", json=body)).json()
        await app.drain(60)
        job = (await app.get(job["links"]["self"])).json()
    assert (job["state"], job["error"]["code"]) == ("failed", "storage_full")


class Endless:
    """A storage that lends for ever, until it is told to stop."""

    def __init__(self):
        self.begun, self.ended = asyncio.Event(), threading.Event()
        self._loop = asyncio.get_running_loop()

    def lend(self, _recorded, _path, *, reads_only, go_on):  # noqa: ARG002 - the protocol
        self._loop.call_soon_threadsafe(self.begun.set)
        try:
            while True:
                go_on()
        finally:
            self.ended.set()


async def test_an_attempt_that_is_stopped_leaves_no_thread_that_still_copies(tmp_path):
    storage: Any = Endless()
    making = asyncio.create_task(Views(storage).make([new_file()], tmp_path / "1", with_folder=False, reads_only=False))
    await storage.begun.wait()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert storage.ended.is_set()


def making(views, folder, size_bytes=1):
    """Make the views of an input of this size; of a large one, in the threads for what is long."""
    file = replace(new_file(), size_bytes=size_bytes)
    return views.make([file], folder, with_folder=False, reads_only=False)


async def test_an_attempt_that_is_given_up_stops_its_thread_which_leaves_nothing(tmp_path):
    storage: Any = Endless()
    work = making(Views(storage), tmp_path / "1")
    waiting = work.send(None)  # as a task would
    await storage.begun.wait()
    work.close()
    waiting.cancel()
    async with asyncio.timeout(20):
        while list(tmp_path.iterdir()):
            await asyncio.sleep(0.01)
    assert await asyncio.to_thread(storage.ended.wait, 20)


async def test_an_attempt_whose_copy_has_not_begun_does_not_wait_for_those_of_others(tmp_path):
    storage: Any = Endless()
    views = Views(storage)
    long = [asyncio.create_task(making(views, tmp_path / str(number), 2**30)) for number in range(3)]
    async with asyncio.timeout(20):
        while len(list(tmp_path.iterdir())) < 2:
            await asyncio.sleep(0.01)
        long[2].cancel()
        await asyncio.wait([long[2]])
    assert [task.done() for task in long] == [False, False, True]
    await views.aclose()
    assert not (tmp_path / "2-inputs").exists()
    assert all(
        isinstance(one, Exception | asyncio.CancelledError)
        for one in await asyncio.gather(*long, return_exceptions=True)
    )


async def test_the_end_of_the_service_ends_the_threads_that_copy(tmp_path):
    storage: Any = Endless()
    views = Views(storage)
    task = asyncio.create_task(making(views, tmp_path / "1", 2**30))
    await storage.begun.wait()
    (thread,) = views._long._threads
    await views.aclose()
    assert not thread.is_alive()
    with pytest.raises(StorageFailedError):
        await task


async def test_a_service_that_ends_closes_its_executor(tmp_path):
    async with open_app(SPOILING, data_dir=tmp_path) as app:
        views = app.runtime.control._executor._views
    with pytest.raises(RuntimeError, match="shutdown"):
        views._long.submit(print)


# ---- a trial


def test_a_trial_leaves_the_files_of_its_user_alone(tmp_path):
    for tool in SPOIL:
        contents = dict(files_for([tool]))
        paths = [tmp_path / f"{tool}.jpg", tmp_path / "b.txt", tmp_path / "c.txt"]
        for path in paths:
            path.write_bytes(contents[f"{tool}.jpg"])
        run = run_processor(spoiling_processors.in_child, paths, {"tools": [tool]}, attempt=2)
        assert [name for name, _ in run.result] == [path.name for path in paths]
        assert {path.read_bytes() for path in paths} == {contents[f"{tool}.jpg"]}, tool


def test_a_trial_of_one_of_the_catalogue_copies_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(copying, "copy", None)
    (path := tmp_path / "a.txt").write_bytes(b"whole")
    assert run_processor(checksum, [path]).result["files"][0]["name"] == "a.txt"


def test_a_trial_of_one_that_writes_against_its_word_leaves_the_file_alone(tmp_path):
    (path := tmp_path / "a.txt").write_bytes(b"whole")
    assert run_processor(spoiling_processors.writes_against_its_word, [path]).result == {"links": 1, "wrote": True}
    assert path.read_bytes() == b"whole"


def test_a_trial_of_a_pipe_is_refused_and_holds_nobody(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidRequestError, match="pipe is a pipe, and no file"):
        run_processor(checksum, [tmp_path / "pipe"])

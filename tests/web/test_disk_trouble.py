"""A disk that is full, refuses, or cannot sync: the upload fails, nothing is stored, and all is well afterwards."""

import errno
import os
import stat
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

import service.storage.incoming_file
import service.store.files
import service.store.jobs
import service.web.health
from tests.web.answers import assert_problem, form

LARGE = bytes(3 * 1024**2)


def refuse(number):
    """Return a system call that the disk refuses."""

    def call(*_args, **_options):
        raise OSError(number, os.strerror(number))

    return call


def refuse_folders(number, sync=os.fsync):
    """Return an fsync that fails for folders."""

    def call(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(number, os.strerror(number))
        sync(fd)

    return call


@pytest.fixture(params=["small", "large"])
def content(request):
    """A file that is written in one go, and one that takes several pieces."""
    return b"bytes" if request.param == "small" else LARGE


@pytest.fixture
def post_everywhere(client):
    """Return a function that sends a file in each way, and yields the answers."""

    async def post(content):
        yield await client.post("/v1/jobs", files=form(("a", content), ("b", content), processor="t.read"))
        yield await client.post("/v1/jobs?processor=t.read", content=content)
        yield await client.post("/v1/files", files=form(("a", content)))
        yield await client.post("/v1/files", content=content)

    return post


FAULTS = {
    "the disk is full": ("_write_whole", refuse(errno.ENOSPC), 507, "storage_full", "disk is full"),
    "the quota is used up": ("_write_whole", refuse(errno.EDQUOT), 507, "storage_full", "disk is full"),
    "a write fails": ("_write_whole", refuse(errno.EIO), 500, "storage_failed", "Input/output error"),
    "an fsync fails": ("os.fsync", refuse(errno.EIO), 500, "storage_failed", "Input/output error"),
    "an fsync finds the disk full": ("os.fsync", refuse(errno.ENOSPC), 507, "storage_full", "disk is full"),
    "the folder cannot be synced": ("os.fsync", refuse_folders(errno.EIO), 500, "storage_failed", "Input/output"),
    "the rename fails": ("Path.replace", refuse(errno.EIO), 500, "storage_failed", "Input/output error"),
    "no file can be opened": ("Path.open", refuse(errno.EMFILE), 500, "storage_failed", "Too many open files"),
}
PLACES = {"os.fsync": (os, "fsync"), "Path.replace": (Path, "replace"), "Path.open": (Path, "open")}


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_upload_that_the_disk_refuses_fails_and_leaves_nothing(
    fault, content, client, monkeypatch, nothing_left, post_everywhere
):
    name, call, status, code, words = FAULTS[fault]
    with monkeypatch.context() as patch:
        patch.setattr(*PLACES.get(name, (service.storage.incoming_file, name)), call)
        async for response in post_everywhere(content):
            assert words in assert_problem(response, status, code)["detail"]
            assert ("retry-after" in response.headers) == (status == 507)
            nothing_left()
        assert (await client.get("/livez")).status_code == 200
    async for response in post_everywhere(content):
        assert response.status_code in {201, 202}
    assert (await client.get("/readyz")).status_code == 200


async def test_readiness_tells_of_the_disk_and_comes_back_with_it(client, monkeypatch, subtests):
    monkeypatch.setattr(service.web.health, "FRESH_S", 0)
    for number, code in (
        (errno.ENOSPC, "storage_full"),
        (errno.EIO, "storage_failed"),
        (errno.EROFS, "storage_failed"),
    ):
        with subtests.test(code=code), monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse(number))
            response = await client.get("/readyz")
            assert response.status_code == 503
            assert response.json()["status"] == "unavailable"
            assert response.json()["checks"]["storage"].startswith(f"{code}: ")
        assert (await client.get("/readyz")).json()["status"] == "ok"


@pytest.mark.settings(min_free_bytes=2**62)
async def test_into_the_reserve_nothing_is_written(client, nothing_left, post_everywhere):
    async for response in post_everywhere(b"bytes"):
        problem = assert_problem(response, 507, "storage_full")
        assert "in reserve" in problem["detail"]
        assert response.headers["retry-after"]
        nothing_left()
    assert "storage_full" in (await client.get("/readyz")).json()["checks"]["storage"]
    assert (await client.post("/v1/jobs", files=form(processor="t.echo", run_after="2100-01-01T00:00:00Z"))).is_success
    assert (await client.get("/v1/jobs")).status_code == 200


async def test_a_disk_that_fills_up_in_mid_file_takes_the_file_back(exchange, monkeypatch, nothing_left):
    write, written = service.storage.incoming_file._write_whole, []

    def fill_up(file, chunk):
        written.append(len(chunk))
        if sum(written) > 2 * 1024**2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(file, chunk)

    monkeypatch.setattr(service.storage.incoming_file, "_write_whole", fill_up)
    upload = exchange("POST", "/v1/files")
    upload.put(*[LARGE[: 64 * 1024]] * 48)
    upload.end()
    assert_problem(await upload.answer(), 507, "storage_full")
    assert sum(written[:-1]) >= 1024**2
    nothing_left()


async def test_a_database_that_refuses_the_row_takes_the_bytes_back(monkeypatch, nothing_left, post_everywhere):
    def refuse_rows(_connection, _items):
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(service.store.jobs, "add_jobs", refuse_rows)
        patch.setattr(service.store.files, "keep_files", refuse_rows)
        async for response in post_everywhere(b"bytes"):
            assert "disk is full" in assert_problem(response, 503, "database_unavailable")["detail"]
            assert response.headers["retry-after"]
            nothing_left()
    async for response in post_everywhere(b"bytes"):
        assert response.is_success

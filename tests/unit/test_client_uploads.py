"""Files that change, vanish or cannot be read while they are sent, and servers that do not hear them out."""

import asyncio
import errno
import io
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

import httpx
import pytest
from typer.testing import CliRunner

from service.cli import app
from service.cli.exits import ExitCode
from service.client import AsyncFilemill, FileChangedError, Filemill, ProblemError, ServerUnreachableError, Source
from service.client.uploads import Reader, SizedReader
from tests.unit.test_client import job_json

SIZE = 1_000_000
LARGE = 64 * 1024**2  # more than fits into the buffers of a connection
_PROBLEM = b'{"code": "payload_too_large", "title": "Too large", "detail": "at most 10 bytes are taken"}'
TOO_LARGE = b"HTTP/1.1 413 Too Large\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_PROBLEM), _PROBLEM)


class Server:
    """Takes requests whole, and keeps their bodies and their keys."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.lengths: list[int | None] = []
        self.keys: list[str | None] = []
        self.status = 202

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self._note(request, request.read())
        return self._answer()

    async def take(self, request: httpx.Request) -> httpx.Response:
        self._note(request, await request.aread())
        return self._answer()

    def _note(self, request: httpx.Request, body: bytes) -> None:
        length = request.headers.get("content-length")
        assert length is None or int(length) == len(body)
        self.lengths.append(length and int(length))
        self.keys.append(request.headers.get("idempotency-key"))
        boundary = request.headers["content-type"].partition("boundary=")[2].encode()
        self.bodies.append(body.replace(boundary, b"boundary"))

    def _answer(self) -> httpx.Response:
        problem = {"code": "storage_full", "title": "Full"}
        return httpx.Response(self.status, json=job_json() if self.status == 202 else problem)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture(params=["blocking", "on a loop"])
def submit(request, server):
    """Return a function that submits, and may change something when the first bytes went over."""

    async def submit(*files, then=None, **options):
        def moved(_done, _total):
            nonlocal then
            if then is not None:
                change, then = then, None
                change()

        if request.param == "blocking":
            with Filemill("http://filemill.test", transport=httpx.MockTransport(server)) as mill:
                return mill.submit("text.count", files, on_progress=moved, **options)
        async with AsyncFilemill("http://filemill.test", transport=httpx.MockTransport(server.take)) as one:
            return await one.submit("text.count", files, on_progress=moved, **options)

    return submit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(b"A" * SIZE)
    os.utime(path, (1, 1))  # so that any change shows, however coarse the clock of the disk is
    return path


def append(path: Path, content: bytes = b"B") -> None:
    with path.open("ab") as file:
        file.write(content)


# ---- files that change


CUTS = {"in the middle": SIZE // 2, "to nothing": 0, "by a byte": SIZE - 1}


@pytest.mark.parametrize("left", CUTS.values(), ids=CUTS)
async def test_a_file_that_is_cut_off_is_an_error_that_names_it(left, path, submit, server):
    with pytest.raises(FileChangedError, match=f"^{path} changed while it was sent: it had {SIZE} bytes, and ended"):
        await submit(path, then=lambda: os.truncate(path, left))
    assert server.bodies == []


async def test_a_file_that_is_written_anew_is_an_error_that_names_it(path, submit, server):
    with pytest.raises(FileChangedError, match=f"^{path} changed while it was sent: other bytes were written into it"):
        await submit(path, then=lambda: path.write_bytes(b"C" * SIZE))
    with pytest.raises(FileChangedError, match="other bytes were written into it"):
        await submit(path, then=lambda: path.write_bytes(b"D" * SIZE * 2))
    assert server.bodies == []


async def test_of_a_file_that_grows_the_bytes_are_sent_that_it_had(path, submit, server):
    await submit(path, then=lambda: append(path))
    assert b"A" * SIZE + b"\r\n" in server.bodies[0]


async def test_a_file_that_grows_between_two_looks_at_its_length_is_sent_as_it_was(path, submit, server, monkeypatch):
    tell = SizedReader.tell

    def tell_and_grow(reader):  # as httpx asks for the length
        append(path)
        return tell(reader)

    monkeypatch.setattr(SizedReader, "tell", tell_and_grow)
    await submit(path)
    assert b"A" * SIZE + b"\r\n" in server.bodies[0]


@pytest.mark.parametrize("change", ["replaced", "deleted"])
async def test_a_file_whose_name_is_given_away_is_sent_as_it_was(change, path, submit, server, tmp_path):
    def go() -> None:
        path.rename(tmp_path / "away")
        if change == "replaced":
            path.write_bytes(b"other")

    await submit(path, then=go)
    assert b"A" * SIZE + b"\r\n" in server.bodies[0]


# ---- what is no ordinary file


async def test_a_file_that_says_it_is_empty_is_sent_whole(submit, server):
    await submit(Path("/proc/self/status"))
    assert b"VmPeak" in server.bodies[0]
    assert server.lengths == [None]


async def test_an_empty_file_is_empty(submit, server, tmp_path):
    (tmp_path / "empty").touch()
    await submit(tmp_path / "empty")
    assert b"\r\n\r\n\r\n--boundary--" in server.bodies[0]
    assert server.lengths != [None]


async def test_a_named_pipe_is_read_to_its_end(submit, server, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(b"through a pipe"))
    writer.start()
    await submit(tmp_path / "pipe")
    writer.join()
    assert b"\r\nthrough a pipe\r\n" in server.bodies[0]


@pytest.mark.parametrize(("name", "number"), [("", errno.EISDIR), ("missing", errno.ENOENT)])
async def test_what_cannot_be_opened_is_an_ordinary_error_with_its_name(name, number, submit, tmp_path):
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        await submit(tmp_path / name)
    assert caught.value.filename == str(tmp_path / name)


class Broken(io.RawIOBase):
    """Bytes that end in an error of the disk, or in nothing for the moment."""

    def __init__(self, number: int | None, *before: bytes) -> None:
        self._number = number
        self._left = list(before)

    def readable(self) -> bool:
        return True

    def read(self, _limit: int = -1) -> bytes | None:
        if self._left:
            return self._left.pop()
        if self._number is None:
            return None
        raise OSError(self._number, os.strerror(self._number))


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, None])
async def test_an_error_in_the_middle_of_a_stream_has_its_name(number, submit, server):
    with pytest.raises(OSError, match=r"Input/output|Stale|nothing to read now") as caught:
        await submit(Source("tape", cast("BinaryIO", Broken(number, b"some"))))
    assert caught.value.filename == "tape"
    assert server.bodies == []


async def test_an_error_in_the_middle_of_a_file_has_its_path(path, submit, server, monkeypatch):
    read = Reader.read

    def break_down(reader, limit):
        reader._stream = Broken(errno.EIO) if reader.done else reader._stream
        return read(reader, limit)

    monkeypatch.setattr(Reader, "read", break_down)
    with pytest.raises(OSError, match="Input/output error") as caught:
        await submit(path)
    assert caught.value.filename == str(path)
    assert server.bodies == []


# ---- again


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_second_try_sends_the_same_bytes_under_the_same_key(is_stream, path, submit, server):
    stream = io.BytesIO(b"left out" + b"A" * SIZE)
    stream.seek(len(b"left out"))
    file = Source("data.bin", stream) if is_stream else path
    server.status = 507
    with pytest.raises(ProblemError):
        await submit(file, idempotency_key="k1")
    server.status = 202
    await submit(file, idempotency_key="k1")
    assert server.bodies[0] == server.bodies[1]
    assert server.lengths[0] == server.lengths[1]
    assert server.keys == ["k1", "k1"]


def test_of_many_those_before_the_one_that_changed_are_submitted(path, server, tmp_path, monkeypatch):
    good = tmp_path / "good"
    good.write_bytes(b"good")
    read = SizedReader.read

    def read_and_cut(reader, limit):
        if reader.shown == str(path):
            os.truncate(path, 1)
        return read(reader, limit)

    monkeypatch.setattr(SizedReader, "read", read_and_cut)
    with Filemill("http://filemill.test", transport=httpx.MockTransport(server)) as mill:
        jobs = mill.submit_many("text.count", [good, path, good])
        assert next(jobs).id == "j1"
        with pytest.raises(FileChangedError, match=path.name):
            next(jobs)
    assert len(server.bodies) == 1


# ---- a server that does not hear them out


@contextmanager
def server_that_answers(answer: bytes, *, hears_out: bool) -> Iterator[str]:
    """Answer each request when its head is there; then read on and drop it, or reset the connection at once."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(ConnectionError):
                head = b""
                while b"\r\n\r\n" not in head and (piece := connection.recv(4096)):
                    head += piece
                connection.sendall(answer)
                while hears_out and connection.recv(65_536):
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(LARGE)
    return path


@pytest.mark.parametrize("hears_out", [False, True])
def test_an_early_answer_is_told(hears_out, large):
    with server_that_answers(TOO_LARGE, hears_out=hears_out) as url, Filemill(url) as mill:
        for _ in range(2):
            with pytest.raises(ProblemError, match="at most 10 bytes are taken"):
                mill.submit("text.count", [large])


async def test_on_a_loop_an_early_answer_ends_the_upload_and_is_told(large):
    told: list[int] = []
    with server_that_answers(TOO_LARGE, hears_out=True) as url:
        async with AsyncFilemill(url) as mill:
            for _ in range(2):
                with pytest.raises(ProblemError, match="at most 10 bytes are taken"):
                    await mill.submit("text.count", [large], on_progress=lambda done, _total: told.append(done))
    assert max(told) < LARGE


async def test_a_connection_that_breaks_without_an_answer_is_told_as_such(large):
    with server_that_answers(b"", hears_out=False) as url:
        with Filemill(url) as mill, pytest.raises(ServerUnreachableError, match=rf"the connection to {url} broke"):
            mill.submit("text.count", [large])
        async with AsyncFilemill(url) as mill:
            with pytest.raises(ServerUnreachableError, match=rf"the connection to {url} broke"):
                await mill.submit("text.count", [large])


@pytest.mark.parametrize("content", [b"small", b"L" * 5_000_000])
async def test_on_a_loop_an_upload_goes_over_whole_while_the_connection_listens(content, tmp_path):
    (tmp_path / "data.bin").write_bytes(content)
    came = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            came.append(await reader.readexactly(length))
            body = json.dumps(job_json()).encode()
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    listening = await asyncio.start_server(take, "127.0.0.1", 0, limit=8_000_000)
    async with listening, AsyncFilemill(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}") as mill:
        for _ in range(2):  # the second time on the same connection
            assert (await mill.submit("text.count", [tmp_path / "data.bin"])).id == "j1"
    assert [content in body for body in came] == [True, True]


# ---- the command


def test_the_command_says_in_a_sentence_what_became_of_the_file(path, monkeypatch):
    read = SizedReader.read

    def read_and_cut(reader, limit):
        os.truncate(path, 1)
        return read(reader, limit)

    monkeypatch.setattr(SizedReader, "read", read_and_cut)
    with server_that_answers(b"", hears_out=True) as url:
        result = CliRunner().invoke(app, ["submit", "text.count", str(path), "--url", url])
    assert result.exit_code == ExitCode.REFUSED
    assert result.stderr == (
        f"Error: {path} changed while it was sent: it had {SIZE} bytes, and ended after 1; "
        "nothing was taken, send it again once it is still\n"
    )

"""HTTP clients over raw sockets, so that the client is not the limit: they do what these benchmarks need, no more."""

import contextlib
import json
import re
import selectors
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.rows import PieceError

Address = tuple[str, int]
BOUNDARY = "filemill-benchmark"
_LIMIT_S = 120.0
_READ_BYTES = 64 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; the instants are those of the monotonic clock, in nanoseconds."""

    status: int
    body: bytes
    sent_ns: int
    done_ns: int

    @property
    def seconds(self) -> float:
        """From the first byte sent to the last byte received."""
        return (self.done_ns - self.sent_ns) / _NANO

    def json(self) -> Any:
        """Return the body."""
        return json.loads(self.body)

    def require(self, *statuses: int) -> "Answer":
        """Return itself.

        Raises:
            PieceError: the status is another.
        """
        if self.status not in statuses:
            raise PieceError(f"the server answered {self.status}: {self.body[:300]!r}")
        return self


# ---- requests


def head(method: str, path: str, length: int = 0, content_type: str = "", *, prefer: str = "") -> bytes:
    """Return the start of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: benchmark"]
    lines += [f"Prefer: {prefer}"] if prefer else []
    lines += [f"Content-Type: {content_type}"] if content_type else []
    lines += [f"Content-Length: {length}"] if method != "GET" else []
    return "\r\n".join([*lines, "", ""]).encode()


def json_request(path: str, value: Any) -> bytes:
    """Return a POST of a JSON document."""
    body = json.dumps(value).encode()
    return head("POST", path, len(body), "application/json") + body


def multipart(fields: dict[str, str], filename: str) -> tuple[bytes, bytes]:
    """Return what comes before and behind the bytes of the one file of a form."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    parts.append(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return "".join(parts).encode(), f"\r\n--{BOUNDARY}--\r\n".encode()


def form_request(path: str, fields: dict[str, str], filename: str, content: bytes) -> bytes:
    """Return a POST of a form with one small file."""
    before, behind = multipart(fields, filename)
    body = before + content + behind
    return head("POST", path, len(body), f"multipart/form-data; boundary={BOUNDARY}") + body


# ---- one request


def call(address: Address, request: bytes, limit_s: float = _LIMIT_S) -> Answer:
    """Send one request on a connection of its own."""
    return stream(address, [request], limit_s)


def stream(address: Address, pieces: Iterable[bytes], limit_s: float = _LIMIT_S) -> Answer:
    """Send one request that is too large for memory, piece by piece."""
    with _connect(address, limit_s) as connection:
        sent_ns = time.monotonic_ns()
        for piece in pieces:
            connection.sendall(piece)
        reading = _Reading()
        while not reading.feed(connection.recv(_READ_BYTES)):
            pass
        return Answer(reading.status, reading.body, sent_ns, time.monotonic_ns())


def pour(address: Address, request: bytes, limit_s: float = _LIMIT_S) -> tuple[int, float]:
    """Send a request and throw its body away; return the bytes of the body and the seconds."""
    buffer, began = bytearray(1024**2), time.perf_counter()
    with _connect(address, limit_s) as connection:
        connection.sendall(request)
        start = bytearray()
        while b"\r\n\r\n" not in start:
            start += _required(connection.recv(_READ_BYTES))
        top, _, rest = bytes(start).partition(b"\r\n\r\n")
        length, received = int(_LENGTH.search(top)[1]), len(rest)  # type: ignore[index]
        while received < length:
            received += _required_count(connection.recv_into(buffer))
    return length, time.perf_counter() - began


# ---- many requests


def closed_loop(
    address: Address, requests: Iterable[bytes], connections: int, limit_s: float = _LIMIT_S
) -> list[Answer]:
    """Send the requests over so many connections, each one its next as soon as it has its answer.

    The answers come in the order in which they arrived.
    """
    pending, answers = iter(requests), list[Answer]()
    with selectors.DefaultSelector() as selector:
        lines = [_Line(selector, address, pending, answers) for _ in range(connections)]
        try:
            active, deadline = sum(line.send_next() for line in lines), time.monotonic() + limit_s
            while active:
                if time.monotonic() > deadline:
                    raise PieceError(f"the requests took longer than {limit_s:g} s")
                for key, _ in selector.select(1):
                    active -= not key.data.go_on()
        finally:
            for line in lines:
                line.close()
    return answers


def paced(address: Address, request: bytes, per_s: float, seconds: float) -> list[float]:
    """Send the request at a steady pace on one connection; return the seconds that each answer took.

    They count from the moment at which the request was due: a server that stalls is charged for all that had to
    wait meanwhile.
    """
    taken: list[float] = []
    with _connect(address, _LIMIT_S) as connection:
        began = time.perf_counter()
        for number in range(int(per_s * seconds)):
            due = began + number / per_s
            if (early := due - time.perf_counter()) > 0:
                time.sleep(early)
            connection.sendall(request)
            reading = _Reading()
            while not reading.feed(connection.recv(_READ_BYTES)):
                pass
            taken.append(time.perf_counter() - due)
            if reading.status >= 400:
                raise PieceError(f"the server answered {reading.status}: {reading.body[:300]!r}")
            if time.perf_counter() - began > 4 * seconds:  # far behind: what there is tells enough
                break
    return taken


@dataclass(slots=True)
class _Reading:
    """An answer on its way in."""

    data: bytearray = field(default_factory=bytearray)
    status: int = 0
    body: bytes = b""

    def feed(self, piece: bytes) -> bool:
        """Take what arrived; whether the answer is complete."""
        self.data += _required(piece)
        end = self.data.find(b"\r\n\r\n")
        if end < 0:
            return False
        length = _LENGTH.search(self.data, 0, end + 2)
        size = int(length[1]) if length else 0
        if len(self.data) < end + 4 + size:
            return False
        self.status, self.body = int(self.data[9:12]), bytes(self.data[end + 4 : end + 4 + size])
        return True


class _Line:
    """One connection of a closed loop."""

    def __init__(
        self, selector: selectors.BaseSelector, address: Address, requests: Iterator[bytes], answers: list[Answer]
    ) -> None:
        self._selector = selector
        self._requests = requests
        self._answers = answers
        self._connection = _connect(address, _LIMIT_S)
        self._connection.settimeout(0)
        self._selector.register(self._connection, selectors.EVENT_READ, self)

    def send_next(self) -> bool:
        """Send the next request; whether there was one."""
        request = next(self._requests, None)
        if request is None:
            return False
        self._reading, self._sent_ns, self._left = _Reading(), time.monotonic_ns(), memoryview(request)
        self._push()
        return True

    def go_on(self) -> bool:
        """Send or receive what can be now; whether there is more to do."""
        if self._left:
            self._push()
            return True
        if not self._reading.feed(self._connection.recv(_READ_BYTES)):
            return True
        self._answers.append(Answer(self._reading.status, self._reading.body, self._sent_ns, time.monotonic_ns()))
        return self.send_next()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _push(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._left = self._left[self._connection.send(self._left) :]
        wanted = selectors.EVENT_WRITE if self._left else selectors.EVENT_READ
        self._selector.modify(self._connection, wanted, self)


def _connect(address: Address, limit_s: float) -> socket.socket:
    connection = socket.create_connection(address, limit_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _required(piece: bytes) -> bytes:
    if not piece:
        raise PieceError("the server hung up in the middle of an answer")
    return piece


def _required_count(count: int) -> int:
    if not count:
        raise PieceError("the server hung up in the middle of a download")
    return count

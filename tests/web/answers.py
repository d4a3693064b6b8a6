"""What the tests of the API send, and how they read the answers."""

import json
from collections.abc import Callable
from typing import Any

import httpx

MULTIPART = "multipart/form-data; boundary=frontier"
FAR = "2100-01-01T00:00:00Z"
Form = list[tuple[str, tuple[str | None, bytes]]]


def form(*files: tuple[str, bytes], **fields: object) -> Form:
    """Return a form for httpx's `files`: the fields, then the files; a field that is not text goes as JSON."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    return [(name, (None, text.encode())) for name, text in texts.items()] + [("file", file) for file in files]


def part(name: str, content: bytes | str, filename: str | None = None) -> bytes:
    """Return one part as it goes over the wire, without the boundary before it."""
    disposition = f'form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
    raw = content.encode() if isinstance(content, str) else content
    return f"Content-Disposition: {disposition}\r\n\r\n".encode() + raw + b"\r\n"


def multipart(*parts: bytes) -> bytes:
    """Return the body that these parts make under `MULTIPART`."""
    return b"".join(b"--frontier\r\n" + one for one in parts) + b"--frontier--\r\n"


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that this is a problem with this status and code, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body.keys() - {"errors"} == {"type", "title", "status", "detail", "code"}
    assert (body["status"], body["code"]) == (status, code)
    assert body["title"]
    assert body["detail"]
    return body


def wrong_fields(problem: dict[str, Any]) -> list[str]:
    """Return the names of the fields that a problem complains of."""
    errors = problem.get("errors", [])
    assert all(error["code"] and error["message"] for error in errors)
    return sorted(error["field"] for error in errors)


NothingLeft = Callable[[], None]

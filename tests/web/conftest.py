"""What the tests of the API share."""

import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.runtime import Runtime
from service.settings import Settings
from tests.fakes import Exchange
from tests.web.answers import FAR, NothingLeft, form

TABLES = ("jobs", "files", "job_files", "events", "idempotency_keys")


@pytest.fixture(scope="session")
def declared() -> dict[tuple[str, str], set[str]]:
    """Return the codes of the problems that each operation declares, by method and path."""
    return {
        (method.upper(), path): {
            code
            for answer in operation["responses"].values()
            for code in answer.get("content", {}).get("application/problem+json", {}).get("examples", {})
        }
        for path, item in create_app(Settings()).openapi()["paths"].items()
        for method, operation in item.items()
    }


@pytest.fixture
async def client(app: FastAPI, declared: dict[tuple[str, str], set[str]]) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client that no test can make receive a problem which its operation does not declare."""

    async def check(response: httpx.Response) -> None:
        if response.headers.get("content-type") == "application/problem+json" and await response.aread():
            code = response.json()["code"]
            assert code in _declared_by(declared, response.request), f"not declared: {code}"

    hooks = {"response": [check]}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://filemill", event_hooks=hooks) as client:
        yield client


def _declared_by(declared: dict[tuple[str, str], set[str]], request: httpx.Request) -> set[str]:
    """Return what the operation of a request declares; what is no operation is the router's business."""
    path = request.url.raw_path.decode().partition("?")[0]
    method = "GET" if request.method == "HEAD" else request.method
    for (known, template), codes in declared.items():
        if known == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
            return codes
    return {"not_found", "method_not_allowed", "request_headers_too_large"}


@pytest.fixture
def nothing_left(settings: Settings) -> NothingLeft:
    """Return a check that the data folder holds no row, no file, and no piece of one."""

    def check() -> None:
        with closing(sqlite3.connect(settings.data_dir / "filemill.db")) as database:
            counts = {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}  # noqa: S608
        assert counts == dict.fromkeys(TABLES, 0)
        for folder in ("files", "incoming", "work"):
            assert [path for path in (settings.data_dir / folder).rglob("*") if not path.is_dir()] == []

    return check


@pytest.fixture
def exchange(app: Any) -> Callable[..., Exchange]:
    """Return a function that begins a request whose body the test sends by hand."""

    def begin(method: str, path: str, **headers: str) -> Exchange:
        return Exchange(app, method, path, {name.replace("_", "-"): value for name, value in headers.items()})

    return begin


@pytest.fixture
def gate(runtime: Runtime) -> Any:
    """Return the gate that holds the jobs of `t.hold`."""
    return runtime.registry["t.hold"].function.__globals__["gate"]


@pytest.fixture
def submit(client: httpx.AsyncClient) -> Callable[..., Any]:
    """Return a function that submits a form, and returns the job."""

    async def submit(*files: tuple[str, bytes], **fields: object) -> dict[str, Any]:
        response = await client.post("/v1/jobs", files=form(*files, **fields))
        assert response.status_code == 202, response.text
        job: dict[str, Any] = response.json()
        return job

    return submit


@pytest.fixture
def later(submit: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that submits a job which stays queued."""

    async def later(*files: tuple[str, bytes], **fields: object) -> dict[str, Any]:
        job: dict[str, Any] = await submit(*files, **{"processor": "t.read", "run_after": FAR, **fields})
        return job

    return later


@pytest.fixture
def finished(client: httpx.AsyncClient) -> Callable[..., Any]:
    """Return a function that waits for the end of a job, and returns it."""

    async def finished(job: dict[str, Any]) -> dict[str, Any]:
        response = await client.get(job["links"]["self"], headers={"Prefer": "wait=20"})
        ended: dict[str, Any] = response.json()
        assert ended["state"] in {"succeeded", "failed", "cancelled"}
        return ended

    return finished


@pytest.fixture
def store(client: httpx.AsyncClient) -> Callable[..., Any]:
    """Return a function that stores a file, and returns it."""

    async def store(content: bytes, name: str = "a.txt") -> dict[str, Any]:
        response = await client.post("/v1/files", files=form((name, content)))
        assert response.status_code == 201, response.text
        file: dict[str, Any] = response.json()
        return file

    return store

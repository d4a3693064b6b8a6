"""One client that does everything that can be done to jobs and files, and remembers what it was promised."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

SOON_S = 20.0  # long enough to be cancelled before, short enough to be waited for where nobody cancels
KIB = 1024


class SurpriseError(AssertionError):
    """An answer that no request should get."""


@dataclass
class Promises:
    """What the server has said: jobs that it accepted, and jobs that it deleted. In `doubt` no answer came."""

    accepted: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    doubt: set[str] = field(default_factory=set)

    @property
    def kept(self) -> set[str]:
        """Jobs that must be there."""
        return self.accepted - self.deleted - self.doubt


class Client:
    """Calls the API. A connection that breaks is passed on; any answer that is not expected is an error."""

    def __init__(self, url: str, promises: Promises, rng: random.Random) -> None:
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=30)
        self.promises = promises
        self.rng = rng

    def submit(self, **request: Any) -> dict[str, Any]:
        """Submit, and remember the promise."""
        job = _expect(self.http.post("/v1/jobs", **request), 202)
        self.promises.accepted.add(job["id"])
        return job

    def body(self, most: int = 300) -> bytes:
        return self.rng.randbytes(self.rng.randrange(1, most) * KIB)

    # ---- one thing each

    def submit_raw(self) -> dict[str, Any]:
        return self.submit(params={"processor": "file.checksum", "filename": "raw.bin"}, content=self.body(3000))

    def submit_form(self) -> dict[str, Any]:
        files = [("file", ("a.bin", self.body())), ("file", ("b.bin", self.body(4)))]
        return self.submit(data={"processor": "file.checksum", "metadata": "{}"}, files=files)

    def submit_text(self, **fields: Any) -> dict[str, Any]:
        params = {"name": "a.txt", "content": "a line\n", "repeat": self.rng.choice([1, 1000, 100_000])}
        return self.submit(json={"processor": "text.write", "params": params, **fields})

    def submit_stored(self) -> dict[str, Any]:
        """Store a file, submit a job with it, and delete the file when the job has finished."""
        file = _expect(self.http.post("/v1/files", params={"filename": "kept.bin"}, content=self.body()), 201)
        job = self.finished(self.submit(json={"processor": "file.checksum", "files": [file["id"]]}))
        _expect(self.http.delete(f"/v1/files/{file['id']}"), 204, 404, 409)
        return job

    def submit_repeated(self) -> dict[str, Any]:
        """Submit twice with one key: the second answer is the first."""
        key, body = self.rng.randbytes(8).hex(), self.body(20)
        request = {"headers": {"Idempotency-Key": key}, "params": {"processor": "file.checksum"}, "content": body}
        first, second = self.submit(**request), self.submit(**request)
        if first["id"] != second["id"]:
            raise SurpriseError(f"the key {key} made two jobs: {first['id']} and {second['id']}")
        return first

    def finished(self, job: dict[str, Any]) -> dict[str, Any]:
        """Wait for the end of a job."""
        while job["finished_at"] is None:
            job = _expect(self.http.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=10"}), 200)
        return job

    def download(self) -> None:
        """Download what a job made."""
        for file in self.finished(self.submit_text())["outputs"]:
            body = self.http.get(file["links"]["content"]).content
            if len(body) != file["size_bytes"]:
                raise SurpriseError(f"the file {file['id']} has {len(body)} bytes, and says {file['size_bytes']}")

    def cancel_and_retry(self) -> None:
        """Cancel a job that waits, and run it after all."""
        job = self.submit_text(run_after=(datetime.now(UTC) + timedelta(seconds=SOON_S)).isoformat())
        _expect(self.http.post(f"/v1/jobs/{job['id']}/cancel"), 200)
        _expect(self.http.post(f"/v1/jobs/{job['id']}/retry"), 200)

    def cancel_soon(self) -> None:
        """Cancel a job that may run, wait, or have finished."""
        job = self.submit_raw()
        _expect(self.http.post(f"/v1/jobs/{job['id']}/cancel"), 200, 409)

    def delete(self) -> None:
        """Delete a job that has finished, with its files."""
        job = self.finished(self.submit_form())
        self.promises.doubt.add(job["id"])
        _expect(self.http.delete(f"/v1/jobs/{job['id']}"), 204)
        self.promises.deleted.add(job["id"])
        self.promises.doubt.discard(job["id"])

    def do_all(self) -> None:
        """Do each thing once."""
        for act in self.acts():
            act()

    def do_any(self) -> None:
        """Do one thing."""
        self.rng.choice(self.acts())()

    def acts(self) -> list[Callable[[], Any]]:
        return [
            self.submit_raw, self.submit_form, self.download, self.submit_stored, self.cancel_and_retry,
            self.submit_repeated, self.cancel_soon, self.delete,
        ]  # fmt: skip


def _expect(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    if answer.status_code not in statuses:
        raise SurpriseError(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}")
    return json.loads(answer.content) if answer.content else {}

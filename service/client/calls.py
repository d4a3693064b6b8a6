"""What to send: every request of the HTTP contract as a value, before any I/O."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from typing import Any, TypedDict
from urllib.parse import quote

from service.client.answers import UnsendableError

PAGE = 100
SMALL_FIELDS = (
    "id", "processor", "state", "priority", "progress", "attempt", "max_attempts", "timeout_s", "created_at",
    "run_after", "started_at", "finished_at", "input_count", "output_count",
)  # fmt: skip


class SubmitOptions(TypedDict, total=False):
    """What a submission may say beside its processor, params and files; None leaves it to the server."""

    priority: int | None
    run_after: datetime | None
    max_attempts: int | None
    timeout_s: float | None
    metadata: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Call:
    """One request. The server may be silent for `patience_s` beyond the usual.

    `body` goes out as JSON; `form` as multipart/form-data, and the files of the call follow it.
    """

    method: str
    path: str
    _: KW_ONLY
    query: Mapping[str, str | list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    form: Mapping[str, str] | None = None
    patience_s: float = 0.0


def submit_call(
    fields: Mapping[str, Any],
    *,
    with_files: bool,
    wait_s: float | None = None,
    idempotency_key: str | None = None,
) -> Call:
    """Return the call that submits a job: a form where files follow, and a JSON body where none do."""
    given = _given(fields)
    keyed = {"Idempotency-Key": idempotency_key} if idempotency_key is not None else {}
    return Call(
        "POST",
        "/v1/jobs",
        headers=_prefer(wait_s) | keyed,
        form={name: _text(value) for name, value in given.items()} if with_files else None,
        body=None if with_files else {name: _plain(value) for name, value in given.items()},
        patience_s=wait_s or 0.0,
    )


def job_call(job_id: str, action: str = "", *, method: str = "GET", wait_s: float | None = None) -> Call:
    """Return the call for one job, or for an action on it such as `/cancel`."""
    path = f"/v1/jobs/{_segment(job_id)}{action}"
    return Call(method, path, headers=_prefer(wait_s), patience_s=wait_s or 0.0)


def jobs_call(
    filters: Mapping[str, Any],
    *,
    limit: int | None = None,
    cursor: str | None = None,
    large: Collection[str] | None = None,
) -> Call:
    """Return the call for one page of jobs, of at most `limit`; of the fields that can be large, only those named."""
    fields = {} if large is None else {"fields": ",".join([*SMALL_FIELDS, *large])}
    return _page_call("/v1/jobs", {**filters, **fields}, limit, cursor)


def files_call(filters: Mapping[str, Any], *, limit: int | None = None, cursor: str | None = None) -> Call:
    """Return the call for one page of files, of at most `limit`."""
    return _page_call("/v1/files", filters, limit, cursor)


def file_call(file_id: str, part: str = "", *, method: str = "GET") -> Call:
    """Return the call for what is known of a file, or for its `/content`."""
    return Call(method, f"/v1/files/{_segment(file_id)}{part}")


def processors_call(name: str | None = None) -> Call:
    """Return the call for one processor, or for all."""
    return Call("GET", "/v1/processors" if name is None else f"/v1/processors/{_segment(name)}")


def events_call(job_id: str | None, filters: Mapping[str, Any], last_event_id: int | None) -> Call:
    """Return the call for the events of one job or of all, from the beginning or after the last one that was seen."""
    return Call(
        "GET",
        "/v1/events" if job_id is None else f"/v1/jobs/{_segment(job_id)}/events",
        query={name: [_text(one) for one in values] for name, values in filters.items() if values},
        headers={"Accept": "text/event-stream", "Cache-Control": "no-store"}
        | ({} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}),
    )


def stats_call() -> Call:
    """Return the call for the figures of the service."""
    return Call("GET", "/v1/stats")


def _page_call(path: str, filters: Mapping[str, Any], limit: int | None, cursor: str | None) -> Call:
    query = _given(filters) | {"limit": PAGE if limit is None else min(limit, PAGE)} | _given({"cursor": cursor})
    return Call("GET", path, query={name: _text(value) for name, value in query.items()})


def _segment(text: str) -> str:
    if not text:  # the address would be that of the list
        raise UnsendableError("the request cannot be sent: an id or a name in it is empty")
    return quote(text, safe="", errors="replace")  # what is no text is no id: the server says so


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _prefer(wait_s: float | None) -> dict[str, str]:
    """RFC 7240, section 4.3: whole seconds."""
    return {"Prefer": f"wait={math.ceil(wait_s)}"} if wait_s else {}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _text(value: Any) -> str:
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain)

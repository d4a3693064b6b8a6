"""What a request to store or to submit may consist of, for the OpenAPI document.

The bodies are streamed, so FastAPI cannot know them; they are made here from the one model that checks them.
"""

import json
from typing import Any

from service.intake.submission import FORM_FIELDS, JSON_FIELDS, Submission
from service.web.schemas import EXAMPLE_ID

_BINARY = {"type": "string", "format": "binary"}
_SCHEMA = Submission.model_json_schema()
_FILE_NAME = {
    "name": "filename", "in": "query", "required": False, "schema": {"type": "string"}, "example": "photo.jpg",
    "description": "the file's name, where the body is the file itself; without it, that of `Content-Disposition`",
}  # fmt: skip
_KEY = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "the same key and body give the first answer again; refused with another body (422), while the "
    "first request is taken (409), and when what it made was deleted since (409)",
}  # fmt: skip
PREFER = {
    "name": "Prefer", "in": "header", "required": False, "schema": {"type": "string"}, "example": "wait=10",
    "description": "`wait=N`: answer when the job has finished, or after N seconds (RFC 7240); "
    "`Preference-Applied` says how long was waited at most, `FILEMILL_MAX_WAIT_S` limits it",
}  # fmt: skip


def _as_text(name: str) -> dict[str, Any]:
    """Return the schema of a field that comes as text, in a form or a query; no text is null."""
    found = _SCHEMA["properties"][name]
    if name in JSON_FIELDS:
        return {"type": "string", "contentMediaType": "application/json", "description": found["description"]}
    schema = {key: value for key, value in found.items() if key not in {"anyOf", "title"} and value is not None}
    return schema | next((one for one in found.get("anyOf", ()) if one["type"] != "null"), {})


def _in_query(name: str) -> dict[str, Any]:
    schema = _as_text(name)
    about = schema.pop("description")
    return {
        "name": name, "in": "query", "required": False, "schema": schema,
        "description": f"{about}; where the body is the file itself",
    }  # fmt: skip


def _form(required: str, properties: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    return {"schema": {"type": "object", "required": [required], "properties": properties}, "example": example}


_FILES = {"type": "array", "items": _BINARY, "description": "any number of parts called `file`, in order"}
_BYTES = "the bytes of photo.jpg"
_RAW = {"schema": _BINARY, "example": _BYTES}
_EXAMPLE = {
    "processor": "image.thumbnail", "params": {"width": 800}, "priority": 5, "run_after": "2026-01-31T12:00:00Z",
    "max_attempts": 2, "timeout_s": 60, "metadata": {"order": 17}, "files": [EXAMPLE_ID],
}  # fmt: skip
_TEXTS = {
    name: _EXAMPLE[name] if isinstance(_EXAMPLE[name], str) else json.dumps(_EXAMPLE[name]) for name in FORM_FIELDS
}

SUBMIT_JOB: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": _form(
                "processor",
                {name: _as_text(name) for name in FORM_FIELDS} | {"file": _FILES},
                {**_TEXTS, "file": [_BYTES]},
            ),
            "application/json": {"schema": _SCHEMA, "example": _EXAMPLE},
            "application/octet-stream": _RAW,
        },
    },
    "parameters": [*map(_in_query, FORM_FIELDS), _FILE_NAME, _KEY, PREFER],
}

STORE_FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": _form("file", {"file": _BINARY}, {"file": _BYTES}),
            "application/octet-stream": _RAW,
        },
    },
    "parameters": [_FILE_NAME, _KEY],
}


def answer_headers(**descriptions: str) -> dict[str, Any]:
    """Return the OpenAPI entry of the headers of an answer; `_` in a name stands for `-`."""
    return {
        "headers": {
            name.replace("_", "-"): {"description": text, "schema": {"type": "string"}}
            for name, text in descriptions.items()
        }
    }

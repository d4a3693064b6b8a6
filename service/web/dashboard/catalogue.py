"""What the pages say of processors: by family, and each with its params, limits and an example."""

import itertools
import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from service.processors.base import Processor
from service.web.schemas import JOBS, ProcessorView

_FAMILIES = {
    "archive": "Archives", "file": "Files", "http": "Web", "image": "Images", "mail": "Mail", "media": "Sound and film",
    "pdf": "PDF", "table": "Tables", "text": "Text",
}  # fmt: skip
_SAMPLES = {"image": "photo.jpg", "pdf": "document.pdf", "table": "table.csv", "media": "video.mp4", "archive": "a.zip"}
_WORDS = {"number": 1.5, "integer": 1, "boolean": True, "array": [], "object": {}}
_STRINGS = {"url": "https://example.com/", "to": "someone@example.com", "name": "note.txt", "sql": "SELECT 1"}
_UNITS = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))


@dataclass(frozen=True, slots=True)
class Param:
    """A param as people read it: `kind` is its type with its bounds, `default` is JSON, or None where it is needed."""

    name: str
    kind: str
    default: str | None
    description: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the page of a processor shows beside its description."""

    params: list[Param]
    limits: list[tuple[str, str]]
    schema: str
    example: str


def groups(processors: Iterable[Processor]) -> list[tuple[str, list[Processor]]]:
    """Return the processors by family, which is the first word of their name."""
    ordered = sorted(processors, key=lambda one: one.name)
    families = itertools.groupby(ordered, key=lambda one: one.name.partition(".")[0])
    return [(_FAMILIES.get(family, family.capitalize()), list(members)) for family, members in families]


def processor_facts(view: ProcessorView, url: str) -> Facts:
    """Return the facts about a processor; `url` is that of the server."""
    return Facts(
        params=[_param(view, name) for name in view.params_schema.get("properties", {})],
        limits=_limits(view),
        schema=json.dumps(view.params_schema, indent=2, ensure_ascii=False),
        example=_example(view, url),
    )


def _param(view: ProcessorView, name: str) -> Param:
    schema = view.params_schema["properties"][name]
    default = None if name in view.params_schema.get("required", ()) else json.dumps(schema.get("default"))
    return Param(name, _kind(view.params_schema, schema), default, schema.get("description", ""))


def _kind(root: dict[str, Any], schema: dict[str, Any]) -> str:
    """Return the type in a few words: `integer, 1 to 100`, `"zip" or "tar"`."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        target: dict[str, Any] = root.get("$defs", {}).get(name, {})
        return name if target.get("properties") else _kind(root, target)
    if "anyOf" in schema:
        return " or ".join(_kind(root, one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return " | ".join(json.dumps(one) for one in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if schema.get("type") == "array":
        return f"list of {_kind(root, schema.get('items', {}))}"
    return ", ".join(filter(None, [schema.get("type", "any JSON"), _bounds(schema)]))


def _bounds(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{low:,} to {high:,}"
    found = {
        "from": low,
        "above": schema.get("exclusiveMinimum"),
        "up to": high,
        "below": schema.get("exclusiveMaximum"),
    }
    return " and ".join(f"{word} {value:,}" for word, value in found.items() if value is not None)


def _limits(view: ProcessorView) -> list[tuple[str, str]]:
    limits = view.limits
    low, high = limits["min_files"] or 0, limits["max_files"] or 0
    files = f"{low:.0f}" if low == high else f"{low:.0f} to {high:,.0f}"
    memory, together = limits["memory_limit_bytes"], limits["max_concurrency"]
    return [
        ("Files", files),
        ("Time for an attempt", f"{limits['timeout_s'] or 0:,g} s"),
        ("Attempts", f"{limits['max_attempts'] or 0:.0f}"),
        ("Memory", "shared with the server" if memory is None else _size(memory)),
        ("At the same time", "no limit of its own" if together is None else f"{together:.0f}"),
        ("Runs", "on the event loop" if view.runs_in == "loop" else "in a child process"),
    ]


def _size(size_bytes: float) -> str:
    factor, unit = next(((factor, unit) for factor, unit in _UNITS if size_bytes >= factor), (1, "bytes"))
    return f"{size_bytes / factor:,.4g} {unit}"


def _example(view: ProcessorView, url: str) -> str:
    """Return the command that submits a job: with the params that are needed, or the first one to show how."""
    schema = view.params_schema
    wanted = schema.get("required") or list(schema.get("properties", {}))[:1]
    params = {name: _value(schema, schema["properties"][name], name) for name in wanted}
    parts = [f"processor={view.name}"]
    parts += [f"params={json.dumps(params, ensure_ascii=False)}"] if params else []
    parts += [f"file=@{_SAMPLES.get(view.name.partition('.')[0], 'file.txt')}"] if view.limits["max_files"] else []
    return " \\\n  ".join([f"curl {shlex.quote(url + JOBS)}", *(f"-F {shlex.quote(part)}" for part in parts)])


def _value(root: dict[str, Any], schema: dict[str, Any], name: str) -> Any:
    """Return a value that shows how the param of this name is written: one that the schema has, or one of its type."""
    known = [schema.get("default"), schema.get("const"), *schema.get("examples", ()), *schema.get("enum", ())]
    if found := [value for value in known if value is not None]:
        return found[0]
    if "$ref" in schema:
        return _value(root, root.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], {}), name)
    if schema.get("anyOf"):
        return _value(root, schema["anyOf"][0], name)
    return _value_of_type(root, schema, name)


def _value_of_type(root: dict[str, Any], schema: dict[str, Any], name: str) -> Any:
    match schema.get("type"):
        case "array" if schema.get("minItems"):
            return [_value(root, schema.get("items", {}), name)]
        case "string":
            return _STRINGS.get(name, "…")
        case kind:
            return schema.get("minimum", _WORDS.get(kind or "object"))

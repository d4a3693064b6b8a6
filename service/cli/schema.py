"""A JSON Schema of params, in words."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

_NAMES = {"string": "text", "integer": "whole number", "boolean": "true or false", "null": "null"}
_RANGES = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " items"),
)
_BOUNDS = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "above {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "below {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("pattern", "matches {}"),
)


@dataclass(frozen=True, slots=True)
class Param:
    """One param, in words."""

    name: str
    type: str
    default: str
    is_required: bool
    meaning: str


def params_of(schema: Schema) -> list[Param]:
    """Return the params that a schema describes, in its order."""
    required, definitions = schema.get("required", ()), schema.get("$defs", {})
    return [
        Param(
            name=name,
            type=type_words(one, definitions),
            default=json.dumps(one["default"], ensure_ascii=False) if "default" in one else "",
            is_required=name in required,
            meaning=one.get("description", ""),
        )
        for name, one in schema.get("properties", {}).items()
    ]


def parts_of(schema: Schema) -> Iterator[tuple[str, list[Param]]]:
    """Yield each kind of object that the params have in them, by its name, with what it has in it."""
    definitions = schema.get("$defs", {})
    for name, one in definitions.items():
        if "properties" in one:
            yield name, params_of({**one, "$defs": definitions})


def type_words(schema: Schema, definitions: Schema) -> str:
    """Return the type with its bounds: `whole number, 1 to 20000`."""
    schema = _resolved(schema, definitions)
    return ", ".join([_name(schema, definitions), *_bounds(schema)])


def _name(schema: Schema, definitions: Schema) -> str:
    if "const" in schema or "enum" in schema:
        return " | ".join(str(one) for one in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(type_words(one, definitions) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {type_words(schema['items'], definitions)}" if "items" in schema else "list"
    kind = str(schema.get("type", "anything"))
    return str(schema.get("format") or _NAMES.get(kind, kind))


def _bounds(schema: Schema) -> Iterator[str]:
    """Say `1 to 100` where both ends are given, else `at least 1`."""
    left = dict(schema)
    for low, high, unit in _RANGES:
        if low in left and high in left:
            yield f"{left.pop(low)} to {left.pop(high)}{unit}"
    yield from (words.format(left[key]) for key, words in _BOUNDS if key in left)


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """Follow a reference; an object is only named, because it may refer to itself."""
    if "$ref" not in schema:
        return schema
    name = str(schema["$ref"]).removeprefix("#/$defs/")
    found = definitions.get(name, {})
    return {"type": name} if "properties" in found or "$ref" in found else found

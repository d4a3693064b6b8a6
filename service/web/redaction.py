"""Params as they are shown: those that the schema calls secret stay between the client and the processor.

Secret is what JSON Schema marks `writeOnly`, and what has the format `password`; pydantic's `SecretStr` is both.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from service.processors.base import Processor

HIDDEN = "**********"

_Schema = dict[str, Any]


def shown_params(processor: Processor | None, params: dict[str, Any]) -> dict[str, Any]:
    """Return the params with each secret replaced by `HIDDEN`; with no processor to tell, they all may be secret."""
    if processor is None:
        return dict.fromkeys(params, HIDDEN)
    schema = _schema_with_secrets(processor.params)
    return params if schema is None else _shown(schema, params, schema.get("$defs", {}))


@lru_cache(maxsize=1000)
def _schema_with_secrets(model: type[BaseModel]) -> _Schema | None:
    """Return the schema, or None where nothing is secret, as with most."""
    schema = model.model_json_schema()
    return schema if any(map(_is_secret, _nested(schema))) else None


def _is_secret(schema: _Schema) -> bool:
    return schema.get("writeOnly") is True or schema.get("format") == "password"


def _nested(node: Any) -> Iterator[_Schema]:
    if isinstance(node, dict):
        yield node
        node = [*node.values()]
    if isinstance(node, list):
        for one in node:
            yield from _nested(one)


def _shown(schema: Any, value: Any, defs: dict[str, _Schema]) -> Any:
    """Return the value as this schema lets it be seen, and each of the schemas that it is made of."""
    if value is None or not isinstance(schema, dict):
        return value
    if _is_secret(schema):
        return HIDDEN
    for part in _parts(schema, defs):
        value = _shown(part, value, defs)
    match value:
        case dict():
            return {name: _all_shown(_schemas_of(schema, name), one, defs) for name, one in value.items()}
        case list():
            first = schema.get("prefixItems", [])
            each = [*first, *[schema.get("items")] * (len(value) - len(first))]
            return [_shown(of_one, one, defs) for of_one, one in zip(each, value, strict=False)]
        case _:
            return value


def _parts(schema: _Schema, defs: dict[str, _Schema]) -> Iterator[_Schema]:
    if (reference := schema.get("$ref")) is not None:
        yield defs.get(str(reference).rpartition("/")[2], {})
    for kind in ("anyOf", "oneOf", "allOf"):
        yield from schema.get(kind, ())


def _schemas_of(schema: _Schema, name: str) -> list[Any]:
    """Return what the schema says of a property; of a name that only a pattern allows, what any pattern says."""
    if name in (properties := schema.get("properties", {})):
        return [properties[name]]
    return [schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()]


def _all_shown(schemas: list[Any], value: Any, defs: dict[str, _Schema]) -> Any:
    for schema in schemas:
        value = _shown(schema, value, defs)
    return value

"""The processors in the OpenAPI document: what each does, and the schema of its params."""

import copy
from collections.abc import Iterable
from typing import Any

from service.processors.base import Processor
from service.web.schemas import JOBS

_SCHEMAS = "#/components/schemas/"


def describe_processors(document: dict[str, Any], processors: Iterable[Processor]) -> None:
    """Add a schema for the params of each processor, and name them all where a job is submitted."""
    known = list(processors)
    for one in known:
        document["components"]["schemas"] |= _schemas(one)
    # a copy, because the call's own description is shared by all applications of this process
    operation = document["paths"][JOBS]["post"] = copy.deepcopy(document["paths"][JOBS]["post"])
    operation["description"] += "\n\n" + "\n".join(map(_line, known))
    params = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]["params"]
    params["anyOf"] = [{"$ref": _SCHEMAS + one.name} for one in known]


def _schemas(one: Processor) -> dict[str, Any]:
    """Return the schema under the processor's name, and those that it refers to under names of their own."""
    schema = one.params.model_json_schema(ref_template=f"{_SCHEMAS}{one.name}.{{model}}")
    inner = schema.pop("$defs", {})
    described = {**schema, "description": _prose(one)}
    return {one.name: described} | {f"{one.name}.{name}": value for name, value in inner.items()}


def _prose(one: Processor) -> str:
    return "\n\n".join(filter(None, [f"The params of `{one.name}`. {one.summary}", one.details]))


def _line(one: Processor) -> str:
    params = ", ".join(f"`{name}`" for name in one.params.model_fields) or "none"
    missing = "" if one.is_available else f" Not available: {one.install or 'a module that it needs is missing'}."
    return f"- `{one.name}`: {one.summary}{missing} Params: {params}."

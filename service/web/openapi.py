"""The OpenAPI document: what FastAPI finds in the calls, made to say what they really answer with."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from service.web.problems import PROBLEM_SCHEMAS
from service.web.processor_docs import describe_processors

# FastAPI's own idea of a 422: every refusal of this service is a problem instead
_FOREIGN = ("HTTPValidationError", "ValidationError")


def add_document(app: FastAPI) -> None:
    """Have the application describe its errors as problems, only those that its calls name, and its processors."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _correct(document)
            if (runtime := getattr(app.state, "runtime", None)) is not None:
                describe_processors(document, runtime.registry.values())
        return generate()  # it keeps the document that it made

    app.openapi = openapi  # type: ignore[method-assign]  # the place that FastAPI has for it


def _correct(document: dict[str, Any]) -> None:
    for operation in _operations(document):
        _drop_foreign_refusal(operation)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _FOREIGN:
        schemas.pop(name, None)
    schemas |= PROBLEM_SCHEMAS
    document["components"]["schemas"] = dict(sorted(schemas.items()))


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for calls in document["paths"].values():
        yield from calls.values()


def _drop_foreign_refusal(operation: dict[str, Any]) -> None:
    refusal = operation["responses"].get("422", {}).get("content", {})
    if "HTTPValidationError" in refusal.get("application/json", {}).get("schema", {}).get("$ref", ""):
        del operation["responses"]["422"]

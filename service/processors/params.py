"""The keyword parameters of a function, as a pydantic model."""

import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model


def params_model(name: str, function: Callable[..., Any]) -> type[BaseModel]:
    """Return the model of all parameters but the first, which is the job.

    Raises:
        TypeError: a parameter has no annotation, or is `*args`, `**kwargs` or positional only.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in _after_the_job(name, function):
        if parameter.name not in hints:
            raise TypeError(f"{name}: give the parameter {parameter.name!r} a type")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    return create_model(name, __config__=ConfigDict(extra="forbid", validate_default=True), **fields)


def _after_the_job(name: str, function: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters:
        raise TypeError(f"{name}: the first parameter of a processor is the job")
    for parameter in parameters[1:]:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"{name}: {parameter} cannot be a param; name each one and give it a type")
        yield parameter

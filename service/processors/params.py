"""The keyword parameters of a function, as a pydantic model."""

import inspect
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic.fields import FieldInfo

from service.errors import plain_reason

_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
_Fields = dict[str, tuple[Any, Any]]
_NOT_A_SCHEMA = (PydanticUserError, PydanticUndefinedAnnotation, TypeError, ValueError, NameError, AttributeError)


def params_model(
    name: str, function: Callable[..., Any], provided: typing.Container[str] = (), docs: Mapping[str, str] | None = None
) -> type[BaseModel]:
    """Return the model of all parameters but the first, which is the job, and those `provided` otherwise.

    `docs` describe the params that do not describe themselves by a `Field`.

    Raises:
        TypeError: a parameter has no type, a type that no JSON Schema can say, or a default that does not fit it; or
            it is `*args`, `**kwargs` or positional only.
    """
    hints = hints_of(name, function)
    fields: _Fields = {}
    for parameter in _after_the_job(name, function):
        if parameter.name in provided:
            continue
        if parameter.name.startswith("_"):
            raise TypeError(f"{name}: the param {parameter.name!r} may not begin with an underscore")
        if parameter.name not in hints:
            raise TypeError(f"{name}: give the parameter {parameter.name!r} a type")
        fields[parameter.name] = _field(hints[parameter.name], parameter, (docs or {}).get(parameter.name))
    model = _model(name, fields)
    _check_defaults(name, model)
    return model


def hints_of(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of the parameters, with their `Annotated`.

    Raises:
        TypeError: an annotation cannot be read.
    """
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, SyntaxError, AttributeError, TypeError) as error:
        raise TypeError(f"{name}: an annotation cannot be read: {error}") from None


def _after_the_job(name: str, function: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{name}: a processor returns its result; this function has a yield")
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind not in (_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
        raise TypeError(f"{name}: the first parameter of a processor is the job, without a * before it")
    for parameter in parameters[1:]:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"{name}: {parameter} cannot be a param; name each one and give it a type")
        yield parameter


def _field(hint: Any, parameter: inspect.Parameter, doc: str | None) -> tuple[Any, Any]:
    default = ... if parameter.default is parameter.empty else parameter.default
    if doc and not _describes_itself(hint, default):
        hint = Annotated[hint, Field(description=doc)]
    return hint, default


def _describes_itself(hint: Any, default: Any) -> bool:
    fields = [default, *getattr(hint, "__metadata__", ())]
    return any(isinstance(one, FieldInfo) and one.description for one in fields)


# ---- the model, or a sentence why there is none


def _model(name: str, fields: _Fields) -> type[BaseModel]:
    try:
        with warnings.catch_warnings():  # a param may be called `schema` or `copy`
            warnings.filterwarnings("ignore", 'Field name ".*" .* shadows an attribute', UserWarning)
            model = create_model(name, __config__=ConfigDict(extra="forbid", validate_default=True), **fields)  # type: ignore[call-overload]
        model.model_json_schema()
    except _NOT_A_SCHEMA as error:
        raise TypeError(f"{name}: {_culprit(fields)}{_first_line(error)}") from None
    return typing.cast("type[BaseModel]", model)


def _culprit(fields: _Fields) -> str:
    """Name the first parameter whose type alone is no schema; where none is, it is the names that clash."""
    for name, (hint, _) in fields.items():
        try:
            TypeAdapter(hint).json_schema()
        except _NOT_A_SCHEMA:
            return f"the type of {name!r} cannot be a param: "
    return "the params cannot be a schema: "


def _check_defaults(name: str, model: type[BaseModel]) -> None:
    try:
        model.model_validate({})
    except ValidationError as error:
        for item in error.errors(include_url=False):
            if item["type"] != "missing" or len(item["loc"]) > 1:
                reason = plain_reason(item["msg"])
                raise TypeError(f"{name}: the default of {item['loc'][0]!r} does not fit: {reason}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")

"""The fields of a submission, whichever way they came."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from service.errors import FieldError, InvalidRequestError
from service.intake.json_text import parse_json

_JSON_FIELDS = frozenset({"params", "metadata"})


def _utc(instant: datetime) -> datetime:
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("in UTC it lies outside of the years 1 to 9999") from None


Instant = Annotated[AwareDatetime, AfterValidator(_utc)]


class Submission(BaseModel):
    """What a client asks for."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    processor: str = Field(description="name of the processor", examples=["image.thumbnail"])
    params: dict[str, Any] = Field(
        default_factory=dict, description="its params, a JSON object", examples=[{"width": 800}]
    )
    priority: int = Field(0, ge=-1000, le=1000, description="of two jobs that are ready, the higher one runs first")
    run_after: Instant | None = Field(None, description="not before this instant, with its time zone")
    max_attempts: int | None = Field(None, ge=1, le=100, description="attempts in all; default: the processor's")
    timeout_s: float | None = Field(
        None, gt=0, le=604_800, description="limit of an attempt in seconds; default: the processor's"
    )
    metadata: dict[str, Any] = Field(default_factory=dict, description="yours, a JSON object; returned as it is")
    files: list[str] = Field(default_factory=list, description="ids of stored files, in order")


FORM_FIELDS = tuple(name for name in Submission.model_fields if name != "files")


def from_text(fields: Mapping[str, str]) -> Submission:
    """Read fields that came as text, from a form or a query; `params` and `metadata` are JSON.

    Raises:
        InvalidRequestError: with an entry for each field that is not valid.
    """
    values: dict[str, Any] = {}
    for name, text in fields.items():
        values[name] = _json_object(name, text) if name in _JSON_FIELDS else text
    return from_values(values)


def from_values(values: Any) -> Submission:
    """Read fields that came as JSON.

    Raises:
        InvalidRequestError: with an entry for each field that is not valid.
    """
    try:
        return Submission.model_validate(values)
    except ValidationError as error:
        errors = [
            FieldError(".".join(map(str, item["loc"])), item["type"], item["msg"])
            for item in error.errors(include_url=False, include_input=False)
        ]
        names = ", ".join(item.field[:100] for item in errors) or "the body must be a JSON object"
        raise InvalidRequestError(f"not valid: {names}", errors=errors) from None


def _json_object(name: str, text: str) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise _not_an_object(name, f"it is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise _not_an_object(name, f"it is not a JSON object, but a {type(value).__name__}")
    return value


def _not_an_object(name: str, why: str) -> InvalidRequestError:
    return InvalidRequestError(f"{name}: {why}", errors=[FieldError(name, "json_object", why)])

"""The fields of a submission, whichever way they came."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from service.errors import FieldError, InvalidRequestError, plain_reason
from service.intake.json_text import DoubledKeysError, dotted, parse_json

JSON_FIELDS = frozenset({"params", "metadata"})


def _read_instant(text: object) -> datetime:
    """Read an instant as ISO 8601 writes it; a number could be seconds or milliseconds, so it is none."""
    if isinstance(text, str):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise PydanticCustomError("instant", "Input should be an instant such as 2026-01-31T12:00:00Z")


def mended_plus(text: str) -> str:
    """Return an instant of a query with its `+`: one that was not written as %2B comes out of it as a blank."""
    return text.replace(" ", "+") if "T" in text else text


def _utc(instant: datetime) -> datetime:
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("in UTC it lies outside of the years 1 to 9999") from None


Instant = Annotated[AwareDatetime, BeforeValidator(_read_instant)]
QueryInstant = Annotated[Instant, BeforeValidator(mended_plus)]
UtcInstant = Annotated[Instant, AfterValidator(_utc)]


class Submission(BaseModel):
    """What a client asks for."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    processor: str = Field(description="name of the processor", examples=["image.thumbnail"])
    params: dict[str, Any] = Field(
        default_factory=dict, description="its params, a JSON object", examples=[{"width": 800}]
    )
    priority: int = Field(0, ge=-1000, le=1000, description="of two jobs that are ready, the higher one runs first")
    run_after: UtcInstant | None = Field(None, description="not before this instant, with its time zone")
    max_attempts: int | None = Field(None, ge=1, le=100, description="attempts in all; default: the processor's")
    timeout_s: float | None = Field(
        None, gt=0, le=604_800, description="limit of an attempt in seconds; default: the processor's"
    )
    metadata: dict[str, Any] = Field(default_factory=dict, description="yours, a JSON object; returned as it is")
    files: list[str] = Field(default_factory=list, description="ids of stored files, in order")


FORM_FIELDS = tuple(name for name in Submission.model_fields if name != "files")


@dataclass(frozen=True, slots=True)
class ReadJson:
    """What the text of a JSON field says, or why it says nothing: a large one is read once, beside the event loop."""

    value: dict[str, Any] | None
    error: ValueError | None = None


def query_fields(query: Mapping[str, str]) -> dict[str, str | ReadJson]:
    """Return the fields of a submission that came in a query."""
    return {name: mended_plus(text) if name == "run_after" else text for name, text in query.items()}


def read_json_field(text: str) -> ReadJson:
    """Read the text of a field that is a JSON object."""
    try:
        return ReadJson(_json_object(text))
    except ValueError as error:
        return ReadJson(None, error)


def from_text(fields: Mapping[str, str | ReadJson]) -> Submission:
    """Read fields that came as text, from a form or a query; `params` and `metadata` are JSON.

    Raises:
        InvalidRequestError: with an entry for each field that is not valid.
    """
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, text in fields.items():
        try:
            values[name] = _value(name, text)
        except DoubledKeysError as error:
            values[name] = {}
            errors += doubled_fields(error, name)
        except ValueError as error:
            errors.append(FieldError(name, "unknown_field" if name not in FORM_FIELDS else "json_object", str(error)))
    return _checked(values, errors, strict=False)


def from_values(values: Any) -> Submission:
    """Read fields that came as JSON: each has to have its type there.

    Raises:
        InvalidRequestError: with an entry for each field that is not valid.
    """
    return _checked(values, [], strict=True)


def doubled_fields(error: DoubledKeysError, *within: str) -> list[FieldError]:
    """Return an entry for each key that came twice."""
    return [FieldError(dotted((*within, *path)), "doubled_key", "this key came twice") for path in error.paths]


def _checked(values: Any, errors: Sequence[FieldError], *, strict: bool) -> Submission:
    """Return the submission unless anything is wrong with it; `errors` were found before."""
    found = list(errors)
    try:
        submission = Submission.model_validate(values, strict=strict)
    except ValidationError as error:
        found += _field_errors(error)
    else:
        if not found:
            return submission
    words = "; ".join(f"{item.field[:100]}: {item.message}" if item.field else item.message for item in found[:10])
    raise InvalidRequestError(f"not valid: {words}", errors=found)


def _field_errors(error: ValidationError) -> Iterator[FieldError]:
    for item in error.errors(include_url=False, include_input=False):
        if item["loc"]:
            yield FieldError(".".join(map(str, item["loc"])), item["type"], plain_reason(item["msg"]))
        else:
            yield FieldError("", item["type"], "the body must be a JSON object")


def _value(name: str, text: str | ReadJson) -> Any:
    """Return the value of a field.

    Raises:
        ValueError: there is no such field, or it is not the JSON that it has to be.
    """
    if name not in FORM_FIELDS:
        raise ValueError(f"there is no such field; the fields are {', '.join(FORM_FIELDS)}, and file")
    if name not in JSON_FIELDS:
        return text
    read = text if isinstance(text, ReadJson) else read_json_field(text)
    if read.error is not None:
        raise read.error
    return read.value


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except DoubledKeysError:
        raise
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"it is not a JSON object, but a {type(value).__name__}")  # noqa: TRY004 - its text is wrong
    return value

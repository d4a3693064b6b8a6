"""The keyword parameters of a processor become its params."""

from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from service.errors import FieldError, FileCountError, InvalidParamsError, MediaTypeNotAcceptedError
from service.processors.base import JobContext, processor


class Colour(Enum):
    RED = "red"


class Point(BaseModel):
    x: int = 0


@processor("t.all", accepts=["text/*", "image/png"])
def everything(  # noqa: PLR0913
    job: JobContext,
    count: Annotated[int, Field(ge=1, le=9, description="how many")],
    unit: Literal["words", "lines"] = "words",
    *,
    day: date = date(2024, 2, 29),
    colour: Colour = Colour.RED,
    at: datetime | None = None,
    pause: timedelta = timedelta(seconds=90),
    point: Point = Point(x=1),  # noqa: B008
    tags: tuple[str, ...] = (),
) -> None:
    """Do it all,
    at once.

    In detail.
    """


def test_the_first_parameter_is_the_job_and_all_others_are_params():
    schema = everything.params_schema
    assert list(schema["properties"]) == ["count", "unit", "day", "colour", "at", "pause", "point", "tags"]
    assert schema["required"] == ["count"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["count"] == {
        "title": "Count",
        "type": "integer",
        "minimum": 1,
        "maximum": 9,
        "description": "how many",
    }
    assert schema["properties"]["unit"]["enum"] == ["words", "lines"]


def test_the_summary_is_the_first_paragraph_of_the_docstring():
    assert everything.summary == "Do it all, at once."


def test_checked_params_are_complete_and_json():
    assert everything.check_params({"count": 3, "at": "2024-05-01T12:00:00Z"}) == {
        "count": 3,
        "unit": "words",
        "day": "2024-02-29",
        "colour": "red",
        "at": "2024-05-01T12:00:00Z",
        "pause": "PT1M30S",
        "point": {"x": 1},
        "tags": [],
    }


def test_checked_params_become_the_types_that_the_function_names():
    checked = everything.check_params({"count": "3", "tags": ["a"], "at": "2024-05-01T12:00:00Z"})
    assert everything.arguments(checked) == {
        "count": 3,
        "unit": "words",
        "day": date(2024, 2, 29),
        "colour": Colour.RED,
        "at": datetime(2024, 5, 1, 12, tzinfo=UTC),
        "pause": timedelta(seconds=90),
        "point": Point(x=1),
        "tags": ("a",),
    }


def test_each_param_that_does_not_fit_has_an_entry_of_its_own():
    with pytest.raises(InvalidParamsError) as caught:
        everything.check_params({"unit": "pages", "point": {"x": "far"}, "size": 1})
    assert [(error.field, error.code) for error in caught.value.errors] == [
        ("params.count", "missing"),
        ("params.unit", "literal_error"),
        ("params.point.x", "int_parsing"),
        ("params.size", "extra_forbidden"),
    ]
    assert isinstance(caught.value.errors[0], FieldError)
    assert caught.value.detail.startswith("t.all cannot take these params: params.count, ")


def test_a_default_that_does_not_fit_its_type_is_found():
    @processor("t.bad")
    def bad(job: JobContext, count: Annotated[int, Field(ge=1)] = 0) -> None:
        """Count."""

    with pytest.raises(InvalidParamsError, match=r"params\.count"):
        bad.check_params({})


def test_annotations_may_be_strings():
    def late(job: "JobContext", count: "Annotated[int, Field(ge=1)]" = 2) -> None:
        """Count."""

    assert processor("t.late")(late).check_params({}) == {"count": 2}


def _one(_job: JobContext) -> None:
    pass


def _no_job() -> None:
    pass


def _no_type(job, count):
    pass


def _many(job: JobContext, *counts: int) -> None:
    pass


def _any(job: JobContext, **counts: int) -> None:
    pass


def _positional(job: JobContext, count: int, /) -> None:
    pass


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_no_job, "the first parameter of a processor is the job"),
        (_no_type, "give the parameter 'count' a type"),
        (_many, r"\*counts: int cannot be a param"),
        (_any, r"\*\*counts: int cannot be a param"),
        (_positional, "count: int cannot be a param"),
    ],
)
def test_a_signature_that_cannot_be_a_schema_is_refused_with_a_sentence(function, message):
    with pytest.raises(TypeError, match=f"t.name: {message}"):
        processor("t.name")(function)


@pytest.mark.parametrize("name", ["", "Text", "text.", ".text", "text count", "text..count", "1text", "text\n"])
def test_a_name_must_be_lower_case_words_with_dots(name):
    with pytest.raises(ValueError, match="is not a processor name"):
        processor(name)


# ---- files


def test_media_types_match_exactly_or_by_family():
    everything.check_media_type("a", "text/csv")
    everything.check_media_type("a", "image/png")
    for media_type in ("image/jpeg", "application/text", "texts/csv"):
        with pytest.raises(MediaTypeNotAcceptedError, match=r"accepts text/\*, image/png"):
            everything.check_media_type("a", media_type)


@pytest.mark.parametrize(
    ("bounds", "good", "bad", "sentence"),
    [
        ({}, [1, 2, 1000], [0], "at least 1 file, not 0"),
        ({"min_files": 2}, [2], [1], "at least 2 files, not 1"),
        ({"min_files": 0, "max_files": 0}, [0], [1], "no file, not 1"),
        ({"max_files": 1}, [1], [0, 2], "exactly 1 file, not"),
        ({"min_files": 2, "max_files": 2}, [2], [3], "exactly 2 files, not 3"),
        ({"max_files": 3}, [1, 3], [0, 4], "1 to 3 files, not"),
    ],
)
def test_the_number_of_files_has_bounds_that_the_refusal_names(bounds, good, bad, sentence):
    one = processor("t.one", **bounds)(_one)
    for count in good:
        one.check_file_count(count)
    for count in bad:
        with pytest.raises(FileCountError, match=sentence):
            one.check_file_count(count)

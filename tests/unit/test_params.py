"""The keyword parameters of a processor become its params."""

import json
import re
import sys
import types
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, BaseModel, Field, Json, SecretStr

from service.errors import (
    FieldError,
    FileCountError,
    InvalidParamsError,
    MediaTypeNotAcceptedError,
    ProcessorUnavailableError,
)
from service.processors.base import Fail, JobContext, processor


class Colour(Enum):
    RED = "red"


class Point(BaseModel):
    x: int = 0


class Opaque:
    """What pydantic knows nothing of."""


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


def test_checked_params_stay_as_the_client_sent_them():
    sent = {"count": "3", "at": "2024-05-01T12:00:00Z"}
    assert everything.check_params(sent) == {"count": "3", "at": "2024-05-01T12:00:00Z"}


def test_params_are_read_once_on_their_way_to_the_function():
    @processor("t.once")
    def once(
        job: JobContext,
        secret: SecretStr,
        source: Annotated[str, Field(alias="from")],
        facts: Json[list[int]],
        doubled: Annotated[int, AfterValidator(lambda value: value * 2)] = 1,
    ) -> None: ...

    checked = once.check_params({"secret": "tell no one", "from": "a", "facts": "[1]", "doubled": 4})
    assert json.loads(json.dumps(checked)) == {"secret": "tell no one", "from": "a", "facts": "[1]", "doubled": 4}
    arguments = once.arguments(checked)
    assert arguments.pop("secret").get_secret_value() == "tell no one"
    assert arguments == {"source": "a", "facts": [1], "doubled": 8}


def test_params_that_no_longer_fit_fail_the_job_for_good():
    with pytest.raises(Fail, match=r"params\.count; submit the job again") as caught:
        everything.arguments({"count": 100})
    assert caught.value.code == "invalid_params"


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [
        ({"timeout_s": 0}, "timeout_s is 0, and must be at least 0.001"),
        ({"timeout_s": float("nan")}, "timeout_s is nan"),
        ({"max_attempts": 0}, "max_attempts is 0, and must be at least 1"),
        ({"max_concurrency": 0}, "max_concurrency is 0, and must be at least 1"),
        ({"weight": 0}, "weight is 0, and must be a whole number from 1 to 100"),
        ({"weight": 101}, "weight is 101, and must be a whole number from 1 to 100"),
        ({"weight": 1.5}, "weight is 1.5, and must be a whole number from 1 to 100"),
        ({"memory_limit_bytes": 1024}, "memory_limit_bytes is 1024, and must be at least 67,108,864"),
    ],
)
def test_a_limit_with_which_no_job_could_run_is_refused(limit, sentence):
    with pytest.raises(ValueError, match=re.escape(f"t.limited: {sentence}")):
        processor("t.limited", **limit)


def test_what_cannot_be_called_with_a_job_is_refused():
    def no_place_for_the_job(*, unit: str = "a") -> None: ...

    def any_number_of_jobs(*jobs: JobContext) -> None: ...

    def generator(_job: JobContext) -> Iterator[int]:
        yield 1

    async def async_generator(_job: JobContext) -> AsyncIterator[int]:
        yield 1

    for function in (no_place_for_the_job, any_number_of_jobs):
        with pytest.raises(TypeError, match=r"t\.wrong: the first parameter of a processor is the job"):
            processor("t.wrong")(function)
    for yielding in (generator, async_generator):
        with pytest.raises(TypeError, match=r"t\.wrong: a processor returns its result; this function has a yield"):
            processor("t.wrong")(yielding)


def test_a_decorator_that_is_not_called_says_so():
    with pytest.raises(TypeError, match=r'write @processor\("its.name"\)'):

        @processor  # type: ignore[arg-type]
        def bare(job: JobContext) -> None: ...


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


def _low(job: JobContext, width: int, count: Annotated[int, Field(ge=1)] = 0) -> None:
    pass


def _no_schema(job: JobContext, width: int, made: Callable[[], int]) -> None:
    pass


def _no_type_at_all(job: JobContext, made: Opaque) -> None:
    pass


def _nowhere(job: JobContext, made: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
    pass


def _clashing(job: JobContext, model_dump: int) -> None:
    pass


def _hidden(job: JobContext, _made: int) -> None:
    pass


def test_annotations_may_be_strings():
    def late(job: "JobContext", count: "Annotated[int, Field(ge=1)]" = 2) -> None:
        """Count."""

    assert processor("t.late")(late).arguments({}) == {"count": 2}


@processor("t.prose")
def prose(
    job: JobContext,
    count: Annotated[int, Field(ge=1)],
    size: Annotated[int, Field(description="by its field")] = 1,
    unit: str = Field("words", min_length=1),
    schema: str = "a param may be called so",
) -> None:
    """Count
    the words.

    It takes a while.

    And more.

    Args:
        count: how many, over
            two lines
        size: by the docstring
        unit: what to count

    Raises:
        Fail: now and then
    """


def test_the_docstring_describes_the_params_that_do_not_describe_themselves():
    properties = prose.params_schema["properties"]
    assert {name: schema.get("description") for name, schema in properties.items()} == {
        "count": "how many, over two lines",
        "size": "by its field",
        "unit": "what to count",
        "schema": None,
    }
    assert properties["count"]["minimum"] == 1
    assert properties["unit"] == {
        "default": "words",
        "description": "what to count",
        "minLength": 1,
        "title": "Unit",
        "type": "string",
    }
    assert (prose.summary, prose.details) == ("Count the words.", "It takes a while.\n\nAnd more.")
    assert prose.arguments({"count": 1})["schema"] == "a param may be called so"


def test_nested_models_and_enums_are_in_the_schema_whole():
    definitions = everything.params_schema["$defs"]
    assert definitions["Colour"]["enum"] == ["red"]
    assert definitions["Point"]["properties"]["x"] == {"default": 0, "title": "X", "type": "integer"}


# ---- whether it can run here


def test_a_processor_whose_modules_are_not_installed_says_what_installs_them():
    one = processor("t.far", extra="pdf", requires=["json", "nothing_of_that_name.inner", "nor.this"])(_one)
    assert (one.is_available, one.missing) == (False, ["nothing_of_that_name.inner", "nor.this"])
    with pytest.raises(ProcessorUnavailableError) as caught:
        one.check_available()
    assert caught.value.detail == (
        "t.far needs nothing_of_that_name.inner, nor.this, not installed here; "
        'install it with: pip install "filemill[pdf]"'
    )
    assert (caught.value.code, caught.value.http_status) == ("processor_unavailable", 422)


def test_a_processor_whose_modules_are_there_is_available_and_nothing_is_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "this", raising=False)
    one = processor("t.near", requires=["this", "json.decoder"])(_one)
    assert (one.is_available, one.missing, one.install) == (True, [], None)
    one.check_available()
    assert "this" not in sys.modules


def test_a_module_made_by_hand_counts_as_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "made_by_hand", types.ModuleType("made_by_hand"))
    assert processor("t.near", requires=["made_by_hand"])(_one).is_available


def test_without_an_extra_the_missing_module_is_named_alone():
    with pytest.raises(ProcessorUnavailableError, match="needs nothing_of_that_name, not installed here; install it b"):
        processor("t.far", requires=["nothing_of_that_name"])(_one).check_available()


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
        (_low, "the default of 'count' does not fit: Input should be greater than or equal to 1"),
        (_no_schema, "the type of 'made' cannot be a param: Cannot generate a JsonSchema"),
        (_no_type_at_all, "the type of 'made' cannot be a param: Unable to generate pydantic-core schema for "),
        (_nowhere, "an annotation cannot be read: name 'Nowhere' is not defined"),
        (_clashing, "the params cannot be a schema: "),
        (_hidden, "the param '_made' may not begin with an underscore"),
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


@pytest.mark.parametrize("accepts", [["image"], ["image/"], ["*/png"], ["image/PNG"], ["image/pn*"], "image/png"])
def test_what_is_accepted_must_be_media_types(accepts):
    with pytest.raises(ValueError, match=r"in accepts is not a media type: write image/png, image/\* or \*/\*"):
        processor("t.one", accepts=accepts)


@pytest.mark.parametrize("bounds", [{"min_files": -1}, {"min_files": 2, "max_files": 1}, {"max_files": 0}])
def test_bounds_that_no_number_of_files_meets_are_refused(bounds):
    with pytest.raises(ValueError, match="no number of files"):
        processor("t.one", **bounds)


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

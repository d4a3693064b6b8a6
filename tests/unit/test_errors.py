"""Every way that Filemill says no."""

import re

import pytest

from service.errors import (
    DataDirLockedError,
    FieldError,
    FilemillError,
    InvalidParamsError,
    RangeNotSatisfiableError,
    error_classes,
)

PUBLIC = [error for error in error_classes() if error.__module__ == "service.errors"]


@pytest.mark.parametrize("error", PUBLIC, ids=lambda error: error.__name__)
def test_every_error_is_a_stable_code_a_sentence_and_a_status(error):
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
    assert "code" in vars(error)
    assert error.__doc__.endswith(".")
    assert error.title() == error.__doc__.splitlines()[0].removesuffix(".")
    assert 400 <= error.http_status <= 599
    assert error.__name__.endswith("Error")


def test_no_two_errors_share_a_code():
    codes = [error.code for error in PUBLIC]
    assert len(codes) == len(set(codes))


def test_no_two_errors_share_a_title():
    titles = [error.title() for error in PUBLIC]
    assert len(titles) == len(set(titles))


def test_an_error_without_a_detail_says_its_title():
    error = DataDirLockedError()
    assert str(error) == error.detail == "Another server owns the data folder"


def test_an_error_says_its_detail_and_keeps_the_fields_that_are_wrong():
    wrong = FieldError("params.width", "missing", "say how wide")
    error = InvalidParamsError("no width", errors=[wrong])
    assert (str(error), error.detail, error.errors) == ("no width", "no width", (wrong,))


def test_an_error_about_a_range_says_how_long_the_file_is():
    error = RangeNotSatisfiableError(12)
    assert error.size_bytes == 12
    assert "12 bytes" in error.detail


def test_the_list_of_errors_begins_with_the_root_and_holds_every_branch():
    assert PUBLIC[0] is FilemillError
    assert len(PUBLIC) == len(set(PUBLIC)) > 20

"""Names of files that lead nowhere, and that no two files share."""

import pytest
from pydantic import TypeAdapter, ValidationError

from service.naming import DistinctNames, FileName, bare_name


@pytest.mark.parametrize(
    ("name", "bare"),
    [("o/p", "p"), ("..", "output"), (".", "output"), ("a/..", "output"), ("..\\..\\x.txt", "x.txt"), ("", "output"),
     ("a\nb", "ab"), (".hidden", "hidden"), ("\u202egnp.exe", "gnp.exe")],
)  # fmt: skip
def test_a_bare_name_leads_to_no_other_folder(name, bare):
    assert bare_name(name, "output") == bare


def test_names_are_told_apart_by_a_number_before_the_suffix():
    names = DistinctNames()
    assert [names.take_bare(name, "output") for name in ("a.txt", "A.TXT", "x/a.txt", "a-2.txt", "..")] == [
        "a.txt", "A-2.TXT", "a-3.txt", "a-2-2.txt", "output",
    ]  # fmt: skip


def test_ten_thousand_files_of_one_name_need_no_ten_thousand_tries_each():
    names, tries = DistinctNames(), 0

    class Counting(set[str]):
        def __contains__(self, one: object) -> bool:
            nonlocal tries
            tries += 1
            return super().__contains__(one)

    names._taken = Counting()
    made = [names.take("readme", ".txt") for _ in range(10_000)]
    assert (len(set(made)), made[-1]) == (10_000, "readme-10000.txt")
    assert tries < 30_000


@pytest.mark.parametrize("name", ["a.txt", ".gitignore", "..a", "日本.csv"])
def test_a_name_param_takes_names(name):
    assert TypeAdapter(FileName).validate_python(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "...", "a/b", "a\\b", "../a", "a\0", "x" * 201])
def test_a_name_param_takes_no_path(name):
    with pytest.raises(ValidationError):
        TypeAdapter(FileName).validate_python(name)

"""Names of files that lead nowhere, and that no two files share."""

import pytest
from pydantic import TypeAdapter, ValidationError

from service.naming import DistinctNames, FileName, bare_name, tool_name


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


@pytest.mark.parametrize(
    ("name", "safe"),
    [("photo.jpg", "photo.jpg"), ("Überblick 2026.PDF", "Überblick_2026.PDF"), ("日本.csv", "日本.csv"),
     ("e\u0301.png", "é.png"), ("a.tar.gz", "a.tar.gz"), ("..", "file"), ("....", "file"), ("", "file"), ("-", "file"),
     ("-rf.jpg", "rf.jpg"), ("--output=x.png", "output_x.png"), ("a/b.png", "b.png"), ("C:\\x\\y.pdf", "y.pdf"),
     ("C:y.pdf", "C_y.pdf"), ("CON", "CON"), (".jpg", "file.jpg"), (".bashrc", "file.bashrc"), (".a.txt", "a.txt"),
     ("../../etc/passwd", "passwd"), ("folder/", "folder"), ("a.jpg.", "a.jpg"), ("a\nb\0\x1b[31m.txt", "ab_31m.txt"),
     ("\u202egnp.exe", "gnp.exe"), ("x\ud800.csv", "x.csv"), ("shot[1]-%03d*?.tif", "shot_1_-_03d__.tif"),
     ("$(rm -rf).sh", "__rm_-rf_.sh"), ("msl:a.svg", "msl_a.svg"), ("!!!", "file"), ("?.png", "_.png"),
     ("a.jpg ", "a.jpg"), ("a.jpg \u200b.", "a.jpg"), (" .pdf", "file.pdf"), ("-.pdf", "file.pdf"),
     ("- .pdf", "_.pdf")],
)  # fmt: skip
def test_a_name_for_tools_is_plain_and_keeps_its_suffix(name, safe):
    assert tool_name(name) == safe


@pytest.mark.parametrize("suffix", [".pdf", ".xlsx", ""])
@pytest.mark.parametrize("letter", ["a", "ä", "日", "𠀀"])
def test_a_long_name_for_tools_is_cut_before_its_suffix(letter, suffix):
    safe = tool_name(letter * 300 + suffix)
    assert 190 <= len(safe.encode()) <= 200
    assert safe.endswith(suffix or letter)


def test_a_suffix_longer_than_a_name_is_cut_too():
    assert len(tool_name("a." + "b" * 300).encode()) <= 200

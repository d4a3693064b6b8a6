"""file.identify on real, misnamed, broken and empty files."""

import gzip
from pathlib import Path

import pytest

from service.catalogue.files.processors import identify
from service.catalogue.pdf.contents import info as pdf_info
from service.processors.base import InputFile, JobContext
from service.sniff import guesses, sniff
from service.testing import run_processor

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture
def tell(tmp_path):
    """Return a function that returns what the processor tells of each file."""

    def run(*paths, names=None):
        names = names or [path.name for path in paths]
        files = [
            InputFile(name, name, "any/any", path.stat().st_size, "", path)
            for path, name in zip(paths, names, strict=True)
        ]
        return identify(JobContext("job", 1, 1, files, tmp_path, {}, lambda _: None))["files"]

    return run


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("rocket.jpg", "image/jpeg"), ("chelsea.png", "image/png"), ("iris.csv", "text/csv")],
)
def test_a_real_file_is_known_by_its_content(tell, name, media_type):
    [file] = tell(SAMPLES / name)
    assert (file["media_type"], file["name"], file["name_agrees"]) == (media_type, name, True)
    assert 0.7 < file["confidence"] <= 1
    assert file["description"]


def test_a_name_that_says_otherwise_is_told_and_not_believed(tell):
    path = SAMPLES / "rocket.jpg"
    told = tell(path, path, path, names=["rocket.pdf", "rocket", "rocket.JPEG"])
    assert [file["media_type"] for file in told] == ["image/jpeg"] * 3
    assert [file["name_agrees"] for file in told] == [False, None, True]


def test_text_of_no_kind_is_half_sure_and_noise_is_unknown(tell, tmp_path):
    (tmp_path / "note").write_text("hällo\nwörld\n", encoding="utf-8")
    (tmp_path / "noise").write_bytes(b"\x00" * 100)
    text, noise = tell(tmp_path / "note", tmp_path / "noise")
    assert (text["media_type"], text["confidence"]) == ("text/plain", 0.5)
    assert (noise["media_type"], noise["confidence"], noise["also"]) == ("application/octet-stream", 0, [])


def test_more_matching_content_is_more_confidence(tell, tmp_path):
    (tmp_path / "short").write_bytes(gzip.compress(b"text"))
    magic_only, photo = tell(tmp_path / "short", SAMPLES / "rocket.jpg")
    assert magic_only["media_type"] == "application/gzip"
    assert 0 < magic_only["confidence"] < photo["confidence"]


def test_what_else_it_may_be_comes_without_what_it_is(tell):
    [file] = tell(SAMPLES / "iris.csv")
    assert [one["media_type"] for one in file["also"]] == ["text/plain"]


def test_an_empty_and_a_truncated_file_are_told_as_far_as_they_go(tell, tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.png").write_bytes((SAMPLES / "chelsea.png").read_bytes()[:40])
    empty, cut = tell(tmp_path / "empty.png", tmp_path / "cut.png")
    assert (empty["media_type"], empty["confidence"], empty["name_agrees"]) == ("application/x-empty", 1.0, False)
    assert cut["media_type"] == "image/png"


@pytest.mark.parametrize("head", [b"", b"text", b"\0\1\2", b"GIF89a", b"%PDF-1.7\n", b"PK\3\4", b"\xff" * 9000])
def test_the_best_guess_is_what_the_storage_says(head):
    assert guesses(head)[0].media_type == sniff(head)


@pytest.mark.parametrize("before", [b"junk\n" * 3, b"\0" * 100, b"x" * 1000])
def test_a_pdf_that_begins_with_something_else_is_a_pdf(before):
    content = (SAMPLES / "text.pdf").read_bytes()
    assert sniff(before + content[:4000]) == "application/pdf"
    assert run_processor(pdf_info, {"a.pdf": before + content}).result["files"][0]["pages"] >= 1


def test_a_text_about_pdfs_is_none():
    assert sniff(b"a" * 2000 + b"%PDF-1.7") == "text/plain"

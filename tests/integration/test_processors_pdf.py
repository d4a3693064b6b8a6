"""The pdf family on real documents."""

import json
from pathlib import Path

import pytest
import pyvips  # type: ignore[import-untyped]

from service.catalogue.pdf.contents import info, text
from service.catalogue.pdf.pages import merge, split
from service.catalogue.pdf.render import render
from service.errors import InvalidParamsError
from service.processors.base import Fail, InputFile, JobContext, Note, ProgressNote

pypdfium2 = pytest.importorskip("pypdfium2")
SAMPLES = Path(__file__).parents[1] / "samples"
TEXT, ENCRYPTED, FORM = SAMPLES / "text.pdf", SAMPLES / "encrypted.pdf", SAMPLES / "form.pdf"


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a processor and returns the job, its result and the notes."""
    count = iter(range(100))

    def run(processor, *paths, **params):
        files = [InputFile(path.name, path.name, "application/pdf", path.stat().st_size, "", path) for path in paths]
        notes: list[Note] = []
        job = JobContext("job", 1, 1, files, tmp_path / f"attempt-{next(count)}", {}, notes.append)
        result = processor(job, **processor.arguments(processor.check_params(params)))
        return job, result, notes

    return run


@pytest.fixture
def numbered(tmp_path):
    """Return a function that makes a PDF whose pages are 10, 20, … points high."""

    def make(count):
        document = pypdfium2.PdfDocument.new()
        for number in range(1, count + 1):
            document.new_page(100, number * 10)
        document.save(tmp_path / f"numbered-{count}.pdf")
        document.close()
        return tmp_path / f"numbered-{count}.pdf"

    return make


def heights(path):
    with pypdfium2.PdfDocument(path) as document:
        return [round(document.get_page_size(index)[1] / 10) for index in range(len(document))]


# ---- pdf.info


def test_a_document_tells_its_pages_and_metadata(run):
    _, result, notes = run(info, TEXT, FORM)
    document, form = result["files"]
    assert (document["name"], document["pages"], document["version"]) == ("text.pdf", 2, "1.5")
    assert document["page_sizes"] == [{"width_mm": 210.0, "height_mm": 297.0}] * 2
    assert document["metadata"] == {
        "creator": "Writer",
        "producer": "LibreOffice 6.4",
        "creation_date": "2022-05-29T19:03:40+02:00",
    }
    assert (document["is_encrypted"], document["is_tagged"], document["form"]) == (False, True, None)
    assert (form["form"], form["pages"]) == ("acroform", 1)
    assert notes[-1] == ProgressNote(1, "")


def test_an_encrypted_document_opens_with_either_password(run):
    for password in ("test_user", "test_owner"):
        _, result, _ = run(info, ENCRYPTED, password=password)
        assert (result["files"][0]["is_encrypted"], result["files"][0]["pages"]) == (True, 1)


def test_a_password_for_a_document_without_one_does_no_harm(run):
    assert run(info, TEXT, password="anything")[1]["files"][0]["pages"] == 2  # noqa: S106


# ---- pdf.text


def test_the_text_of_each_page_is_in_the_result_and_in_a_file(run):
    job, result, notes = run(text, TEXT)
    [document] = result["files"]
    first, second = document["pages"]
    assert first["text"].startswith("Lorem ipsum dolor sit amet,\nconsectetur adipisici elit,\n")
    assert second["text"].splitlines()[-1] == "https://kde.org/"
    assert (first["page"], first["characters"]) == (1, len(first["text"]))
    assert job.outputs[0].name == document["output"] == "text.txt"
    assert job.outputs[0].path.read_text(encoding="utf-8") == first["text"] + "\f" + second["text"] + "\f"
    assert notes == [ProgressNote(0.5, "text.pdf, page 1"), ProgressNote(1, "text.pdf, page 2")]


def test_the_text_can_be_json_and_of_some_pages_alone(run):
    job, result, _ = run(text, TEXT, ENCRYPTED, pages="1", format="json", password="test_user")  # noqa: S106
    pages = [json.loads(output.path.read_text()) for output in job.outputs]
    assert pages[0][0]["text"].startswith("Lorem ipsum")
    assert pages[1] == [{"page": 1, "text": "Encrypted PDF"}]
    assert [document["page_count"] for document in result["files"]] == [2, 1]


def test_text_beyond_what_fits_into_the_result_is_in_the_file_alone(run, monkeypatch):
    monkeypatch.setattr("service.catalogue.pdf.contents.MAX_RESULT_BYTES", 600)
    job, result, _ = run(text, TEXT, TEXT)
    assert [page["text"] is None for document in result["files"] for page in document["pages"]] == [False] * 2 + [
        True
    ] * 2
    assert [output.path.stat().st_size for output in job.outputs] == [531, 531]


# ---- pdf.render


@pytest.mark.parametrize(("format", "loader"), [("png", "pngload"), ("jpeg", "jpegload"), ("webp", "webpload")])
def test_each_page_becomes_an_image_of_the_resolution_asked_for(run, format, loader):  # noqa: A002
    job, result, notes = run(render, TEXT, dpi=50, format=format)
    first, second = (pyvips.Image.new_from_file(str(output.path)) for output in job.outputs)
    assert first.get("vips-loader") == loader
    assert (first.width, first.height, first.bands) == (414, 585, 3)
    assert [image["page"] for image in result["images"]] == [1, 2]
    assert result["images"][0]["name"].startswith("text-p1.")
    assert first(413, 584) == pytest.approx([255, 255, 255], abs=3)
    assert first.avg() < second.avg() < 255  # the first page has more text
    assert notes[-1] == ProgressNote(1, "text.pdf, page 2")


def test_the_width_takes_the_place_of_the_resolution(run):
    job, _, _ = run(render, TEXT, width=100, pages="2", greyscale=True)
    picture = pyvips.Image.new_from_file(str(job.outputs[0].path))
    assert (picture.width, picture.height, picture.bands) == (100, 142, 1)


def test_the_fields_of_a_form_are_drawn(run):
    job, _, _ = run(render, FORM, dpi=72)
    assert pyvips.Image.new_from_file(str(job.outputs[0].path)).min() < 200


def test_numbers_of_pages_have_as_many_digits_as_the_last(run, numbered):
    _, result, _ = run(render, numbered(11), pages="9-10", dpi=20)
    assert [image["name"] for image in result["images"]] == ["numbered-11-p09.png", "numbered-11-p10.png"]


# ---- pdf.split and pdf.merge


def test_a_document_is_split_into_single_pages(run, numbered):
    job, result, notes = run(split, numbered(3))
    assert [heights(output.path) for output in job.outputs] == [[1], [2], [3]]
    assert [file["pages"] for file in result["files"]] == [[1], [2], [3]]
    assert [output.name for output in job.outputs] == [f"numbered-3-p{number}.pdf" for number in (1, 2, 3)]
    assert [note.fraction for note in notes] == pytest.approx([1 / 3, 2 / 3, 1])


def test_a_document_is_split_after_every_so_many_pages(run, numbered):
    job, _, _ = run(split, numbered(5), every=2)
    assert [heights(output.path) for output in job.outputs] == [[1, 2], [3, 4], [5]]


def test_a_document_is_split_by_ranges_in_any_order(run, numbered):
    job, result, _ = run(split, numbered(9), parts=["8-", "1-3,5,3", "9"])
    assert [heights(output.path) for output in job.outputs] == [[8, 9], [1, 2, 3, 5, 3], [9]]
    assert result["files"][1]["name"] == "numbered-9-p1-3.pdf"


def test_the_parts_keep_their_text_and_lose_the_encryption(run):
    job, _, _ = run(split, ENCRYPTED, password="test_user")  # noqa: S106
    with pypdfium2.PdfDocument(job.outputs[0].path) as document:
        assert document[0].get_textpage().get_text_bounded() == "Encrypted PDF"


def test_documents_are_merged_in_their_order(run, numbered):
    job, result, notes = run(merge, numbered(3), numbered(2), name="all of it.pdf")
    assert heights(job.outputs[0].path) == [1, 2, 3, 1, 2]
    assert result == {"name": "all of it.pdf", "pages": 5, "size_bytes": job.outputs[0].path.stat().st_size}
    assert notes == [ProgressNote(0.5, "numbered-3.pdf"), ProgressNote(1, "numbered-2.pdf")]


def test_some_pages_of_each_document_are_merged(run, numbered):
    job, _, _ = run(merge, numbered(3), numbered(2), pages=["3,1", None])
    assert heights(job.outputs[0].path) == [3, 1, 1, 2]


def test_a_range_for_each_document_or_none_at_all(run, numbered):
    with pytest.raises(Fail, match="2 entries for 1 files") as caught:
        run(merge, numbered(1), pages=["1", "1"])
    assert caught.value.code == "invalid_params"


# ---- pages that are not there


@pytest.mark.parametrize("pages", ["0", "4", "2-4", "3-2", "1,9", "4-"])
@pytest.mark.parametrize("processor", [text, render], ids=["text", "render"])
def test_pages_that_are_not_there_are_named(run, numbered, processor, pages):
    with pytest.raises(Fail, match=r"'numbered-3\.pdf' has 3 pages, and .* is not among them") as caught:
        run(processor, numbered(3), pages=pages)
    assert caught.value.code == "no_such_page"


@pytest.mark.parametrize("pages", ["", "a", "1-2-3", "1,", "-1", "1 - 2", "99999999"])
def test_what_is_not_a_range_is_refused_at_submission(pages):
    for processor, params in [(text, {"pages": pages}), (split, {"parts": [pages]}), (merge, {"pages": [pages]})]:
        with pytest.raises(InvalidParamsError):
            processor.check_params(params)


@pytest.mark.parametrize("name", ["a/b.pdf", "", "a\nb", "..\\x"])
def test_a_name_with_folders_is_refused(name):
    with pytest.raises(InvalidParamsError):
        merge.check_params({"name": name})

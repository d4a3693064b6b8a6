"""The pdf family on broken, encrypted and hostile documents."""

import traceback
import zlib
from pathlib import Path

import pytest

from service.catalogue.pdf.contents import info, text
from service.catalogue.pdf.pages import merge, split
from service.catalogue.pdf.render import render
from service.processors.base import Fail, InputFile, JobContext

pypdfium2 = pytest.importorskip("pypdfium2")
SAMPLES = Path(__file__).parents[1] / "samples"
ALL = pytest.mark.parametrize(
    "processor", [info, text, render, split, merge], ids=["info", "text", "render", "split", "merge"]
)
CATALOG = b"<</Type/Catalog/Pages 2 0 R>>"
PAGES = b"<</Type/Pages/Kids[3 0 R]/Count 1>>"
FONT = b"/Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>"


def stream(content, more=b""):
    return b"<</Length %d%s>>stream\n%s\nendstream" % (len(content), more, content)


HELLO = stream(b"BT /F 20 Tf 20 100 Td (Hello) Tj ET /X Do")
BOX = stream(b"", b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]")


def page(size=b"0 0 200 200"):
    return b"<</Type/Page/Parent 2 0 R/MediaBox[%s]/Contents 4 0 R/Resources<<%s/XObject<</X 5 0 R>>>>>>" % (size, FONT)


def pdf(*objects, trailer=b""):
    """Return a PDF of these objects, numbered from 1 on; the first is the catalog."""
    body, places = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    table += b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer\n<</Root 1 0 R/Size %d%s>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, len(body))
    return body + table + end


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a processor on a file of this content."""
    count = iter(range(100))

    def run(processor, content, **params):
        path = tmp_path / "some.pdf"
        path.write_bytes(content)
        file = InputFile("id", "some.pdf", "application/pdf", len(content), "", path)
        job = JobContext("job", 1, 1, [file], tmp_path / f"attempt-{next(count)}", {}, lambda _: None)
        return processor(job, **processor.arguments(processor.check_params(params)))

    return run


def refusal(run, processor, content, **params):
    with pytest.raises(Fail) as caught:
        run(processor, content, **params)
    assert "\n" not in str(caught.value)
    return caught.value


# ---- broken files


@ALL
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"only text", "unsupported"),
        (b"PK\3\4" + b"\0" * 2000, "unsupported"),
        (b"\0" * 2000 + b"%PDF-1.7\n", "unsupported"),
        (b"%PDF-1.7\n", "damaged_file"),
        (b"%PDF-1.7\n" + b"\0" * 2000, "damaged_file"),
        (pdf(CATALOG, PAGES, page(), HELLO, BOX)[:250], "damaged_file"),
    ],
    ids=["empty", "text", "zip", "late", "head", "zeros", "cut"],
)
def test_what_is_not_a_whole_pdf_is_refused(run, processor, content, code):
    assert refusal(run, processor, content).code == code


@ALL
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_document_is_refused(run, processor, share):
    whole = (SAMPLES / "text.pdf").read_bytes()
    assert refusal(run, processor, whole[: int(len(whole) * share)]).code == "damaged_file"


@pytest.mark.parametrize("processor", [text, render, split, merge], ids=["text", "render", "split", "merge"])
def test_a_page_that_is_not_there_is_damage(run, processor):
    error = refusal(run, processor, pdf(CATALOG, PAGES, b"null", HELLO, BOX))
    assert error.code == "damaged_file"
    assert str(error) == "page 1 of 'some.pdf' is damaged; leave it out"


# ---- encrypted files


@ALL
def test_an_encrypted_document_without_its_password_says_what_to_do(run, processor):
    error = refusal(run, processor, (SAMPLES / "encrypted.pdf").read_bytes())
    assert error.code == "encrypted"
    assert str(error) == "'some.pdf' is encrypted; give its password in the password param"


@ALL
def test_a_wrong_password_is_told_without_telling_it(run, processor):
    secret = "correct horse battery"  # noqa: S105
    error = refusal(run, processor, (SAMPLES / "encrypted.pdf").read_bytes(), password=secret)
    assert error.code == "wrong_password"
    assert secret not in "".join(traceback.format_exception(error))


def test_an_encryption_that_nobody_knows_is_told_as_such(run):
    encrypted = b"/Encrypt<</Filter/Unheard/V 9/R 9/O(x)/U(x)/P -4>>/ID[(a)(b)]"
    assert refusal(run, info, pdf(CATALOG, PAGES, page(), HELLO, BOX, trailer=encrypted)).code == "unsupported"


@ALL
def test_the_password_is_marked_as_one_that_is_not_shown(processor):
    schema = processor.params_schema["properties"]["password"]
    inner = next(one for one in [schema, *schema.get("anyOf", [])] if one.get("format") == "password")
    assert inner["writeOnly"] is True


# ---- loops and bombs


def form_that_draws_itself():
    loop = stream(b"/X Do", b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 5 0 R>>>>")
    return pdf(CATALOG, PAGES, page(), HELLO, loop)


def pages_within_themselves():
    kids = b"<</Type/Pages/Kids[2 0 R 3 0 R]/Count 2/Parent 2 0 R>>"
    return pdf(CATALOG, kids, page(), HELLO, BOX)


def table_before_itself():
    whole = pdf(CATALOG, PAGES, page(), HELLO, BOX)
    return pdf(CATALOG, PAGES, page(), HELLO, BOX, trailer=b"/Prev %d" % whole.index(b"xref"))


@pytest.mark.parametrize("make", [form_that_draws_itself, table_before_itself])
@ALL
def test_a_loop_of_references_comes_to_an_end(run, processor, make):
    result = run(processor, make())
    if processor is text:
        assert result["files"][0]["pages"][0]["text"] == "Hello"


@ALL
def test_pages_that_contain_themselves_come_to_an_end(run, processor):
    try:
        run(processor, pages_within_themselves())
    except Fail as error:
        assert error.code == "damaged_file"  # noqa: PT017 - some can be read, and some cannot


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"(D:2020)", "2020-01-01T00:00:00"),
        (b"(D:20200229123456Z)", "2020-02-29T12:34:56+00:00"),
        (b"(D:20200229123456-05'30')", "2020-02-29T12:34:56-05:30"),
        (b"(D:20210229)", "D:20210229"),
        (b"(yesterday)", "yesterday"),
    ],
)
def test_a_date_is_told_in_iso_8601_and_what_is_none_as_it_is(run, written, told):
    content = pdf(CATALOG, PAGES, page(), HELLO, BOX, b"<</ModDate %s>>" % written, trailer=b"/Info 6 0 R")
    assert run(info, content)["files"][0]["metadata"] == {"mod_date": told}


def test_half_a_character_in_a_title_does_no_harm(run):
    outlines = b"<</Type/Catalog/Pages 2 0 R/Outlines 7 0 R>>"
    first, entry = b"<</First 8 0 R/Last 8 0 R>>", b"<</Title<FEFFD800>/Parent 7 0 R/Dest[3 0 R/Fit]>>"
    facts = b"<</Title<FEFFD800>/Author(Somebody)/Subject(%s)>>" % (b"x" * 5000)
    content = pdf(outlines, PAGES, page(), HELLO, BOX, facts, first, entry, trailer=b"/Info 6 0 R")
    [document] = run(info, content)["files"]
    assert document["metadata"] == {"author": "Somebody", "subject": "x" * 500}
    assert document["outline"] == [{"level": 1, "title": "", "page": 1}]


def test_an_outline_that_goes_in_a_circle_is_told_once(run):
    [document] = run(info, (SAMPLES / "outline_loop.pdf").read_bytes())["files"]
    assert [entry["title"] for entry in document["outline"]] == ["A Good Beginning", "A Good Ending"]


@pytest.mark.parametrize("processor", [text, render, split, merge], ids=["text", "render", "split", "merge"])
def test_a_document_that_claims_a_million_pages_is_refused(run, processor):
    content = pdf(CATALOG, b"<</Type/Pages/Kids[3 0 R]/Count 1000000>>", page(), HELLO, BOX)
    error = refusal(run, processor, content)
    assert error.code == "too_large"
    assert "1,000,000 pages" in str(error)


def test_the_facts_of_a_million_pages_are_told_for_the_first_thousand(run):
    content = pdf(CATALOG, b"<</Type/Pages/Kids[3 0 R]/Count 1000000>>", page(), HELLO, BOX)
    [document] = run(info, content)["files"]
    assert document["pages"] == 1_000_000
    assert document["page_sizes"] == [{"width_mm": 70.6, "height_mm": 70.6}] + [None] * 999


@pytest.mark.parametrize("params", [{"dpi": 1200}, {"width": 16_000}])
def test_a_page_of_too_many_pixels_is_refused_before_rendering(run, params):
    content = pdf(CATALOG, PAGES, page(b"0 0 14400 14400"), HELLO, BOX)
    error = refusal(run, render, content, **params)
    assert error.code == "too_large"
    assert "ask for a lower dpi or a smaller width" in str(error)


@pytest.mark.parametrize("size", [b"0 0 0.001 0.001", b"0 0 0 0", b"0 0 -5 9", b"0 0 1e30 1e30", b"0 0 x y", b"[]"])
def test_a_page_of_an_absurd_size_is_rendered_or_refused(run, size):
    content = pdf(CATALOG, PAGES, page(size), HELLO, BOX)
    try:
        [image] = run(render, content, dpi=20)["images"]
        assert image["width"] >= 1
    except Fail as error:
        assert error.code == "too_large"  # noqa: PT017


def test_a_page_without_width_to_speak_of_is_refused_when_a_width_is_asked_for(run):
    content = pdf(CATALOG, PAGES, page(b"0 0 0.001 500"), HELLO, BOX)
    assert refusal(run, render, content, width=500).code == "too_large"


def test_a_page_whose_content_expands_a_thousand_times_is_read(run):
    bomb = zlib.compress(zlib.compress(b" " * 30_000_000, 9), 9)
    content = stream(bomb, b"/Filter[/FlateDecode/FlateDecode]")
    assert len(bomb) < 1000
    [document] = run(text, pdf(CATALOG, PAGES, page(), content, BOX))["files"]
    assert document["pages"][0]["text"] == ""


def test_more_pages_than_one_job_renders_are_refused(run, monkeypatch):
    monkeypatch.setattr("service.catalogue.pdf.render.MAX_RENDERED_PAGES", 1)
    assert refusal(run, render, (SAMPLES / "text.pdf").read_bytes()).code == "too_large"


def test_more_parts_than_one_job_makes_are_refused(run, monkeypatch):
    monkeypatch.setattr("service.catalogue.pdf.pages.MAX_PARTS", 1)
    assert refusal(run, split, (SAMPLES / "text.pdf").read_bytes()).code == "too_large"

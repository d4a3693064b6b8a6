"""Forms as browsers, curl and libraries made for mail write them: taken as they are meant, in pieces of any size."""

import tracemalloc

import pytest
from python_multipart.multipart import MultipartParser

from service.errors import MalformedMultipartError, PartHeadersTooLargeError
from service.intake.multipart import MultipartReader, PartData
from service.settings import Settings
from tests.web.answers import MULTIPART, assert_problem, multipart, part
from tests.web.test_multipart import read

FIELD = part("processor", "t.read")
FILE = part("file", b"\r\n folded: no\r\n\tnor this", "a.txt")
CONTENTS = [("processor", None, b"t.read"), ("file", "a.txt", b"\r\n folded: no\r\n\tnor this")]
HEADERS = {"Content-Type": MULTIPART}


@pytest.fixture
def post(client):
    """Return a function that posts a body as a form."""

    async def post(body, path="/v1/jobs"):
        return await client.post(path, content=body, headers=HEADERS)

    return post


def read_in_all_ways(body, expected):
    """Check that a body has these parts whole, cut in two anywhere, and in pieces of any size."""
    assert read(body) == expected
    for at in range(len(body) + 1):
        assert read(body[:at], body[at:]) == expected, at
    for size in (1, 2, 3, 5, 17):
        assert read(*(body[at : at + size] for at in range(0, len(body), size))) == expected, size


# ---- inputs without a file, and files without a name


async def test_an_input_in_which_no_file_was_chosen_is_no_file(post, subtests):
    empty = part("file", b"", "")
    for case, parts, names in [
        ("alone", (FIELD, empty), []),
        ("before a file", (FIELD, empty, FILE), ["a.txt"]),
        ("after a file", (empty, FILE, empty, FIELD), ["a.txt"]),
        ("of another name", (FIELD, part("photo", b"", ""), FILE), ["a.txt"]),
        ("an empty file with a name", (FIELD, part("file", b"", "empty.txt")), ["empty.txt"]),
        ("bytes without a name", (FIELD, part("file", b"x", "")), ["upload"]),
    ]:
        with subtests.test(case=case):
            job = (await post(multipart(*parts))).json()
            assert [file["name"] for file in job["inputs"]] == names


@pytest.mark.settings(max_files=1)
async def test_an_empty_input_takes_no_place_of_a_file(post):
    empty = part("file", b"", "")
    response = await post(multipart(empty, FILE, empty), "/v1/files")
    assert (response.status_code, response.json()["name"]) == (201, "a.txt")


async def test_empty_inputs_without_end_are_refused(post):
    for count, status in ((1000, 201), (1001, 413)):
        assert (await post(multipart(*[part("file", b"", "")] * count, FILE), "/v1/files")).status_code == status


async def test_a_form_in_which_no_file_was_chosen_stores_none(post, nothing_left):
    problem = assert_problem(await post(multipart(part("file", b"", "")), "/v1/files"), 422, "invalid_request")
    assert "send one file" in problem["detail"]
    nothing_left()


async def test_a_file_without_a_filename_is_refused_and_the_answer_says_how_to_give_it_one(
    post, nothing_left, subtests
):
    for content in (b"photo.jpg", b"", bytes(range(256))):
        for path in ("/v1/jobs", "/v1/files"):
            with subtests.test(content=content[:10], path=path):
                problem = assert_problem(await post(multipart(part("file", content)), path), 422, "invalid_request")
                assert "no filename" in problem["detail"]
                assert "file=@PATH" in problem["detail"]
    nothing_left()


# ---- what stands around boundaries


def test_what_stands_before_the_first_boundary_is_passed_over(subtests):
    body = multipart(FIELD, FILE)
    for before in (
        b"\r\n", b"\n", b"This is a message of parts.\r\n", b"with -- dashes --frontier in it\r\n", b"--other\r\n\r\n",
        b"--frontie\r\n", b"\r\n\r\n--fron\n", b"x" * 100 + b"\r\n", b"a: b\r\n c\r\n",
        b"--frontiers\r\n", b"--frontier-\r\n", b"--frontier \t x\r\n--frontier-x--\r\n", b"--frontier\rx\r\n",
    ):  # fmt: skip
        with subtests.test(before=before[:40]):
            assert read(before + body) == CONTENTS
            for at in range(len(before) + 20):
                assert read((before + body)[:at], (before + body)[at:]) == CONTENTS, at
            for size in (1, 3, 17):
                assert read(*((before + body)[at : at + size] for at in range(0, len(before + body), size))) == CONTENTS


def test_blanks_after_a_boundary_are_passed_over(subtests):
    for blanks in (b" ", b"\t", b" \t  "):
        with subtests.test(blanks=blanks):
            body = multipart(FIELD, FILE).replace(b"--frontier\r\n", b"--frontier" + blanks + b"\r\n")
            read_in_all_ways(body.replace(b"--frontier--", b"--frontier--" + blanks) + b"an epilogue", CONTENTS)


async def test_a_form_with_all_of_it_becomes_a_job(post, finished):
    body = b"a preamble\r\n" + multipart(FIELD, FILE).replace(b"--frontier\r\n", b"--frontier \t\r\n") + b"an epilogue"
    job = await finished((await post(body)).json())
    assert job["result"] == [["a.txt", len(CONTENTS[1][2]), CONTENTS[1][2].decode()]]


async def test_a_body_without_its_boundary_is_refused_with_the_boundary(post, nothing_left):
    for body in (multipart(FIELD).replace(b"frontier", b"border"), b"x" * 70_000, b"\r\n" * 40_000, b" --frontier\r\n"):
        problem = assert_problem(await post(body), 400, "malformed_multipart")
        assert "at byte 0" in problem["detail"]
        assert "'--frontier'" in problem["detail"]
    nothing_left()


def test_a_preamble_is_bounded_and_not_held():
    reader = MultipartReader(MULTIPART, Settings())
    tracemalloc.start()
    try:
        for _ in range(65):
            list(reader.feed(b"x" * 1000))
        assert tracemalloc.get_traced_memory()[0] < 20_000
    finally:
        tracemalloc.stop()
    with pytest.raises(MalformedMultipartError, match="in the first 65536 bytes"):
        list(reader.feed(b"x" * 1000))


@pytest.mark.parametrize("piece_bytes", [7, 1000, 1_000_000])
def test_the_limit_of_a_preamble_does_not_depend_on_how_it_comes(piece_bytes):
    for size, fits in ((65_534, True), (65_535, False)):
        reader, body = MultipartReader(MULTIPART, Settings()), b"x" * size + b"\r\n" + multipart(FIELD)
        pieces = [body[at : at + piece_bytes] for at in range(0, len(body), piece_bytes)]
        if fits:
            assert len([event for piece in pieces for event in reader.feed(piece)]) > 1
            reader.close()
        else:
            with pytest.raises(MalformedMultipartError, match="in the first 65536 bytes"):
                [event for piece in pieces for event in reader.feed(piece)]


@pytest.mark.parametrize("before", [b"", b"a preamble\r\n"])
@pytest.mark.parametrize("piece_bytes", [1, 100, 1_000_000])
def test_the_limit_of_blanks_after_a_boundary_does_not_depend_on_how_they_come(piece_bytes, before):
    for blanks, fits in ((1024, True), (1025, False), (5000, False)):
        body = before + multipart(FIELD).replace(b"--frontier\r\n", b"--frontier" + b" " * blanks + b"\r\n")
        pieces = [body[at : at + piece_bytes] for at in range(0, len(body), piece_bytes)]
        if fits:
            assert read(*pieces) == CONTENTS[:1]
        else:
            with pytest.raises(MalformedMultipartError, match=f"at byte {len(before)}, .* more than 1024 blanks"):
                read(*pieces)


async def test_the_place_of_an_error_counts_what_stands_before_the_form(post, nothing_left):
    begin = b"a preamble\r\n--frontier  \r\n" + FIELD + b"--frontier\r\n"
    problem = assert_problem(await post(begin + b"A\0: x\r\n\r\n"), 400, "malformed_multipart")
    assert f"at byte {len(begin) + 1}, in part 2" in problem["detail"]
    nothing_left()


async def test_lines_that_end_in_a_line_feed_alone_are_refused_with_the_place(post, nothing_left):
    body = multipart(FIELD).replace(b"\r\n", b"\n")
    problem = assert_problem(await post(body), 400, "malformed_multipart")
    assert "at byte 10, in part 1: a line ends with LF alone" in problem["detail"]
    nothing_left()


def test_the_bytes_of_a_file_are_not_copied():
    begin, content = b"--frontier\r\n" + part("file", b"", "a")[:-2], b"x" * 100_000
    reader = MultipartReader(MULTIPART, Settings())
    pieces = [begin + content, content, content + b"\r\n--frontier--\r\n"]
    for piece in pieces:
        data = [event.data for event in reader.feed(piece) if isinstance(event, PartData)]
        assert [view.obj for view in data] == [piece]
        assert data[0].obj is piece
    reader.close()


# ---- folded headers

FOLDED = (
    b'Content-Disposition: form-data;\r\n name="file";\r\n\tfilename="a.txt"\r\n'
    b"X-Other: one\r\n  two\r\n \r\nContent-Type: text/plain\r\n ; charset=utf-8\r\n\r\n"
)


def test_a_folded_header_is_read_as_one_line():
    content = b"\r\n folded: no\r\n\tnor this"
    body = (
        b"--frontier\r\n"
        + FIELD
        + b"--frontier\r\n"
        + FOLDED
        + content
        + b"\r\n--frontier\r\n"
        + FIELD
        + b"--frontier--"
    )
    read_in_all_ways(body, [*CONTENTS, CONTENTS[0]])


def test_a_folded_header_before_much_without_a_colon_is_read_too():
    content = b"\r\n " + b"x" * 100_000
    assert read(multipart(FOLDED + content + b"\r\n")) == [("file", "a.txt", content)]


def test_a_line_that_goes_on_with_nothing_is_refused():
    for headers in (b" x\r\n", b'\tContent-Disposition: form-data; name="file"\r\n', b"A: x\r B: y\r\n"):
        for size in (1, 2, 3, 1000):
            body = multipart(headers + FIELD)
            with pytest.raises(MalformedMultipartError, match="in part 1"):
                read(*(body[at : at + size] for at in range(0, len(body), size)))


def test_folded_headers_keep_the_limit_of_headers():
    for lines in (b" \r\n" * 20_000, b" x\r\n" * 5_000, b" " * 20_000 + b"\r\n", b" " + b"x" * 20_000 + b"\r\n"):
        body = multipart(b'Content-Disposition: form-data; name="file";\r\n' + lines + b"\r\nx\r\n")
        for size in (100, len(body)):
            with pytest.raises(PartHeadersTooLargeError):
                read(*(body[at : at + size] for at in range(0, len(body), size)))


class CountedParser(MultipartParser):
    """Counts how many there were."""

    made = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        CountedParser.made += 1


@pytest.fixture
def parsers(monkeypatch):
    """Count the parsers of a test."""
    monkeypatch.setattr("service.intake.multipart.MultipartParser", CountedParser)
    monkeypatch.setattr(CountedParser, "made", 0)
    return CountedParser


def folded(lines):
    """Return a part with so many header lines, of which all but one go on with the first."""
    return b"Content-Disposition: form-data;" + b"\r\n " * (lines - 1) + b'name="a"\r\n\r\nx\r\n'


def test_the_lines_of_folded_headers_have_the_limit_of_header_lines(parsers):
    assert read(multipart(folded(100))) == [("a", None, b"x")]
    for body in (multipart(folded(101)), multipart(folded(10_000)), multipart(b"A: x\r\n" + folded(100))):
        for size in (7, len(body)):
            parsers.made = 0
            with pytest.raises(PartHeadersTooLargeError, match="100 lines"):
                read(*(body[at : at + size] for at in range(0, len(body), size)))
            assert parsers.made <= 101


def test_the_folded_lines_of_a_whole_form_are_bounded(parsers):
    assert len(read(multipart(*[folded(51)] * 10))) == 10
    parsers.made = 0
    with pytest.raises(PartHeadersTooLargeError, match="by part 11 headers are folded 500 times"):
        read(multipart(*[folded(51)] * 100))
    assert parsers.made == 501


async def test_an_encoding_in_a_folded_header_is_heeded(post):
    body = multipart(b"Content-Transfer-Encoding:\r\n base64\r\n" + part("processor", "dC5yZWFk"))
    assert (await post(body)).json()["processor"] == "t.read"


# ---- names

NAMES = {
    b'filename="=?utf-8?B?w6R1w59lci50eHQ=?="': "\u00e4u\u00dfer.txt",
    b'filename="=?UTF-8?Q?=C3=A4_b=2Etxt?="': "\u00e4 b.txt",
    b"filename==?utf-8?b?YQ?=": "a",
    b'filename="=?utf-8?B?w6Q=?= =?utf-8?Q?b?="': "\u00e4b",
    b'filename="=?utf-8?B?5Q==?=\r\n =?utf-8?B?pKc=?="': "\u5927",
    b'filename="=?iso-8859-1*de?Q?=E4?=.txt"': "=?iso-8859-1*de?Q?=E4?=.txt",
    b'filename="=?iso-8859-1*de?Q?=E4.txt?="': "\u00e4.txt",
    b'filename="=?shift_jis?B?k/qWew==?="': "\u65e5\u672c",
    b'filename="=?klingon?B?YQ==?="': "=?klingon?B?YQ==?=",
    b'filename="=?utf-8?B?*?="': "=?utf-8?B?*?=",
    b'filename="=?utf-8?B?/w==?="': "=?utf-8?B?/w==?=",
    b'filename="=?zlib?Q?x?="': "=?zlib?Q?x?=",
    b'filename="a =?utf-8?Q?b?= c"': "a =?utf-8?Q?b?= c",
    b"filename*0*=UTF-8''na%C3%AFve; filename*1=\" 1%20\"; filename*2*=%E2%82%AC.txt": "na\u00efve 1%20\u20ac.txt",
    b'filename*0="a long"; filename*1=" name.txt"; filename="short.txt"': "a long name.txt",
    b'filename*1*=x; filename="a.txt"': "a.txt",
    b"filename*0*=EBCDIC''%81; filename=\"a.txt\"": "a.txt",
}  # fmt: skip


def test_names_as_libraries_made_for_mail_write_them_are_read(subtests):
    for disposition, name in NAMES.items():
        with subtests.test(disposition=disposition):
            body = multipart(b'Content-Disposition: form-data; name="file"; ' + disposition + b"\r\n\r\nx\r\n")
            assert read(body) == [("file", name, b"x")]
            assert read(*(body[at : at + 1] for at in range(len(body)))) == [("file", name, b"x")]


async def test_a_file_keeps_the_name_that_was_encoded(post):
    body = multipart(b'Content-Disposition: form-data; name="file"; filename="=?utf-8?B?w6Q=?="\r\n\r\nx\r\n')
    assert (await post(body, "/v1/files")).json()["name"] == "\u00e4"

"""Multipart bodies: broken in each way that there is, and whole ones cut at each place that there is."""

import pytest

from service.errors import FilemillError, MalformedMultipartError
from service.intake.multipart import MultipartReader, PartBegin, PartData, PartEnd
from service.settings import Settings
from tests.web.answers import MULTIPART, assert_problem, multipart, part

FIELD = part("processor", "t.read")
FILE = part("file", b"some bytes\r\n--frontie", "a.txt")
BODY = multipart(FIELD, FILE, part("file", b"", "empty"), part("metadata", '{"order": 17}'))
CONTENTS = [("processor", None, b"t.read"), ("file", "a.txt", b"some bytes\r\n--frontie"), ("file", "empty", b""),
            ("metadata", None, b'{"order": 17}')]  # fmt: skip


@pytest.fixture
def post(client):
    """Return a function that posts a body as multipart."""

    async def post(body, content_type=MULTIPART, path="/v1/jobs"):
        return await client.post(path, content=body, headers={"Content-Type": content_type})

    return post


def read(*pieces):
    """Return the parts of a body that comes in these pieces."""
    reader = MultipartReader(MULTIPART, Settings())
    parts = []
    for piece in pieces:
        for event in reader.feed(piece):
            match event:
                case PartBegin(name, filename):
                    parts.append((name, filename, b""))
                case PartData(data):
                    name, filename, content = parts.pop()
                    parts.append((name, filename, content + data))
                case PartEnd():
                    pass
    reader.close()
    return parts


# ---- whole, whichever way it is cut


def test_a_body_cut_in_two_anywhere_has_the_same_parts():
    for at in range(len(BODY) + 1):
        assert read(BODY[:at], BODY[at:]) == CONTENTS, at


def test_a_body_in_pieces_of_any_size_has_the_same_parts():
    for size in range(1, 60):
        assert read(*(BODY[at : at + size] for at in range(0, len(BODY), size))) == CONTENTS, size


def test_a_body_cut_off_anywhere_is_refused():
    for at in range(len(BODY) - 2):  # without its last line end it is whole
        with pytest.raises(MalformedMultipartError, match=f"ends after {at} bytes"):
            read(BODY[:at])
    assert read(BODY[:-2]) == CONTENTS


def test_what_is_flipped_anywhere_never_breaks_the_reader():
    for at in range(len(BODY)):
        for byte in (b"\x00", b"\r", b"\n", b'"', b"-", b"\xff"):
            try:
                read(BODY[:at] + byte + BODY[at + 1 :])
            except FilemillError as error:
                assert error.http_status in {400, 431}  # noqa: PT017 - most flips hit contents, and raise nothing


async def test_a_form_that_comes_byte_by_byte_becomes_the_same_job(exchange, finished):
    upload = exchange("POST", "/v1/jobs", Content_Type=MULTIPART)
    upload.put(*(bytes([byte]) for byte in BODY))
    upload.end()
    job = await finished((await upload.answer()).json())
    assert job["result"] == [["a.txt", 21, "some bytes\r\n--frontie"], ["empty", 0, ""]]
    assert job["metadata"] == {"order": 17}


async def test_what_stands_around_a_form_is_passed_over(post):
    assert (await post(b"\r\n" + BODY + b"an epilogue\r\n--frontier\r\n")).status_code == 202


async def test_the_boundary_may_be_quoted_and_as_long_as_the_rules_allow(post):
    assert (await post(BODY, 'Multipart/Form-Data; charset=utf-8; BOUNDARY="frontier"')).status_code == 202
    long = b"b" * 70
    body = BODY.replace(b"--frontier\r\n", b"--" + long + b"\r\n").replace(b"--frontier--", b"--" + long + b"--")
    response = await post(body, f"multipart/form-data; boundary={long.decode()}")
    assert response.status_code == 202


# ---- broken

NO_BOUNDARY = {
    "none": "multipart/form-data",
    "no value": "multipart/form-data; boundary",
    "empty": "multipart/form-data; boundary=",
    "empty in quotes": 'multipart/form-data; boundary=""',
    "another parameter": "multipart/form-data; charset=utf-8",
    "too long": "multipart/form-data; boundary=" + "b" * 71,
}
BROKEN = {
    "empty": (b"", "ends after 0 bytes"),
    "another boundary": (BODY.replace(b"--frontier", b"--border"), "at byte"),
    "not multipart at all": (b'{"processor": "t.read"}', "at byte 0, in part 1"),
    "only a line end": (b"\r\n", "ends after 2 bytes"),
    "cut in a boundary": (BODY[:6], "ends after 6 bytes"),
    "cut in a header": (b"--frontier\r\nContent-Dispo", "in part 1, without its closing boundary"),
    "cut in a field": (b"--frontier\r\n" + FIELD[:-4], "in part 1, without its closing boundary"),
    "cut in a file": (b"--frontier\r\n" + FIELD + b"--frontier\r\n" + FILE[:-4], "in part 2, without its closing"),
    "cut after a file": (b"--frontier\r\n" + FIELD + b"--frontier\r\n" + FILE, "in part 2, without its closing"),
    "cut before the last dashes": (multipart(FIELD, FILE)[:-4], "without its closing boundary"),
    "a header without a colon": (b"--frontier\r\nnonsense\r\n\r\nx\r\n--frontier--\r\n", "at byte 20, in part 1"),
    "a header without a name": (b"--frontier\r\n: x\r\n\r\nx\r\n--frontier--\r\n", "at byte 12, in part 1"),
    "a NUL in a header's name": (b"--frontier\r\nA\0: x\r\n\r\nx\r\n--frontier--\r\n", "at byte 13, in part 1"),
    "a bare carriage return": (b"--frontier\r\nA: x\rB: y\r\n\r\nx\r\n--frontier--\r\n", "in part 1"),
    "something after a boundary": (b"--frontierx\r\n" + FIELD, "without a line that begins with the boundary"),
    "a part without headers": (multipart(FILE, b"\r\nx\r\n"), "part 2 has no name"),
    "a part without a disposition": (multipart(b"Content-Type: text/plain\r\n\r\nx\r\n"), "part 1 has no name"),
    "a part without a name": (multipart(FIELD, b"Content-Disposition: form-data\r\n\r\nx\r\n"), "part 2 has no name"),
    "an empty name": (multipart(part("", "x")), "part 1 has no name"),
    "a file without a name of its field": (
        multipart(b'Content-Disposition: form-data; filename="a"\r\n\r\nx\r\n'), "part 1 has no name"),
    "an attachment": (multipart(b'Content-Disposition: attachment; name="file"\r\n\r\nx\r\n'), "part 1 has no name"),
}  # fmt: skip


async def test_without_a_boundary_the_answer_says_that_it_is_missing(post, nothing_left, subtests):
    for case, content_type in NO_BOUNDARY.items():
        with subtests.test(case=case):
            problem = assert_problem(await post(BODY, content_type), 400, "malformed_multipart")
            assert "boundary of 1 to 70 characters" in problem["detail"]
    nothing_left()


async def test_a_broken_form_is_refused_and_the_answer_says_where(post, nothing_left, subtests):
    for case, (body, where) in BROKEN.items():
        with subtests.test(case=case):
            assert where in assert_problem(await post(body), 400, "malformed_multipart")["detail"]
    nothing_left()


async def test_a_broken_form_stores_no_file_either(post, nothing_left, subtests):
    for case, (body, where) in BROKEN.items():
        with subtests.test(case=case):
            response = await post(body.replace(FIELD + b"--frontier\r\n", b""), path="/v1/files")
            if "part 2" in where:
                where = "part "  # noqa: PLW2901 - the field before it is gone
            if response.status_code != 422:  # a whole field comes before what is broken
                assert where in assert_problem(response, 400, "malformed_multipart")["detail"]
    nothing_left()


async def test_the_place_is_counted_over_all_pieces(exchange, nothing_left):
    upload = exchange("POST", "/v1/jobs", Content_Type=MULTIPART)
    begin = b"--frontier\r\n" + FIELD + b"--frontier\r\n"
    upload.put(*(begin[at : at + 7] for at in range(0, len(begin), 7)))
    upload.end(b"A\0: x\r\n\r\n")
    problem = assert_problem(await upload.answer(), 400, "malformed_multipart")
    assert f"at byte {len(begin) + 1}, in part 2" in problem["detail"]
    nothing_left()


# ---- headers of parts


@pytest.mark.settings(max_part_header_bytes=256)
async def test_part_headers_beyond_the_limit_are_refused(post, exchange, nothing_left, subtests):
    disposition = b'Content-Disposition: form-data; name="file"; filename="a"\r\n'
    for case, headers in {
        "one long line": b"A: " + b"x" * 300 + b"\r\n",
        "one very long line": b"A: " + b"x" * 100_000 + b"\r\n",
        "a long name": b"A" * 300 + b": x\r\n",
        "many lines": b"A: x\r\n" * 90,
        "very many lines": b"A:\r\n" * 5000,
        "nothing but blanks": b"A:" + b" " * 5000 + b"x\r\n",
        "a long file name": part("file", b"", "n" * 300)[:-4],
    }.items():
        body = multipart(FIELD, disposition + headers + b"\r\nx\r\n")
        with subtests.test(case=case):
            problem = assert_problem(await post(body), 431, "part_headers_too_large")
            assert "part 2" in problem["detail"]
            assert "256 bytes" in problem["detail"]
        with subtests.test(case=case, pieces=True):
            upload = exchange("POST", "/v1/jobs", Content_Type=MULTIPART)
            upload.put(*(body[at : at + 100] for at in range(0, len(body), 100)))
            upload.end()
            assert_problem(await upload.answer(), 431, "part_headers_too_large")
    nothing_left()


@pytest.mark.settings(max_part_header_bytes=256)
async def test_part_headers_within_the_limit_are_taken(post):
    body = multipart(FIELD, part("file", b"x", "n" * 180))
    assert (await post(body)).status_code == 202

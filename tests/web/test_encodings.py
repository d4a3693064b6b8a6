"""Bodies and parts that come encoded: what they mean is kept, or the answer names the encoding."""

import base64
import gzip
import sys
import zlib

import pytest

from service.intake.transfer_encoding import QuotedPrintable
from tests.web.answers import MULTIPART, assert_problem, multipart, part, wrong_fields

CONTENT = bytes(range(256)) * 5 + b"  \r\n=\r\n.\r\n--frontier \r\n\n\r"


QUOTED = b"=\r\n".join(b"".join(b"=%02X" % byte for byte in CONTENT[at : at + 25]) for at in range(0, len(CONTENT), 25))


def encoded(name, encoding, content, *, filename=None, header="Content-Transfer-Encoding"):
    """Return a part with its content in an encoding."""
    return f"{header}: {encoding}\r\n".encode() + part(name, content, filename)


@pytest.fixture
def post(client):
    """Return a function that posts parts as a form."""

    async def post(*parts, path="/v1/jobs"):
        return await client.post(path, content=multipart(*parts), headers={"Content-Type": MULTIPART})

    return post


@pytest.fixture
def kept(client, post):
    """Return a function that stores a part, and returns what was kept."""

    async def kept(one):
        response = await post(one, path="/v1/files")
        assert response.status_code == 201, response.text
        return (await client.get(response.json()["links"]["content"])).content

    return kept


# ---- whole bodies


async def test_an_encoded_body_is_refused_with_the_name_of_its_encoding(client, nothing_left, subtests):
    body = b'{"processor": "t.echo"}'
    for encoding, content in {
        "gzip": gzip.compress(body), "deflate": zlib.compress(body), "GZIP": gzip.compress(body), "br": b"x",
        "zstd": b"x", "identity, gzip": gzip.compress(body), "gzip, gzip": b"x", "aws-chunked": b"x", "\xff": b"x",
    }.items():  # fmt: skip
        for path, kind in [("/v1/jobs", "application/json"), ("/v1/jobs?processor=t.read", "image/png"),
                           ("/v1/jobs", MULTIPART), ("/v1/files", "text/plain"), ("/v1/files", MULTIPART)]:  # fmt: skip
            with subtests.test(encoding=encoding, path=path, kind=kind):
                headers = {"Content-Type": kind, "Content-Encoding": encoding.encode("latin-1")}
                response = await client.post(path, content=content, headers=headers)
                problem = assert_problem(response, 415, "unsupported_encoding")
                assert encoding.removeprefix("identity, ") in problem["detail"]
                assert response.headers["accept-encoding"] == "identity"
    nothing_left()


async def test_an_encoded_body_is_refused_before_it_is_read(exchange, nothing_left):
    upload = exchange("POST", "/v1/files", Content_Encoding="gzip", Content_Length="1000000")
    assert_problem(await upload.answer(), 415, "unsupported_encoding")
    assert upload.taken == 0
    nothing_left()


async def test_several_headers_of_encoding_are_one_list(client, nothing_left):
    headers = [("Content-Encoding", "identity"), ("Content-Encoding", "gzip")]
    problem = assert_problem(await client.post("/v1/files", content=b"x", headers=headers), 415, "unsupported_encoding")
    assert "gzip" in problem["detail"]
    nothing_left()


async def test_a_body_encoded_as_mail_is_refused_too(client, nothing_left):
    headers = {"Content-Transfer-Encoding": "base64"}
    problem = assert_problem(
        await client.post("/v1/files", content=b"eA==", headers=headers), 415, "unsupported_encoding"
    )
    assert "base64" in problem["detail"]
    nothing_left()


async def test_a_piece_of_a_file_is_not_taken_for_the_whole_of_it(client, nothing_left):
    for piece in (
        "bytes 0-4/10",
        "bytes 5-9/10",
        "bytes 0-4/*",
        "bytes */10",
        "nonsense",
        "bytes 0-" + "9" * 5000 + "/1",
    ):
        for path, kind in (("/v1/files", "text/plain"), ("/v1/jobs", MULTIPART)):
            headers = {"Content-Type": kind, "Content-Range": piece}
            problem = assert_problem(await client.post(path, content=b"hello", headers=headers), 400, "bad_request")
            assert f"Content-Range: {piece[:50]}" in problem["detail"]
    nothing_left()
    headers = {"Content-Range": "bytes 0-4/5"}
    assert (await client.post("/v1/files", content=b"hello", headers=headers)).status_code == 201


async def test_a_body_that_says_it_is_not_encoded_is_taken(client):
    for header, encoding in [("Content-Encoding", "identity"), ("Content-Encoding", ""),
                             ("Content-Encoding", "Identity"), ("Content-Transfer-Encoding", "binary")]:  # fmt: skip
        response = await client.post("/v1/files", content=b"x", headers={header: encoding})
        assert response.json()["size_bytes"] == 1


async def test_a_body_of_parts_that_is_no_form_is_refused_by_its_name(client, nothing_left, subtests):
    body = multipart(part("processor", "t.read"), part("file", b"x", "a"))
    for kind in ("multipart/mixed", "multipart/related", "Multipart/Alternative", "multipart/x-new", "multipart/"):
        for path in ("/v1/jobs", "/v1/jobs?processor=t.read", "/v1/files"):
            with subtests.test(kind=kind, path=path):
                headers = {"Content-Type": f"{kind}; boundary=frontier"}
                problem = assert_problem(
                    await client.post(path, content=body, headers=headers), 415, "unsupported_content_type"
                )
                for word in (kind.lower(), "multipart/form-data", "application/json", "application/octet-stream"):
                    assert word in problem["detail"]
    nothing_left()


async def test_mail_is_a_file_like_any_other(client):
    response = await client.post("/v1/files", content=b"From: a\r\n\r\nx", headers={"Content-Type": "message/rfc822"})
    assert response.json()["size_bytes"] == 12


# ---- parts


async def test_a_part_in_base64_is_kept_as_what_it_means(kept, subtests):
    for case, text in {
        "lines": base64.encodebytes(CONTENT).replace(b"\n", b"\r\n"),
        "one line": base64.b64encode(CONTENT),
        "blanks": b" ".join(base64.b64encode(CONTENT)[at : at + 3] for at in range(0, 2000, 3)),
    }.items():
        for encoding in ("base64", "BASE64", " Base64 ", "base64; x=y"):
            with subtests.test(case=case, encoding=encoding):
                assert await kept(encoded("file", encoding, text, filename="a")) == CONTENT
    for content in (b"", b"a", b"ab", b"abc", b"abcd"):
        assert await kept(encoded("file", "base64", base64.b64encode(content), filename="a")) == content


async def test_a_part_in_quoted_printable_is_kept_as_what_it_means(kept, subtests):
    for text, meant in {
        QUOTED: CONTENT, b"": b"", b"a=3D=3d=\r\nb \t\r\nc=20=\t\r\n": b"a==b\r\nc ",
        b"=E2=82=AC=": b"\xe2\x82\xac", b"\xff\n\n": b"\xff\n\n", b"soft=\nend  ": b"softend",
    }.items():  # fmt: skip
        with subtests.test(text=text):
            assert await kept(encoded("file", "Quoted-Printable", text, filename="a")) == meant


def test_quoted_printable_of_many_lines_takes_no_step_of_python_for_each():
    decoder, calls = QuotedPrintable(), []
    sys.setprofile(lambda _frame, event, _argument: calls.append(event))
    try:
        decoded = decoder.feed(b"=41 \r\n" * 10_000) + decoder.close()
    finally:
        sys.setprofile(None)
    assert decoded == b"A\r\n" * 10_000
    assert len(calls) < 1000  # of the garbage collector


async def test_encoded_parts_are_the_same_in_pieces_of_any_size(exchange, subtests):
    bodies = multipart(
        part("processor", "t.read"),
        encoded("file", "base64", base64.encodebytes(CONTENT), filename="a"),
        encoded("file", "quoted-printable", QUOTED, filename="b"),
    )
    for size in (1, 2, 3, 7, 64, 1000):
        with subtests.test(size=size):
            upload = exchange("POST", "/v1/jobs", Content_Type=MULTIPART)
            upload.put(*(bodies[at : at + size] for at in range(0, len(bodies), size)))
            upload.end()
            files = (await upload.answer()).json()["inputs"]
            assert [file["size_bytes"] for file in files] == [len(CONTENT)] * 2
            assert files[0]["sha256"] == files[1]["sha256"]


async def test_an_encoded_field_is_read_as_what_it_means(post):
    response = await post(
        encoded("processor", "base64", b"dC5l\r\nY2hv"), encoded("metadata", "quoted-printable", "{=22a=22: 1}")
    )
    assert (response.json()["processor"], response.json()["metadata"]) == ("t.echo", {"a": 1})


async def test_a_part_that_is_not_what_its_encoding_says_is_refused_with_the_place(post, nothing_left, subtests):
    for encoding, text, words in [
        ("base64", b"eA==*", "byte 4 of its content"),
        ("base64", b"\r\n e-A=", "byte 4 of its content"),
        ("base64", b"eA", "ends after 2 bytes"),
        ("base64", b"eA=", "ends after 3 bytes"),
        ("base64", b"=", "ends after 1 bytes"),
        ("base64", b"====", "byte 0 of its content"),
        ("base64", b"eA==eA==", "after its padding"),
        ("base64", b"\xff", "byte 0 of its content"),
        ("quoted-printable", b"ab=4", "byte 2 of its content"),
        ("quoted-printable", b"line\r\n=XY", "byte 6 of its content"),
        ("quoted-printable", b"a = b", "byte 2 of its content"),
        ("quoted-printable", b"x" * 100_000, "byte 0 of its content has no end"),
    ]:
        for name, filename in (("file", "a"), ("metadata", None)):
            with subtests.test(encoding=encoding, text=text[:20], name=name):
                response = await post(part("processor", "t.read"), encoded(name, encoding, text, filename=filename))
                problem = assert_problem(response, 400, "malformed_multipart")
                assert "in part 2" in problem["detail"]
                assert words in problem["detail"]
    nothing_left()


async def test_a_part_in_an_encoding_that_is_not_known_is_refused_by_its_name(post, nothing_left, subtests):
    for header, encoding in [("Content-Transfer-Encoding", "x-uuencode"), ("Content-Transfer-Encoding", "gzip"),
                             ("Content-Encoding", "gzip"), ("Content-Encoding", "BR"),
                             ("content-encoding", "identity, gzip")]:  # fmt: skip
        for path in ("/v1/jobs", "/v1/files"):
            with subtests.test(header=header, encoding=encoding, path=path):
                response = await post(encoded("file", encoding, b"x", filename="a", header=header), path=path)
                problem = assert_problem(response, 415, "unsupported_encoding")
                assert "part 1" in problem["detail"]
                assert encoding in problem["detail"]
    nothing_left()


async def test_a_part_that_says_it_is_not_encoded_is_kept_as_it_is(kept, subtests):
    for encoding in ("7bit", "8BIT", "binary", "identity", ""):
        with subtests.test(encoding=encoding):
            assert await kept(encoded("file", encoding, b"eA==", filename="a")) == b"eA=="


@pytest.mark.settings(max_field_bytes=1000)
async def test_limits_hold_for_what_is_decoded(post):
    text = base64.b64encode(b'{"a": "' + b"x" * 900 + b'"}')
    assert len(text) > 1000
    assert (await post(part("processor", "t.echo"), encoded("metadata", "base64", text))).status_code == 202
    response = await post(part("processor", "t.echo"), encoded("metadata", "base64", base64.b64encode(b" " * 1001)))
    assert_problem(response, 413, "field_too_large")


async def test_parts_within_a_part_are_refused_by_their_name(post, nothing_left):
    inner = b'--inner\r\nContent-Disposition: attachment; filename="a.txt"\r\n\r\none\r\n--inner--'
    nested = b"Content-Type: Multipart/Mixed; boundary=inner\r\n"
    for one in (nested + part("file", inner), nested + part("file", inner, "a")):
        for path in ("/v1/jobs", "/v1/files"):
            problem = assert_problem(await post(one, path=path), 415, "unsupported_content_type")
            assert "Multipart/Mixed" in problem["detail"]
    nothing_left()


async def test_a_saved_page_that_is_called_multipart_is_a_file(kept):
    assert await kept(b"Content-Type: multipart/related\r\n" + part("file", b"x", "page.mht")) == b"x"


async def test_a_header_that_matters_is_refused_when_a_part_has_it_twice(post, nothing_left):
    for line in (b"Content-Transfer-Encoding: base64\r\n", b"Content-Type: text/plain\r\n",
                 b'Content-Disposition: form-data; name="file"\r\n'):  # fmt: skip
        problem = assert_problem(await post(line * 2 + part("file", b"x", "a")), 400, "malformed_multipart")
        assert "twice" in problem["detail"]
    nothing_left()


# ---- charsets


async def test_a_field_is_read_in_its_charset(post, subtests):
    for charset in (
        "utf-8",
        "UTF-8",
        '"utf-8"',
        "iso-8859-1",
        "windows-1252",
        "utf-16",
        "utf-16le",
        "us-ascii",
        "latin-1",
        "latin1",
    ):
        text = '{"a": "ä"}' if charset != "us-ascii" else '{"a": "a"}'
        header = f"Content-Type: text/plain; charset={charset}\r\n".encode()
        with subtests.test(charset=charset):
            response = await post(
                part("processor", "t.echo"), header + part("metadata", text.encode(charset.strip('"')))
            )
            assert response.json()["metadata"]["a"] in {"a", "ä"}


async def test_a_form_may_name_the_charset_of_its_fields(post):
    fields = part("processor", "t.echo"), part("metadata", '{"a": "ä"}'.encode("iso-8859-1"))
    assert (await post(part("_charset_", "iso-8859-1"), *fields)).json()["metadata"] == {"a": "ä"}
    response = await post(part("_charset_", "utf-8"), *fields)
    assert "UTF-8 at byte 7" in assert_problem(response, 422, "invalid_request")["detail"]


async def test_a_form_names_its_charset_once(post, nothing_left):
    twice = [part("_charset_", "utf-8")] * 2
    problem = assert_problem(await post(*twice, part("processor", "t.read")), 422, "invalid_request")
    assert "'_charset_' came twice" in problem["detail"]
    nothing_left()


async def test_a_charset_that_is_not_read_is_refused_by_its_name(post, client, nothing_left, subtests):
    for charset in ("klingon", "zlib", "idna", "utf-7", "rot13", "x" * 5000):
        with subtests.test(charset=charset[:20]):
            header = f"Content-Type: text/plain; charset={charset}\r\n".encode()
            for parts in (
                (header + part("processor", "t.echo"),),
                (part("_charset_", charset), part("processor", "x")),
            ):
                problem = assert_problem(await post(*parts), 415, "unsupported_content_type")
                assert charset[:100] in problem["detail"]
                assert "UTF-8" in problem["detail"]
    for charset in ("utf-16", "iso-8859-1", "klingon"):
        headers = {"Content-Type": f"application/json; charset={charset}"}
        problem = assert_problem(
            await client.post("/v1/jobs", content=b"{}", headers=headers), 415, "unsupported_content_type"
        )
        assert charset in problem["detail"]
    nothing_left()


async def test_json_may_say_that_it_is_utf_8(client):
    for charset in ("utf-8", "UTF8", '"utf-8"'):
        headers = {"Content-Type": f"application/json; charset={charset}"}
        response = await client.post("/v1/jobs", content=b'{"processor": "t.echo"}', headers=headers)
        assert response.status_code == 202


async def test_what_is_not_in_its_charset_is_refused_with_the_place(post, nothing_left):
    header = b"Content-Type: text/plain; charset=utf-16\r\n"
    response = await post(part("processor", "t.echo"), header + part("metadata", b"\xff\xfe\x00\xd8x\x00"))
    problem = assert_problem(response, 422, "invalid_request")
    assert "'metadata' is not utf-16 at byte" in problem["detail"]
    assert wrong_fields(problem) == []
    nothing_left()

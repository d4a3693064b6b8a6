"""File names: whatever they are, they are metadata; on the way out they are harmless in a header."""

from urllib.parse import unquote

import pytest

from tests.web.answers import MULTIPART, multipart, part

ODD = {
    "a path up": "../../etc/passwd",
    "a path": "/etc/passwd",
    "a Windows path": "C:\\Windows\\system.ini",
    "dots": "..",
    "a dot": ".",
    "blanks": "   ",
    "a NUL": "a\0.txt",
    "a quote": 'say "hi".txt',
    "a backslash and a quote": 'back\\slash\\".txt',
    "a semicolon": "a;b=c; filename=d.txt",
    "a percent sign": "100%41.txt",
    "control characters": "a\x01\x1b[31m\x7f.txt",
    "a line feed": "a\nSet-Cookie: x=1",
    "text turned around": "photo\u202egpj.exe",
    "4,000 characters": "n" * 3996 + ".txt",
    "4,000 letters of three bytes": "\u6f22" * 3996 + ".txt",
    "Cyrillic": "\u043e\u0442\u0447\u0451\u0442.pdf",
    "Arabic": "\u062a\u0642\u0631\u064a\u0631.pdf",
    "Chinese": "\u62a5\u544a.pdf",
    "an emoji": "\U0001f986.png",
    "a combining accent": "cafe\u0301.txt",
    "like an RFC 5987 form": "UTF-8''a%2Fb.txt",
}


def spoken(header):
    """Return both names in a Content-Disposition."""
    kind, plain, extended = header.split("; ")
    assert kind == "attachment"
    assert plain.startswith('filename="')
    assert plain.endswith('"')
    assert extended.startswith("filename*=UTF-8''")
    return plain[10:-1], unquote(extended[17:], errors="strict")


async def check(client, response, name, settings):
    """Check that a file has this name, that no path was made of it, and that the header of its download is harmless."""
    assert response.status_code == 201, response.text
    file = response.json()
    assert file["name"] == name
    assert (await client.get(file["links"]["self"])).json()["name"] == name
    assert (settings.data_dir / "files" / file["id"]).read_bytes() == b"x"
    answer = await client.get(file["links"]["content"])
    assert answer.content == b"x"
    plain, full = spoken(answer.headers["content-disposition"])
    assert plain.isascii()
    for one in (plain, full):
        assert one.strip(". ")
        assert one.isprintable()
        assert len(one) <= 200
        assert not {"/", "\\"} & set(one)
    assert '"' not in plain
    paths = {path.name for path in settings.data_dir.parent.rglob("*") if path.is_file()}
    assert not {"passwd", "system.ini"} & paths


async def test_a_name_in_a_form_is_kept_and_never_a_path(client, settings, subtests):
    for case, name in ODD.items():
        quoted = name.replace("\\", "\\\\").replace('"', '\\"').encode()
        body = multipart(b'Content-Disposition: form-data; name="file"; filename="' + quoted + b'"\r\n\r\nx\r\n')
        with subtests.test(case=case):
            response = await client.post("/v1/files", content=body, headers={"Content-Type": MULTIPART})
            await check(client, response, name, settings)


async def test_a_name_in_a_query_is_kept_and_never_a_path(client, settings, subtests):
    for case, name in ODD.items():
        with subtests.test(case=case):
            await check(client, await client.post("/v1/files", params={"filename": name}, content=b"x"), name, settings)


async def test_a_name_in_another_form_is_read(client, settings, subtests):
    for disposition, name in {
        b"filename*=UTF-8''na%C3%AFve%2F..%2Fa.txt": "na\u00efve/../a.txt",
        b"filename*=utf-8'en'%e2%82%ac.txt": "\u20ac.txt",
        b"filename*=iso-8859-1''%A3.txt": "\u00a3.txt",
        b"filename*=UTF-8''%FF.txt": "\ufffd.txt",
        b"filename*=windows-1252''%80.txt": "\u20ac.txt",
        b"filename*=shift_jis'ja'%83e.txt": "\u30c6.txt",
        b"filename*=EBCDIC''%81.txt": "EBCDIC''%81.txt",
        b'filename*="bare.txt"': "bare.txt",
        b"filename=\"a.txt\"; filename*=UTF-8''%E2%82%AC.txt": "\u20ac.txt",
        b"filename*=UTF-8''%E2%82%AC.txt; filename=\"a.txt\"": "\u20ac.txt",
        b"filename=\"a.txt\"; filename*=EBCDIC''%81": "a.txt",
        b'filename="a.txt"; filename*=broken': "a.txt",
        b"filename=bare.txt": "bare.txt",
        b'FileName = "spaced.txt" ': "spaced.txt",
        b'filename="C:\\fakepath\\a.txt"': "C:\\fakepath\\a.txt",
        b'filename="ends in a backslash\\"': "ends in a backslash\\",
        b'filename="first.txt"; filename="second.txt"': "first.txt",
        b'filename="caf\xe9.txt"': "caf\ufffd.txt",
        b'filename=""': "upload",
    }.items():
        body = multipart(b'Content-Disposition: form-data; name="file"; ' + disposition + b"\r\n\r\nx\r\n")
        with subtests.test(disposition=disposition):
            response = await client.post("/v1/files", content=body, headers={"Content-Type": MULTIPART})
            await check(client, response, name, settings)


@pytest.mark.parametrize("name", ["../../out.txt", "/etc/passwd", "a\0b", "..", "n" * 4000])
async def test_the_name_of_an_output_is_no_path_either(client, submit, finished, settings, name):
    job = await finished(await submit(processor="t.write", params={"name": name}))
    [output] = job["outputs"]
    assert output["name"] == name
    assert spoken((await client.get(output["links"]["content"])).headers["content-disposition"])
    assert {path.name for path in (settings.data_dir / "files").iterdir()} == {output["id"]}


async def test_a_processor_sees_the_name_and_another_path(client, finished):
    response = await client.post("/v1/jobs?processor=t.read&filename=..%2F..%2Fetc%2Fpasswd", content=b"x")
    assert (await finished(response.json()))["result"] == [["../../etc/passwd", 1, "x"]]


async def test_the_name_of_a_whole_body_may_come_in_its_header(client):
    for header, query, name in (
        (b'attachment; filename="a.txt"', "", "a.txt"),
        (b"attachment; filename=\"a.txt\"; filename*=UTF-8''%E2%82%AC.txt", "", "\u20ac.txt"),
        (b'inline; filename="\xe2\x82\xac.txt"', "", "\u20ac.txt"),
        (b'attachment; filename="a.txt"', "?filename=b.txt", "b.txt"),
        (b"attachment", "", "upload"),
        (b'attachment; filename=""', "", "upload"),
    ):
        headers = {"Content-Disposition": header, "Content-Type": "text/plain"}
        assert (await client.post(f"/v1/files{query}", content=b"x", headers=headers)).json()["name"] == name


async def test_a_field_may_be_named_as_in_mail(client):
    for name in (b'name="=?utf-8?Q?processor?="', b"name*=utf-8''processor"):
        body = multipart(b"Content-Disposition: form-data; " + name + b"\r\n\r\nt.read\r\n", part("file", b"x", "a"))
        answer = await client.post("/v1/jobs", content=body, headers={"Content-Type": MULTIPART})
        assert (answer.status_code, answer.json()["processor"]) == (202, "t.read")

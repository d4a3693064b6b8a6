"""archive.list, archive.extract and archive.create on real, broken and hostile archives."""

import gzip
import io
import stat
import struct
import sys
import tarfile
import zipfile

import pytest

from service.catalogue.archive import reading as archive_reading
from service.catalogue.archive.names import path_of
from service.catalogue.archive.processors import FREE_BYTES, create, extract, list_entries
from service.errors import InvalidParamsError
from tests.integration.catalogue import SAMPLES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FILES = {"readme.txt": b"hello\n", "docs/a.csv": b"a,b\n1,2\n", "docs/deep/b.csv": b"c\n" * 1000, "empty": b""}
FORMATS = ("zip", "tar", "tar.gz", "tar.zst")


def zipped(files, method=zipfile.ZIP_DEFLATED):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def tarred(*members):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def member(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zstd_with_checksum(content):
    return zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1})


def packed(form, files):
    if form == "zip":
        return zipped(files)
    content = tarred(*((member(name), content) for name, content in files.items()))
    match form:
        case "tar.gz":
            return gzip.compress(content)
        case "tar.zst":
            return zstd_with_checksum(content)
        case _:
            return content


# ---- real archives


@pytest.mark.parametrize("form", FORMATS)
def test_an_archive_is_listed(attempts, form):
    [file] = attempts.run(list_entries, attempts.file(packed(form, FILES), "a.bin")).result["files"]
    assert (file["format"], file["count"], file["size_bytes"], file["dangerous"]) == (form, 4, 2014, 0)
    assert [entry["name"] for entry in file["entries"]] == list(FILES)


@pytest.mark.parametrize("form", FORMATS)
def test_an_archive_is_unpacked_into_output_files(attempts, form):
    done = attempts.run(extract, attempts.file(packed(form, FILES)))
    assert done.bytes_by_name() == {
        "readme.txt": b"hello\n",
        "a.csv": b"a,b\n1,2\n",
        "b.csv": b"c\n" * 1000,
        "empty": b"",
    }
    assert [one["name"] for one in done.result["files"]] == list(FILES)
    assert (done.result["format"], done.result["size_bytes"], done.result["skipped"]) == (form, 2014, [])


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_packed_comes_out_again(attempts, form):
    photo = SAMPLES / "rocket.jpg"
    inputs = [attempts.sample(photo), attempts.file(b"x", "rocket.jpg"), attempts.file(b"y", "../../etc/passwd")]
    made = attempts.run(create, *inputs, format=form, name="photos")
    assert made.outputs[0].name == f"photos.{form}"
    back = attempts.run(extract, attempts.sample(made.output))
    assert [one["name"] for one in back.result["files"]] == ["rocket.jpg", "rocket-2.jpg", "etc/passwd"]
    assert back.bytes_by_name() == {"rocket.jpg": photo.read_bytes(), "rocket-2.jpg": b"x", "passwd": b"y"}
    assert made.notes[-1].fraction == 1


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_files_give_the_same_archive(attempts, form):
    inputs = [attempts.sample(SAMPLES / "iris.csv")]
    first, second = (attempts.run(create, *inputs, format=form).output.read_bytes() for _ in range(2))
    assert first == second


def test_only_what_matches_is_unpacked(attempts):
    done = attempts.run(extract, attempts.file(zipped(FILES)), include=["*.csv"])
    assert [one["name"] for one in done.result["files"]] == ["docs/a.csv", "docs/deep/b.csv"]
    done = attempts.run(extract, attempts.file(zipped(FILES)), include=["docs/*.csv"])
    assert [one["name"] for one in done.result["files"]] == ["docs/a.csv"]


def test_folders_are_no_files(attempts):
    content = zipped({"folder/": b"", "folder/a": b"1"})
    assert attempts.run(extract, attempts.file(content)).bytes_by_name() == {"a": b"1"}
    content = tarred((member("folder", tarfile.DIRTYPE), b""), (member("folder/a"), b"1"))
    assert attempts.run(extract, attempts.file(content)).bytes_by_name() == {"a": b"1"}


def test_a_long_list_goes_into_an_output_file(attempts):
    content = zipped({f"{number}.txt": b"" for number in range(1500)})
    done = attempts.run(list_entries, attempts.file(content, "many.zip"))
    [file] = done.result["files"]
    assert (file["count"], len(file["entries"])) == (1500, 1000)
    assert done.outputs[0].name == "many.entries.jsonl"
    assert done.output.read_text().count("\n") == 1500


def test_a_name_that_is_not_utf_8_is_no_obstacle(attempts):
    content = tarred((member("n\udce4me.txt"), b"1"))
    [file] = attempts.run(list_entries, attempts.file(content)).result["files"]
    assert file["entries"][0]["name"] == "n\\udce4me.txt"
    assert attempts.run(extract, attempts.file(content)).bytes_by_name() == {"n?me.txt": b"1"}


# ---- hostile archives


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "C:\\evil", "\\\\host\\evil", "..\\evil", "..", "//evil"]
)
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_a_name_that_leads_out_is_never_unpacked(attempts, tmp_path, form, name):
    content = packed(form, {name: b"evil", "good": b"1"})
    fail = attempts.refusal(extract, attempts.file(content))
    assert fail.code == "dangerous_entry"
    done = attempts.run(extract, attempts.file(content), dangerous="skip")
    assert done.bytes_by_name() == {"good": b"1"}
    assert len(done.result["skipped"]) == 1
    assert not [path for path in tmp_path.parent.rglob("*evil*") if path.is_file()]


@pytest.mark.parametrize(
    ("kind", "danger"),
    [
        (tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "link"), (tarfile.CHRTYPE, "device"), (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "device"),
    ],
)  # fmt: skip
def test_links_and_devices_in_a_tar_are_never_unpacked(attempts, kind, danger):
    content = tarred((member("x", kind, "/etc/passwd"), b""), (member("x/y"), b"1"))
    assert attempts.refusal(extract, attempts.file(content)).code == "dangerous_entry"
    done = attempts.run(extract, attempts.file(content), dangerous="skip")
    assert done.result["skipped"][0]["danger"] == danger
    assert [output.path.is_symlink() for output in done.outputs] == [False]


@pytest.mark.parametrize(
    ("mode", "danger"), [(stat.S_IFLNK, "link"), (stat.S_IFCHR, "device"), (stat.S_IFIFO, "device")]
)
def test_links_and_devices_in_a_zip_are_never_unpacked(attempts, mode, danger):
    info = zipfile.ZipInfo("x")
    info.external_attr = (mode | 0o777) << 16
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    [file] = attempts.run(list_entries, attempts.file(target.getvalue())).result["files"]
    assert (file["entries"][0]["danger"], file["dangerous"]) == (danger, 1)
    assert attempts.refusal(extract, attempts.file(target.getvalue())).code == "dangerous_entry"


@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar.zst"])
def test_a_bomb_is_stopped_by_its_ratio(attempts, form):
    content = packed(form, {"zeros": bytes(3 * FREE_BYTES)})
    assert len(content) < FREE_BYTES / 200
    assert attempts.refusal(extract, attempts.file(content)).code == "ratio_too_high"
    written = sum(path.stat().st_size for path in attempts.folder.iterdir())
    assert written <= FREE_BYTES + archive_reading.PIECE_BYTES
    assert attempts.run(extract, attempts.file(content), max_ratio=100_000).result["size_bytes"] == 3 * FREE_BYTES


def test_a_nested_bomb_stays_packed(attempts):
    inner = zipped({f"{number}": bytes(FREE_BYTES) for number in range(10)})
    done = attempts.run(extract, attempts.file(zipped({"inner.zip": inner})))
    assert done.bytes_by_name() == {"inner.zip": inner}


def test_a_size_that_lies_does_not_help_a_bomb(attempts):
    content = bytearray(zipped({"zeros": bytes(2 * FREE_BYTES)}))
    at = content.rfind(b"PK\x01\x02")
    struct.pack_into("<L", content, at + 24, 10)  # "it unpacks to 10 bytes"
    fail = attempts.refusal(extract, attempts.file(bytes(content)))
    assert fail.code in {"invalid_archive", "ratio_too_high"}


def test_the_caps_on_entries_and_bytes_hold(attempts):
    content = zipped({f"{number}": b"12345" for number in range(20)})
    assert attempts.refusal(extract, attempts.file(content), max_entries=19).code == "too_many_entries"
    assert attempts.refusal(list_entries, attempts.file(content), max_entries=19).code == "too_many_entries"
    assert attempts.refusal(extract, attempts.file(content), max_bytes=99).code == "too_large"
    assert attempts.run(extract, attempts.file(content), max_entries=20, max_bytes=100).result["count"] == 20


@pytest.mark.parametrize("large", [False, True])
def test_a_table_of_contents_that_would_fill_the_memory_is_refused(attempts, large):
    content = bytearray(zipped({"a": b"1"}))
    at = content.rfind(b"PK\x05\x06")
    if large:
        record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 2**40, 0)
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
        content[at:at] = record + locator
    else:
        struct.pack_into("<L", content, at + 12, 2**31)
    assert attempts.refusal(list_entries, attempts.file(bytes(content))).code == "too_many_entries"


def test_a_header_that_would_fill_the_memory_is_refused(attempts):
    info = tarfile.TarInfo("a")
    info.pax_headers = {"comment": "x" * 3_000_000}
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    content = gzip.compress(target.getvalue())
    assert attempts.refusal(list_entries, attempts.file(content)).code == "header_too_large"


def test_entries_larger_than_a_header_may_be_are_no_headers(attempts):
    content = packed("tar.gz", {"a": b"ab" * 3_000_000, "b": b"c" * 2_000_000})
    assert attempts.run(list_entries, attempts.file(content)).result["files"][0]["size_bytes"] == 8_000_000


def test_an_encrypted_entry_is_told_as_such(attempts):
    content = bytearray(zipped({"a": b"secret"}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        struct.pack_into("<H", content, content.find(mark) + offset, 1)
    fail = attempts.refusal(extract, attempts.file(bytes(content)))
    assert (fail.code, "encrypted" in str(fail)) == ("encrypted_entry", True)


# ---- broken archives


@pytest.mark.parametrize("form", FORMATS)
def test_a_truncated_archive_is_refused(attempts, form):
    content = packed(form, {"photo.jpg": (SAMPLES / "rocket.jpg").read_bytes()})
    fail = attempts.refusal(extract, attempts.file(content[: len(content) // 2], "cut.bin"))
    assert fail.code == "invalid_archive"
    assert "'cut.bin' is broken" in str(fail)


@pytest.mark.parametrize("form", FORMATS)
def test_a_damaged_archive_is_refused(attempts, form):
    content = bytearray(packed(form, {"photo.jpg": (SAMPLES / "rocket.jpg").read_bytes()}))
    middle = len(content) // 2 if form != "tar" else 150  # the checksum of a tar covers headers only
    content[middle : middle + 50] = bytes(50)
    assert attempts.refusal(extract, attempts.file(bytes(content))).code in {"invalid_archive", "not_an_archive"}


def test_an_empty_file_and_a_file_of_another_type_are_refused(attempts):
    assert attempts.refusal(list_entries, attempts.file(b"", "a.zip")).code == "empty_file"
    assert attempts.refusal(list_entries, attempts.sample(SAMPLES / "rocket.jpg", "a.zip")).code == "not_an_archive"
    for compress in (gzip.compress, zstd.compress):
        fail = attempts.refusal(list_entries, attempts.file(compress(b"just text " * 200), "a.tar.gz"))
        assert fail.code == "not_an_archive"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/b", "a/b"),
        ("/a", "a"),
        ("../../a", "a"),
        ("C:\\x\\y", "x/y"),
        ("a\n\0b", "ab"),
        ("..", "file"),
        ("", "file"),
    ],
)
def test_a_name_becomes_a_relative_path(name, path):
    assert str(path_of(name)) == path


# ---- as other programs make them


def test_names_in_utf8_without_the_flag_are_read(attempts):
    content = bytearray(zipped({"ü/日本.txt": b"a"}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        struct.pack_into("<H", content, content.find(mark) + offset, 0)
    done = attempts.run(extract, attempts.file(bytes(content)))
    assert [one["name"] for one in done.result["files"]] == ["ü/日本.txt"]


def test_a_compression_that_is_not_read_here_has_a_code_of_its_own(attempts):
    file = attempts.file(zipped({"a.txt": b"a" * 100}, zipfile.ZIP_LZMA))
    assert attempts.refusal(extract, file).code == "unsupported_compression"
    assert attempts.run(extract, file, dangerous="skip").result["count"] == 0


def test_a_zip_that_unpacks_itself_is_read(attempts):
    file = attempts.file(b"#!/bin/sh\nexec unzip\n" + zipped({"a.txt": b"a"}))
    assert attempts.run(list_entries, file).result["files"][0]["count"] == 1
    assert attempts.run(extract, file).output.read_bytes() == b"a"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.txt", ["a.txt", "docs/b.txt", "docs/sub/c.txt", "x/docs/d.txt"]),
        ("docs/*", ["docs/b.txt"]),
        ("docs/*.txt", ["docs/b.txt"]),
        ("docs/**", ["docs/b.txt", "docs/sub/c.txt"]),
        ("**/docs/*", ["docs/b.txt", "x/docs/d.txt"]),
        ("**/*.txt", ["a.txt", "docs/b.txt", "docs/sub/c.txt", "x/docs/d.txt"]),
        ("/a.txt", ["a.txt"]),
        ("docs", []),
        ("*a" * 200, []),
    ],
)
def test_a_pattern_means_the_whole_path(attempts, pattern, names):
    file = attempts.file(zipped(dict.fromkeys(["a.txt", "docs/b.txt", "docs/sub/c.txt", "x/docs/d.txt"], b"a")))
    assert [one["name"] for one in attempts.run(extract, file, include=[pattern]).result["files"]] == names


@pytest.mark.parametrize("name", [".", "..", "...", "a/b", ""])
def test_an_archive_cannot_be_called_like_a_folder(name):
    with pytest.raises(InvalidParamsError, match=r"params\.name"):
        create.check_params({"name": name})

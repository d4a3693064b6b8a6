"""file.checksum on real files."""

import hashlib
import zlib
from pathlib import Path

import pytest

from service.catalogue.files.processors import PIECE_BYTES, checksum
from service.errors import InvalidParamsError
from service.processors.base import InputFile, JobContext, Note, ProgressNote

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture
def run(tmp_path):
    """Return a function that computes checksums and returns the files of the result and the notes."""

    def compute(*paths, **params):
        files = [InputFile(path.name, path.name, "any/any", path.stat().st_size, "", path) for path in paths]
        notes: list[Note] = []
        job = JobContext("job", 1, 1, files, tmp_path, {}, notes.append)
        result = checksum(job, **checksum.arguments(checksum.check_params(params)))
        return result["files"], notes

    return compute


def test_the_default_is_sha256(run):
    path = SAMPLES / "iris.csv"
    content = path.read_bytes()
    digests = {"sha256": hashlib.sha256(content).hexdigest()}
    assert run(path)[0] == [{"name": "iris.csv", "size_bytes": len(content), "digests": digests}]


def test_all_algorithms_at_once_agree_with_the_standard_library(run):
    path = SAMPLES / "chelsea.png"
    content = path.read_bytes()
    [file], _ = run(path, algorithms=["crc32", "md5", "blake2b", "sha256"])
    assert file["digests"] == {
        "crc32": f"{zlib.crc32(content):08x}",
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "blake2b": hashlib.blake2b(content).hexdigest(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_an_empty_file_has_checksums_too(run, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    [file], _ = run(tmp_path / "empty", algorithms=["crc32", "sha256"])
    assert file["size_bytes"] == 0
    assert file["digests"] == {"crc32": "00000000", "sha256": hashlib.sha256().hexdigest()}


def test_progress_counts_the_bytes_of_all_files(run, tmp_path):
    for name, pieces in (("a", 1), ("b", 3)):
        (tmp_path / name).write_bytes(b"\0" * pieces * PIECE_BYTES)
    _, notes = run(tmp_path / "a", tmp_path / "b")
    assert notes == [
        *(ProgressNote(0.25, "a"), ProgressNote(0.5, "b"), ProgressNote(0.75, "b"), ProgressNote(1.0, "b"))
    ]


@pytest.mark.parametrize("algorithms", [[], ["sha1"], "sha256", ["md5"] * 5])
def test_other_algorithms_are_refused(algorithms):
    with pytest.raises(InvalidParamsError):
        checksum.check_params({"algorithms": algorithms})

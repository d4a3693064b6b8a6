"""Every processor reads exactly the file that it is given, however the file and the folders above it are called.

Libraries read more than a place into a path: patterns, options, protocols, partitions, kinds of compression.
"""

import io
import tarfile
import wave
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest
import xlsxwriter  # type: ignore[import-untyped]

from service.processors.base import Note, Processor
from service.processors.registry import load_registry
from service.testing import Run
from service.worker.trial import distinct_names, prepare
from tests.integration.catalogue import SAMPLES

REGISTRY = load_registry()
NAMES = [
    "a[page=1].jpg", "x*.csv", "x?.csv", "100%d.png", "-rf.txt", "http:a.csv", "a'b.csv", "{1..3}.csv", "file:x.csv",
    "**", "concat:a|b.csv", "back\\slash.csv", "ends in a line\n", "region=eu", "x.gz",
]  # fmt: skip
DECOYS = ("xa.csv", "a", "a.csv", "b.csv", "1.csv", "100.png", "1001.png", "1000.png", "x.csv")
RUNS: list[tuple[str, str, dict[str, Any]]] = [
    ("table.profile", "csv", {}),
    ("table.profile", "jsonl", {}),
    ("table.profile", "parquet", {}),
    ("table.profile", "xlsx", {}),
    ("table.convert", "csv", {"to": "jsonl"}),
    ("table.query", "csv", {"sql": "FROM data"}),
    ("image.info", "png", {}),
    ("image.thumbnail", "png", {"width": 16}),
    ("pdf.text", "pdf", {}),
    ("pdf.split", "pdf", {}),
    ("media.info", "wav", {}),
    ("media.transcode", "wav", {"container": "m4a"}),
    ("archive.list", "zip", {}),
    ("archive.extract", "tar.gz", {}),
    ("archive.create", "csv", {}),
    ("text.stats", "csv", {}),
    ("file.checksum", "csv", {}),
    ("mail.send", "png", {"to": ["ann@example.org"], "subject": "a", "text": "b", "dry_run": True}),
]


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small file of each kind."""
    parquet = tmp_path_factory.mktemp("made") / "a.parquet"
    duckdb.execute(f"COPY (SELECT 1 AS a, 'x' AS b) TO '{parquet}'")
    sound, packed, archive, book = (io.BytesIO() for _ in range(4))
    with wave.open(sound, "wb") as wav:
        wav.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        wav.writeframes(bytes(4000))
    with zipfile.ZipFile(packed, "w") as entries:
        entries.writestr("in.txt", "hello")
    with tarfile.open(fileobj=archive, mode="w:gz") as entries_too:
        entries_too.addfile(tarfile.TarInfo("in.txt"))
    with xlsxwriter.Workbook(book) as workbook:
        workbook.add_worksheet().write_column(0, 0, ["a", 1])
    made = {"wav": sound, "zip": packed, "tar.gz": archive, "xlsx": book}
    return {
        "csv": b"a,b\n1,2\n3,4\n", "jsonl": b'{"a": 1}\n{"a": 2}\n', "parquet": parquet.read_bytes(),
        "png": (SAMPLES / "astronaut.png").read_bytes(), "pdf": (SAMPLES / "text.pdf").read_bytes(),
    } | {kind: file.getvalue() for kind, file in made.items()}  # fmt: skip


@pytest.fixture(scope="module")
def usual(contents: Mapping[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Run]:
    """What each run comes to under an ordinary path."""
    place = tmp_path_factory.mktemp("usual")
    return {
        (name, kind): _run(REGISTRY.get_named(name), place / f"{number}", contents[kind], params)
        for number, (name, kind, params) in enumerate(RUNS)
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_an_odd_name_is_read_as_exactly_that_file(name, contents, usual, tmp_path, subtests):
    place = tmp_path / name
    place.mkdir()
    for decoy in set(DECOYS) - {name}:
        (place / decoy).write_bytes(b"not this one")
    for number, (processor, kind, params) in enumerate(RUNS):
        with subtests.test(processor=processor, kind=kind):
            folder = tmp_path / name / f"{number}"
            got = _run(REGISTRY.get_named(processor), place / name, contents[kind], params, folder)
            assert got.result == usual[processor, kind].result
            assert got.outputs.keys() == usual[processor, kind].outputs.keys()


def _run(
    processor: Processor, path: Path, content: bytes, params: Mapping[str, Any], folder: Path | None = None
) -> Run:
    """Run the processor on a file at this path; clients call it `file` wherever it lies."""
    path.write_bytes(content)
    notes: list[Note] = []
    trial = prepare(processor, [("file", path)], params, folder or path.with_name(path.name + "-work"), notes.append)
    returned = trial.run()
    return Run(returned.result, {name: one.path.read_bytes() for name, one in distinct_names(returned.outputs)}, [], [])

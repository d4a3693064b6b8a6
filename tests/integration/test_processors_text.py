"""text.write, as it runs on the event loop."""

import tracemalloc

import pytest

from service.errors import InvalidParamsError
from service.processors.base import Note, ProgressNote
from service.processors.text import PIECE_BYTES, write
from service.worker.runner import Assignment, LoopRunner, Refused


@pytest.fixture
def run(tmp_path):
    """Return a function that runs the processor and returns its verdict and notes."""

    async def write_text(**params):
        notes: list[Note] = []
        work = Assignment("job", 1, 1, write, write.check_params(params), {}, (), tmp_path, 60)
        return await LoopRunner().run(work, notes.append), notes

    return write_text


async def test_the_content_is_written_as_utf_8_under_the_name(run):
    verdict, _ = await run(name="grüße.txt", content="hällo\nwörld")
    [output] = verdict.outputs
    assert output.name == "grüße.txt"
    assert output.path.read_text(encoding="utf-8") == "hällo\nwörld"
    assert verdict.result == {"size_bytes": 13, "lines": 2}


@pytest.mark.parametrize(
    ("content", "repeat", "lines"), [("", 5, 0), ("a", 3, 1), ("a\n", 3, 3), ("a\nb", 2, 3), ("\n", 1, 1)]
)
async def test_lines_are_counted_as_an_editor_does(run, content, repeat, lines):
    verdict, _ = await run(name="a", content=content, repeat=repeat)
    assert verdict.outputs[0].path.read_text() == content * repeat
    assert verdict.result == {"size_bytes": len(content) * repeat, "lines": lines}


async def test_a_large_file_is_written_in_pieces_with_progress_and_flat_memory(run):
    tracemalloc.start()
    verdict, notes = await run(name="big.txt", content="0123456789abcde\n", repeat=1_000_000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert verdict.outputs[0].path.stat().st_size == 16_000_000
    assert len(notes) == 16_000_000 // PIECE_BYTES + 1
    assert notes[-1] == ProgressNote(1.0, "")
    assert peak_bytes < 4 * PIECE_BYTES


async def test_more_than_a_disk_should_hold_is_refused(run):
    verdict, _ = await run(name="big.txt", content="x" * 100_000, repeat=1_000_000)
    assert verdict == Refused(
        "too_large", "the file would have 100,000,000,000 bytes, and at most 10,737,418,240 are written"
    )


@pytest.mark.parametrize("name", ["", "a/b", "..\\b", "a\0b", "a\nb", "x" * 256])
def test_a_name_that_is_a_path_is_refused(name):
    with pytest.raises(InvalidParamsError, match=r"params\.name"):
        write.check_params({"name": name, "content": ""})

"""One attempt of a catalogue processor, on files made on the spot."""

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.naming import tool_name
from service.processors.base import Fail, InputFile, JobContext, Note, OutputFile, Processor
from service.processors.calling import acall, call
from service.sniff import HEAD_BYTES, sniff

SAMPLES = Path(__file__).parents[1] / "samples"


@dataclass
class Done:
    """What an attempt came to."""

    result: Any
    outputs: Sequence[OutputFile]
    notes: list[Note] = field(default_factory=list)

    @property
    def output(self) -> Path:
        [one] = self.outputs
        return one.path

    def bytes_by_name(self) -> dict[str, bytes]:
        return {one.name: one.path.read_bytes() for one in self.outputs}


class Attempts:
    """Runs processors in folders of their own."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._count = 0
        self.folder = place

    def file(self, content: bytes, name: str = "file") -> InputFile:
        self._count += 1
        path = self._place / f"input-{self._count}-{tool_name(name)}"
        path.write_bytes(content)
        return self.sample(path, name)

    def sample(self, path: Path, name: str | None = None) -> InputFile:
        with path.open("rb") as source:
            media_type = sniff(source.read(HEAD_BYTES))
        return InputFile(str(self._count), name or path.name, media_type, path.stat().st_size, "", path)

    def run(self, processor: Processor, *files: InputFile, **params: Any) -> Done:
        assert not inspect.iscoroutinefunction(processor.function)
        job, notes = self._job(processor, files)
        return self._done(job, call(processor, job, processor.check_params(params)), notes)

    async def arun(self, processor: Processor, *files: InputFile, **params: Any) -> Done:
        job, notes = self._job(processor, files)
        return self._done(job, await acall(processor, job, processor.check_params(params)), notes)

    def refusal(self, processor: Processor, *files: InputFile, **params: Any) -> Fail:
        with pytest.raises(Fail) as caught:
            self.run(processor, *files, **params)
        return caught.value

    async def arefusal(self, processor: Processor, *files: InputFile, **params: Any) -> Fail:
        with pytest.raises(Fail) as caught:
            await self.arun(processor, *files, **params)
        return caught.value

    def _job(self, processor: Processor, files: Sequence[InputFile]) -> tuple[JobContext, list[Note]]:
        processor.check_file_count(len(files))
        for file in files:
            processor.check_media_type(file.name, file.media_type)
        self._count += 1
        self.folder = self._place / f"attempt-{self._count}"
        notes: list[Note] = []
        return JobContext("0198-job", 1, 1, files, self.folder, {}, notes.append), notes

    def _done(self, job: JobContext, result: Any, notes: list[Note]) -> Done:
        json.dumps(result, allow_nan=False)
        assert all(output.path.is_file() and output.path.parent == self.folder for output in job.outputs)
        return Done(result, job.outputs, notes)

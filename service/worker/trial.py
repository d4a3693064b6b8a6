"""A trial: one processor on local files, in this process, without a server and without a database.

The checks are those of a submission; time and memory are not limited, so that a debugger can stop in it.
"""

import asyncio
import hashlib
import json
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from service.errors import InvalidRequestError
from service.naming import DistinctNames, kind_of
from service.processors.base import Fail, InputFile, JobContext, Note, OutputFile, Processor
from service.processors.calling import Overrides, acall, call
from service.processors.registry import is_of_catalogue
from service.sniff import HEAD_BYTES, sniff
from service.storage import copying
from service.worker.runner import Refused, Returned, returned
from service.worker.views import make_places


@dataclass(frozen=True, slots=True)
class Trial:
    """What is to be tried: checked, and ready to run once."""

    processor: Processor
    job: JobContext
    params: dict[str, Any]
    overrides: Overrides = field(default_factory=dict)

    def run(self) -> Returned:
        """Run it, and return what a client would see.

        Raises:
            Fail: the result is not JSON, or an output was not written; else whatever the processor raises.
        """
        if self.processor.is_async:
            return self._checked(asyncio.run(acall(self.processor, self.job, self.params, self.overrides)))
        return self._checked(call(self.processor, self.job, self.params, self.overrides))

    async def arun(self) -> Returned:
        """Run it on the running loop, a `def` in a thread; otherwise as `run`."""
        if self.processor.is_async:
            return self._checked(await acall(self.processor, self.job, self.params, self.overrides))
        return self._checked(await asyncio.to_thread(call, self.processor, self.job, self.params, self.overrides))

    def _checked(self, result: Any) -> Returned:
        match verdict := returned(result, self.job):
            case Returned():
                return Returned(json.loads(json.dumps(verdict.result)), verdict.outputs)
            case Refused(code, message):
                raise Fail(message, code=code)
            case _:
                raise AssertionError(verdict)


def prepare(
    processor: Processor,
    files: Iterable[tuple[str, Path]],
    params: Mapping[str, Any],
    folder: Path,
    emit: Callable[[Note], None],
    *,
    metadata: Mapping[str, Any] | None = None,
    attempt: int = 1,
    overrides: Overrides | None = None,
) -> Trial:
    """Check as a submission is checked; `files` are names and paths, `folder` is where the processor may write.

    Beside the folder, in `<folder>-inputs`, it gets views of the files.

    Raises:
        InvalidRequestError: the processor is not available, or does not take these params or these files.
    """
    processor.check_available()
    checked = processor.check_params(dict(params))
    inputs = [_input(number, name, path) for number, (name, path) in enumerate(files)]
    processor.check_file_count(len(inputs))
    for file in inputs:
        processor.check_media_type(file.name, file.media_type)
    job = JobContext(
        id="trial",
        attempt=attempt,
        max_attempts=max(processor.max_attempts or 3, attempt),
        files=tuple(_views(inputs, folder, as_links=processor.reads_only and is_of_catalogue(processor))),
        place=folder,
        metadata=dict(metadata or {}),
        emit=emit,
    )
    return Trial(processor, job, checked, overrides or {})


def distinct_names(outputs: Iterable[OutputFile]) -> Iterator[tuple[str, OutputFile]]:
    """Give each output a name that no other one has, and that is no path: `photo.jpg`, `photo-2.jpg`."""
    names = DistinctNames()
    for output in outputs:
        yield names.take_bare(output.name, "output"), output


def _input(number: int, name: str, path: Path) -> InputFile:
    if not (stat.S_ISREG(mode := path.stat().st_mode) or stat.S_ISCHR(mode)):  # /dev/null is an empty file to many
        raise InvalidRequestError(f"{name} is {kind_of(mode)}, and no file; save it to one first")
    with path.open("rb") as file:
        media_type = sniff(file.read(HEAD_BYTES))
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return InputFile(f"input-{number}", name, media_type, path.stat().st_size, sha256, path)


def _views(files: Sequence[InputFile], folder: Path, *, as_links: bool) -> Iterator[InputFile]:
    """Give the processor files of its own: the user's must not suffer from a trial.

    Through a link one could write, for it is the user's own file: only those of the catalogue are believed not to.
    """
    paths = make_places([file.name for file in files], folder.resolve())
    for file, path in zip(files, paths, strict=True):
        if as_links:
            path.symlink_to(file.path.resolve())  # it costs nothing, on another file system too
        else:
            with file.path.open("rb", buffering=0) as source:
                copying.copy(source.fileno(), path)
        yield replace(file, path=path)

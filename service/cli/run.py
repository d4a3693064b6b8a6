"""`filemill run`: one processor on local files, without a server."""

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import params, render
from service.cli.exits import ExitCode, Tally
from service.cli.options import Json, Overwrite

if TYPE_CHECKING:
    from service.processors.base import Note, OutputFile, Processor
    from service.worker.runner import Verdict

Files = Annotated[
    list[Path] | None,
    typer.Argument(metavar="FILE", help="The input files.", exists=True, dir_okay=False, readable=True),
]
Param = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="KEY=VALUE", help="A param; the value is JSON if it parses, else text."),
]


def run(
    processor: Annotated[str, typer.Argument(metavar="PROCESSOR", help="Its name: see `filemill processors --local`.")],
    files: Files = None,
    *,
    param: Param = None,
    all_params: Annotated[
        str | None, typer.Option("--params", metavar="JSON", help="All params, as a JSON object.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where to write the outputs.", file_okay=False)
    ] = Path(),
    overwrite: Overwrite = False,
    processors: Annotated[
        str | None,
        typer.Option(metavar="MODULES", help="Modules and files with processors; default: FILEMILL_PROCESSORS."),
    ] = None,
    json: Json = False,
) -> None:
    """Run one processor on local files, in this process, with no server and no database.

    Prints the result as JSON; with --json also the outputs and the log. One
    attempt is made, and neither time nor memory is limited.
    """
    chosen = _find(processor, processors)
    values = params.merge_params(all_params, param or [])
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="filemill-") as folder, _shown(chosen.name) as show:
        notes: list[Note] = []

        def take(note: "Note") -> None:
            notes.append(note)
            show(note)

        verdict = _attempt(chosen, files or [], values, Path(folder), take)
        outputs = getattr(verdict, "outputs", ())
        saved = list(_save(outputs, out, tally, overwrite=overwrite))
    _report(verdict, saved, notes, json=json)
    tally.finish()


def _find(name: str, processors: str | None) -> "Processor":
    from service.processors.registry import load_registry  # noqa: PLC0415 - imports all that processors need
    from service.settings import load_settings  # noqa: PLC0415 - slow to import

    return load_registry(load_settings(processors=processors).processors).get_named(name)


def _attempt(
    processor: "Processor",
    files: Sequence[Path],
    values: dict[str, Any],
    folder: Path,
    emit: "Callable[[Note], None]",
) -> "Verdict":
    from service.worker.runner import verdict_of  # noqa: PLC0415
    from service.worker.trial import prepare  # noqa: PLC0415

    # a name is sent as text to a server, too
    named = [(os.fsencode(one.name).decode("utf-8", "replace"), one) for one in files]
    trial = prepare(processor, named, values, folder / "work", emit)
    try:
        with redirect_stdout(sys.stderr):  # standard output is for the result
            return trial.run()
    except Exception as error:  # noqa: BLE001 - whatever a processor raises is its verdict
        return verdict_of(error)


# ---- what is shown while it runs


@contextmanager
def _shown(name: str) -> "Iterator[Callable[[Note], None]]":
    """Give what shows notes: log lines are printed, and progress moves a bar where somebody watches."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415 - slow to import

    from service.processors.base import LogNote, ProgressNote  # noqa: PLC0415

    console = render.stderr()
    label = TextColumn("{task.description}", markup=False)
    bar = Progress(label, BarColumn(), TaskProgressColumn(), console=console, transient=True)
    bar.disable = not console.is_terminal
    with bar:
        task = bar.add_task(render.plain(name), total=1.0)

        def show(note: "Note") -> None:
            match note:
                case ProgressNote(fraction, message):
                    words = render.plain(f"{name}: {message}" if message else name)
                    bar.update(task, completed=fraction, description=words)
                case LogNote(message, fields):
                    facts = "".join(f"  {key}={value}" for key, value in fields.items())
                    bar.console.print(render.plain(message + facts), soft_wrap=True)

        yield show


# ---- what is left of it


def _save(outputs: "Sequence[OutputFile]", folder: Path, tally: Tally, *, overwrite: bool) -> Iterator[Path]:
    """Move the outputs where they are wanted; one that is there already stays, and the others come all the same."""
    from service.worker.trial import distinct_names  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    for name, output in distinct_names(outputs):
        with tally.going_on():
            path = folder / name
            if not overwrite and (path.exists() or path.is_symlink()):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            shutil.move(output.path, path)
            yield path


def _report(verdict: "Verdict", saved: Sequence[Path], notes: "Sequence[Note]", *, json: bool) -> None:
    from service.worker.runner import Broke, Postponed, Refused, Returned  # noqa: PLC0415

    match verdict:
        case Returned(result):
            _print_result(result, saved, notes, json=json)
            return
        case Refused(code, message):
            render.complain(f"{code}: {message}")
        case Broke(code, message, delay_s, facts):
            render.stderr().print(render.plain(facts.get("traceback", ""), lines=True), end="", soft_wrap=True)
            again = "" if delay_s is None else f"; a server would try again after {delay_s:g} s"
            render.complain(f"{code}: {message}{again}")
        case Postponed(delay_s):
            render.complain(f"snoozed: a server would run it again after {delay_s:g} s")
    raise typer.Exit(ExitCode.REFUSED)


def _print_result(result: Any, saved: Sequence[Path], notes: "Sequence[Note]", *, json: bool) -> None:
    from service.processors.base import LogNote  # noqa: PLC0415

    for path in saved:
        render.note(f"Saved {path}")
    if json:
        logs = [{"message": note.message, "fields": note.fields} for note in notes if isinstance(note, LogNote)]
        render.print_json({"result": result, "outputs": [str(path) for path in saved], "logs": logs})
    elif result is not None:
        render.print_json(result)

"""`filemill processors new`: a processor to start from, with a test beside it."""

import keyword
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from service.cli import render

_PROCESSOR = '''"""The processor `{name}`."""

from typing import Annotated, Literal

from pydantic import Field

from service import Fail, JobContext, processor


@processor("{name}", accepts=["text/*"])
def {function}(
    job: JobContext,
    case: Literal["upper", "lower"] = "upper",
    max_chars: Annotated[int, Field(ge=1)] = 1_000_000,
) -> dict[str, int]:
    """Write each text in capitals or in small letters.

    Args:
        case: which letters to write
        max_chars: longest text that is taken
    """
    sizes = {{}}
    for number, file in enumerate(job.files, start=1):
        text = file.path.read_text(encoding="utf-8")
        if len(text) > max_chars:
            raise Fail(f"{{file.name}} has {{len(text)}} characters, and at most {{max_chars}} are taken")
        job.output(file.name).write_text(text.upper() if case == "upper" else text.lower(), encoding="utf-8")
        job.progress(number / len(job.files), file.name)
        sizes[file.name] = len(text)
    return sizes
'''
_TEST = '''"""Tests of the processor `{name}`: run them with `python -m pytest`."""

import pytest
from {module} import {function}

from service import Fail
from service.testing import run_processor


def test_it_writes_capitals() -> None:
    run = run_processor({function}, {{"a.txt": "some words"}})
    assert run.outputs == {{"a.txt": b"SOME WORDS"}}
    assert run.result == {{"a.txt": 10}}
    assert run.progress[-1].fraction == 1


def test_it_writes_small_letters() -> None:
    run = run_processor({function}, {{"a.txt": "Some Words"}}, {{"case": "lower"}})
    assert run.outputs == {{"a.txt": b"some words"}}


def test_it_refuses_a_text_that_is_too_long() -> None:
    with pytest.raises(Fail, match="at most 3 are taken"):
        run_processor({function}, {{"a.txt": "four"}}, {{"max_chars": 3}})
'''


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, such as text.shout.")],
    folder: Annotated[
        Path, typer.Option("--folder", metavar="FOLDER", help="Where to write the two files.", file_okay=False)
    ] = Path(),
) -> None:
    """Write a processor that works, and a test of it, to start your own from.

    Prints the paths of the two files. What is there already is never overwritten.
    """
    _check(name)
    module = _module_name(name, folder)
    words = {"name": name, "module": module, "function": _function_name(name)}
    texts = {folder / f"{module}.py": _PROCESSOR, folder / f"test_{module}.py": _TEST}
    for path in texts:
        if path.exists() or path.is_symlink():
            raise typer.BadParameter(f"{path} is there already; choose another name or folder", param_hint="NAME")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        with path.open("x", encoding="utf-8") as file:
            file.write(text.format(**words))
        print(render.plain(path))
    first, test = texts
    place = first if first.is_absolute() else f"./{first}"
    before = "" if find_spec("pytest") else "pip install pytest && "
    render.note(f"Test it:  {before}python -m pytest {test}")
    render.note(f"Serve it: FILEMILL_PROCESSORS={place} filemill serve")


def _check(name: str) -> None:
    from service.errors import ProcessorLoadError  # noqa: PLC0415
    from service.processors.base import is_name  # noqa: PLC0415 - pydantic is slow to import
    from service.processors.registry import load_registry  # noqa: PLC0415

    if not is_name(name):
        raise typer.BadParameter("take lower-case words with dots between, such as text.shout", param_hint="NAME")
    try:
        taken = name in load_registry()
    except ProcessorLoadError:  # a package that is installed is broken; that is no reason not to write files
        taken = False
    if taken:
        raise typer.BadParameter(f"there is a processor {name} already; choose another name", param_hint="NAME")


def _module_name(name: str, folder: Path) -> str:
    """Return a name that hides no module of the standard library, and no package that is installed."""
    module = name.replace(".", "_")
    elsewhere = [place for place in sys.path if Path(place).resolve() != folder.resolve()]
    is_taken = (
        module in sys.stdlib_module_names
        or keyword.iskeyword(module)
        or PathFinder.find_spec(module, elsewhere) is not None
    )
    return f"{module}_processor" if is_taken else module


def _function_name(name: str) -> str:
    last = name.rpartition(".")[2]
    return f"{last}_" if keyword.iskeyword(last) or last in _USED else last


_USED = {"job", "case", "max_chars", "sizes", "number", "file", "text", "processor", "pytest", "run", "run_processor",
         "dict", "int", "enumerate", "len"}  # fmt: skip

"""Importing modules with processors: those of the catalogue, of the settings, and of installed packages."""

import importlib
import importlib.metadata
import importlib.util
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from service.errors import ProcessorLoadError
from service.processors.base import Processor

ENTRY_POINTS = "filemill.processors"
_MACHINERY = str(Path(__file__).parent)
_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def named(place: str) -> Iterator[Processor]:
    """Import `pkg.module` or `./file.py`, and yield its processors.

    Raises:
        ProcessorLoadError: it cannot be imported; the sentence names file and line.
    """
    load = (lambda: _import_file(Path(place))) if is_file(place) else (lambda: importlib.import_module(place))
    return _processors_in(place, _loaded(place, load))


def look_around(place: str) -> None:
    """Let a module be found in the working folder, and a file find its neighbours.

    What is installed is found first, so that no file there hides what the service needs. Children take `sys.path` over.
    """
    folder = str(Path(place).resolve().parent if is_file(place) else Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
        importlib.invalidate_caches()


def installed() -> Iterator[Processor]:
    """Yield the processors of the packages that announce some by the entry-point group `filemill.processors`.

    An entry point names a module, or one processor in it.

    Raises:
        ProcessorLoadError: one cannot be imported, or is something else.
    """
    for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda one: (one.name, one.value)):
        owner = f" of {point.dist.name}" if point.dist else ""
        place = f"entry point {point.name} = {point.value}{owner}"
        yield from _processors_in(place, _loaded(place, point.load))


def location_of(function: Callable[..., Any]) -> str:
    """Return the file and line where a function is written."""
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else str(getattr(function, "__module__", function))


def is_file(place: str) -> bool:
    """Return whether the place is that of a file, and not the name of a module."""
    return place.endswith(".py")


def _processors_in(place: str, found: object) -> Iterator[Processor]:
    match found:
        case Processor():
            yield found
        case ModuleType():
            yield from (value for value in vars(found).values() if isinstance(value, Processor))
        case _:
            raise ProcessorLoadError(f"{place} is {type(found).__name__}; name a module or a processor")


def _loaded(place: str, load: Callable[[], object]) -> object:
    try:
        return load()
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        sentence = " ".join(str(error).split())
        raise ProcessorLoadError(f"{place}: {type(error).__name__}: {sentence}{_where(error)}") from error


def _import_file(path: Path) -> ModuleType:
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


# ---- where it went wrong


def _where(error: BaseException) -> str:
    """Return the file and line to look at: the deepest that is not a library's, else the module's own."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    frames = [place for place in _frames(error) if not _is_machinery(place[0])]
    own = [place for place in frames if not place[0].startswith(_LIBRARIES)]
    if not frames:
        return ""
    filename, line = own[-1] if own else frames[0]
    return f" ({filename}:{line})"


def _frames(error: BaseException) -> Iterator[tuple[str, int]]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next


def _is_machinery(filename: str) -> bool:
    """Return whether a file belongs to what imports modules and makes processors."""
    return filename.startswith(("<", _MACHINERY)) or f"{Path('/importlib/')}" in filename

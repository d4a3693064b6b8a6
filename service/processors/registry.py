"""Which processors this server has: the built-in catalogue, and the modules named in the settings."""

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from service.errors import ProcessorLoadError, UnknownProcessorError
from service.processors.base import Processor

CATALOGUE = (
    "service.processors.files",
    "service.processors.image",
    "service.processors.text",
)


class Registry(Mapping[str, Processor]):
    """Processors by name, in the order of their names."""

    def __init__(self, processors: Iterator[Processor]) -> None:
        self._by_name: dict[str, Processor] = {}
        for one in processors:
            if self._by_name.get(one.name, one) is not one:  # the same one may be imported by two modules
                raise ProcessorLoadError(f"two processors are called {one.name!r}; give one another name")
            self._by_name[one.name] = one
        self._by_name = dict(sorted(self._by_name.items()))

    def __getitem__(self, name: str) -> Processor:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, name: str) -> Processor | None:
        """Return the processor, or None."""
        return self._by_name.get(name)

    def get_named(self, name: str) -> Processor:
        """Return the processor.

        Raises:
            UnknownProcessorError: with the names that come nearest.
        """
        if name in self._by_name:
            return self._by_name[name]
        near = difflib.get_close_matches(name[:200], self._by_name, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(self._by_name)}"
        raise UnknownProcessorError(f"there is no processor {name[:200]!r}{hint}")


def load_registry(spec: str = "") -> Registry:
    """Import the catalogue and the modules of `spec` (`pkg.module,./file.py`), and collect their processors.

    Raises:
        ProcessorLoadError: a module cannot be imported, or a name is taken twice.
    """
    places = [*CATALOGUE, *filter(None, (place.strip() for place in spec.split(",")))]
    return Registry(one for place in places for one in _processors_of(_import(place)))


def _processors_of(module: ModuleType) -> Iterator[Processor]:
    return (value for value in vars(module).values() if isinstance(value, Processor))


def _import(place: str) -> ModuleType:
    try:
        return _import_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except Exception as error:
        raise ProcessorLoadError(f"{place}: {type(error).__name__}: {error}{_where(error)}") from error


def _import_file(path: Path) -> ModuleType:
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


def _where(error: BaseException) -> str:
    """Return the file and line that raised, as far as it lies outside the import machinery."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}:{error.lineno})"
    trace, place = error.__traceback__, ""
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if not filename.startswith("<") and "importlib" not in filename and filename != __file__:
            place = f" ({filename}:{trace.tb_lineno})"
        trace = trace.tb_next
    return place

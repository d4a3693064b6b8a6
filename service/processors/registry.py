"""Which processors this server has: the built-in catalogue, the user's modules, and those of installed packages."""

import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from service.errors import ProcessorLoadError, UnknownProcessorError
from service.processors.base import Processor
from service.processors.loading import installed, is_file, location_of, look_around, named

CATALOGUE = (
    "service.catalogue.archive.processors",
    "service.catalogue.files.processors",
    "service.catalogue.http.request",
    "service.catalogue.image.processors",
    "service.catalogue.image.info",
    "service.catalogue.media.info",
    "service.catalogue.media.frames",
    "service.catalogue.media.transcode",
    "service.catalogue.pdf.contents",
    "service.catalogue.pdf.pages",
    "service.catalogue.pdf.render",
    "service.catalogue.mail.send",
    "service.catalogue.table.processors",
    "service.catalogue.table.query",
    "service.catalogue.text.write",
    "service.catalogue.text.stats",
)


class Registry(Mapping[str, Processor]):
    """Processors by name, in the order of their names."""

    def __init__(self, processors: Iterable[Processor]) -> None:
        self._by_name: dict[str, Processor] = {}
        for one in processors:
            if self._by_name.get(one.name, one) is not one:  # the same one may be imported by two modules
                raise _called_alike(one.name, self._by_name[one.name], one)
            self._by_name[one.name] = one
        self._by_name = dict(sorted(self._by_name.items()))

    def __getitem__(self, name: str) -> Processor:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def own(self) -> list[str]:
        """The names of those that are not of the catalogue."""
        return [one.name for one in self.values() if not is_of_catalogue(one)]

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


def _called_alike(name: str, first: Processor, second: Processor) -> ProcessorLoadError:
    places = location_of(first.function), location_of(second.function)
    if places[0] == places[1]:
        return ProcessorLoadError(f"the processor {name!r} at {places[0]} was loaded twice; name its module once")
    return ProcessorLoadError(
        f"two processors are called {name!r}; give one another name: the first is at {places[0]}, the second at "
        f"{places[1]}"
    )


def is_of_catalogue(processor: Processor) -> bool:
    """Whether it is one of the built-in processors."""
    return processor.function.__module__.startswith("service.catalogue.")


def absolute(spec: str) -> str:
    """Return the same with the paths of files from the root: the working folder may be another one later."""
    places = (place.strip() for place in spec.split(","))
    return ",".join(str(Path(place).absolute()) if is_file(place) else place for place in places)


def load_registry(spec: str = "") -> Registry:
    """Collect the catalogue, the modules of `spec` (`pkg.module,./file.py`), and those of installed packages.

    Raises:
        ProcessorLoadError: a module cannot be imported, a processor cannot be made, or a name is taken twice.
    """
    own = list(filter(None, (place.strip() for place in spec.split(","))))
    for place in own:
        look_around(place)
    return Registry(itertools.chain(*map(named, [*CATALOGUE, *own]), installed()))

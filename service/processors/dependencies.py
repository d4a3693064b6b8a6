"""What a processor is given besides the job and its params.

    def database(job: JobContext) -> Iterator[Connection]:
        with connect("prices.db") as connection:
            yield connection

    @processor("price.check")
    def check(job: JobContext, db: Annotated[Connection, Depends(database)]) -> None: ...

A factory is a function, coroutine function, generator or async generator; it may take the job (a parameter of type
`JobContext`) and other dependencies. It is called once for each attempt, however many ask for it; what follows its
`yield` runs when the attempt has ended, the last one first, and may not hide how it ended.

Written here because what is there does not fit: fast-depends cannot give a `def` what an `async def` makes, and reads
the parameters of factories as more params; FastAPI's resolver is part of its requests.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from service.processors.job import JobContext

Factory = Callable[..., Any]
Kind = Literal["value", "coroutine", "generator", "async generator"]


@dataclass(frozen=True, slots=True)
class Depends:
    """Marks a parameter that `factory` provides: `Annotated[Connection, Depends(database)]`."""

    factory: Factory


@dataclass(frozen=True, slots=True)
class Provision:
    """How to make a dependency: its factory, the parameters that take the job, and those that take dependencies."""

    factory: Factory
    kind: Kind
    jobs: tuple[str, ...]
    needs: Mapping[str, "Provision"]

    @property
    def needs_loop(self) -> bool:
        """Whether it, or what it needs, is made by asynchronous code."""
        return self.kind in ("coroutine", "async generator") or any(one.needs_loop for one in self.needs.values())


Needs = Mapping[str, Provision]


def needs_of(name: str, hints: Mapping[str, Any], above: tuple[Factory, ...] = ()) -> dict[str, Provision]:
    """Return the dependencies among the parameters of these types.

    Raises:
        TypeError: a factory cannot be called with what there is, or needs itself.
    """
    found: dict[str, Provision] = {}
    for parameter, hint in hints.items():
        if (factory := _factory_in(name, hint)) is not None:
            if any(factory is one for one in above):
                raise TypeError(f"{name}: the dependency {_name_of(factory)} needs itself")
            found[parameter] = provision_of(name, factory, (*above, factory))
    return found


def provision_of(name: str, factory: Factory, above: tuple[Factory, ...] = ()) -> Provision:
    """Return how to call a factory.

    Raises:
        TypeError: it has a parameter that nothing provides.
    """
    parameters = _parameters_of(name, factory)
    hints = {one.name: one.annotation for one in parameters}
    needs = needs_of(name, hints, above)
    jobs = tuple(parameter for parameter, hint in hints.items() if _is_job(hint))
    for one in parameters:
        if one.default is one.empty and one.name not in needs and one.name not in jobs:
            raise TypeError(
                f"{name}: nothing provides {one.name!r} of the dependency {_name_of(factory)}; "
                "make it a JobContext or another Depends, or give it a default"
            )
    return Provision(factory, _kind_of(factory), jobs, needs)


def _parameters_of(name: str, factory: Factory) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(factory, eval_str=True).parameters.values()
    except (TypeError, ValueError, NameError, SyntaxError) as error:
        raise TypeError(f"{name}: the dependency {_name_of(factory)} cannot be read: {error}") from None
    return [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]


def _factory_in(name: str, hint: Any) -> Factory | None:
    """Return the factory that an annotation names."""
    for mark in getattr(hint, "__metadata__", ()):
        if isinstance(mark, Depends):
            return mark.factory
        if type(mark).__name__ == "Depends":
            raise TypeError(f"{name}: this Depends is of {type(mark).__module__}; import it from service")
    return None


def _is_job(hint: Any) -> bool:
    return inspect.isclass(hint) and issubclass(hint, JobContext)


def _kind_of(factory: Factory) -> Kind:
    called = factory if inspect.isroutine(factory) or inspect.isclass(factory) else _unwrapped(factory)
    if inspect.isasyncgenfunction(called):
        return "async generator"
    if inspect.isgeneratorfunction(called):
        return "generator"
    return "coroutine" if inspect.iscoroutinefunction(called) else "value"


def _unwrapped(factory: Factory) -> Factory:
    """Return what a partial or an object with `__call__` runs."""
    return _unwrapped(factory.func) if isinstance(factory, functools.partial) else getattr(factory, "__call__", factory)  # noqa: B004


def _name_of(factory: Factory) -> str:
    return str(getattr(factory, "__qualname__", repr(factory)))

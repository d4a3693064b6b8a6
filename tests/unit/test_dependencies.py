"""`Depends`: what a processor is given, when it is made, and when it is cleaned up."""

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from service import Depends, JobContext, processor
from service.processors.calling import acall, call
from service.worker.runner import Assignment, LoopRunner


@pytest.fixture
def job(tmp_path):
    notes: list[Any] = []
    return JobContext("7", 1, 3, [], tmp_path / "work", {"said": []}, notes.append)


def told(job: JobContext) -> list[str]:
    said: list[str] = job.metadata["said"]
    return said


# ---- factories of every kind


def value(job: JobContext) -> str:
    told(job).append("value")
    return "v"


async def coroutine(job: JobContext, before: Annotated[str, Depends(value)]) -> str:
    await asyncio.sleep(0)
    told(job).append("coroutine")
    return before + "c"


def generator(job: JobContext, before: Annotated[str, Depends(coroutine)]) -> Iterator[str]:
    told(job).append("generator")
    yield before + "g"
    told(job).append("generator closed")


async def async_generator(
    job: JobContext,
    before: Annotated[str, Depends(generator)],
    again: Annotated[str, Depends(value)],
    plain: int = 3,
) -> AsyncIterator[str]:
    told(job).append("async generator")
    yield f"{before}a{again}{plain}"
    await asyncio.sleep(0)
    told(job).append("async generator closed")


All = Annotated[str, Depends(async_generator)]
First = Annotated[str, Depends(value)]
IN_ORDER = ["value", "coroutine", "generator", "async generator"]
AND_BACK = ["async generator closed", "generator closed"]


@processor("t.child")
def in_a_child(job: JobContext, given: All, first: First, count: int = 1) -> str:
    """Return what was given."""
    told(job).append("called")
    if count == 0:
        raise ValueError("count")
    return f"{given} {first} {count}"


@processor("t.loop")
async def on_the_loop(job: JobContext, given: All, first: First, count: int = 1) -> str:
    """Return what was given."""
    return str(in_a_child(job, given=given, first=first, count=count))


def run(one, job, **params):
    return asyncio.run(acall(one, job, params)) if one.is_async else call(one, job, params)


both = pytest.mark.parametrize("one", [in_a_child, on_the_loop])


@both
def test_factories_of_every_kind_are_called_once_and_closed_in_reverse(one, job):
    assert run(one, job, count=2) == "vcgav3 v 2"
    assert told(job) == [*IN_ORDER, "called", *AND_BACK]


@both
def test_a_dependency_is_no_param(one):
    assert list(one.params_schema["properties"]) == ["count"]
    assert one.arguments({}) == {"count": 1}


@both
def test_what_follows_a_yield_sees_the_error_and_cannot_hide_it(one, job):
    with pytest.raises(ValueError, match="count"):
        run(one, job, count=0)
    assert told(job) == [*IN_ORDER, "called"]  # neither has a `finally`, as in a generator of contextlib


def swallow() -> Iterator[str]:
    with contextlib.suppress(ValueError):
        yield "s"


async def async_swallow() -> AsyncIterator[str]:
    with contextlib.suppress(ValueError):
        yield "s"


@pytest.mark.parametrize("factory", [swallow, async_swallow])
def test_a_factory_that_swallows_the_error_does_not_make_it_a_success(factory, job):
    async def on_loop(_job: JobContext, given: Annotated[str, Depends(factory)]) -> None:
        """Break."""
        raise ValueError(given)

    def in_child(_job: JobContext, given: Annotated[str, Depends(factory)]) -> None:
        """Break."""
        raise ValueError(given)

    for function in (on_loop, in_child):
        with pytest.raises(ValueError, match="s"):
            run(processor("t.broken")(function), job)


def test_what_was_made_is_closed_when_the_next_cannot_be_made(job):
    closed = []

    def first() -> Iterator[int]:
        try:
            yield 1
        finally:
            closed.append("first")

    def second(_: Annotated[int, Depends(first)]) -> int:
        raise LookupError("second")

    @processor("t.one")
    def one(job: JobContext, given: Annotated[int, Depends(second)]) -> None:
        """Do nothing."""

    with pytest.raises(LookupError, match="second"):
        run(one, job)
    assert closed == ["first"]


@dataclass
class Client:
    job: JobContext
    name: str = "client"


class Maker:
    async def __call__(self, job: JobContext) -> str:
        return f"made for {job.id}"


def suffixed(suffix: str, job: "JobContext") -> str:
    return job.id + suffix


def test_classes_partials_and_objects_are_factories(job):
    @processor("t.kinds")
    def kinds(
        job: JobContext,
        client: Annotated[Client, Depends(Client)],
        made: Annotated[str, Depends(Maker())],
        part: Annotated[str, Depends(functools.partial(suffixed, "!"))],
    ) -> list[Any]:
        """Return what was given."""
        return [client.job is job, client.name, made, part]

    assert run(kinds, job) == [True, "client", "made for 7", "7!"]


def test_each_attempt_has_its_own(job):
    @processor("t.fresh")
    def fresh(_job: JobContext, made: Annotated[object, Depends(object)]) -> object:
        """Return what was given."""
        return made

    assert run(fresh, job) is not run(fresh, job)


async def test_on_the_loop_a_factory_that_may_block_runs_in_a_thread(job):
    threads = []

    def blocking() -> Iterator[int]:
        threads.append(threading.get_ident())
        yield 1
        threads.append(threading.get_ident())

    @processor("t.thread")
    async def one(_job: JobContext, given: Annotated[int, Depends(blocking)]) -> int:
        """Return what was given."""
        return given

    assert await acall(one, job, {}) == 1
    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_a_factory_that_is_cancelled_in_its_thread_is_closed(job):
    loop, begun, go_on, closed = asyncio.get_running_loop(), asyncio.Event(), threading.Event(), []

    def slow() -> Iterator[int]:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(60)
        try:
            yield 1
        finally:
            closed.append("slow")

    @processor("t.slow")
    async def one(_job: JobContext, given: Annotated[int, Depends(slow)]) -> None:
        """Never run."""
        raise AssertionError(given)

    task = asyncio.create_task(acall(one, job, {}))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == ["slow"]


# ---- what cannot be


async def exits_in_a_coroutine() -> str:
    raise SystemExit(3)


def exits() -> str:
    raise SystemExit(3)


def exits_before() -> Iterator[str]:
    yield exits()


def exits_after() -> Iterator[str]:
    try:
        yield ""
    finally:
        raise SystemExit(3)


async def exits_before_on_the_loop() -> AsyncIterator[str]:
    yield exits()


async def exits_after_on_the_loop() -> AsyncIterator[str]:
    try:
        yield ""
    finally:
        raise SystemExit(3)


def cancels() -> str:
    raise asyncio.CancelledError


def stops() -> str:
    raise StopIteration


@pytest.mark.parametrize(
    "factory",
    [
        exits, exits_in_a_coroutine, exits_before, exits_after, exits_before_on_the_loop, exits_after_on_the_loop,
        cancels, stops,
    ],
)  # fmt: skip
async def test_whatever_a_factory_raises_is_the_verdict_of_the_attempt_on_the_loop(job, tmp_path, factory):
    @processor("t.one", min_files=0)
    async def one(job: JobContext, given: Annotated[str, Depends(factory)]) -> None:
        pass

    assignment = Assignment("job-1", 1, 1, one, {}, {}, (), tmp_path, 60)
    async with asyncio.timeout(20):
        verdict: Any = await LoopRunner().run(assignment, job.emit)
    expected = {cancels: "the processor raised CancelledError", stops: "RuntimeError: coroutine raised StopIteration"}
    assert verdict.message == expected.get(factory, "the processor raised SystemExit: 3")


def lacking(name: str) -> str:
    return name


def own(given: "Annotated[int, Depends(own)]") -> int:
    return given


def late(given: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
    assert given


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        (lacking, "nothing provides 'name' of the dependency lacking; make it a JobContext or another Depends"),
        (own, "the dependency own needs itself"),
        (late, "the dependency late cannot be read: name 'Nowhere' is not defined"),
        (3, "the dependency 3 cannot be read: 3 is not a callable object"),
    ],
)
def test_a_factory_that_cannot_be_called_is_refused_when_the_processor_is_made(factory, sentence):
    def one(job: JobContext, given: Annotated[Any, Depends(factory)]) -> None:
        """Do nothing."""

    with pytest.raises(TypeError, match=f"^t.one: {sentence}"):
        processor("t.one")(one)


def test_the_depends_of_another_library_is_refused():
    from fastapi import Depends as OtherDepends  # noqa: PLC0415

    def one(job: JobContext, given: Annotated[str, OtherDepends(value)]) -> None:
        """Do nothing."""

    with pytest.raises(TypeError, match=r"this Depends is of fastapi\.params; import it from service"):
        processor("t.one")(one)

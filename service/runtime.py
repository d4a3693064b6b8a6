"""A running service without its web: the only place that picks implementations and puts the parts together."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from service.boot_folder import BootFolder
from service.clock import Clock, SystemClock
from service.errors import FilemillError
from service.intake.receive import Receiver
from service.intake.submit import Intake
from service.ownership import owned
from service.processors.registry import Registry, load_registry
from service.queues.memory import MemoryQueue
from service.settings import Settings
from service.storage.base import Storage
from service.storage.local import LocalStorage
from service.store.changes import Changes
from service.store.database import Database
from service.store.files import Files
from service.store.ids import new_id
from service.store.jobs import Jobs
from service.store.migrate import upgrade
from service.store.writer import Writer
from service.worker.children import ChildRunner
from service.worker.control import Control
from service.worker.executor import Executor
from service.worker.periodic import every
from service.worker.pool import Pool
from service.worker.pruner import Pruner
from service.worker.rescuer import Rescuer
from service.worker.runner import LoopRunner, Runner
from service.worker.stager import TICK_S, Stager

log = structlog.get_logger()

_THREADS = 32


@dataclass(frozen=True, slots=True)
class Runtime:
    """The parts that the web talks to."""

    settings: Settings
    clock: Clock
    registry: Registry
    storage: Storage
    jobs: Jobs
    files: Files
    intake: Intake
    control: Control
    pool: Pool
    changes: Changes

    def begin_stop(self) -> None:
        """Claim no more, and let go the clients that wait for a job."""
        self.pool.stop()
        self.changes.close()


@asynccontextmanager
async def open_runtime(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Runtime]:
    """Open the service on its data folder; leaving drains it and closes everything.

    Raises:
        StartError: the folder is taken, the database is newer, or a processor cannot be loaded.
    """
    clock = clock or SystemClock()
    registry = load_registry(settings.processors)
    data_dir = settings.data_dir.resolve()
    async with AsyncExitStack() as stack:
        stack.enter_context(owned(data_dir))
        stack.enter_context(_threads())
        boot_id = new_id()
        work = BootFolder(data_dir / "work", boot_id)
        storage = LocalStorage(data_dir, boot_id, settings.min_free_bytes)
        jobs, files, changes = await stack.enter_async_context(_open_store(data_dir / "filemill.db"))

        lanes = {"loop": settings.consumers, "child": settings.child_processes}
        queue = MemoryQueue(lanes, settings.queue_capacity)
        children = ChildRunner(settings.child_processes, settings.processors)
        stack.push_async_callback(children.aclose)
        runners: dict[str, Runner] = {"loop": LoopRunner(), "child": children}
        executor = Executor(boot_id, jobs, storage, registry, runners, work.path, settings=settings, clock=clock)
        stager = Stager(jobs, queue, _names_by_lane(registry, lanes), settings.queue_capacity, clock)
        pruner = Pruner(jobs, files, storage, settings, clock)

        await Rescuer(jobs, boot_id, clock).rescue()
        stack.push_async_callback(_release, jobs, boot_id, clock)
        pool = await stack.enter_async_context(Pool(lanes, queue, executor, settings.shutdown_grace_s))
        await stack.enter_async_context(
            _background(
                stager.feed(),
                every(TICK_S, stager.tick),
                every(settings.prune_interval_s, pruner.prune),
                _sweep(pruner, boot_id, storage.incoming, work),
            )
        )
        yield Runtime(
            settings=settings,
            clock=clock,
            registry=registry,
            storage=storage,
            jobs=jobs,
            files=files,
            intake=Intake(
                Receiver(storage, settings, clock),
                jobs,
                files,
                registry,
                queue,
                settings=settings,
                clock=clock,
            ),
            control=Control(jobs, files, storage, registry, queue, executor, clock),
            pool=pool,
            changes=changes,
        )
        changes.close()


@asynccontextmanager
async def _open_store(path: Path) -> AsyncIterator[tuple[Jobs, Files, Changes]]:
    before, after = await asyncio.to_thread(upgrade, path)
    if before != after:
        log.info("database migrated", path=str(path), before=before, after=after)
    database = Database(path)
    try:
        async with Writer(database.writes) as writer:
            changes = Changes()
            yield Jobs(database, writer, changes), Files(database, writer), changes
    finally:
        await database.aclose()


@asynccontextmanager
async def _background(*duties: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run the duties beside the body, and end them with it."""
    tasks = [asyncio.create_task(duty, name=getattr(duty, "__qualname__", None)) for duty in duties]
    for task in tasks:
        task.add_done_callback(_log_failure)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background duty ended", duty=task.get_name(), exc_info=error)


async def _release(jobs: Jobs, boot_id: str, clock: Clock) -> None:
    """Put back what a consumer had claimed, and could not begin, when it was stopped."""
    try:
        await jobs.release(boot_id, clock.now())
    except FilemillError as error:
        log.warning("jobs not released; the next start rescues them", error=error.detail)


async def _sweep(pruner: Pruner, boot_id: str, *folders: BootFolder) -> None:
    """Clear away, once, what earlier starts left."""
    for folder in folders:
        await folder.sweep()
    await pruner.sweep(boot_id)


def _names_by_lane(registry: Registry, lanes: Iterable[str]) -> dict[str, list[str]]:
    return {lane: [one.name for one in registry.values() if one.lane == lane] for lane in lanes}


@contextmanager
def _threads() -> Iterator[None]:
    """Give the loop enough threads that uploads do not queue up for their fsyncs."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="disk") as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        yield

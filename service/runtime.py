"""A running service without its web: the only place that picks implementations and puts the parts together."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from service.boot_folder import BootFolder
from service.catalogue.server import server_settings
from service.clock import Clock, SystemClock
from service.errors import DatabaseUnavailableError, FilemillError, StartError
from service.intake.receive import Receiver
from service.intake.submit import Intake
from service.meters import Meters
from service.own_threads import open_threads
from service.ownership import owned
from service.processors.registry import Registry, absolute, load_registry
from service.queues.base import Share
from service.queues.memory import MemoryQueue
from service.settings import Settings
from service.states import State
from service.storage.base import Storage
from service.storage.local import LocalStorage
from service.storage.trial import unusable
from service.store.feed import Feed
from service.store.files import Files
from service.store.ids import new_id
from service.store.jobs import Jobs
from service.store.open import Store, open_store
from service.store.stats import OTHERS, Stats
from service.worker.children import ChildRunner
from service.worker.control import Control
from service.worker.duties import open_duties, open_errands
from service.worker.executor import Executor
from service.worker.lag import measure_lag
from service.worker.ledger import Ledger
from service.worker.periodic import every
from service.worker.pool import Pool
from service.worker.pruner import Pruner
from service.worker.rescuer import LOOK_S, LostJobs, Rescuer
from service.worker.runner import LoopRunner, Runner
from service.worker.stager import TICK_S, Stager
from service.worker.watchdog import LoopWatchdog

log = structlog.get_logger()

_WARM_AFTER_S = 1.0
_CLEAR_S = 5.0


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
    feed: Feed
    stats: Stats
    meters: Meters
    let_go: Callable[[], None]
    put_back: Callable[[], int]  # jobs that ran, or were about to, when it was told to stop; known once it has stopped
    is_writing: Callable[[], bool]
    lost_duties: Callable[[], list[str]]

    @property
    def is_able(self) -> bool:
        """Whether it can do its duty: all parts that jobs need are at work, or are about to be begun anew."""
        return self.is_writing() and not self.pool.is_lost and not self.lost_duties()

    def begin_stop(self) -> None:
        """Claim no more, and let go the clients that wait for a job. Called again, wait for no job either."""
        if self.pool.is_stopping:
            self.pool.hurry()
        self.pool.stop()
        self.let_go()


@asynccontextmanager
async def open_runtime(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Runtime]:
    """Open the service on its data folder; leaving drains it and closes everything.

    Raises:
        StartError: the folder is taken, the database is newer, or a processor cannot be loaded.
    """
    registry = load_registry(settings.processors)
    async with _open_ground(settings, clock or SystemClock()) as ground, _open_workers(ground, registry) as workers:
        clock, store, storage, meters = ground.clock, ground.store, ground.storage, ground.meters
        receiver = Receiver(storage, settings, clock)
        yield Runtime(
            settings=settings,
            clock=clock,
            registry=registry,
            storage=storage,
            jobs=store.jobs,
            files=store.files,
            intake=Intake(
                receiver,
                store.jobs,
                store.files,
                registry,
                workers.queue,
                settings=settings,
                meters=meters,
                clock=clock,
            ),
            control=Control(store.jobs, store.files, storage, workers.queue, workers.executor, clock),
            pool=workers.pool,
            feed=store.feed,
            stats=store.stats,
            meters=meters,
            let_go=store.let_go,
            put_back=lambda: workers.ledger.put_back,
            is_writing=store.is_writing,
            lost_duties=workers.lost_duties,
        )


@dataclass(frozen=True, slots=True)
class _Ground:
    """What everything stands on: the folder, locked, with its database and its files."""

    settings: Settings
    clock: Clock
    boot_id: str
    meters: Meters
    store: Store
    storage: LocalStorage
    work: BootFolder


@asynccontextmanager
async def _open_ground(settings: Settings, clock: Clock) -> AsyncIterator[_Ground]:
    data_dir, boot_id, meters = settings.data_folder, new_id(), Meters()
    durable = settings.durability == "full"
    with owned(data_dir), open_threads():
        async with open_store(data_dir / "filemill.db", clock, meters.committed, durable=durable) as store:
            # after the database: where there is a folder of files, a missing database has been lost
            work, storage = _open_folders(settings, data_dir, boot_id)
            await _rescue(Rescuer(store.jobs, boot_id, clock, max_losses=settings.max_losses), data_dir)
            yield _Ground(settings, clock, boot_id, meters, store, storage, work)


def _open_folders(settings: Settings, data_dir: Path, boot_id: str) -> tuple[BootFolder, LocalStorage]:
    """Make the folders, and see that a file can be moved from each into that of kept files."""
    durable = settings.durability == "full"
    try:
        work = BootFolder(data_dir / "work", boot_id)
        storage = LocalStorage(data_dir, boot_id, settings.min_free_bytes, durable=durable, work=work.path)
    except OSError as error:
        raise unusable(data_dir, error) from error
    storage.require_layout()
    return work, storage


@dataclass(frozen=True, slots=True)
class _Workers:
    """What runs the jobs."""

    queue: MemoryQueue
    ledger: Ledger
    executor: Executor
    pool: Pool
    lost_duties: Callable[[], list[str]]


@asynccontextmanager
async def _open_workers(ground: _Ground, registry: Registry) -> AsyncIterator[_Workers]:
    settings, clock, boot_id, storage = ground.settings, ground.clock, ground.boot_id, ground.storage
    jobs = ground.store.jobs
    consumers = {"loop": settings.consumers, "child": settings.child_processes}
    queue = MemoryQueue(_shares(registry, consumers), settings.queue_capacity)
    last_chance = max(1, settings.max_losses - 1)
    stager = Stager(jobs, queue, list(registry), settings.queue_capacity, clock, one_from=last_chance)
    pruner = Pruner(jobs, ground.store.files, storage, settings, clock)
    ledger = Ledger(boot_id, jobs, storage, settings=settings, meters=ground.meters, clock=clock)
    async with AsyncExitStack() as stack:
        runners = await stack.enter_async_context(_open_runners(settings))
        executor = Executor(ledger, storage, registry, runners, work=ground.work.path, settings=settings)
        stack.push_async_callback(executor.aclose)
        stack.push_async_callback(_release, ledger, jobs, boot_id, clock)
        pool = await stack.enter_async_context(Pool(consumers, queue, executor, settings.shutdown_grace_s))
        duties = open_duties(
            ground.store.feed.run,
            partial(measure_lag, ground.meters, clock),
            stager.feed,
            partial(every, TICK_S, stager.tick),
            partial(every, _CLEAR_S, executor.clear),
            partial(every, LOOK_S, LostJobs(jobs, executor, boot_id).look),
            partial(every, settings.prune_interval_s, pruner.prune),
        )
        errands = open_errands(
            _sweep(pruner, boot_id, storage.incoming, ground.work), _warn_of_strangers(ground.store.stats, registry)
        )
        lost_duties = await stack.enter_async_context(duties)
        await stack.enter_async_context(errands)
        yield _Workers(queue, ledger, executor, pool, lost_duties)


async def _rescue(rescuer: Rescuer, data_dir: Path) -> None:
    """Take the first look into the jobs: whoever cannot read or write them here could not accept one either."""
    try:
        await rescuer.rescue()
    except DatabaseUnavailableError as error:
        raise StartError(f"the data folder {data_dir} cannot be used: {error.detail}") from error


async def _release(ledger: Ledger, jobs: Jobs, boot_id: str, clock: Clock) -> None:
    """Put back what a consumer had claimed, and could not begin, when it was stopped."""
    try:
        ledger.put_back += await jobs.release(boot_id, clock.now())
    except FilemillError as error:
        log.warning("jobs not released; the next start rescues them", error=error.detail)


async def _warn_of_strangers(stats: Stats, registry: Registry) -> None:
    """Say once how many jobs wait for processors that this server does not have."""
    try:
        queued = [one for one in await stats.count() if one.state is State.QUEUED]
    except DatabaseUnavailableError:  # it is told wherever it matters
        return
    strangers = {one.processor: one.jobs for one in queued if one.processor not in registry and one.processor != OTHERS}
    if strangers:
        log.warning("queued jobs have no processor here", jobs=sum(strangers.values()), processors=strangers)


async def _sweep(pruner: Pruner, boot_id: str, *folders: BootFolder) -> None:
    """Clear away, once, what earlier starts left."""
    for folder in folders:
        await folder.sweep()
    await pruner.sweep(boot_id)


@asynccontextmanager
async def _open_runners(settings: Settings) -> AsyncIterator[dict[str, Runner]]:
    """Give the runner of each lane; children are started ahead of the first jobs, and nobody waits for them."""

    async def own_settings() -> Settings:
        return settings

    on_loop = LoopRunner({server_settings: own_settings})
    children = ChildRunner(
        settings.child_processes,
        absolute(settings.processors),
        jobs_per_child=settings.jobs_per_child,
        file_limit_bytes=settings.job_file_limit_bytes,
    )
    warming = open_errands(_warm(children, settings.child_processes))
    async with aclosing(children), LoopWatchdog(on_loop.running), warming:
        yield {"loop": on_loop, "child": children}


async def _warm(children: ChildRunner, count: int) -> None:
    """Start the children, but not while the start of the server itself wants the processor."""
    await asyncio.sleep(_WARM_AFTER_S)
    await children.warm(count)


def _shares(registry: Registry, lanes: Iterable[str]) -> dict[str, list[Share]]:
    """Return which processors share each lane, and how."""
    return {
        lane: [Share(one.name, one.weight, one.max_concurrency) for one in registry.values() if one.lane == lane]
        for lane in lanes
    }

"""Child processes that run `def` processors: reused while healthy, else killed with all they started."""

import asyncio

import structlog

from service.errors import ProcessorLoadError
from service.processors.base import LogNote
from service.worker.child_process import ChildLostError, ChildProcess, Emit
from service.worker.guard import Census
from service.worker.runner import Assignment, Verdict

log = structlog.get_logger()


class ChildRunner:
    """Runs `def` processors in up to `limit` child processes.

    A child is replaced after `jobs_per_child` jobs, when its memory has grown, when a job has left it changed (see
    `service.worker.traces`), and when anything is wrong with it: by the next job, or ahead of it once `warm` was
    called. None of them may write a file of more than `file_limit_bytes`.
    """

    def __init__(
        self,
        limit: int,
        processors_spec: str = "",
        *,
        jobs_per_child: int = 1000,
        file_limit_bytes: int | None = None,
    ) -> None:
        self._limit = limit
        self._spec = processors_spec
        self._jobs_per_child = jobs_per_child
        self._file_limit_bytes = file_limit_bytes
        self._slots = asyncio.Semaphore(limit)
        self._census = Census()
        self._children: set[ChildProcess] = set()
        self._idle: list[ChildProcess] = []
        self._spares: set[asyncio.Task[None]] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._warm_count = 0
        self._closed = False

    async def warm(self, count: int = 1) -> None:
        """Start children until there are `count`, and keep so many, so that jobs need not wait for them.

        Raises:
            ProcessorLoadError: a child cannot start.
        """
        self._warm_count = min(count, self._limit)
        while self._spares or (len(self._children) < self._warm_count and not self._closed):
            if self._spares:
                await asyncio.wait(self._spares)
                continue
            try:
                self._idle.append(await self._start())
            except ChildLostError as error:
                raise ProcessorLoadError(error.verdict.message) from None

    async def run(self, assignment: Assignment, emit: Emit) -> Verdict:
        """Run one attempt in a child; wait for one that is free. See `Runner`.

        Raises:
            RuntimeError: the runner is closed.
        """
        async with self._slots:
            while (child := await self._find_idle()) is not None:
                try:
                    return await self._run_in(child, assignment, emit)
                except ChildLostError as error:  # it was idle, and something has befallen it: the job never began
                    log.warning("child process replaced", pid=child.pid, reason=error.verdict.message)
            try:
                return await self._run_in(await self._start(), assignment, emit)
            except ChildLostError as error:
                return error.verdict

    async def aclose(self) -> None:
        """End all children and wait for them. A run that is not over comes to "crashed"."""
        self._closed = True
        for spare in self._spares:
            spare.cancel()
        while self._children or self._endings or self._spares:
            for child in list(self._children):
                _ = self._retire(child)
            await asyncio.wait([*self._endings, *self._spares])
        self._idle.clear()

    async def _run_in(self, child: ChildProcess, assignment: Assignment, emit: Emit) -> Verdict:
        try:
            verdict = await child.run(assignment, emit)
        except BaseException:
            await self._end(child)
            raise
        if self._closed or not child.is_healthy:
            await self._end(child)
        elif child.changes:
            facts = {"changed": child.changes}
            log.info("child process replaced", pid=child.pid, processor=assignment.processor.name, **facts)
            emit(LogNote("the process is replaced, for it is not as it was before", facts))
            await self._end(child)  # what it has left there must not go on beside the next job
        elif child.jobs >= self._jobs_per_child or child.has_grown:
            _ = self._retire(child)  # nobody need wait for it
        else:
            self._idle.append(child)
        return verdict

    # ---- beginnings

    async def _find_idle(self) -> ChildProcess | None:
        """Return a child that is ready, now or in a moment, or None."""
        while not self._closed:
            if self._idle:
                child = self._idle.pop()
                if child.is_ready:
                    return child
                log.warning("child process replaced", pid=child.pid, reason="it died or was stopped")
                _ = self._retire(child)
            elif self._spares:
                await asyncio.wait(self._spares, return_when=asyncio.FIRST_COMPLETED)
            else:
                break
        return None

    async def _start(self) -> ChildProcess:
        if self._closed:
            raise RuntimeError("the runner is closed")
        child = await ChildProcess.spawn(self._census)
        self._children.add(child)
        try:
            await child.load(self._spec, self._file_limit_bytes)
        except BaseException:
            await self._end(child)
            raise
        return child

    def _start_spare(self) -> None:
        """Start a child ahead of the next job, where one is missing."""
        if not self._closed and len(self._children) + len(self._spares) < self._warm_count:
            task = asyncio.create_task(self._add_spare())
            self._spares.add(task)
            task.add_done_callback(self._spares.discard)

    async def _add_spare(self) -> None:
        try:
            self._idle.append(await self._start())
        except (ChildLostError, OSError, RuntimeError) as error:  # the next job will meet it, and tell
            log.warning("child process did not start", reason=str(error))

    # ---- endings

    async def _end(self, child: ChildProcess) -> None:
        """End the child; when the caller is cancelled, the end goes on."""
        await asyncio.shield(self._retire(child))

    def _retire(self, child: ChildProcess) -> asyncio.Task[None]:
        if child.ending is None:
            child.ending = asyncio.create_task(child.stop())
            self._endings.add(child.ending)
            child.ending.add_done_callback(self._endings.discard)
            self._children.discard(child)
            if child.jobs:  # one that could not even start is not to be followed by the next
                self._start_spare()
        return child.ending

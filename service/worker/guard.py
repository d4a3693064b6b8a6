"""The server's eye on a child that runs: what memory and processor time it takes with all that it started.

It also sees whether the child moves at all.

What counts is the memory that is really there, not the address space: see `service.worker.limits`. The child
itself is looked at ten times a second, which is one small file of /proc; its descendants once a second, which
is a look at all processes, done in a thread and shared by all guards. Shared memory is looked for once a second too,
and a few times in the first, in which many crash, in a thread that nobody waits for: what a process has mapped cannot
be read while it hangs in a page fault.
"""

import asyncio

from service.clock import SystemClock
from service.own_threads import in_own_thread
from service.worker.family import Look, descendants_of, look_at, look_at_all, own_bytes, shared_out_bytes
from service.worker.runner import Broke
from service.worker.segments import Segments

LOOK_S = 0.1
LOOKS_BETWEEN_CENSUSES = 10
EARLY_LOOKS = {1, 3, 6}
STOPPED_LIMIT = 10
_MIB = 1024**2


class Census:
    """A look at all processes, taken at most about once a second for all children together."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._lock = asyncio.Lock()
        self._everyone: dict[int, Look] = {}
        self._taken_at = float("-inf")

    async def family_of(self, pid: int) -> dict[int, Look]:
        """Return the processes below this one, as they were a moment ago."""
        async with self._lock:
            if self._clock.monotonic() - self._taken_at > LOOK_S * LOOKS_BETWEEN_CENSUSES / 2:
                self._everyone = await in_own_thread(look_at_all)
                self._taken_at = self._clock.monotonic()
        return {one: self._everyone[one] for one in descendants_of(self._everyone, pid)}


class Guard:
    """Watches one attempt of one child, and the keeper that stands above it.

    `family` is whom it saw last, `segments` what shared memory they held: of a child that dies, nothing else tells.
    """

    def __init__(
        self, census: Census, keeper_pid: int, child_pid: int, limit_bytes: int | None, cpu_limit_s: float | None
    ) -> None:
        self._census = census
        self._keeper_pid = keeper_pid
        self._child_pid = child_pid
        self._limit_bytes = limit_bytes
        self._cpu_limit_s = cpu_limit_s
        self._times_stopped = 0
        self._cpu_before_s = sum(one.cpu_s for one in self._pair())
        self.family: dict[int, Look] = {}
        self.segments = Segments()
        self._search: asyncio.Future[None] | None = None

    async def watch(self) -> Broke:
        """Return when there is a reason to end the attempt: the verdict."""
        look = 0
        while True:
            await asyncio.sleep(LOOK_S)
            look += 1
            keeper, child = self._pair()
            fault = (
                self._stopped(keeper, child)
                or self._too_large()
                or self._out_of_time(keeper.cpu_s + child.cpu_s - self._cpu_before_s)
            )
            is_time = look % LOOKS_BETWEEN_CENSUSES == 0
            if fault is None and is_time:
                fault = await self._family_fault()
            if is_time or look in EARLY_LOOKS:
                self._search_segments()
            if fault is not None:
                return fault

    def _pair(self) -> tuple[Look, Look]:
        return look_at(self._keeper_pid), look_at(self._child_pid)

    def _stopped(self, keeper: Look, child: Look) -> Broke | None:
        is_held = keeper.is_stopped or child.is_stopped
        self._times_stopped = self._times_stopped + 1 if is_held else 0
        if self._times_stopped < STOPPED_LIMIT:
            return None
        return Broke(
            "crashed", "the child process was stopped by a signal and did not go on", facts={"signal": "SIGSTOP"}
        )

    def _too_large(self) -> Broke | None:
        if self._limit_bytes is None or own_bytes(self._child_pid) <= self._limit_bytes:
            return None
        return out_of_memory(self._limit_bytes)

    def _out_of_time(self, cpu_s: float) -> Broke | None:
        return None if self._cpu_limit_s is None or cpu_s <= self._cpu_limit_s else out_of_cpu(self._cpu_limit_s)

    async def _family_fault(self) -> Broke | None:
        self.family = await self._census.family_of(self._keeper_pid)
        if len(self.family) <= 1:
            return None
        if fault := await self._family_too_large():
            return fault
        used_s = look_at(self._keeper_pid).cpu_s + sum(one.cpu_s for one in self.family.values())
        return self._out_of_time(used_s - self._cpu_before_s)

    def _search_segments(self) -> None:
        """Begin a look for shared memory, unless the last one is not over."""
        if self._search is not None:
            if not self._search.done():
                return
            self._search.result()
        pids = {self._child_pid, *self.family}
        self._search = asyncio.get_running_loop().run_in_executor(None, self.segments.look, pids)

    async def _family_too_large(self) -> Broke | None:
        pids = [*self.family]
        if self._limit_bytes is None or await in_own_thread(own_bytes, *pids) <= self._limit_bytes:
            return None
        # forks share pages, and each was counted with all of them: look closer
        is_too_large = await in_own_thread(shared_out_bytes, *pids) > self._limit_bytes
        return out_of_memory(self._limit_bytes) if is_too_large else None


def out_of_memory(limit_bytes: int) -> Broke:
    """Return the verdict on an attempt that needed too much memory."""
    sentence = f"the attempt was stopped at its memory limit of {limit_bytes / _MIB:,.0f} MiB"
    return Broke("out_of_memory", sentence, facts={"memory_limit_bytes": limit_bytes})


def out_of_cpu(limit_s: float) -> Broke:
    """Return the verdict on an attempt that needed too much processor time."""
    sentence = f"the attempt was stopped after {limit_s:g} s of processor time, its limit"
    return Broke("timed_out", sentence, facts={"cpu_limit_s": limit_s})

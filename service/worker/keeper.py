"""The keeper of a child process: it stays behind when the child forks off, and ends with all that the child began.

The server sees the keeper, which leads a session and a process group of its own. On Linux it is a "subreaper":
a process whose parent has died becomes the keeper's, so that no `setsid` and no double fork leads out of its
sight; see PR_SET_CHILD_SUBREAPER in prctl(2). It has no threads and no open files, and never speaks: SIGTERM
asks it to end the family softly, SIGHUP at once, and its own end looks like that of the child.
"""

import ctypes
import gc
import os
import resource
import signal
import sys
from typing import NoReturn

from service.clock import SystemClock
from service.worker.family import descendants, signal_all
from service.worker.helpers import to_be_killed
from service.worker.segments import Segments

TERM_GRACE_S = 1.0
AT_ONCE, SOFTLY = signal.SIGHUP, signal.SIGTERM
_TICK_S = 0.02
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_HEARD = {signal.SIGCHLD, AT_ONCE, SOFTLY}


def fork_off(server_pid: int) -> None:
    """Go on as the child of a keeper; the keeper itself never returns from here."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _die_with(server_pid, AT_ONCE)
    keeper_pid = os.getpid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    gc.freeze()  # pages that the collector of neither touches are shared by both
    child_pid = os.fork()
    if child_pid:
        _Keeper(child_pid).keep()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # so that it sees at once, after each attempt, who was left running
    _die_with(keeper_pid, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Keeper:
    """Waits for the end of one child, or for the order to bring it about. All signals are blocked.

    What shared memory the family holds at its end goes with it.
    """

    def __init__(self, child_pid: int) -> None:
        self._child_pid = child_pid
        self._status: int | None = None
        self._clock = SystemClock()
        self._segments = Segments()

    def keep(self) -> NoReturn:
        """Stay until the child has ended, and end what is left of its family."""
        os.closerange(0, os.sysconf("SC_OPEN_MAX"))  # an open end here would hide that the child has closed its own
        while self._status is None:
            match signal.sigwait(_HEARD):
                case signal.SIGTERM:
                    self._end_softly()
                    break
                case signal.SIGHUP:
                    break
            self._reap()
        self._end_at_once()
        _end_like(self._status)

    def _end_softly(self) -> None:
        family = self._family()
        self._segments.look(family)
        signal_all(family, SOFTLY)
        signal_all(family, signal.SIGCONT)  # the one that is stopped would not hear it
        self._wait(TERM_GRACE_S)

    def _end_at_once(self) -> None:
        begun = self._clock.monotonic()
        while family := self._family():
            self._segments.look(family)
            signal_all(to_be_killed(family, self._clock.monotonic() - begun), signal.SIGKILL)
            self._wait(_TICK_S)
        self._reap()
        self._segments.remove()

    def _wait(self, limit_s: float) -> None:
        """Return when no family is left, or after the limit, or when told to end it at once."""
        deadline = self._clock.monotonic() + limit_s
        while self._reap() and self._clock.monotonic() < deadline:
            heard = signal.sigtimedwait(_HEARD, _TICK_S)
            if heard is not None and heard.si_signo == AT_ONCE:
                return

    def _family(self) -> list[int]:
        if not _is_linux():
            return [] if self._status is not None else [self._child_pid]
        return descendants(os.getpid())

    def _reap(self) -> bool:
        """Collect all that have ended; return whether any is left."""
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._child_pid:
                    self._status = ended[1]
        except ChildProcessError:
            return False
        return True


def _end_like(status: int | None) -> NoReturn:
    """End as the child did, so that the server sees how."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if status is not None and os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os._exit(0 if status is None else os.waitstatus_to_exitcode(status) & 0xFF)


def _die_with(parent_pid: int, number: signal.Signals) -> None:
    """Have the kernel send this signal when the parent dies, however it dies."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent_pid:  # it died before the kernel knew
        raise SystemExit(1)


def _is_linux() -> bool:
    return sys.platform == "linux"


def _prctl(option: int, value: int) -> None:
    if _is_linux():
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)

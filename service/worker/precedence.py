"""How a child process gives the API precedence over itself, and over what it will start.

That holds against libraries that mean well. A program that leaves its session begins with its own niceness in a group
of its own, and is watched and ended with the others.
"""

import ctypes
import os
import resource
import sys
import time
from pathlib import Path

NICENESS = 10
_AUTOGROUP = Path("/proc/self/autogroup")
_TRIES, _PAUSE_S = 20, 0.1
_PR_CAPBSET_DROP, _CAP_SYS_NICE, _CAPABILITY_VERSION_3 = 24, 23, 0x20080522


def give_precedence() -> None:
    """Leave processor time to the API; neither real-time priority nor a lower niceness can be had afterwards."""
    os.nice(NICENESS)
    _lower_group()
    if sys.platform == "linux":
        _give_up_the_right()


def _lower_group() -> None:
    """Give the same niceness to the session: Linux shares its cores among sessions first (sched(7), autogroup).

    Without it a child has as much of a core as the server, whatever its own niceness. Who is not root may ask ten times
    a second in all of the system, so that children that start together have to take turns.
    """
    for _ in range(_TRIES):
        try:
            _AUTOGROUP.write_text(str(NICENESS), encoding="ascii")
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        except OSError:
            return  # a system without them
        else:
            return


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _give_up_the_right() -> None:
    """Give up CAP_SYS_NICE, with which root may raise a priority; see capset(2) and PR_CAPBSET_DROP in prctl(2).

    And the limits up to which others may. What the system refuses here stays as it is.

    Libraries use it unasked: SVT-AV1 makes itself SCHED_FIFO 99 where root runs it, and on two cores nothing
    else runs then, the API least of all. As these are the rights of a thread, there must be no other one yet.
    """
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_CAPBSET_DROP, _CAP_SYS_NICE, 0, 0, 0)  # or the next program that root executes has it again
    header, sets = _Header(_CAPABILITY_VERSION_3, 0), (_Sets * 2)()
    if libc.capget(ctypes.byref(header), sets) == 0:
        for name, _ in _Sets._fields_:
            setattr(sets[0], name, getattr(sets[0], name) & ~(1 << _CAP_SYS_NICE))
        libc.capset(ctypes.byref(header), sets)

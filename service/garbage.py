"""The garbage collector, for a server that makes many small objects and keeps a few hundred thousand for good.

Each job and each upload makes some hundred objects that reference counting frees by itself; to look for cycles among
them, and among all modules, takes a tenth of the time of a small job, and as much of a start.
"""

import gc

_ALLOCATIONS = 10_000  # between two collections; the default, 700, is for small programs


def leave_the_start_alone() -> None:
    """Collect nothing until `spare_what_stays`: what is imported stays."""
    gc.disable()


def spare_what_stays() -> None:
    """Pass over all that is there now, and come less often. See `gc.freeze`.

    Cycles that the start has left stay too: to look for them would be a part of the start.
    """
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 10, 10)
    gc.enable()

"""The life of a job, as data.

The table below is the only place that says which state follows which. It makes the `WHERE` of every state
change in `service.store`, the refusals of the API, the test of all pairs, and the diagram in the README.
"""

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Move(StrEnum):
    """Why a job changed its state: the reason that its event records."""

    SUBMIT = "submit"
    CLAIM = "claim"
    SUCCEED = "succeed"
    FAIL = "fail"
    BACK_OFF = "back_off"
    SNOOZE = "snooze"
    RELEASE = "release"
    RESCUE = "rescue"
    GIVE_UP = "give_up"
    CANCEL = "cancel"
    RETRY = "retry"


class Transition(NamedTuple):
    """From any of `sources` to `target`."""

    sources: frozenset[State]
    target: State


def _from(*sources: State) -> frozenset[State]:
    return frozenset(sources)


TRANSITIONS: dict[Move, Transition] = {
    # a submission makes the row, so it comes from no state
    Move.SUBMIT: Transition(_from(), State.QUEUED),
    # a consumer takes the job; the attempt is counted here
    Move.CLAIM: Transition(_from(State.QUEUED), State.RUNNING),
    # the processor returned
    Move.SUCCEED: Transition(_from(State.RUNNING), State.SUCCEEDED),
    # the processor said `Fail`, or the last attempt failed
    Move.FAIL: Transition(_from(State.RUNNING), State.FAILED),
    # an attempt failed and another is left: later, with a longer delay each time
    Move.BACK_OFF: Transition(_from(State.RUNNING), State.QUEUED),
    # the processor said `Snooze`: later, and the attempt does not count
    Move.SNOOZE: Transition(_from(State.RUNNING), State.QUEUED),
    # the server stops before the job is done: at once, and the attempt does not count
    Move.RELEASE: Transition(_from(State.RUNNING), State.QUEUED),
    # the worker died: the attempt does not count, the loss does; at once, or after losses in a row later and later
    Move.RESCUE: Transition(_from(State.RUNNING), State.QUEUED),
    # the worker died under it too often in a row
    Move.GIVE_UP: Transition(_from(State.RUNNING), State.FAILED),
    # a user's two moves
    Move.CANCEL: Transition(_from(State.QUEUED, State.RUNNING), State.CANCELLED),
    Move.RETRY: Transition(_from(State.FAILED, State.CANCELLED), State.QUEUED),
}

TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
DELETABLE = frozenset(State) - {State.RUNNING}

"""The life of a job, as data."""

import pytest

from service.states import DELETABLE, TERMINAL, TRANSITIONS, Move, State


def test_every_move_has_its_place_in_the_table():
    assert set(TRANSITIONS) == set(Move)


def test_a_submission_is_the_only_way_in():
    assert [move for move, transition in TRANSITIONS.items() if not transition.sources] == [Move.SUBMIT]


def test_only_a_user_moves_a_job_that_has_finished():
    assert {move for move, transition in TRANSITIONS.items() if transition.sources & TERMINAL} == {Move.RETRY}


def test_a_job_that_succeeded_stays_so():
    assert not any(State.SUCCEEDED in transition.sources for transition in TRANSITIONS.values())


def test_only_a_claim_makes_a_job_run():
    assert [move for move, transition in TRANSITIONS.items() if transition.target is State.RUNNING] == [Move.CLAIM]


@pytest.mark.parametrize("state", State)
def test_every_state_can_be_reached(state):
    reached, before = {State.QUEUED}, set[State]()
    while reached != before:
        before = set(reached)
        reached |= {target for sources, target in TRANSITIONS.values() if sources & before}
    assert state in reached


@pytest.mark.parametrize("state", sorted(set(State) - TERMINAL))
def test_an_unfinished_job_can_always_come_to_an_end(state):
    ends, before = set(TERMINAL), set[State]()
    while ends != before:
        before = set(ends)
        ends |= {source for sources, target in TRANSITIONS.values() if target in before for source in sources}
    assert state in ends


def test_all_but_running_jobs_may_be_deleted():
    assert set(State) - DELETABLE == {State.RUNNING}

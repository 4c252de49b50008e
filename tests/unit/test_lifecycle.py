"""The table of the life-cycle, cell by cell, and how a slot applies it."""

import random
from itertools import product

import pytest

from asrd_supervisor.core import actions as do
from asrd_supervisor.core.lifecycle import (
    LEAVING_STATES,
    LIVE_STATES,
    READY_STATES,
    TABLE,
    Bug,
    Cell,
    Input,
    State,
    step,
)
from asrd_supervisor.core.slot import Slot
from support.play import pool

MOVES = """
    vacant   start->starting
    starting hello->warming retire,deadline,broken->killing exit->backoff
    warming  ready->idle retire,deadline,broken->killing exit->backoff
    idle     assign->busy retire->stopping broken->killing exit->backoff
    busy     finish->idle retire->draining deadline,broken->killing exit->backoff
    draining finish->stopping deadline,broken->killing exit->backoff
    stopping deadline,broken->killing exit->vacant
    killing  deadline->killing exit->backoff
    backoff  delay-over->starting give-up->failed retire->vacant
    failed   revive->starting retire->vacant
"""
WORDS = {Input.HELLO, Input.READY, Input.FINISH}
"""What only a worker says."""


def moves() -> dict[tuple[State, Input], State]:
    """The expectation: what moves a slot."""
    found = {}
    for line in MOVES.split("\n")[1:-1]:
        state, *rules = line.split()
        for inputs, target in (rule.split("->") for rule in rules):
            found.update({(State(state), Input(what)): State(target) for what in inputs.split(",")})
    return found


def expected(state: State, what: Input) -> State | Cell:
    """What is no move is one of three things, each for a reason."""
    if (state, what) in moves():
        return moves()[state, what]
    if what is Input.REVIVE or (what is Input.RETIRE and state in (State.VACANT, *LEAVING_STATES, State.KILLING)):
        return Cell.IGNORED  # nobody is there to revive, and who leaves already need not be told
    if state is State.KILLING and what in (*WORDS, Input.BROKEN):
        return Cell.IGNORED  # it may still speak between our SIGKILL and its exit
    if state in LIVE_STATES and what in WORDS:
        return Cell.BREACH
    return Cell.BUG


@pytest.mark.parametrize(("state", "what"), list(product(State, Input)))
def test_every_cell(state: State, what: Input) -> None:
    assert step(state, what) is expected(state, what)


def test_the_table_is_complete() -> None:
    assert set(TABLE) == set(product(State, Input))


def reachable(start: State) -> set[State]:
    """Where a slot can get to."""
    found, todo = {start}, [start]
    while todo:
        state = todo.pop()
        new = {cell for what in Input if isinstance(cell := TABLE[state, what], State)} - found
        found |= new
        todo += new
    return found


@pytest.mark.parametrize("state", list(State))
def test_every_state_is_reached_and_can_be_left_for_good(state: State) -> None:
    assert state in reachable(State.VACANT)
    assert State.VACANT in reachable(state)


def test_where_a_worker_lives_and_where_it_can_hang() -> None:
    exits = {state for state in State if TABLE[state, Input.EXIT] is not Cell.BUG}
    timed = {state for state in State if TABLE[state, Input.DEADLINE] is not Cell.BUG}
    assert exits == LIVE_STATES
    assert timed == LIVE_STATES - {State.IDLE}
    assert READY_STATES | LEAVING_STATES < LIVE_STATES
    assert not READY_STATES & LEAVING_STATES


def a_slot() -> Slot:
    return Slot(pool(), 0, random.Random(1))


def test_a_bug_carries_the_history_of_its_slot() -> None:
    slot = a_slot()
    slot.apply(Input.START, 0.0)
    slot.apply(Input.HELLO, 1.0)
    with pytest.raises(Bug) as raised:
        slot.apply(Input.ASSIGN, 2.0)
    assert str(raised.value).split("; ") == [
        "p/0.0 vacant --start--> starting",
        "p/0.1 starting --hello--> warming",
        "p/0.1 warming --assign--> bug",
    ]
    assert slot.state is State.WARMING


def test_the_history_is_bounded() -> None:
    slot = a_slot()
    for _ in range(100):
        slot.apply(Input.RETIRE, 0.0)
    with pytest.raises(Bug) as raised:
        slot.apply(Input.EXIT, 0.0)
    assert len(str(raised.value).split("; ")) == 20


def test_a_breach_counts_as_broken() -> None:
    slot = a_slot()
    slot.apply(Input.START, 0.0)
    actions = slot.apply(Input.READY, 1.0)
    assert slot.state is State.KILLING
    assert slot.kill_reason == "breach: ready while starting"
    assert actions[0] == do.Kill(slot.seat, dump=False)


def test_every_start_is_a_new_generation_of_which_nothing_is_known() -> None:
    slot = a_slot()
    for generation in (1, 2):
        slot.apply(Input.START if generation == 1 else Input.DELAY_OVER, 10.0 * generation)
        assert (slot.generation, slot.since, slot.pid, slot.jobs_done) == (generation, 10.0 * generation, None, 0)
        slot.pid, slot.jobs_done = 4711, 5
        slot.apply(Input.EXIT, 15.0)


def test_no_two_timers_of_a_slot_have_the_same_number() -> None:
    slot, numbers = a_slot(), []
    for what in (Input.START, Input.HELLO, Input.READY, Input.ASSIGN, Input.DEADLINE, Input.DEADLINE):
        numbers += [action.number for action in slot.apply(what, 0.0) if isinstance(action, do.SetTimer)]
    assert len(set(numbers)) == len(numbers) == 5
    assert slot.timer == numbers[-1]

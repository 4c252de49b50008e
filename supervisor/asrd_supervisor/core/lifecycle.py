"""The life of a worker, as a complete table: every state and every input, nothing falls through.

Rule 1: a slot changes its state through :func:`step` and in no other way.
Rule 2: what happens in a cell is one of four things. The state to go to; IGNORED, when the input is harmless there and
why is known; BREACH, when only a broken worker can cause it; BUG, when only a broken supervisor can.
Rule 3: events of former generations and stale timers never get here. They are dropped by number before.

A worker is never asked whether it is well. Where it can hang, a deadline stands: STARTING, WARMING, BUSY, DRAINING,
STOPPING and KILLING each have one. IDLE has none: an idle worker is watched through the descriptor of its process.
KILLING is a state of its own because a worker may still speak between our SIGKILL and its exit.

``docs/lifecycle.md`` is drawn from this table (``make docs``).
"""

from enum import StrEnum
from typing import Self


class _Word(StrEnum):
    """A word with the sentence that says what it means; the page is written from both."""

    sentence: str
    __hash__ = str.__hash__  # Enum's own is written in Python, and every event looks states up

    def __new__(cls, word: str, sentence: str = "") -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.sentence = sentence
        return member


class State(_Word):
    """Where a slot is."""

    VACANT = "vacant", "Nobody sits here, and nobody is wanted."
    STARTING = "starting", "The process is spawned and has not spoken."
    WARMING = "warming", "The process loads its model and decodes something with it."
    IDLE = "idle", "The worker is warm and has nothing to do."
    BUSY = "busy", "The worker has a step."
    DRAINING = "draining", "The worker has a step and leaves after it."
    STOPPING = "stopping", "The worker has been told to leave."
    KILLING = "killing", "The worker has been killed and has not gone yet."
    BACKOFF = "backoff", "The worker is gone and the next one is not due yet."
    FAILED = "failed", "Too many workers died here: an operator, or a long time, must pass first."


class Input(_Word):
    """What can happen to a slot."""

    START = "start", "We spawn a worker."
    HELLO = "hello", "The worker speaks for the first time."
    READY = "ready", "The worker is warm."
    ASSIGN = "assign", "We give it a step."
    FINISH = "finish", "It has done the step, well or not."
    RETIRE = "retire", "We want it to leave, or want nobody here."
    DEADLINE = "deadline", "The time of its state is over."
    BROKEN = "broken", "It said what no healthy worker says."
    EXIT = "exit", "Its process is gone."
    DELAY_OVER = "delay-over", "The back-off is over."
    GIVE_UP = "give-up", "Too many died here."
    REVIVE = "revive", "An operator, or the long back-off, wants another try."


class Cell(_Word):
    """A cell of the table that is no state."""

    IGNORED = "ignored", "It is harmless here, and why it comes is known."
    BREACH = "breach", "Only a broken worker can cause it: it counts as broken."
    BUG = "bug", "Only a broken supervisor can cause it: it raises, with the history of the slot."


class Bug(AssertionError):
    """The supervisor did what cannot be; carries the recent history of the slot."""


_TEXT = """\
state    start    hello   ready   assign finish   retire   deadline broken  exit    delay-over give-up revive
vacant   starting bug     bug     bug    bug      ignored  bug      bug     bug     bug        bug     ignored
starting bug      warming breach  bug    breach   killing  killing  killing backoff bug        bug     ignored
warming  bug      breach  idle    bug    breach   killing  killing  killing backoff bug        bug     ignored
idle     bug      breach  breach  busy   breach   stopping bug      killing backoff bug        bug     ignored
busy     bug      breach  breach  bug    idle     draining killing  killing backoff bug        bug     ignored
draining bug      breach  breach  bug    stopping ignored  killing  killing backoff bug        bug     ignored
stopping bug      breach  breach  bug    breach   ignored  killing  killing vacant  bug        bug     ignored
killing  bug      ignored ignored bug    ignored  ignored  killing  ignored backoff bug        bug     ignored
backoff  bug      bug     bug     bug    bug      vacant   bug      bug     bug     starting   failed  ignored
failed   bug      bug     bug     bug    bug      vacant   bug      bug     bug     bug        bug     starting
"""


def _parse(text: str) -> dict[tuple[State, Input], State | Cell]:
    head, *rows = (line.split() for line in text.splitlines())
    cells: dict[str, State | Cell] = {str(cell): cell for cell in (*State, *Cell)}
    pairs = ((state, what, word) for state, *row in rows for what, word in zip(head[1:], row, strict=True))
    return {(State(state), Input(what)): cells[word] for state, what, word in pairs}


TABLE = _parse(_TEXT)
"""Every state and every input, and the cell where they meet."""

READY_STATES = frozenset({State.IDLE, State.BUSY})
"""Warm and there to stay: what an operator counts as ready."""

LIVE_STATES = frozenset(
    {State.STARTING, State.WARMING, State.IDLE, State.BUSY, State.DRAINING, State.STOPPING, State.KILLING}
)
"""There is a process."""

LEAVING_STATES = frozenset({State.DRAINING, State.STOPPING})
"""Retired on purpose and not gone yet."""

MOVING_STATES = frozenset({State.STARTING, State.WARMING, State.KILLING, *LEAVING_STATES})
"""On the way in or out, and it ends soon."""


def step(state: State, what: Input) -> State | Cell:
    """The cell of the table."""
    return TABLE[state, what]

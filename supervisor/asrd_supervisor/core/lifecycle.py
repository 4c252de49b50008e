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


class State(StrEnum):
    """Where a slot is. Each word is one sentence."""

    __hash__ = str.__hash__  # Enum's own is written in Python, and every event looks states up

    VACANT = "vacant"
    """Nobody sits here, and nobody is wanted."""
    STARTING = "starting"
    """The process is spawned and has not spoken."""
    WARMING = "warming"
    """The process loads its model and decodes something with it."""
    IDLE = "idle"
    """The worker is warm and has nothing to do."""
    BUSY = "busy"
    """The worker has a step."""
    DRAINING = "draining"
    """The worker has a step and leaves after it."""
    STOPPING = "stopping"
    """The worker has been told to leave."""
    KILLING = "killing"
    """The worker has been killed and has not gone yet."""
    BACKOFF = "backoff"
    """The worker is gone and the next one is not due yet."""
    FAILED = "failed"
    """Too many workers died here: an operator, or a long time, must pass first."""


class Input(StrEnum):
    """What can happen to a slot."""

    __hash__ = str.__hash__

    START = "start"
    """We spawn a worker."""
    HELLO = "hello"
    """The worker speaks for the first time."""
    READY = "ready"
    """The worker is warm."""
    ASSIGN = "assign"
    """We give it a step."""
    FINISH = "finish"
    """It has done the step, well or not."""
    RETIRE = "retire"
    """We want it to leave, or want nobody here."""
    DEADLINE = "deadline"
    """The time of its state is over."""
    BROKEN = "broken"
    """It said what no healthy worker says."""
    EXIT = "exit"
    """Its process is gone."""
    DELAY_OVER = "delay-over"
    """The back-off is over."""
    GIVE_UP = "give-up"
    """Too many died here."""
    REVIVE = "revive"
    """An operator, or the long back-off, wants another try."""


class Cell(StrEnum):
    """A cell of the table that is no state."""

    IGNORED = "ignored"
    BREACH = "breach"
    BUG = "bug"


class Bug(AssertionError):
    """The supervisor did what cannot be; carries the recent history of the slot."""


_S = State
_IGNORED, _BREACH, _BUG = Cell.IGNORED, Cell.BREACH, Cell.BUG

# fmt: off
_COLUMNS = (
    Input.START, Input.HELLO, Input.READY, Input.ASSIGN, Input.FINISH, Input.RETIRE,
    Input.DEADLINE, Input.BROKEN, Input.EXIT, Input.DELAY_OVER, Input.GIVE_UP, Input.REVIVE,
)
_ROWS: dict[State, tuple[State | Cell, ...]] = {
    #             start        hello       ready      assign   finish       retire       deadline    broken      exit        delay-over   give-up    revive
    _S.VACANT:   (_S.STARTING, _BUG,       _BUG,      _BUG,    _BUG,        _IGNORED,    _BUG,       _BUG,       _BUG,       _BUG,        _BUG,      _IGNORED),
    _S.STARTING: (_BUG,        _S.WARMING, _BREACH,   _BUG,    _BREACH,     _S.KILLING,  _S.KILLING, _S.KILLING, _S.BACKOFF, _BUG,        _BUG,      _IGNORED),
    _S.WARMING:  (_BUG,        _BREACH,    _S.IDLE,   _BUG,    _BREACH,     _S.KILLING,  _S.KILLING, _S.KILLING, _S.BACKOFF, _BUG,        _BUG,      _IGNORED),
    _S.IDLE:     (_BUG,        _BREACH,    _BREACH,   _S.BUSY, _BREACH,     _S.STOPPING, _BUG,       _S.KILLING, _S.BACKOFF, _BUG,        _BUG,      _IGNORED),
    _S.BUSY:     (_BUG,        _BREACH,    _BREACH,   _BUG,    _S.IDLE,     _S.DRAINING, _S.KILLING, _S.KILLING, _S.BACKOFF, _BUG,        _BUG,      _IGNORED),
    _S.DRAINING: (_BUG,        _BREACH,    _BREACH,   _BUG,    _S.STOPPING, _IGNORED,    _S.KILLING, _S.KILLING, _S.BACKOFF, _BUG,        _BUG,      _IGNORED),
    _S.STOPPING: (_BUG,        _BREACH,    _BREACH,   _BUG,    _BREACH,     _IGNORED,    _S.KILLING, _S.KILLING, _S.VACANT,  _BUG,        _BUG,      _IGNORED),
    _S.KILLING:  (_BUG,        _IGNORED,   _IGNORED,  _BUG,    _IGNORED,    _IGNORED,    _S.KILLING, _IGNORED,   _S.BACKOFF, _BUG,        _BUG,      _IGNORED),
    _S.BACKOFF:  (_BUG,        _BUG,       _BUG,      _BUG,    _BUG,        _S.VACANT,   _BUG,       _BUG,       _BUG,       _S.STARTING, _S.FAILED, _IGNORED),
    _S.FAILED:   (_BUG,        _BUG,       _BUG,      _BUG,    _BUG,        _S.VACANT,   _BUG,       _BUG,       _BUG,       _BUG,        _BUG,      _S.STARTING),
}
# fmt: on

TABLE: dict[tuple[State, Input], State | Cell] = {
    (state, column): cell for state, row in _ROWS.items() for column, cell in zip(_COLUMNS, row, strict=True)
}

READY_STATES = frozenset({State.IDLE, State.BUSY})
"""Warm and there to stay: what an operator counts as ready."""

LIVE_STATES = frozenset(
    {State.STARTING, State.WARMING, State.IDLE, State.BUSY, State.DRAINING, State.STOPPING, State.KILLING}
)
"""There is a process."""

LEAVING_STATES = frozenset({State.DRAINING, State.STOPPING})
"""Retired on purpose and not gone yet."""


def step(state: State, what: Input) -> State | Cell:
    """The cell of the table."""
    return TABLE[state, what]

"""The one owner of the state: takes events in, one at a time, and has the core's actions performed."""

from collections import deque
from collections.abc import Callable

import structlog

from asrd_supervisor.core.actions import Action
from asrd_supervisor.core.events import Event
from asrd_supervisor.core.supervisor import Supervisor

_log = structlog.get_logger("asrd")


class Owner:
    """Runs on the event loop's thread only. An event that is posted while another one is being handled waits.

    An action that fails is logged and no more: the state is right, and whatever should have come of the action has a
    deadline. An exception in the core itself is another thing: the state may be wrong in any way, so ``broken`` ends
    the daemon.
    """

    def __init__(
        self,
        core: Supervisor,
        clock: Callable[[], float],
        perform: Callable[[Action], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self.core = core
        self._clock = clock
        self._perform = perform
        self._broken = broken
        self._events: deque[Event] = deque()
        self._handling = False

    def start(self) -> None:
        """Perform the first actions."""
        self._handling = True
        for action in self.core.start(self._clock()):
            self._attempt(action)
        self._handling = False
        self._drain()

    def post(self, event: Event) -> None:
        """Something has happened."""
        self._events.append(event)
        self._drain()

    def _drain(self) -> None:
        if self._handling:
            return
        self._handling = True
        try:
            while self._events:
                for action in self._decide(self._events.popleft()):
                    self._attempt(action)
        finally:
            self._handling = False

    def _decide(self, event: Event) -> list[Action]:
        try:
            return self.core.handle(self._clock(), event)
        except Exception as error:
            self._events.clear()
            self._broken(error)
            return []

    def _attempt(self, action: Action) -> None:
        try:
            self._perform(action)
        except Exception:
            _log.exception("an action failed", action=type(action).__name__)

"""The one owner of the state: takes events in, one at a time, and has the core's actions performed."""

from collections import deque
from collections.abc import Callable

from asrd_supervisor.core.actions import Action
from asrd_supervisor.core.events import Event
from asrd_supervisor.core.supervisor import Supervisor


class Owner:
    """Runs on the event loop's thread only. An event that is posted while another one is being handled waits."""

    def __init__(self, core: Supervisor, clock: Callable[[], float], perform: Callable[[Action], None]) -> None:
        self.core = core
        self._clock = clock
        self._perform = perform
        self._events: deque[Event] = deque()
        self._handling = False

    def start(self) -> None:
        """Perform the first actions."""
        self._handling = True
        for action in self.core.start(self._clock()):
            self._perform(action)
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
                for action in self.core.handle(self._clock(), self._events.popleft()):
                    self._perform(action)
        finally:
            self._handling = False

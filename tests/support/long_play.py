"""Playing the pure core with jobs of several steps."""

from typing import Any

from asrd_protocol.model import Timings
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import PoolPolicy
from support.play import Play, seat


class LongPlay(Play):
    """A core whose disk keeps plans and parts at once, unless ``slow``; they are remembered here."""

    def __init__(self, *pools: PoolPolicy, slow: bool = False, **more: Any) -> None:
        self.slow = slow
        self.plans: list[do.PersistPlan] = []
        self.parts: list[do.PersistPart] = []
        super().__init__(*pools, **more)

    def tell(self, *events: ev.Event) -> list[do.Action]:
        """As ever, but what is stored here is not among the orders."""
        orders: list[do.Action] = []
        todo = list(events)
        while todo:
            for order in super().tell(todo.pop(0)):
                match order:
                    case do.PersistPlan(job):
                        self.plans.append(order)
                        todo += [] if self.slow else [ev.PlanPersisted(job)]
                    case do.PersistPart(job, step):
                        self.parts.append(order)
                        todo += [] if self.slow else [ev.PartPersisted(job, step)]
                    case _:
                        orders.append(order)
        return orders

    def cut(self, name: str, chunks: int = 4, length: float = 100.0) -> list[do.Action]:
        """The worker has cut what it was given."""
        stretches = tuple((length * at, length * (at + 1)) for at in range(chunks))
        return self.tell(ev.StepSplit(seat(name), self.attempt(name), stretches, b"head", Timings(decode=2.0)))

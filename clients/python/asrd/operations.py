"""What an operator asks of a daemon and tells it to do; one half of the client for asyncio."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from asrd.errors import ProtocolError
from asrd.questions import Question
from asrd.shell import Shell
from asrd_protocol import messages as m

ANSWER_S = 5.0
"""Seconds to wait for the answer to a plain question."""

A = TypeVar("A", bound=m.Answer)


class Operations:
    """Questions on the control socket. Each raises ``NoDaemon`` and ``TimedOut``, the commands ``Refused`` too."""

    def __init__(self, shell: Shell, timeout: float) -> None:
        self._shell = shell
        self._timeout = timeout

    async def health(self) -> m.HealthReport:
        """Whether work may be sent."""
        return await self._control(m.Health(), m.HealthReport)

    async def stats(self) -> m.StatsReport:
        """Counters since the daemon started."""
        return await self._control(m.Stats(), m.StatsReport)

    async def workers(self) -> list[m.WorkerReport]:
        """Every seat with its worker."""
        return (await self._control(m.Workers(), m.WorkersReport)).workers

    async def jobs(
        self,
        limit: int = 100,
        *,
        states: Sequence[m.JobState] = (),
        pool: str | None = None,
        client: str | None = None,
    ) -> list[m.JobReport]:
        """The newest jobs that the daemon knows; only those in one of ``states``, of one pool, of one client."""
        question = m.Jobs(limit=limit, states=list(states), pool=pool, client=client)
        return (await self._control(question, m.JobsReport)).jobs

    async def quarantine(self, limit: int = 100) -> list[m.JobReport]:
        """The jobs that workers died of: they stay until they are tried again or released."""
        return await self.jobs(limit, states=("quarantined",))

    async def pools(self) -> list[m.PoolReport]:
        """Every pool with what it runs."""
        return (await self._control(m.Pools(), m.PoolsReport)).pools

    async def recycles(self, limit: int = 50, pool: str | None = None) -> list[m.RecycleReport]:
        """Workers that were replaced on purpose, the newest first: why, and whether it helped; of a pool or all."""
        return (await self._control(m.Recycles(limit=limit, pool=pool), m.RecyclesReport)).recycles

    async def insights(self) -> list[m.Insight]:
        """What the daemon has noticed, with the figures behind it and what to do; the most urgent first."""
        return (await self._control(m.Insights(), m.InsightsReport)).insights

    async def recycle(self, pool: str | None = None, seat: str | None = None) -> m.Done:
        """Replaces healthy workers by fresh ones, of one pool or one seat or all."""
        return await self._control(m.Recycle(pool=pool, seat=seat), m.Done)

    async def unload_pool(self, pool: str) -> m.Done:
        """Frees the memory of a pool: its workers leave after their steps, and the next job starts them."""
        return await self._control(m.Unload(pool=pool), m.Done)

    async def load_pool(self, pool: str) -> m.Done:
        """Starts the workers of a pool that rests; :meth:`pools` tells when they are ready."""
        return await self._control(m.Load(pool=pool), m.Done)

    async def reload_pool(self, pool: str) -> m.Done:
        """Lets a pool read its model again, by workers that take the place of the others without a gap."""
        return await self._control(m.Reload(pool=pool), m.Done)

    async def set_pool(self, pool: str, settings: Mapping[str, Any]) -> m.Done:
        """Changes what the engine of a pool is told, as ``{"compute_type": "int8"}``, in the same way.

        A change that no worker can load is taken back; ``change_fault`` of :meth:`pools` tells why.
        """
        return await self._control(m.SetPool(pool=pool, settings=dict(settings)), m.Done)

    async def drain(self, resume: bool = False) -> m.Done:
        """Lets the daemon refuse new jobs, or take them again."""
        return await self._control(m.Drain(resume=resume), m.Done)

    async def stop(self, now: bool = False) -> m.Done:
        """Ends the daemon, after the jobs that run or at once; what waits is kept, if it has a journal."""
        return await self._control(m.Stop(now=now), m.Done)

    async def _control(self, question: Question, kind: type[A]) -> A:
        answer = (await self._shell.ask(question, self._timeout)).answer
        if not isinstance(answer, kind):
            raise ProtocolError.unexpected(question, answer)
        return answer

"""Whether a job is taken, and what it is then."""

from collections.abc import Mapping

from asrd_protocol.codec import did_you_mean
from asrd_protocol.faults import Code, Fault
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.plan import Job, Step
from asrd_supervisor.core.policy import QueuePolicy
from asrd_supervisor.core.pool import Pool
from asrd_supervisor.core.quotas import Quotas
from asrd_supervisor.core.retries import asked_for
from asrd_supervisor.core.stages import MERGE, SPEAKERS, WHOLE


class Entrance:
    """Knows the pools and what they do, and how much of the queue is taken."""

    def __init__(self, pools: Mapping[str, Pool], default: str, queue: QueuePolicy) -> None:
        self._pools = pools
        self._default = default
        self.quotas = Quotas(queue)

    def job(self, now: float, event: ev.JobSubmitted) -> Job:
        """The job that nobody has objected to."""
        name = event.pool or self._default
        pool = self._pools.get(name, self._pools[self._default])  # a job of an earlier daemon may be stranded
        steps = {WHOLE: Step(WHOLE, name)}
        if event.diarize:
            steps |= {SPEAKERS: Step(SPEAKERS, self.listeners(event) or ""), MERGE: Step(MERGE, name)}
        retries = asked_for(pool.policy.retries, event.retries)
        return Job(event.job, name, event, now, steps, retries, self._length(pool, event))

    def listeners(self, event: ev.JobSubmitted) -> str | None:
        """The pool that would tell the speakers of a job apart; None when there is none."""
        if event.diarize_pool:
            found = self._pools.get(event.diarize_pool)
            return event.diarize_pool if found and found.policy.diarizes else None
        return next((name for name, pool in self._pools.items() if pool.policy.diarizes), None)

    def objection(self, event: ev.JobSubmitted, waiting: int) -> Fault | None:
        """None when a job would be taken now, while so many wait, else why not. Changes nothing."""
        name = event.pool or self._default
        pool = self._pools.get(name)
        if pool is None:
            return self.no_pool(name)
        if pool.policy.diarizes:
            said = f"the pool {name!r} tells speakers apart and does not transcribe; ask another one, with diarize"
            return Fault.of(Code.UNKNOWN_POOL, said, known=self._transcribing)
        if event.diarize and self.listeners(event) is None:
            return self.no_listeners(event)
        if pool.unavailable:
            return pool.unavailable_fault()
        return self.quotas.objection(waiting, event.owner, event.size, self._length(pool, event), pool.room_in)

    def _length(self, pool: Pool, event: ev.JobSubmitted) -> float:
        """Seconds of audio as the queue counts them. A mere guess is no reason to keep a job out for ever, so it takes
        half of the queue at most."""
        if event.audio_s is not None:
            return event.audio_s
        return min(pool.pace.length(event.size, None), self.quotas.most_audio_s / 2)

    def transcribes(self, name: str) -> bool:
        """Whether there is such a pool, for jobs."""
        return name in self._pools and not self._pools[name].policy.diarizes

    @property
    def _transcribing(self) -> list[str]:
        return sorted(filter(self.transcribes, self._pools))

    def no_pool(self, name: str) -> Fault:
        """A pool that was asked for is not there."""
        known = sorted(self._pools)
        return Fault.of(Code.UNKNOWN_POOL, f"there is no pool {name!r}{did_you_mean(name, known)}", known=known)

    def no_listeners(self, event: ev.JobSubmitted) -> Fault:
        """No pool can tell the speakers of a job apart."""
        if event.diarize_pool and event.diarize_pool not in self._pools:
            return self.no_pool(event.diarize_pool)
        if event.diarize_pool:
            said = f"the pool {event.diarize_pool!r} does not tell speakers apart"
        else:
            said = (
                "no pool of this daemon tells speakers apart; add one with engine = 'diarize' or 'diarize-lite' "
                "(`asrd engines install diarize` brings what it needs), or leave diarize out"
            )
        return Fault.of(Code.BAD_OPTION, said)

"""How much of the queue is taken, in all and by each user of the host, and whether one more job fits."""

import math
from collections import defaultdict
from collections.abc import Callable

import msgspec

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.core.plan import Job
from asrd_supervisor.core.policy import QueuePolicy


class Share(msgspec.Struct):
    """What jobs that have not ended take."""

    jobs: int = 0
    size: int = 0
    audio_s: float = 0.0

    def add(self, job: Job, sign: int) -> None:
        """One job more, or with -1 one less."""
        self.jobs += sign
        self.size += sign * job.size
        # Sums of floats drift: a job that fits exactly must not be refused for that.
        self.audio_s = round(self.audio_s + sign * job.audio_s, 9) if self.jobs else 0.0


class Quotas:
    """Counts jobs in and out."""

    def __init__(self, policy: QueuePolicy) -> None:
        self._policy = policy
        self._all = Share()
        self._users: defaultdict[str, Share] = defaultdict(Share)

    def enter(self, job: Job) -> None:
        """A job has come."""
        self._all.add(job, 1)
        self._users[job.asked.owner].add(job, 1)

    def leave(self, job: Job) -> None:
        """A job has ended."""
        self._all.add(job, -1)
        self._users[job.asked.owner].add(job, -1)
        if not self._users[job.asked.owner].jobs:
            del self._users[job.asked.owner]

    @property
    def most_audio_s(self) -> float:
        """Seconds of audio beyond which no job is taken, however empty the queue is."""
        limits = (self._policy.max_audio_s, self._policy.per_user.max_audio_s)
        return min((float(limit) for limit in limits if limit), default=math.inf)

    def _too_large(self, size: int, audio_s: float) -> Fault | None:
        """Whether one job is more than there is room for at all: waiting is no use then."""
        policy, quota = self._policy, self._policy.per_user
        most = min(policy.max_bytes, quota.max_bytes or policy.max_bytes)
        if size > most:
            return Fault.of(Code.FRAME_TOO_LARGE, f"the audio has {size} bytes, {most} may wait here (queue.max_bytes)")
        if audio_s > self.most_audio_s:
            said = f"the audio has {audio_s:.0f} s, {self.most_audio_s:g} s may wait here (queue.max_audio_s)"
            return Fault.of(Code.AUDIO_TOO_LONG, said)
        return None

    def objection(
        self, waiting: int, owner: str, size: int, audio_s: float, room_in: Callable[[], float]
    ) -> Fault | None:
        """None when a job of a user fits in, else which limit it meets; ``room_in`` tells for how long to wait."""
        policy, taken = self._policy, self._all
        if fault := self._too_large(size, audio_s):
            return fault
        if (
            waiting >= policy.max_jobs
            or taken.size + size > policy.max_bytes
            or (policy.max_audio_s and taken.audio_s + audio_s > policy.max_audio_s)
        ):
            wait = room_in()
            said = f"the queue is full ({waiting} jobs wait, {taken.size} bytes of audio are held)"
            return Fault.of(Code.OVERLOADED, f"{said}; come back in {wait:g} s", retry_after=wait)
        quota, own = policy.per_user, self._users.get(owner, Share())
        over = [
            name
            for name, limit, sum_ in (
                ("max_jobs", quota.max_jobs, own.jobs + 1),
                ("max_bytes", quota.max_bytes, own.size + size),
                ("max_audio_s", quota.max_audio_s, own.audio_s + audio_s),
            )
            if limit and sum_ > limit
        ]
        if not over:
            return None
        wait = room_in()
        said = f"the user {owner} has {own.jobs} jobs here; one more is over queue.per_user.{over[0]}"
        return Fault.of(Code.QUOTA, f"{said}; come back in {wait:g} s", retry_after=wait)

"""Everything that is measured of the workers of a pool comes in here, and is passed to whom it concerns."""

from collections import Counter
from collections.abc import Sequence
from statistics import median

from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.health.advice import LEAST, Advice
from asrd_supervisor.core.health.canary import Canary, unlike
from asrd_supervisor.core.health.diagnosis import Diagnosis
from asrd_supervisor.core.health.drift import Drift, Kind
from asrd_supervisor.core.health.guards import Guards
from asrd_supervisor.core.health.history import LATENCY, History, Record
from asrd_supervisor.core.health.host import Host
from asrd_supervisor.core.health.inquiry import RUNS
from asrd_supervisor.core.health.memory import MIB, Memory
from asrd_supervisor.core.health.vitals import Vitals
from asrd_supervisor.core.lifecycle import State
from asrd_supervisor.core.policy import PoolPolicy
from asrd_supervisor.core.recycle import Verdict
from asrd_supervisor.core.slot import Slot

DIAGNOSED = frozenset({"slow", "lockstep", "experiment", "leak", "rss", "vram", "quality"})
"""Reasons that the daemon finds by itself, and that its guards count."""

WARM = frozenset({State.IDLE, State.BUSY, State.DRAINING})

GROWN = 1.5
"""Times of its start that a worker must have, for its death to free anything;"""

PAUSE_S = 60.0
"""and the least time from one such death to the next."""

AGREED = 2
"""Workers that must have heard the same, for another one to be wrong."""

TEXTS = 16
"""Different ones that are kept."""

LAST = 0.05
"""Share of the host's memory that must be left: the kernel would not choose better whom to kill."""

Said = list[do.Announce]


class Monitor:
    """What is known of the health of one pool."""

    def __init__(self, policy: PoolPolicy, slots: Sequence[Slot]) -> None:
        self._policy = policy
        self._slots = slots
        self.host = Host(*policy.devices)
        self.drift = Drift(policy.drift)
        self.diagnosis = Diagnosis(policy, self.drift, self.host)
        self.guards = Guards(policy.recycle.guards, policy.workers)
        self.history = History()
        self.advice = Advice(policy.recycle)
        self._killed_at = float("-inf")
        self._texts: Counter[str] = Counter()
        """What workers heard in the clip at their start."""

    @property
    def _ready(self) -> list[Slot]:
        return [slot for slot in self._slots if slot.ready]

    # --- what comes in ------------------------------------------------------------------------------------------------

    def born(self, now: float, slot: Slot, event: ev.WorkerWarmed) -> None:
        """A worker is ready."""
        memory = Memory(self._policy.recycle, event.rss)
        slot.vitals = Vitals(self.drift.track(), memory, Canary(now, event.canary_s, event.canary_text))
        if event.canary_s > 0:
            slot.vitals.finding = self._odd_one_out(event.canary_text)
        took = slot.age(now)
        self.advice.note_reload(took)
        self.advice.note_baseline(event.rss)
        if record := self.history.born(slot.seat, took):
            slot.vitals.predecessor = record
            self.diagnosis.arrived(now, record, self._ready)

    def _odd_one_out(self, text: str) -> Verdict | None:
        """All workers are alike and decode greedily: one that hears something else from the start is damaged."""
        if len(self._texts) < TEXTS or text in self._texts:
            self._texts[text] += 1
        usual, count = self._texts.most_common(1)[0]
        return unlike(usual, text) if count >= AGREED and count > self._texts[text] else None

    def finished(self, now: float, slot: Slot, event: ev.StepFinished, companions: float) -> Said:
        """A worker has done a step, in the company of so many others on its device, on average."""
        vitals, timings = slot.vitals, event.timings
        vitals.memory.note(event.rss, event.work.audio_s)
        if not self._comparable(slot, companions):
            return self.diagnosis.lockstep.disturbed(now, self._ready)
        kind = self._kind(slot, event.work.kind, companions)
        wall = timings.transcribe
        vitals.share.note(event.work.cpu_s, timings.decode + timings.vad + wall)
        siblings = [other.vitals.pace for other in self._ready if other is not slot]
        self.drift.note(vitals.pace, siblings, slot.jobs_done, kind, event.work, wall)
        self.advice.note_step(wall)
        said = self._compare_with_predecessor(now, slot, kind, event, wall)
        return said + self.diagnosis.consider(now, self._ready)

    def _comparable(self, slot: Slot, companions: float) -> bool:
        """On a GPU, workers slow each other down: a job whose company changed on the way is neither this nor that."""
        mixed = _on_gpu(slot) and 0.25 < companions % 1 < 0.75
        return not mixed and not self.host.disturbed_since(slot.started_at)

    def _kind(self, slot: Slot, options: str, companions: float) -> Kind:
        """A pool that had to leave its devices is not slower for the same work: it is another kind of work."""
        where = "" if slot.device in self._policy.devices else f"@{slot.device}"
        return Kind(options + where, round(companions) if _on_gpu(slot) else 0)

    def _compare_with_predecessor(
        self, now: float, slot: Slot, kind: Kind, event: ev.StepFinished, wall: float
    ) -> Said:
        record = slot.vitals.predecessor
        if record is None or slot.jobs_done == 1:
            return []
        recent = [r for s in self._ready if s is not slot and (r := s.vitals.pace.recent) is not None]
        if not record.note(kind, event.work, wall, median(recent) if recent else 0.0):
            return []
        if record.effective is not None:
            self.guards.learn(effective=record.effective)
        self.advice.note_record(record)
        return self.diagnosis.judged(now, record, self._ready)

    def canary_finished(self, now: float, slot: Slot, event: ev.CanaryFinished) -> Said:
        """A worker has transcribed the built-in clip."""
        vitals = slot.vitals
        took = median(event.took) if len(event.took) >= RUNS else min(event.took)
        asked = self.diagnosis.inquiry is not None and self.diagnosis.inquiry.wants(slot.seat)
        vitals.canary.note(now, slot.jobs_done, took, event.text, measure=not asked)
        wrong = vitals.canary.verdict()
        if wrong:
            vitals.finding = wrong
            if asked:
                self.diagnosis.inquiry = None
            return [do.Announce("worker.wrong", {"seat": str(slot.seat), "numbers": wrong.numbers})]
        return self.diagnosis.answered(now, slot, took, self._ready)

    def sampled(self, now: float, sample: ev.HostSampled) -> list[Slot]:
        """The host has spoken; workers that have to be killed for their memory."""
        self.host.note(now, sample, working=any(slot.state is State.BUSY for slot in self._slots))
        known = {worker.seat: worker for worker in sample.workers}
        sizes: list[tuple[int, Slot]] = []
        for slot in self._slots:
            if slot.state not in WARM or (worker := known.get(slot.seat)) is None:
                continue
            slot.vitals.memory.pss = worker.pss
            slot.vitals.memory.note_vram(worker.vram)
            sizes.append((worker.rss or 0, slot))
        for device in self._policy.devices:
            self._keep_reserve(device, sample.free.get(device))
        limit = self._policy.recycle.kill_rss
        if limit:
            return [slot for size, slot in sizes if size > limit]
        grown = [(size, slot) for size, slot in sizes if size > GROWN * slot.vitals.memory.baseline > 0]
        short = sample.memory_left is not None and sample.memory_left < LAST
        if not short or not grown or now - self._killed_at < PAUSE_S:
            return []
        self._killed_at = now
        return [max(grown, key=lambda one: one[0])[1]]

    def _keep_reserve(self, device: str, free: int | None) -> None:
        """A GPU is nearly full: one worker has to give back what it holds."""
        reserve = self._policy.recycle.vram_reserve_mb * MIB
        known = [slot for slot in self._ready if slot.device == device and slot.vitals.memory.vram is not None]
        if not reserve or free is None or free >= reserve or not known:
            return
        largest = max(known, key=lambda slot: slot.vitals.memory.vram or 0)
        numbers = {"free_mib": round(free / MIB, 1), "reserve_mib": round(reserve / MIB)}
        largest.vitals.finding = largest.vitals.finding or Verdict("vram", numbers)

    # --- what comes of it ---------------------------------------------------------------------------------------------

    def canary_runs(self, now: float, slot: Slot) -> int:
        """How often an idle worker shall transcribe the clip now; mostly 0."""
        if self.diagnosis.inquiry and self.diagnosis.inquiry.wants(slot.seat):
            return RUNS
        if slot.unwelcome or slot.stopped:
            return 0
        limit = self.limit(slot)
        return slot.vitals.canary.due(now, slot.jobs_done, limit, now - slot.proved_at, self._policy.canary)

    def limit(self, slot: Slot) -> int:
        """How many jobs a worker may do; 0 for any number."""
        most = self._policy.recycle.max_jobs
        if isinstance(most, int):
            return slot.limit
        advised = self.advice.max_jobs
        return max(LEAST, round(advised * slot.share)) if advised else 0

    def diagnosed(self, now: float, slot: Slot) -> Verdict | None:
        """Why a worker shall be replaced, if nothing speaks against doing it now."""
        fat, found = slot.vitals.memory.verdict, slot.vitals.finding
        if fat and fat.reason == "rss":
            return None if self.guards.exhausted(now) else fat
        verdict = found if found and found.reason != "quality" else fat
        if verdict is None or self.objection(now, slot, verdict):
            return None
        return verdict

    def objection(self, now: float, slot: Slot, verdict: Verdict) -> str:
        """What holds the replacement of a worker back; empty for nothing."""
        return self.guards.objection(now, slot.jobs_done, slot.age(now), slow=verdict.reason in LATENCY)

    def nonsense(self, now: float, slot: Slot) -> Verdict | None:
        """Why a worker must not be given another job."""
        found = slot.vitals.finding
        return found if found and found.reason == "quality" and not self.guards.exhausted(now) else None

    def renewed(self) -> None:
        """Workers load something else from now on: what the others heard and took is no measure for them."""
        self._texts.clear()
        self.diagnosis.inquiry = None

    def replaced(self, now: float, slot: Slot, verdict: Verdict) -> None:
        """A worker was told to leave."""
        record = Record(now, slot.seat, verdict, slot.jobs_done, slot.age(now))
        stay = [other for other in self._ready if other is not slot]
        record.remember(slot.vitals.pace, [other.vitals.pace for other in stay])
        self.advice.note_leak(slot.vitals.memory.slope)
        newest = max(stay, key=lambda other: other.ready_at or 0.0, default=None)
        surplus = len(stay) >= self._policy.workers
        fresh = newest if surplus and newest and newest.jobs_done == 0 else None
        took = (fresh.ready_at or now) - fresh.since if fresh else 0.0
        self.history.add(record, (fresh.seat, took) if fresh else None)
        if fresh:
            fresh.vitals.predecessor = record
        if verdict.reason in DIAGNOSED:
            self.guards.note(now)
        self.diagnosis.replaced(now, record, stay)


def _on_gpu(slot: Slot) -> bool:
    return slot.device != "cpu"

"""What must hold of checks of health: who gets the clip, who is replaced for what, and how often at most."""

from typing import Any

from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.health.inquiry import RUNS
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.slot import Slot
from asrd_supervisor.core.stages import MERGE
from asrd_supervisor.core.supervisor import pool_status
from property.labour import EARLY, WORTH_IT
from property.laws import LawfulWorld
from property.records import Process

SLOW = {"slow", "lockstep", "experiment"}
URGENT = {"quality", "rss"}
DIAGNOSED = SLOW | URGENT | {"leak", "vram"}


class HealthyWorld(LawfulWorld):
    """The lawful world, with a judge of what the core thinks of its workers."""

    def boot(self) -> None:
        """Another daemon has replaced nobody yet."""
        self.recycled: dict[str, list[float]] = {name: [] for name in self.pools}
        self.quiet = True
        super().boot()

    def perform(self, action: do.Action) -> None:
        """Judge, then do."""
        match action:
            case do.SendCanary(seat, attempt, runs):
                self._judge_clip(self.processes[seat], attempt, runs)
            case do.Announce("worker.recycled", fields) if fields["reason"] in DIAGNOSED:
                self._judge_recycle(self._process(fields["seat"]), fields["reason"])
        super().perform(action)

    def _process(self, name: str) -> Process:
        seat = Seat.parse(name)
        assert seat
        return self.processes[seat]

    # --- the clip -----------------------------------------------------------------------------------------------------

    def patient(self, process: Process) -> bool:
        """It may do enough jobs for its clip to be timed anew."""
        limit = self.core.pools[process.seat.pool].monitor.limit(self.slot(process.seat))
        return not limit or limit >= WORTH_IT

    def counted(self, process: Process) -> bool:
        """It has done enough jobs since the last time."""
        policy = self.pools[process.seat.pool].canary
        return policy.enabled and process.jobs_done - process.clip_after >= policy.every_jobs

    def _judge_clip(self, process: Process, attempt: int, runs: int) -> None:
        policy = self.pools[process.seat.pool].canary
        assert policy.enabled and not self.held and process.seat.pool not in self.shut
        assert process.idle and attempt > process.attempt
        early = process.jobs_done >= EARLY and not process.measured
        idle = self.now - process.clip_at >= policy.idle
        if self.asked(process):
            assert runs == RUNS
        else:
            assert runs == (2 if early and self.patient(process) else 1)
            assert self.counted(process) or (early and self.patient(process)) or idle, "the clip for no reason"

    def answer(self, process: Process, *args: Any, **how: Any) -> None:
        """Who has answered is asked the same once more, to be sure, and not again; nonsense is no answer."""
        inquiry = self.core.pools[process.seat.pool].monitor.diagnosis.inquiry
        again = inquiry is not None and inquiry.wants(process.seat) and inquiry.again
        super().answer(process, *args, **how)
        assert not (again and process.clip and self.asked(process)) or process.wrong, "it has answered twice"
        if process.wrong and self.slot(process.seat).ready:
            finding = self.slot(process.seat).vitals.finding
            assert finding and finding.reason == "quality", "nonsense is overheard"

    def refuse_the_clip(self, process: Process, *, leave: bool) -> None:
        """Who cannot even do that leaves."""
        super().refuse_the_clip(process, leave=leave)
        assert process.stopped_at is not None

    # --- the host -----------------------------------------------------------------------------------------------------

    def sample(self, **host: Any) -> None:
        """Who is too fat, or stopped for long, is killed; who is stopped is not well."""
        self.quiet = self.quiet and not host
        super().sample(**host)
        for process in self.processes.values():
            assert not process.guilty or process.killed_at is not None, "it is spared"
            slot, pool = self.slot(process.seat), self.core.pools[process.seat.pool]
            assert slot.stopped == process.frozen
            assert not process.frozen or pool_status(pool)[0] != "ready", "it is stopped, and all is well"

    # --- findings -----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """What holds at all times."""
        super().check()
        for policy, slot in self.slots():
            self._check_vitals(slot, policy.drift.min_jobs)
            self._check_clip(slot)

    def _check_vitals(self, slot: Slot, least: int) -> None:
        vitals, process = slot.vitals, self.processes.get(slot.seat)
        assert vitals.pace.mood != "degraded" or vitals.pace.judged >= least, "too little is known of it"
        if not vitals.finding or process is None:
            return
        assert process.warm, "found before it has done anything"
        if vitals.finding.reason == "quality":
            assert process.wrong
        else:
            trial = vitals.finding.numbers.get("confirmed") is False  # three alarms in a row that the clip denied
            assert trial or process.found or slot.seat.pool in self.slowed, "nothing is wrong with it"

    def _check_clip(self, slot: Slot) -> None:
        """Nobody who has to transcribe the clip now has time to spare."""
        heard = isinstance(self.cause, ev.WorkerEvent | ev.HostSampled) and not isinstance(
            self.cause, ev.StepProgressed | ev.SegmentDecoded
        )
        process = self.processes.get(slot.seat)
        if not heard or not process or not process.idle or self.held or self.closed(slot.seat.pool):
            return
        if isinstance(self.cause, ev.WorkerEvent) and self.cause.seat.pool != slot.seat.pool:
            return
        assert not self.asked(process), "it is asked, and idle"
        others = [other for other in self.core.pools[slot.seat.pool].slots if other is not slot]
        if slot.stopped or slot.unwelcome or any(other.at_clip for other in others):
            return  # one at a time, and no use with some
        assert not self.counted(process), "it has done its jobs, and is idle"
        canary = self.pools[slot.seat.pool].canary
        if canary.enabled and isinstance(self.cause, ev.HostSampled):
            assert self.now - max(process.clip_at, slot.proved_at) < canary.idle, "it is not heard of for long"

    def finish(self, process: Process) -> None:
        """A question that nobody will answer is dropped with the next job that says something."""
        merged = process.part is not None and process.part.index == MERGE
        super().finish(process)
        pool = process.seat.pool
        inquiry = self.core.pools[pool].monitor.diagnosis.inquiry
        if inquiry and self.quiet and not merged and not self.closed(pool):
            here = {one.seat for one in self.staff(pool) if one.ready}
            missing = [one for one in (inquiry.suspect, inquiry.reference) if one and one not in here]
            # Whoever finished may have been told to leave by this very job.
            assert not any(inquiry.wants(one) and one != process.seat for one in missing), "it waits for the dead"

    # --- replacements -------------------------------------------------------------------------------------------------

    def _judge_recycle(self, process: Process, reason: str) -> None:
        """For a reason, and within the brakes."""
        policy, done = self.pools[process.seat.pool], self.recycled[process.seat.pool]
        guards, workers = policy.recycle.guards, policy.workers
        if reason in SLOW:
            assert process.found or process.seat.pool in self.slowed
        assert sum(self.now - at <= guards.window for at in done) < (guards.budget or workers), "over the budget"
        if reason not in URGENT:
            assert process.jobs_done >= guards.min_jobs and self.now - process.spawned_at >= guards.min_age
            assert not done or self.now - done[-1] >= guards.cooldown, "too soon after the last one"
        done.append(self.now)

"""The world around the core: a virtual clock, timers, workers, a host, and a client who always has one more job."""

import heapq
import random
from itertools import count

from asrd_lab.simulator.outcome import Alert, Life, Outcome
from asrd_lab.simulator.scenario import FEW_FALLBACKS, Scenario
from asrd_lab.simulator.vectors import Vectors
from asrd_lab.simulator.weather import Host
from asrd_lab.simulator.worker import Worker
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import Duration, PoolPolicy, RecyclePolicy
from asrd_supervisor.core.seats import Seat
from asrd_supervisor.core.supervisor import Policy, Supervisor

SPAWN_S, LOAD_S, WARM_UP_S, LEAVE_S, OVERHEAD_S = 0.3, 1.5, 0.5, 0.05, 0.02
SAMPLE_S = 5.0
"""How often the host is asked how it is."""

STILL_S = 600.0
"""After so long without a result the world is held to stand still."""

BYTES_PER_S = 32_000

HELD = RecyclePolicy(max_jobs=0, max_age=Duration(0))
"""Nobody is replaced but for a diagnosis."""

SILENT = frozenset({"worker.starting", "worker.ready", "worker.left", "worker.recycling", "worker.recycled"})
"""Announcements that are no alerts."""


class World:
    """One pool from its start to the end of the scenario."""

    def __init__(self, scenario: Scenario, vectors: Vectors, seed: str, pool: PoolPolicy | None = None) -> None:
        """``pool``: the policy to play, if not the default one."""
        self._scenario = scenario
        self._vectors = vectors
        self._rng = random.Random(seed)
        self._host = Host(scenario.weather, vectors.round_s, random.Random(f"{seed} host"))
        policy = pool or PoolPolicy(name="sim", workers=scenario.workers, start_first=True, recycle=HELD)
        self._core = Supervisor(Policy(pools=[policy], default_pool=policy.name), random.Random(f"{seed} core"))
        self._pool = policy.name
        self._victim = self._rng.randrange(scenario.workers)
        self._now = 0.0
        self._order = count()
        self._future: list[tuple[float, int, ev.Event]] = []
        self._timers: dict[tuple[str, int, str], int] = {}
        self._workers: dict[Seat, Worker] = {}
        self.works: dict[str, Work] = {}
        """Of all jobs so far, by their names."""
        self._over = False
        self._moved_at = 0.0
        self.outcome = Outcome()

    def play(self) -> Outcome:
        """Everything, to the end.

        Raises:
            RuntimeError: a job came to nothing, or nothing comes of any job. In this world that is a bug.
        """
        self._perform(self._core.start(0.0))
        self._after(SAMPLE_S, ev.HostSampled())
        for _ in range(self._scenario.workers + 1):
            self._submit()
        while not self._over:
            self._now, order, event = heapq.heappop(self._future)
            self._happen(order, event)
            if self._now > self._moved_at + STILL_S:
                raise RuntimeError(f"nothing is done any more after {self.outcome.jobs} jobs")
        self.outcome.seconds = self._now
        for seat, worker in self._workers.items():
            self.outcome.lives[str(seat)].jobs = worker.jobs
        return self.outcome

    # --- what happens -------------------------------------------------------------------------------------------------

    def _after(self, delay: float, event: ev.Event) -> int:
        order = next(self._order)
        heapq.heappush(self._future, (self._now + delay, order, event))
        return order

    def _happen(self, order: int, event: ev.Event) -> None:
        match event:
            case ev.HostSampled():
                self._tell(self._sample())
                self._after(SAMPLE_S, ev.HostSampled())
            case ev.TimerFired(pool, slot, kind):
                if self._timers.get((pool, slot, kind)) == order:
                    self._tell(event)
            case ev.WorkerExited(seat):
                self._workers[seat].gone = True
                self._tell(event)
            case ev.WorkerEvent(seat):
                if not self._workers[seat].gone:
                    self._tell(event)
            case _:
                self._tell(event)

    def _tell(self, event: ev.Event) -> None:
        self._perform(self._core.handle(self._now, event))

    def _sample(self) -> ev.HostSampled:
        here = [ev.WorkerSample(worker.seat, worker.rss) for worker in self._workers.values() if not worker.gone]
        return ev.HostSampled(cpu_pressure=self._host.pressure(self._now), memory_pressure=0.0, workers=tuple(here))

    # --- what is to be done -------------------------------------------------------------------------------------------

    def _perform(self, actions: list[do.Action]) -> None:
        for action in actions:
            match action:
                case do.SetTimer(pool, slot, kind, number, delay):
                    self._timers[pool, slot, kind] = self._after(delay, ev.TimerFired(pool, slot, kind, number))
                case do.SetAlarm(job, kind, number, delay):
                    self._after(delay, ev.AlarmRang(job, kind, number))
                case do.Announce(topic, fields):
                    self._note(topic, fields)
                case do.Persist(job):
                    self._after(0.0, ev.JobPersisted(job))
                case do.PersistAttempt(_, seat, attempt):
                    self._after(0.0, ev.AttemptPersisted(seat, attempt))
                case do.Deliver():
                    self._delivered()
                case do.Fail(_, fault) | do.Refuse(_, fault):
                    raise RuntimeError(f"a job came to nothing: {fault.message}")
                case do.Spawn() | do.SendLoad() | do.SendStep() | do.SendCanary() | do.SendStop() | do.Kill():
                    self._order_worker(action)
                case _:
                    pass  # nobody listens to the rest

    def _order_worker(
        self, order: do.Spawn | do.SendLoad | do.SendStep | do.SendCanary | do.SendStop | do.Kill
    ) -> None:
        seat = order.seat
        match order:
            case do.Spawn():
                self._spawn(seat)
            case do.SendLoad():
                (took,), text = self._workers[seat].clip(self._host.slowness(self._now), 1)
                warmed = ev.WorkerWarmed(seat, LOAD_S, WARM_UP_S, took, text, self._workers[seat].rss)
                self._after(LOAD_S + WARM_UP_S + took, warmed)
            case do.SendStep(_, attempt, job):
                self._work_on(self._workers[seat], attempt, self.works[job])
            case do.SendCanary(_, attempt, runs):
                times, text = self._workers[seat].clip(self._host.slowness(self._now), runs)
                done = ev.CanaryFinished(seat, attempt, times, text, self._workers[seat].rss)
                self._after(sum(times) + OVERHEAD_S, done)
            case do.SendStop() | do.Kill():
                self._after(LEAVE_S, ev.WorkerExited(seat, "exit 0"))

    def _spawn(self, seat: Seat) -> None:
        sickness = self._scenario.sickness
        ill = sickness is not None and (sickness.everybody or (seat.generation == 1 and seat.slot == self._victim))
        worker = Worker(seat, self._vectors.costs, self._rng, sickness if ill else None)
        self._workers[seat] = worker
        self.outcome.lives[str(seat)] = Life(str(seat), worker.onset)
        self._after(SPAWN_S, ev.WorkerGreeted(seat, 1))

    def _work_on(self, worker: Worker, attempt: int, work: Work) -> None:
        wall, counted = worker.do(work, self._host.slowness(self._now), self._host.lost(self._now))
        self._after(0.0, ev.StepProgressed(worker.seat, attempt, 0.0, work.audio_s))
        timings = Timings(decode=OVERHEAD_S, transcribe=wall)
        done = ev.StepFinished(worker.seat, attempt, timings, counted, None, worker.rss)
        self._after(wall + OVERHEAD_S, done)

    # --- the client ---------------------------------------------------------------------------------------------------

    def _submit(self) -> None:
        job = str(len(self.works))
        halfway = self.outcome.jobs >= self._scenario.jobs * self._scenario.workers / 2
        share = self._scenario.fallbacks if halfway else FEW_FALLBACKS
        kind = self._vectors.fallbacks if self._rng.random() < share else self._vectors.plain
        self.works[job] = work = self._rng.choice(kind)
        self._after(0.0, ev.JobSubmitted(job, None, int(work.audio_s * BYTES_PER_S), audio_s=work.audio_s))

    def _delivered(self) -> None:
        self._moved_at = self._now
        self.outcome.jobs += 1
        self._over = self._over or self.outcome.jobs >= self._scenario.jobs * self._scenario.workers
        self._submit()

    # --- what is noted ------------------------------------------------------------------------------------------------

    def _note(self, topic: str, fields: dict[str, object]) -> None:
        life = self.outcome.lives.get(str(fields.get("seat", "")))
        if topic.startswith("job."):
            return
        if topic not in SILENT:
            self.outcome.alerts.append(Alert(self._now, topic, fields))
        if life is not None and (seat := Seat.parse(life.seat)):
            life.jobs = self._workers[seat].jobs  # so far
            self._note_life(life, topic, fields)
        self._over = self._over or self._enough(life)

    def _note_life(self, life: Life, topic: str, fields: dict[str, object]) -> None:
        if topic == "worker.suspected" and life.suspected is None:
            life.suspected = life.jobs
        if topic in ("worker.recycling", "worker.recycled") and life.condemned is None:
            life.condemned, life.condemned_at, life.reason = life.jobs, self._now, str(fields["reason"])

    def _enough(self, life: Life | None) -> bool:
        match self._scenario.until:
            case "jobs":
                return False
            case "found":
                return life is not None and life.onset is not None and life.condemned is not None
            case "verdict":
                return bool(self.outcome.verdict)

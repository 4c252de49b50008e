"""Whatever workers and the host say of themselves within the limits of the wire, the core stays in its senses."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from asrd_protocol.model import Timings, Work
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import CanaryPolicy, DriftPolicy, Duration, GuardPolicy, RecyclePolicy, Size
from support.play import Play, pool, seat

SECONDS = st.sampled_from([0.0, 1e-7, 1e-3, 1.0, 1.0, 2.0, 30.0, 1e9])
COUNT = st.sampled_from([0, 1, 1, 4, 100, 10**9])
BYTES = st.sampled_from([0, 1, 300 << 20, 400 << 20, 1 << 50])
TEXT = st.sampled_from(["", "the quick brown fox", "the quick brown fox", "nonsense", "a " * 200])
PERCENT = st.sampled_from([None, 0.0, 20.0, 100.0])
WORK = st.builds(
    Work,
    audio_s=SECONDS,
    windows=COUNT,
    beam_steps=COUNT,
    sample_steps=COUNT,
    attempts=COUNT,
    cpu_s=SECONDS,
    kind=st.sampled_from(["", "", "beam 5"]),
)
JOB = st.tuples(WORK, SECONDS, BYTES, st.integers(0, 2))
CLIP = st.tuples(st.lists(SECONDS, min_size=1, max_size=3), TEXT)
LOOK = st.tuples(PERCENT, PERCENT, st.booleans(), BYTES)
AUTO = RecyclePolicy(
    max_jobs="auto",
    max_age=Duration(0),
    max_rss=Size(1 << 40),
    guards=GuardPolicy(cooldown=Duration(0), min_jobs=0, min_age=Duration(0), budget=100),
)
LEFT = {"SIGKILL", "exit 0"}


class Wild:
    """A pool whose workers say what they like, and leave when they are told to."""

    def __init__(self, clips: list[tuple[list[float], str]], start_first: bool) -> None:
        canary = CanaryPolicy(every_jobs=4)
        self.play = Play(
            pool(workers=3, start_first=start_first, recycle=AUTO, canary=canary, drift=DriftPolicy(min_jobs=5))
        )
        self.clips = clips
        self.held: list[do.SendStep] = []
        self.turn = 0
        self.perform(self.play.first)

    def clip(self) -> tuple[tuple[float, ...], str]:
        self.turn += 1
        took, text = self.clips[self.turn % len(self.clips)]
        return tuple(took), text

    def perform(self, orders: list[do.Action]) -> None:
        todo = list(orders)
        while todo:
            match todo.pop(0):
                case do.Spawn(one):
                    todo += self.play.tell(ev.WorkerGreeted(one, 1))
                case do.SendLoad(one):
                    took, text = self.clip()
                    todo += self.play.tell(ev.WorkerWarmed(one, 1.0, 1.0, took[0], text, 300 << 20))
                case do.SendCanary(one, attempt):
                    if self.turn < 150:
                        todo += self.play.tell(ev.CanaryFinished(one, attempt, *self.clip()))
                case do.SendStop(one) | do.Kill(one):
                    todo += self.play.tell(ev.WorkerExited(one, "exit 0"))
                case do.SendStep() as step:
                    self.held.append(step)
        for key, (_, fired) in list(self.play.due.items()):
            if self.play.core.pools["p"].slots[key[1]].state == "backoff" and key[2] == "state":
                del self.play.due[key]
                self.perform(self.play.tell(fired))


@settings(max_examples=30, deadline=None)
@given(
    jobs=st.lists(JOB, min_size=1, max_size=12),
    clips=st.lists(CLIP, min_size=1, max_size=5),
    looks=st.lists(LOOK, min_size=1, max_size=5),
    start_first=st.booleans(),
)
def test_nothing_that_is_measured_upsets_it(
    jobs: list[tuple[Work, float, int, int]],
    clips: list[tuple[list[float], str]],
    looks: list[tuple[float | None, float | None, bool, int]],
    start_first: bool,
) -> None:
    wild = Wild(clips, start_first)
    play = wild.play
    for number in range(60):
        work, wall, rss, later = jobs[number % len(jobs)]
        wild.perform(play.submit(f"job-{number}", audio_s=1.0))
        play.now += later
        while wild.held:
            step = wild.held.pop()
            done = ev.StepFinished(step.seat, step.attempt, Timings(transcribe=wall), work, "text", rss)
            wild.perform(play.tell(done))
        cpu, memory, slept, vram = looks[number % len(looks)]
        slots = [slot for slot in play.core.pools["p"].slots if slot.live]
        seen = tuple(ev.WorkerSample(slot.seat, rss, rss, vram) for slot in slots)
        wild.perform(play.tell(ev.HostSampled(cpu, memory, slept, workers=seen)))
    the_pool = play.core.pools["p"]
    assert sum(slot.ready for slot in the_pool.slots) <= 3 + start_first
    assert the_pool.monitor.advice.max_jobs >= 0
    for record in the_pool.monitor.history.records:
        assert msgspec.json.encode(record.numbers)
    assert msgspec.json.encode([said.fields for said in play.said if said.topic.startswith(("worker", "pool", "rec"))])
    assert seat("p/0.1")

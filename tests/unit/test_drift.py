"""Whether a worker got slower for the same work than it was, and than its siblings are: the pure figures."""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrd_protocol.model import Work
from asrd_supervisor.core.health.drift import Drift, Kind, Track, common_slowdown
from asrd_supervisor.core.policy import DriftPolicy

KIND = Kind("beam 5", 0)
LIVES = st.lists(st.floats(0.8, 3.0), min_size=1, max_size=3)


class Team:
    """Workers of one pool that work in turn."""

    def __init__(
        self, workers: int = 3, *, policy: DriftPolicy | None = None, scale: float = 1.0, seed: int = 3
    ) -> None:
        self.drift = Drift(policy or DriftPolicy())
        self.tracks = [self.drift.track() for _ in range(workers)]
        self.jobs = [0] * workers
        self.scale = scale
        self.rng = random.Random(seed)
        self.seen: list[tuple[str, ...]] = []

    def job(self, who: int, factor: float = 1.0) -> None:
        """One worker does one job, so many times slower than it should."""
        self.jobs[who] += 1
        windows, steps, samples = self.rng.randint(1, 4), self.rng.randint(10, 200), self.rng.choice([0, 0, 90])
        work = Work(windows=windows, beam_steps=steps, sample_steps=samples)
        wall = (0.25 + 0.5 * windows + 0.0625 * steps + 0.125 * samples) * self.rng.lognormvariate(0, 0.05)
        siblings = [track for track in self.tracks if track is not self.tracks[who]]
        self.drift.note(self.tracks[who], siblings, self.jobs[who], KIND, work, wall * factor * self.scale)

    def rounds(self, count: int, factor: Callable[[int], float] = lambda who: 1.0) -> "Team":
        """Each worker does so many jobs."""
        for _ in range(count):
            for who in range(len(self.tracks)):
                self.job(who, factor(who))
            self.seen.append(self.moods)
        return self

    @property
    def moods(self) -> tuple[str, ...]:
        """Of the workers, and of all in common."""
        return (*(track.mood or "unknown" for track in self.tracks), self.drift.common.mood)


def slow(*ill: int, by: float = 2.0) -> Callable[[int], float]:
    return lambda who: by if who in ill else 1.0


# --- one of them ------------------------------------------------------------------------------------------------------


def test_a_worker_that_slows_down_is_told_from_its_siblings() -> None:
    team = Team().rounds(30)
    assert team.moods == ("ok",) * 4
    team.rounds(6, slow(1))
    assert team.moods[:3] == ("ok", "degraded", "ok")
    assert team.tracks[1].slowdown == pytest.approx(2.0, rel=0.1)
    assert team.tracks[0].slowdown == pytest.approx(1.0, rel=0.1)


def test_a_worker_that_was_always_slower_is_as_it_was() -> None:
    team = Team().rounds(60, slow(2, by=1.8))
    assert team.moods[:3] == ("ok", "ok", "ok")


def test_a_slow_host_is_no_slow_worker() -> None:
    team = Team().rounds(30)
    team.rounds(30, slow(0, 1, 2))
    assert not any("degraded" in moods[:3] for moods in team.seen)
    assert team.moods[3] == "degraded"


def test_all_are_found_slow_after_some_rounds_and_not_before() -> None:
    team = Team().rounds(30)
    team.rounds(4, slow(0, 1, 2))
    assert team.moods[3] != "degraded"
    team.rounds(8, slow(0, 1, 2))
    assert team.moods[3] == "degraded"


def test_one_slow_job_says_nothing() -> None:
    team = Team().rounds(30)
    team.job(0, 50.0)
    assert team.moods[0] == "ok"
    team.rounds(2)
    assert set(team.moods) == {"ok"}


def test_nothing_is_said_before_min_jobs() -> None:
    policy = DriftPolicy(min_jobs=40)
    team = Team(policy=policy).rounds(12).rounds(60, slow(1, by=3.0))
    found = next(index for index, moods in enumerate(team.seen, start=1) if moods[1] == "degraded")
    assert found >= 40


def test_without_costs_nothing_is_known() -> None:
    team = Team(workers=1)
    team.rounds(15)
    assert team.moods == ("unknown", "ok")
    assert team.tracks[0].slowdown is None
    assert common_slowdown(team.tracks) == 1.0


def test_work_that_is_larger_is_no_slower_worker() -> None:
    team = Team().rounds(30)
    long = Work(windows=40, beam_steps=2000)
    wall = 0.25 + 0.5 * 40 + 0.0625 * 2000
    for _ in range(20):
        team.jobs[0] += 1
        team.drift.note(team.tracks[0], team.tracks[1:], team.jobs[0], KIND, long, wall)
    assert team.moods[0] == "ok"


def test_the_two_jobs_of_the_report_raise_nothing() -> None:
    """A 3.66 s clip took 8.199 s, and the next one, 10.94 s long, 19.208 s: that was called a degradation."""
    team = Team(workers=1)
    for audio_s, steps, wall in [(3.66, 14, 8.199), (10.94, 38, 19.208)]:
        team.jobs[0] += 1
        work = Work(audio_s=audio_s, windows=1, beam_steps=steps, attempts=1)
        team.drift.note(team.tracks[0], [], team.jobs[0], KIND, work, wall)
    assert team.moods == ("unknown", "ok")
    assert team.tracks[0].slowdown is None


def test_the_two_jobs_of_the_report_raise_nothing_in_a_pool_that_knows_its_costs() -> None:
    team = Team(workers=1)
    jobs = [(3.66, 14, 8.199), (10.94, 38, 19.208)] * 40
    for audio_s, steps, wall in jobs:
        team.jobs[0] += 1
        work = Work(audio_s=audio_s, windows=1, beam_steps=steps, attempts=1)
        team.drift.note(team.tracks[0], [], team.jobs[0], KIND, work, wall)
        assert set(team.moods) <= {"ok", "unknown"}
    assert team.tracks[0].slowdown == pytest.approx(1.0, rel=0.05)


# --- what is new, and what is kept ------------------------------------------------------------------------------------


def test_costs_are_frozen_in_a_track_while_the_pool_learns_on() -> None:
    team = Team().rounds(30)
    frozen = team.tracks[0].costs[KIND]
    team.rounds(60, slow(0, 1, 2))
    assert team.tracks[0].costs[KIND] == frozen
    assert team.drift.track().costs[KIND] == team.drift.kinds[KIND]


def test_old_workers_do_not_teach() -> None:
    team = Team().rounds(60)
    known = team.drift.kinds[KIND]
    team.rounds(60, slow(0, 1, 2, by=3.0))
    assert team.drift.kinds[KIND] == known


def test_a_rebase_looks_at_ten_jobs_before_it_says_anything_and_keeps_the_start() -> None:
    team = Team().rounds(30)
    start = team.tracks[0].own_base
    team.tracks[0].rebase()
    assert team.tracks[0].mood is None
    team.rounds(9, slow(0, 1, 2))
    assert team.tracks[0].mood is None
    team.rounds(1, slow(0, 1, 2))
    assert team.tracks[0].mood == "ok"
    assert team.tracks[0].own_base == start
    assert team.tracks[0].slowdown == pytest.approx(2.0, rel=0.1)


def test_what_is_accepted_is_the_new_normal() -> None:
    team = Team().rounds(30).rounds(20, slow(0, 1, 2))
    assert team.moods[3] == "degraded"
    team.drift.accept(team.tracks)
    assert team.moods == ("unknown", "unknown", "unknown", "ok")
    team.rounds(60, slow(0, 1, 2))
    assert set(team.moods) == {"ok"}
    assert common_slowdown(team.tracks) == pytest.approx(1.0, rel=0.1)
    team.rounds(12, slow(0, 1, 2, by=4.0))
    assert team.moods[3] == "degraded"


def test_what_the_host_did_is_forgotten_and_the_start_is_not() -> None:
    team = Team().rounds(30).rounds(20, slow(0, 1, 2))
    team.drift.forget(team.tracks)
    assert set(team.moods) == {"ok"}
    assert common_slowdown(team.tracks) == pytest.approx(2.0, rel=0.1)
    team.rounds(40)
    assert set(team.moods) == {"ok"}


def test_a_kind_has_costs_of_its_own() -> None:
    team = Team().rounds(30)
    other = Kind("beam 1", 0)
    for _ in range(15):
        team.jobs[0] += 1
        team.drift.note(team.tracks[0], team.tracks[1:], team.jobs[0], other, Work(windows=1, beam_steps=50), 900.0)
    assert team.moods[0] == "ok"
    assert other not in team.drift.kinds


def test_of_many_kinds_the_last_ones_are_kept() -> None:
    drift, work = Drift(DriftPolicy()), Work(windows=1, beam_steps=50)
    for number in range(40):
        for job in range(20):
            drift.note(drift.track(), [], 2 + job % 10, Kind(f"kind {number}", 0), work, 1.0 + job)
    assert {kind.options for kind in drift.kinds} == {f"kind {number}" for number in range(8, 40)}


@pytest.mark.parametrize("wall", [0.0, -1.0])
def test_a_time_that_cannot_be_is_passed_over(wall: float) -> None:
    team = Team().rounds(30)
    judged = team.tracks[0].judged
    team.drift.note(team.tracks[0], team.tracks[1:], 31, KIND, Work(windows=1), wall)
    assert team.tracks[0].judged == judged


# --- laws -------------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(life=LIVES, power=st.integers(-3, 6), seed=st.integers(0, 99))
def test_a_slower_machine_gives_the_same_verdicts(life: list[float], power: int, seed: int) -> None:
    """All times by a power of two, which rounds nothing."""
    usual, other = Team(seed=seed), Team(seed=seed, scale=2.0**power)
    for team in (usual, other):
        team.rounds(12)
        for factor in life:
            team.rounds(8, lambda who, factor=factor: factor if who == 0 else 1.0)  # type: ignore[misc]
    assert usual.seen == other.seen
    for one, same in zip(usual.tracks, other.tracks, strict=True):
        assert one.sum.sum == pytest.approx(same.sum.sum, abs=1e-9)


@given(st.lists(st.lists(st.floats(-1, 1), min_size=1, max_size=6), min_size=2, max_size=5), st.randoms())
def test_the_order_of_siblings_does_not_matter(lives: list[list[float]], rng: random.Random) -> None:
    """Of a worker's own sum, and of the sum of all."""

    def played(order: list[int]) -> tuple[float, float]:
        team = Team(workers=1).rounds(30)
        siblings = []
        for index in order:
            sibling = Track(DriftPolicy())
            for ratio in lives[index]:
                sibling.add(ratio, 0.0)
            siblings.append(sibling)
        for job in range(6):
            work = Work(windows=2, beam_steps=100)
            team.drift.note(team.tracks[0], siblings, 31 + job, KIND, work, 20.0)
        return team.tracks[0].sum.sum, team.drift.common.sum

    order = list(range(len(lives)))
    shuffled = order.copy()
    rng.shuffle(shuffled)
    assert played(order) == played(shuffled)


@given(st.lists(st.floats(-3, 3), max_size=60), st.floats(-2, 2))
def test_a_constant_offset_of_a_worker_does_not_matter(ratios: list[float], offset: float) -> None:
    one, other = Track(DriftPolicy()), Track(DriftPolicy())
    for ratio in ratios:
        one.add(ratio, 0.0)
        other.add(ratio + offset, 0.0)
    assert other.sum.sum == pytest.approx(one.sum.sum, abs=1e-6)
    assert (one.slowdown is None) == (other.slowdown is None)
    if one.slowdown and other.slowdown:
        assert math.isclose(one.slowdown, other.slowdown, rel_tol=1e-6)


@given(st.lists(st.floats(-3, 3), max_size=40))
def test_what_all_have_in_common_does_not_matter(ratios: list[float]) -> None:
    track = Track(DriftPolicy())
    for ratio in ratios:
        track.add(ratio, ratio)
    assert track.sum.sum == 0.0

"""Memory that is kept: leaks are told from caches, from longer audio, and from what a trim gives back."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd_supervisor.core.health.memory import LOOKS, MIB, WINDOW, Memory
from asrd_supervisor.core.policy import RecyclePolicy, Size

BASE = 400 * MIB
GROWTH = RecyclePolicy()


def memory(policy: RecyclePolicy = GROWTH, base: int = BASE) -> Memory:
    return Memory(policy, base)


def after(one: Memory, *sizes: float, audio_s: float = 5.0) -> Memory:
    """Jobs that leave it with so many MiB."""
    for size in sizes:
        one.note(round(size * MIB), audio_s)
    return one


def reason(one: Memory) -> str | None:
    return one.verdict.reason if one.verdict else None


def test_what_grows_on_is_a_leak_and_its_slope_is_measured() -> None:
    one = after(memory(), *(400 + 10 * job for job in range(60)))
    assert reason(one) == "leak"
    assert one.verdict
    assert one.verdict.numbers["mib_per_job"] == pytest.approx(10.0)
    assert one.slope == pytest.approx(10 * MIB)
    grown = one.verdict.numbers["grown_mib"]
    assert 256 < grown <= 590


def test_a_leak_is_found_soon_after_it_is_worth_it() -> None:
    one, jobs = memory(), 0
    while not one.verdict:
        jobs += 1
        after(one, 400 + 10 * jobs)
    assert 26 <= jobs <= 26 + WINDOW + 1


def test_noise_does_not_hide_a_leak() -> None:
    rng = random.Random(1)
    one = after(memory(), *(400 + 8 * job + rng.gauss(0, 10) for job in range(80)))
    assert reason(one) == "leak"
    assert one.slope == pytest.approx(8 * MIB, rel=0.15)


def test_a_plateau_is_a_cache() -> None:
    sizes = [400 + 10 * job for job in range(50)] + [900] * 25
    one = memory()
    said = [reason(after(one, size)) for size in sizes]
    assert said[-1] is None
    assert one.slope == 0.0


def test_a_step_at_once_is_no_leak() -> None:
    rng = random.Random(2)
    one = after(memory(), 400, 400, *(1200 + rng.gauss(0, 3) for _ in range(100)))
    assert reason(one) is None


def test_more_memory_for_longer_audio_is_explained_by_it() -> None:
    one = memory()
    for job in range(80):
        one.note((400 + 10 * job) * MIB, audio_s=5.0 + job)
    assert reason(one) is None
    assert one.slope is None  # nothing that could be compared


def test_what_leaks_after_the_longest_audio_is_a_leak_all_the_same() -> None:
    one = after(memory(), 900, audio_s=600.0)
    assert reason(after(one, *(900 + 15 * job for job in range(60)))) == "leak"
    assert reason(after(memory(), 900, *[900] * 60, audio_s=600.0)) is None


def test_a_saw_tooth_is_what_the_trim_gives_back() -> None:
    one = memory()
    for job in range(200):
        after(one, 400 + 30 * (job % 20))
        assert reason(one) is None, job


def test_growth_below_the_limit_or_below_a_half_is_borne() -> None:
    assert reason(after(memory(), *(400 + 3 * job for job in range(60)))) is None
    large = 4000 * MIB
    assert reason(after(memory(base=large), *(4000 + 20 * job for job in range(80)))) is None
    assert reason(after(memory(base=large), *(4000 + 40 * job for job in range(120)))) == "leak"


def test_zero_is_never() -> None:
    never = RecyclePolicy(rss_growth=Size(0), max_rss=Size(0), vram_growth_mb=0)
    one = after(memory(never), *(400 + 100 * job for job in range(60)))
    for used in range(10):
        one.note_vram(used * 1000 * MIB)
    assert reason(one) is None


def test_above_the_limit_is_above_the_limit() -> None:
    one = memory(RecyclePolicy(max_rss=Size(1000 * MIB)))
    assert reason(after(one, 1000)) is None
    assert reason(after(one, 1000.5)) == "rss"
    assert one.verdict
    assert one.verdict.numbers == {"rss_mib": 1000.5, "limit_mib": 1000.0}
    assert reason(after(one, 900)) is None


def test_what_is_not_known_says_nothing() -> None:
    one = memory()
    for _ in range(50):
        one.note(0, 5.0)
        one.note_vram(None)
    assert one.verdict is None
    assert (one.last, one.slope, one.vram) == (BASE, None, None)


# --- on the GPU -------------------------------------------------------------------------------------------------------


def vram(*sizes: int, one: Memory | None = None) -> Memory:
    one = one or memory()
    for size in sizes:
        one.note_vram(size * MIB)
    return one


def test_memory_of_the_gpu_that_stays_above_its_start_by_the_limit() -> None:
    first = [2000] * LOOKS
    assert reason(vram(*first, *[2501] * (LOOKS - 1))) is None  # may be gone at the next look
    assert reason(vram(*first, *[2500] * 3 * LOOKS)) is None
    one = vram(*first, *[2501] * LOOKS)
    assert reason(one) == "vram"
    assert one.verdict
    assert one.verdict.numbers == {"baseline_mib": 2000.0, "grown_mib": 501.0, "limit_mib": 500}


def test_a_peak_on_the_gpu_is_no_leak() -> None:
    assert reason(vram(*[2000] * LOOKS, *[3000, 3000, 2000] * 10)) is None


def test_a_worker_that_has_more_while_it_computes_does_not_leak() -> None:
    assert reason(vram(*[2000, 3000] * LOOKS, *[3000] * 5 * LOOKS)) is None


def test_a_plateau_on_the_gpu_after_longer_audio_is_a_cache() -> None:
    one = after(vram(*[1000] * LOOKS), 400, audio_s=30.0)
    assert reason(vram(*[2400] * 3 * LOOKS, one=one)) is None
    assert one.vram == 2400 * MIB
    after(one, 400, audio_s=20.0)
    assert reason(vram(*[2950] * LOOKS, one=one)) == "vram"


# --- laws -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(100, 600), max_size=80))
def test_nothing_is_said_of_what_stays_within_the_growth(sizes: list[int]) -> None:
    assert reason(after(memory(), *sizes)) is None


@given(st.integers(1, 30), st.integers(0, 1000))
def test_every_lasting_leak_is_found_in_the_end(mib_per_job: int, seed: int) -> None:
    rng = random.Random(seed)
    jobs = 256 // mib_per_job + 3 * WINDOW
    one = memory()
    found = [reason(after(one, 400 + mib_per_job * job + rng.random())) for job in range(jobs)]
    assert "leak" in found
    assert found.index("leak") * mib_per_job >= 256

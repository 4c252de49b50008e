"""The memory of a GPU: what a job takes comes back, what a pool takes is gone with it, and what if there is none."""

from pathlib import Path
from typing import Any

import pytest

from gpu import cards
from gpu.cards import MB
from support.daemon import Daemon, running
from support.invariants import tell
from support.wait import eventually

pytestmark = [
    pytest.mark.skipif(bool(cards.missing()), reason=cards.missing()),
    pytest.mark.model,
    pytest.mark.timeout(1200),
]

JOBS = 20

STEADY = ("[pools.default.options]", "batch_size = 8", "[pools.default.recycle]", "max_jobs = 0")
"""One worker for all jobs."""

ENDURING = (
    'fallback = "cpu"',
    "[pools.default.options]",
    "batch_size = 16",
    "[pools.default.split]",
    "longer_than = 0",
    "[pools.default.restarts]",
    "intensity = 1",
)
"""Large batches, and not long until the pool gives a GPU up."""


def gone(pid: int) -> bool:
    """Whether the process has ended."""
    return not Path(f"/proc/{pid}").exists()


def test_it_is_as_before_after_each_job_and_gone_after_unload(speech: Path) -> None:
    clips = [cards.joined(speech, times=2), *(clip.read_bytes() for clip in sorted(speech.glob("*.wav")))]
    card = cards.Card()
    meter = cards.Meter(card)
    with running(config=cards.config(*STEADY)) as daemon:
        pid = cards.pid_of(daemon.ready(timeout=cards.READY_S))
        warm = meter.taken(pid)
        after = []
        for number in range(JOBS):
            cards.transcribed(daemon, clips[number % len(clips)])
            eventually(lambda: meter.taken(pid) - warm < cards.SLACK, 10)
            after.append(meter.taken(pid) - warm)
        assert cards.pid_of(daemon) == pid, "another worker has another baseline"
        daemon.ask("unload", pool="default")
        eventually(lambda: gone(pid) and not card.lists(pid), 30)
        eventually(meter.back, 30)
        assert cards.transcribed(daemon, clips[1])[0]["text"].strip(), "the next job starts a worker"
    eventually(meter.back, 30)
    tell(f"a warm worker takes {warm / MB:.0f} MB; after each job so many more: {[size // MB for size in after]}")


def warned(transcript: dict[str, Any]) -> bool:
    """Whether it says that a batch was too large."""
    return any("did not fit into memory" in warning for warning in transcript.get("warnings", []))


def test_with_ever_less_memory_every_job_is_done_and_what_was_done_about_it_is_said(speech: Path) -> None:
    """Batches are halved; when that is not enough, a fresh process is tried, and then the CPU."""
    clip = cards.joined(speech, times=6)
    said = []
    with running(config=cards.config(*ENDURING)) as daemon:
        daemon.ready(timeout=cards.READY_S)
        with cards.taking() as hog:
            for left in (1024, 512, 256, 128, 64, 32):
                hog.leave(left * MB)
                transcript, _ = cards.transcribed(daemon, clip)
                assert transcript["text"].strip()
                said.append((left, warned(transcript), cards.pool_of(daemon)["fallback"]))
                if said[-1][2]:
                    break
    tell(f"MB left, batches halved, fallback: {said}")
    assert any(halved or fallback for _, halved, fallback in said), said


def test_when_another_one_has_it_all_the_pool_goes_to_the_cpu_and_comes_back(speech: Path) -> None:
    clip = sorted(speech.glob("*.wav"))[0].read_bytes()
    with cards.taking() as hog:
        hog.leave(16 * MB)
        with running(config=cards.config(*ENDURING)) as daemon:
            pool = cards.pool_of(daemon.ready(timeout=cards.READY_S))
            assert (pool["device"], pool["compute_type"], pool["fallback"]) == ("cpu", "int8", "cpu")
            assert cards.transcribed(daemon, clip)[0]["text"].strip()
            hog.end()
            comes_back(daemon)
            assert cards.transcribed(daemon, clip)[0]["text"].strip()


def comes_back(daemon: Daemon) -> None:
    """An operator says that all is well again."""
    daemon.ask("reload", pool="default")

    def well() -> bool:
        pool = cards.pool_of(daemon)
        return bool(pool["ready"] == pool["workers"] and not pool["behind"] and not pool["fallback"])

    eventually(well, cards.READY_S)
    assert cards.pool_of(daemon)["device"] == cards.KIND

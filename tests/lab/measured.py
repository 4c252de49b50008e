"""Rows as a run of the lab would have written them, with the sickness that a test wishes."""

import random
from collections.abc import Sequence

from asrd_lab.rows import JobRow, ReadyRow
from asrd_protocol.model import Timings, Work

WARM = 250e6
"""Bytes of a worker that is warm."""

STEPS = {"short": 15, "middle": 60, "long": 240}
"""Decoding steps of the clips."""


def seconds(work: Work) -> float:
    """What a healthy worker needs."""
    return 0.3 * work.windows + 0.006 * work.beam_steps


def aged(
    experiment: str = "e4",
    jobs: int = 60,
    *,
    leak: float = 0.0,
    slow: float = 0.0,
    noise: float = 0.05,
    clips: Sequence[str] = ("short", "middle", "long"),
    workers: int = 1,
    session: int = 1,
    from_number: int = 1,
    seed: int = 1,
) -> list[JobRow]:
    """Jobs of workers that keep ``leak`` bytes and get slower by the share ``slow`` with each of their jobs."""
    rng = random.Random(seed)
    rows, at = [], 1000.0 * session
    for i in range(jobs):
        age, clip = i // workers + 1, clips[i % len(clips)]
        work = Work(audio_s=STEPS[clip] / 5, windows=1, beam_steps=STEPS[clip], attempts=1, segments=1)
        took = seconds(work) * (1 + slow * (age - 1)) * rng.gauss(1, noise) * (1.3 if age == 1 else 1)
        at += took / workers
        after = WARM + leak * age - 30e6 / age**2 + rng.gauss(0, 0.3e6)
        rows.append(
            JobRow(
                experiment=experiment,
                number=from_number + i,
                session=session,
                clip=clip,
                segments={"short": 1, "middle": 3, "long": 10}[clip] if experiment == "e2" else 0,
                seat=f"default/{i % workers}.1",
                job_index=age,
                at=at,
                latency_s=took,
                timings=Timings(transcribe=took),
                work=work,
                rss_before=int(after - leak),
                rss_after=int(after),
            )
        )
    return rows


def fresh(jobs: int = 60, *, slow: float = 0.0, noise: float = 0.05, seed: int = 1) -> list[JobRow]:
    """Jobs each of which had a worker of its own, on a host that gets slower by the share ``slow`` with each."""
    rows = aged("e1", jobs, slow=slow, noise=noise, seed=seed)
    return [_of_its_own(row) for row in rows]


def _of_its_own(row: JobRow) -> JobRow:
    from msgspec.structs import replace

    return replace(row, seat=f"default/0.{row.number}", job_index=1)


def started(seconds: float = 2.0, count: int = 3) -> list[ReadyRow]:
    """Workers that took so long to become ready."""
    return [ReadyRow(experiment="e1", session=1, seat=f"default/0.{i}", start_s=seconds) for i in range(1, count + 1)]

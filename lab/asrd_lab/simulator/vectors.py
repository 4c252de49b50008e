"""How much work real jobs were: the simulated ones are drawn from them."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from asrd_protocol.model import Work
from asrd_supervisor.core.health.cost import Costs, fit

DATA = Path(__file__).parents[1] / "data" / "work_vectors.jsonl"
"""Written by :mod:`asrd_lab.simulator.record`."""


class Vector(msgspec.Struct, frozen=True, kw_only=True):
    """One job that was really done."""

    dur: float
    """Seconds of audio."""
    wall: float
    """Seconds of computation, and of CPU time."""
    cpu: float
    windows: int
    beam_steps: int
    sample_steps: int
    attempts: int
    segments: int
    rss: int
    """Bytes, after the job."""

    @property
    def work(self) -> Work:
        """As a worker counts it."""
        return Work(
            audio_s=self.dur,
            windows=self.windows,
            beam_steps=self.beam_steps,
            sample_steps=self.sample_steps,
            attempts=self.attempts,
            segments=self.segments,
            cpu_s=self.cpu,
        )


class Vectors:
    """All of them, and the costs that they had."""

    def __init__(self, vectors: Sequence[Vector]) -> None:
        costs = fit([(vector.work, vector.wall) for vector in vectors])
        plain = [vector.work for vector in vectors if not vector.sample_steps]
        fallbacks = [vector.work for vector in vectors if vector.sample_steps]
        if costs is None or not plain or not fallbacks:
            raise ValueError("jobs with and without fallbacks are needed")
        self.costs: Costs = costs
        self.plain = plain
        self.fallbacks = fallbacks
        self.round_s = sum(costs.predict(work) for work in plain) / len(plain)
        """Seconds of a job on average."""

    @classmethod
    def load(cls, path: Path = DATA) -> "Vectors":
        """From a file with one vector a line."""
        return cls(msgspec.json.Decoder(Vector).decode_lines(path.read_bytes()))

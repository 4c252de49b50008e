"""What the lab writes down: one line of JSON for each job that has ended and each worker that became ready."""

from collections.abc import Iterable

import msgspec

from asrd_protocol.model import Timings, Work


class JobRow(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="job"):
    """One job."""

    experiment: str
    """``e1`` to ``e4``, ``pool`` or ``recycled``."""
    number: int
    """Which job of the experiment it was, from 1."""
    session: int
    """Which run of the lab it was done in, from 1: an interrupted one is resumed by another."""
    clip: str
    segments: int = 0
    """About so many were asked for (E2); 0 where nothing was."""
    seat: str
    """The worker that did it; ``bare`` in E3."""
    job_index: int
    """Which job of its worker this was, from 1."""
    at: float
    """When it ended, seconds since the epoch."""
    latency_s: float
    """As the caller saw it, queueing included."""
    timings: Timings
    work: Work
    rss_before: int | None = None
    """Bytes, of the worker; None where they are not known."""
    rss_after: int | None = None
    pss_before: int | None = None
    pss_after: int | None = None
    vram_before: int | None = None
    vram_after: int | None = None

    @property
    def wall_s(self) -> float:
        """Seconds that the worker was at work."""
        timings = self.timings
        return timings.decode + timings.vad + timings.transcribe + timings.write

    @property
    def life(self) -> tuple[str, int, str]:
        """The one process that did it."""
        return self.experiment, self.session, self.seat


class ReadyRow(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="ready"):
    """One worker from spawn to ready."""

    experiment: str
    session: int
    seat: str
    start_s: float
    """From spawn to ready."""
    load_s: float = 0.0
    """The part of it that loaded the model."""
    warm_up_s: float = 0.0


Row = JobRow | ReadyRow

_decode = msgspec.json.Decoder(Row).decode


def parse(lines: Iterable[bytes]) -> list[Row]:
    """The rows of a file; a last line that was cut off by an interruption is left out.

    Raises:
        msgspec.MsgspecError: another line is no row.
    """
    rows: list[Row] = []
    torn: msgspec.MsgspecError | None = None
    for line in lines:
        if torn:
            raise torn
        try:
            rows.append(_decode(line))
        except msgspec.MsgspecError as error:
            torn = error
    return rows


def jobs(rows: Iterable[Row], experiment: str = "") -> list[JobRow]:
    """The jobs, of one experiment or of all, in their order of numbers."""
    found = [row for row in rows if isinstance(row, JobRow) and (not experiment or row.experiment == experiment)]
    return sorted(found, key=lambda row: row.number)


def reloads(rows: Iterable[Row]) -> list[ReadyRow]:
    """The workers that became ready."""
    return [row for row in rows if isinstance(row, ReadyRow)]

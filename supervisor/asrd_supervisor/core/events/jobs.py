"""What happens to a job: clients bring it, and the disk has stored something of it."""

import msgspec

from asrd_protocol.faults import Fault
from asrd_protocol.messages import Retries
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core.events.base import Event, Stretch


class JobSubmitted(Event, frozen=True):
    """A client wants a transcript."""

    job: str
    pool: str | None
    size: int
    """Bytes of audio."""
    owner: str = ""
    """Who it is, as the kernel says."""
    client: str = ""
    """The name of the client, where it has one."""
    connection: str = ""
    """It stands for a client that has no name."""
    lane: str = "normal"
    audio_s: float | None = None
    """Seconds of audio, where they are known without opening it."""
    deadline: float | None = None
    """Seconds from now."""
    retries: Retries | None = None
    diarize: bool = False
    """Who speaks is to be found out, too."""
    diarize_pool: str | None = None
    report_missing: bool = False
    """A stretch of long audio that cannot be transcribed is left out, and that is said."""


class KeptStep(msgspec.Struct, frozen=True):
    """What the journal knows of a step of a job that has several."""

    index: int
    attempts: int = 0
    deaths: int = 0
    ended: bool = False
    failed: bool = False
    """It ended without a result, and the job does without."""
    timings: Timings = Timings()
    work: Work = Work()


class JobRecovered(Event, frozen=True):
    """A job that was accepted before is here again: after a restart of the daemon, or because somebody wants it so.

    It is no job that is active, and the daemon is not stopping: whoever posts this has seen to that.
    """

    submitted: JobSubmitted
    attempts: int = 0
    deaths: int = 0
    interrupted: int = 0
    """Attempts that ended with the daemon."""
    chunks: tuple[Stretch, ...] = ()
    """Into which its audio was cut; none when it was not."""
    steps: tuple[KeptStep, ...] = ()


class JobPersisted(Event, frozen=True):
    """The job is stored: it may be accepted."""

    job: str


class JobUnstored(Event, frozen=True):
    """The job cannot be stored, so it cannot be accepted."""

    job: str
    fault: Fault


class PlanPersisted(Event, frozen=True):
    """Where the audio of the job was cut is stored, and the audio itself as samples."""

    job: str


class PlanUnstored(Event, frozen=True):
    """It cannot be stored, so the audio has to be cut anew."""

    job: str
    fault: Fault


class PartPersisted(Event, frozen=True):
    """What a step of the job has given is stored."""

    job: str
    index: int


class CancelRequested(Event, frozen=True):
    """A client does not want the job any more."""

    job: str

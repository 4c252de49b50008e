"""The words of a script: what a worker of the scripted engine can be told to do."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from asrd_protocol.faults import Code


class _Do(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag=str.lower, forbid_unknown_fields=True):
    pass


class Speak(_Do, frozen=True, kw_only=True):
    """Say one segment of so many seconds."""

    text: str
    seconds: float = 1.0


class Sleep(_Do, frozen=True, kw_only=True):
    """Wait, with the GIL given up."""

    s: float


class Spin(_Do, frozen=True, kw_only=True):
    """Compute."""

    s: float


class Leak(_Do, frozen=True, kw_only=True):
    """Keep so much memory for ever."""

    mb: float


class Hang(_Do, frozen=True, kw_only=True):
    """Make no progress: in C with the GIL, in C without it, in Python, or stopped by a signal."""

    how: Literal["gil", "c", "python", "stopped"] = "c"


class Die(_Do, frozen=True, kw_only=True):
    """End the process: by an exit code or by a signal that it sends to itself."""

    code: int | None = None
    signal: str = "SIGKILL"


class Segfault(_Do, frozen=True, kw_only=True):
    """Read address 0."""


class Fail(_Do, frozen=True, kw_only=True):
    """Raise: a fault of this code, or a plain exception without one."""

    message: str = "scripted"
    code: Code | None = None
    leave: bool = False


class Print(_Do, frozen=True, kw_only=True):
    """Write so much text to stderr."""

    text: str = "scripted output"
    times: int = 1


class Lie(_Do, frozen=True, kw_only=True):
    """Send the supervisor what no healthy worker sends."""

    how: Literal["garbage", "attempt", "ready", "twice"] = "garbage"


class Deafen(_Do, frozen=True, kw_only=True):
    """Ignore SIGTERM and SIGABRT from now on."""


class Later(_Do, frozen=True, kw_only=True):
    """Do it on a thread of its own after so many seconds, whatever the worker does then. Not for lies: the link has
    one thread."""

    s: float
    script: "list[Do]"


class Obey(_Do, frozen=True, kw_only=True):
    """Take the file of this name out of the pool's directory of orders and play it; nothing when there is none.

    Whoever comes first has it: so a worker can be told to fail once, and the next one to do well.
    """

    order: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Slow(_Do, frozen=True, kw_only=True):
    """From now on this worker takes so many times as long, for the built-in clip too."""

    factor: Annotated[float, Meta(gt=0)]


Do = Speak | Sleep | Spin | Leak | Hang | Die | Segfault | Fail | Print | Lie | Deafen | Later | Obey | Slow


Index = Annotated[int, Meta(ge=0)]


class ScriptSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the workers of the pool behave. Jobs of a worker count from 1."""

    start_s: float = 0.0
    """Time that loading takes."""
    model: str = ""
    orders: str = ""
    """The directory of orders, each a JSON list of what to do."""
    canary: list[Do] = msgspec.field(default_factory=lambda: [Sleep(s=0.002), Speak(text="canary")])
    """Played for the built-in clip; what it speaks is the text."""
    kind: Annotated[str, Meta(max_length=64)] = ""
    """What the jobs' work is said to be."""

    generations: Index = 0
    """Only workers up to this generation do what stands below; 0 for all."""
    only_slots: list[Index] = []
    """Only workers in these slots do; empty for all."""
    at_load: list[Do] = []
    at_warm_up: list[Do] = []
    at_exit: list[Do] = []
    """Played when the worker is told to leave."""
    slow_per_job: float = 0.0
    """Sleeps and spins take this share longer with each job of the worker."""
    slow_after: Index = 0
    """From this job on they also take ``slow_factor`` times as long."""
    slow_factor: Annotated[float, Meta(gt=0)] = 1.0
    mute_after: Index = 0
    """From this job on the worker does nothing and says nothing, at once, for the built-in clip too; 0 for never."""
    leak_mb_per_job: float = 0.0


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the job does, in order."""

    script: list[Do] = []
    seconds: float = 1.0
    """Length of the pretended audio."""
    chunks: list[str] = []
    """Pretend that the audio is long: once ``script`` was played it is cut, and each chunk plays one of these, a script
    in JSON."""

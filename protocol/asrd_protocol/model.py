"""What a job gives: the transcript (the body of ``completed``), its timings and its work.

All times are seconds, as floats, from the start of the audio unless a field says otherwise.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """One word with its times; only there with ``word_timestamps``."""

    start: float
    end: float
    word: str
    probability: float
    speaker: str | UnsetType = UNSET
    """Absent where speakers were not told apart, or nobody spoke then."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One decoded stretch of speech, with whisper's own field names."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int] = []
    temperature: float | None = None
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0
    words: list[Word] | None = None
    speaker: str | UnsetType = UNSET
    """Absent where speakers were not told apart, or nobody spoke then."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch in which somebody speaks. Turns may overlap."""

    start: float
    end: float
    speaker: str
    """``SPEAKER_00``, ``SPEAKER_01``, ... in the order in which they are first heard."""


class Diarization(msgspec.Struct, frozen=True, kw_only=True):
    """Who speaks when. It has a fate of its own: a transcript comes without it when it fails."""

    status: Literal["ok", "failed"] = "ok"
    reason: str = ""
    """Why it failed, in a sentence."""
    turns: list[Turn] = []
    embeddings: dict[str, list[float]] = {}
    """The voice of each speaker as a vector of unit length; only if that was asked for."""


class MissingStretch(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of long audio that could not be transcribed, in a job that reports such instead of failing."""

    start: float
    end: float
    code: str
    """Of the fault."""
    message: str


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """The whole result of a job."""

    text: str
    language: str
    segments: list[Segment]
    duration: float
    """Seconds of audio that were decoded."""
    language_probability: float = 1.0
    duration_after_vad: float | None = None
    """Seconds of audio left after voice activity detection; None without ``vad_filter``."""
    warnings: list[str] = []
    """What was odd but no reason to fail, such as a truncated file."""
    missing: list[MissingStretch] | UnsetType = UNSET
    """What is not in the text although it was in the audio; absent when nothing is missing."""
    diarization: Diarization | UnsetType = UNSET
    """Absent when nobody asked who speaks."""


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of a job went, in seconds. ``queue`` is the supervisor's, the rest the worker's."""

    queue: float = 0.0
    """From accepted to the start of the attempt that succeeded."""
    decode: float = 0.0
    """Opening the container and resampling to 16 kHz."""
    vad: float = 0.0
    transcribe: float = 0.0
    align: float = 0.0
    """Finding the times of words with a model of its own."""
    diarize: float = 0.0
    """Telling speakers apart; it runs beside the rest."""
    post: float = 0.0
    """Post-processing of the text: the option ``post``."""
    write: float = 0.0
    """Encoding the transcript."""
    total: float = 0.0
    """From accepted to completed."""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """How much work a job was: what its time is to be compared with, because a longer clip is no slower worker."""

    audio_s: float = 0.0
    windows: int = 0
    """Encoder passes over 30 s of audio."""
    beam_steps: int = 0
    """Decoding steps at temperature 0, the longest hypothesis of each attempt."""
    sample_steps: int = 0
    """Decoding steps at a temperature above 0: fallbacks."""
    attempts: int = 0
    """Decoding attempts; more than ``windows`` means that some fell back."""
    batches: int = 0
    """Decoding calls for several windows at once; 0 when they were decoded one after the other."""
    batch_rows: int = 0
    """Windows that were decoded in them."""
    batch_room: int = 0
    """Windows that they had room for: ``batch_rows / batch_room`` is the efficiency of batching."""
    segments: int = 0
    cpu_s: float = 0.0
    """CPU time of the worker process during the job."""
    kind: Annotated[str, Meta(max_length=64)] = ""
    """Options that change what a step costs, such as the beam: only jobs of one kind can be compared."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ran: part of ``completed`` and of the log line of the job."""

    seat: str
    """The worker that did it, ``pool/slot.generation``."""
    attempts: int = 1
    """How many workers were tried, the successful one included."""
    job_index: int = 0
    """Which job of its worker this was, from 1."""
    worker_uptime: float = 0.0
    """Age of the worker when the job ended, seconds."""
    timings: Timings = Timings()
    work: Work = Work()
    rss_bytes: int = 0
    """Resident memory of the worker after the job; 0 where it is not known."""
    steps: int = 1
    """Steps that it took: more than one when its audio was cut, or when speakers were told apart. Timings and work are
    then the sums over all of them; the worker is the one that did the last."""

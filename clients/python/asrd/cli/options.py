"""Options that several commands have, and what they mean together."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

if TYPE_CHECKING:
    from asrd.subtitles import AnyLayout
    from asrd_protocol.messages import JobState


class Lane(StrEnum):
    """The priorities, in the order of their share."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class LayoutName(StrEnum):
    """How text is set in subtitles: as whisper does it, or so that it is easy to read."""

    WHISPER = "whisper"
    BROADCAST = "broadcast"


class LabelledCues(StrEnum):
    """Which cues tell their speaker, where speakers are known."""

    ALL = "all"
    CHANGES = "changes"
    NONE = "none"


class OnChunkError(StrEnum):
    """What a stretch of long audio that cannot be transcribed means for the job."""

    FAIL = "fail"
    REPORT = "report"


RuntimeDir = Annotated[
    Path | None,
    typer.Option("--runtime-dir", metavar="DIR", help="Where the daemon's sockets are.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Pool = Annotated[str | None, typer.Option("--pool", metavar="NAME", help="The pool to use; the daemon's default else.")]
Priority = Annotated[Lane, typer.Option("--priority", help="Which share of the workers it gets.")]
ClientName = Annotated[
    str, typer.Option("--client", metavar="NAME", help="Jobs of one name wait for each other; names get equal shares.")
]
Deadline = Annotated[
    float | None,
    typer.Option(
        "--deadline", metavar="SECONDS", min=0.001, max=604_800, help="The job fails when it has not ended by then."
    ),
]
Attempts = Annotated[
    int | None, typer.Option("--attempts", metavar="N", min=1, max=10, help="Tries in all; else as the pool does it.")
]
ByPath = Annotated[bool, typer.Option("--by-path", help="Let the daemon open the file; only its path is sent.")]
Diarize = Annotated[bool, typer.Option("--diarize", help="Tell who speaks, too; asks for the times of words.")]
SpeakersPool = Annotated[
    str | None, typer.Option("--speakers-pool", metavar="NAME", help="The pool that tells speakers apart.")
]
_COUNT: dict[str, Any] = {"metavar": "N", "min": 1, "max": 64}
NumSpeakers = Annotated[int | None, typer.Option("--num-speakers", help="How many there are, if known.", **_COUNT)]
MinSpeakers = Annotated[int | None, typer.Option("--min-speakers", help="How many there are at least.", **_COUNT)]
MaxSpeakers = Annotated[int | None, typer.Option("--max-speakers", help="How many there are at most.", **_COUNT)]
SpeakerEmbeddings = Annotated[
    bool, typer.Option("--speaker-embeddings", help="Add the voice of each speaker as a vector: json.")
]
NoSplit = Annotated[bool, typer.Option("--no-split", help="Do not cut long audio for several workers.")]
ChunkError = Annotated[
    OnChunkError,
    typer.Option("--on-chunk-error", help="A stretch of long audio that fails: no result, or one that tells of it."),
]
Patience = Annotated[
    float | None,
    typer.Option(
        "--patience", metavar="SECONDS", min=0, help="Wait so long for a daemon that goes away (default 30 s)."
    ),
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "-f",
        "--format",
        metavar="FORMAT",
        help="txt, srt, vtt, tsv, json (these five: all), lrc, ass, rttm or aud; may be repeated.",
    ),
]
Language = Annotated[str | None, typer.Option("--language", metavar="CODE", help="Spoken language; found out else.")]
Task = Annotated[str | None, typer.Option("--task", metavar="TASK", help="transcribe, or translate (to English).")]
BeamSize = Annotated[int | None, typer.Option("--beam-size", metavar="N", help="Width of the beam search.")]
Temperature = Annotated[float | None, typer.Option("--temperature", metavar="T", help="Sampling temperature.")]
WordTimestamps = Annotated[
    bool | None, typer.Option("--word-timestamps/--no-word-timestamps", help="Times of each word.")
]
VadFilter = Annotated[bool | None, typer.Option("--vad-filter/--no-vad-filter", help="Leave out what is no speech.")]
InitialPrompt = Annotated[str | None, typer.Option("--initial-prompt", metavar="TEXT", help="Context for the model.")]
Hotwords = Annotated[str | None, typer.Option("--hotwords", metavar="TEXT", help="Words to expect.")]
ConditionOnPreviousText = Annotated[
    bool | None,
    typer.Option(
        "--condition-on-previous-text/--no-condition-on-previous-text",
        help="Prompt each window with the text before it.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other option of the engine; the value is JSON or text."),
]
SubtitleLayout = Annotated[
    LayoutName | None,
    typer.Option(
        "--layout",
        help="Subtitles: whisper's cues (default), or cut at sentences and pauses, 42 columns, 2 lines, 1 to 7 s.",
    ),
]
MaxLineWidth = Annotated[
    int | None, typer.Option("--max-line-width", metavar="N", min=0, help="Subtitles: characters a line; 0: any.")
]
MaxLineCount = Annotated[
    int | None, typer.Option("--max-line-count", metavar="N", min=0, help="Subtitles: lines a cue; 0: any.")
]
HighlightWords = Annotated[bool, typer.Option("--highlight-words", help="Subtitles: underline the word being spoken.")]
MaxWordsPerLine = Annotated[
    int | None, typer.Option("--max-words-per-line", metavar="N", min=0, help="Subtitles: words a cue.")
]
MinSubtitleDuration = Annotated[
    float | None,
    typer.Option(
        "--min-subtitle-duration",
        metavar="SECONDS",
        min=0,
        help="Subtitles: least time a cue is shown; broadcast only.",
    ),
]
MaxSubtitleDuration = Annotated[
    float | None,
    typer.Option(
        "--max-subtitle-duration", metavar="SECONDS", min=0, help="Subtitles: most time a cue is shown; broadcast only."
    ),
]
SpeakerLabels = Annotated[
    LabelledCues, typer.Option("--speaker-labels", help="Subtitles and txt: which cues begin with [SPEAKER].")
]

ENGINE = (
    "language",
    "task",
    "beam_size",
    "temperature",
    "word_timestamps",
    "vad_filter",
    "initial_prompt",
    "hotwords",
    "condition_on_previous_text",
)
"""Options of an engine that have an option of the command."""

_WHISPERS = ("max_line_width", "max_line_count", "max_words_per_line")
_DURATIONS = ("min_subtitle_duration", "max_subtitle_duration")


def _flag(parameter: str) -> str:
    """How a parameter of :mod:`asrd.wish` is called here."""
    return f"--{parameter.partition('=')[0].replace('_', '-')}"


_SPEAKERS = ("diarize", "num_speakers", "min_speakers", "max_speakers", "speaker_embeddings")
_NAMED_ALIKE = ("pool", "timeout", "priority", "client", "deadline", "by_path", "on_chunk_error", *_SPEAKERS)
_RESERVED = {name: _flag(name) for name in _NAMED_ALIKE} | {"retries": "--attempts", "split": "--no-split"}
_RESERVED |= {"job": "", "sample_rate": ""}


def engine_options(settings: Sequence[str] | None, **named: Any) -> dict[str, Any]:
    """The options of the engine: those with an option of their own that were given, and those of ``--set``.

    Raises:
        UsageError: when a setting has no value, or a name that is none of the engine's.
    """
    from asrd.cli.verdict import UsageError

    options = {name: value for name, value in named.items() if value is not None}
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        if not (name and equals):
            raise UsageError(f"--set {setting}: expected NAME=VALUE")
        if name in _RESERVED:
            hint = f"; use {_RESERVED[name]}" if _RESERVED[name] else ""
            raise UsageError(f"--set {setting}: {name} is no option of an engine{hint}")
        options[name] = _value(value)
    return options


def wishes(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given of the parameters that all ways to submit share; see :mod:`asrd.wish`.

    Raises:
        OptionError: when those about speakers do not fit together.
    """
    from asrd import Retries

    wanted = {name: given[name] for name in ("pool", "job", "client", "deadline", "by_path") if given.get(name)}
    if given["attempts"] is not None:
        wanted["retries"] = Retries(attempts=given["attempts"])
    if given["no_split"]:
        wanted["split"] = False
    if given["on_chunk_error"] is not OnChunkError.FAIL:
        wanted["on_chunk_error"] = str(given["on_chunk_error"])
    return {**wanted, **_about_speakers(given), "priority": str(given["priority"])}


def _about_speakers(given: Mapping[str, Any]) -> dict[str, Any]:
    from asrd.cli.verdict import UsageError
    from asrd.wish import speakers

    wanted = {name: given[name] for name in _SPEAKERS if given[name]}
    if (pool := given["speakers_pool"]) is not None:
        if not wanted.get("diarize"):
            raise UsageError("--speakers-pool is of no use without --diarize: add it")
        wanted["diarize"] = pool
    speakers(**{"diarize": False, **wanted}, spelled=_flag)
    return wanted


def connection(runtime_dir: Path | None, patience: float | None) -> dict[str, Any]:
    """The parameters of a client."""
    return {"runtime_dir": runtime_dir, **({} if patience is None else {"patience": patience})}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def states_of(given: Sequence[str] | None) -> "list[JobState]":
    """The states that were asked for.

    Raises:
        UsageError: for an unknown one, with the nearest.
    """
    from asrd.cli.verdict import UsageError
    from asrd_protocol.codec import did_you_mean
    from asrd_protocol.messages import JobState

    known: tuple[JobState, ...] = get_args(JobState)
    for name in given or ():
        if name not in known:
            raise UsageError(f"unknown state {name!r}{did_you_mean(name, known)} (there are {', '.join(known)})")
    return [state for state in known if state in (given or ())]


def layout_of(given: Mapping[str, Any]) -> "AnyLayout":
    """How subtitles are to be set: whisper's layout unless something is asked for that only the other one has.

    Raises:
        UsageError: when the wishes do not fit together.
    """
    from asrd.cli.verdict import UsageError
    from asrd.subtitles import Layout, WhisperLayout

    wanted = {name: given[name] for name in (*_WHISPERS, *_DURATIONS) if given[name] is not None}
    wanted |= {"highlight_words": given["highlight_words"], "speaker_labels": str(given["speaker_labels"])}
    timed = [name for name in _DURATIONS if name in wanted]
    if timed and given["layout"] is LayoutName.WHISPER:
        raise UsageError(
            f"--{timed[0].replace('_', '-')} needs --layout broadcast: whisper's cues have their own times"
        )
    try:
        return Layout(**wanted) if timed or given["layout"] is LayoutName.BROADCAST else WhisperLayout(**wanted)
    except ValueError as error:
        raise UsageError(str(error)) from None


def formats_of(given: Sequence[str] | None, *, default: str = "txt") -> tuple[str, ...]:
    """The formats that were asked for, each once; "all" are the five of whisper.

    Raises:
        UsageError: for an unknown one, with the nearest.
    """
    from asrd.cli.verdict import UsageError
    from asrd.subtitles import FORMATS, WHISPER_FORMATS
    from asrd_protocol.codec import did_you_mean

    wanted: list[str] = []
    for name in given or (default,):
        if name not in (*FORMATS, "all"):
            known = (*FORMATS, "all")
            raise UsageError(f"unknown format {name!r}{did_you_mean(name, known)} (there are {', '.join(known)})")
        wanted += WHISPER_FORMATS if name == "all" else (name,)
    return tuple(dict.fromkeys(wanted))

"""What a caller wants of one piece of audio: the parameters that ``submit``, ``enqueue`` and ``transcribe`` share."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import msgspec

from asrd.audio import AudioLike, Sound
from asrd.errors import OptionError
from asrd_protocol.messages import Priority, Retries, Speakers, Submit
from asrd_protocol.mistakes import shown

P = ParamSpec("P")
S = TypeVar("S")
R = TypeVar("R")

MAX_SPEAKERS = 64
"""The most that may be asked for."""


_WIRE = {field.name: field.type for field in msgspec.structs.fields(Submit)}
_FLAG = "True or False"
_RULES: dict[str, tuple[Any, str]] = {
    "job": (_WIRE["job"], "1 to 64 letters, digits, '.', '_' or '-'"),
    "pool": (_WIRE["pool"], "the name of a pool: 1 to 32 letters, digits, '-' or '_'"),
    "client": (_WIRE["client"], "a name of at most 64 characters"),
    "priority": (_WIRE["priority"], "'high', 'normal' or 'low'"),
    "deadline": (_WIRE["deadline"], "seconds from now: more than 0, and a week at most"),
    "retries": (_WIRE["retries"], "asrd.Retries with 1 to 10 attempts, delays in seconds and a jitter from 0 to 1"),
    "split": (_WIRE["split"], _FLAG),
    "on_chunk_error": (_WIRE["on_chunk_error"], "'fail' or 'report'"),
    "speaker_embeddings": (bool, _FLAG),
    "by_path": (bool, _FLAG),
}
"""What a parameter may be, by the rules of the wire where it goes there, and how to say it."""


class Wish(msgspec.Struct, frozen=True):
    """One call of such a method."""

    audio: AudioLike | Sound
    question: Submit
    """All but the audio itself."""
    sample_rate: int = 16_000
    timeout: float | None = None
    by_path: bool = False


def wish(
    audio: AudioLike | Sound,
    /,
    *,
    pool: str | None = None,
    job: str | None = None,
    priority: Priority = "normal",
    client: str = "",
    deadline: float | None = None,
    retries: Retries | None = None,
    diarize: bool | str = False,
    num_speakers: int | None = None,
    min_speakers: int | None = None,
    max_speakers: int | None = None,
    speaker_embeddings: bool = False,
    split: bool = True,
    on_chunk_error: Literal["fail", "report"] = "fail",
    by_path: bool = False,
    sample_rate: int = 16_000,
    timeout: float | None = None,
    **options: Any,
) -> Wish:
    """Collects the parameters.

    Args:
        audio: a path, bytes, a binary file object or a NumPy array of float32 or int16.
        pool: the pool to use; the daemon's default pool otherwise.
        job: an id of your own, so that the same call again is the same job.
        priority: ``"high"``, ``"normal"`` or ``"low"``: a lane with its own share of the workers.
        client: jobs of one client wait for each other, and clients get equal shares; this connection is one otherwise.
        deadline: seconds from now; a job that has not ended by then fails.
        retries: how often and when the job is tried again, where that is not left to the pool.
        diarize: tell who speaks, too; a text is the name of the pool that does it. Segments come all at the end then,
            and are cut where the speaker changes if they have ``word_timestamps=True``. When it fails, the transcript
            comes without speakers, and ``transcript.diarization`` says why.
        num_speakers: how many there are, where that is known; or ``min_speakers`` and ``max_speakers``.
        speaker_embeddings: add the voice of each speaker as a vector.
        split: whether long audio may be cut at silences, to be transcribed by several workers at once.
        on_chunk_error: ``"report"``: a stretch of long audio that cannot be transcribed does not fail the job, but is
            in ``transcript.missing``.
        by_path: the audio is a file that the daemon opens itself; nothing but its path is sent.
        sample_rate: Hz, of an array.
        timeout: seconds to wait; for what, the method says.
        options: of the pool's engine, such as ``language="en"`` or ``word_timestamps=True``.

    Raises:
        OptionError: when the wishes do not fit together.
    """
    plain: dict[str, Any] = {"job": job, "pool": pool, "priority": priority, "client": client, "deadline": deadline}
    plain |= {"retries": retries, "split": split, "on_chunk_error": on_chunk_error}
    _check({**plain, "speaker_embeddings": speaker_embeddings, "by_path": by_path}, timeout)
    told = speakers(
        diarize,
        num_speakers=num_speakers,
        min_speakers=min_speakers,
        max_speakers=max_speakers,
        speaker_embeddings=speaker_embeddings,
    )
    return Wish(audio, Submit(**plain, options=options, diarize=told), sample_rate, timeout, by_path)


def _check(given: Mapping[str, object], timeout: object) -> None:
    """Whether each parameter is what the daemon takes.

    Raises:
        OptionError: naming the first one that is not.
    """
    for name, (kind, wanted) in _RULES.items():
        try:
            msgspec.convert(msgspec.to_builtins(given[name]), kind)
        except (msgspec.ValidationError, TypeError):
            raise OptionError(f"{name} is {shown(given[name])}: it must be {wanted}") from None
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, Real)):
        raise OptionError(f"timeout is {shown(timeout)}: it must be a number of seconds")


def speakers(
    diarize: bool | str,
    *,
    num_speakers: int | None = None,
    min_speakers: int | None = None,
    max_speakers: int | None = None,
    speaker_embeddings: bool = False,
    spelled: Callable[[str], str] = str,
) -> Speakers | None:
    """What shall be found out about who speaks; None for nothing. ``spelled`` names a parameter as the caller knows it.

    Raises:
        OptionError: when the wishes do not fit together, with the way out.
    """
    counts = {"num_speakers": num_speakers, "min_speakers": min_speakers, "max_speakers": max_speakers}
    given = [name for name, count in counts.items() if count is not None]
    if diarize is False or diarize is None:
        if asked := [*given, *(["speaker_embeddings"] if speaker_embeddings else [])]:
            raise OptionError(f"{spelled(asked[0])} is of no use without {spelled('diarize=True')}: add it")
        return None
    for name in given:
        _check_count(spelled(name), counts[name])
    if num_speakers is not None and len(given) > 1:
        both = f"{spelled('num_speakers')} and {spelled(given[1])}"
        raise OptionError(f"{both} do not go together: leave out one of them")
    if min_speakers is not None and max_speakers is not None and min_speakers > max_speakers:
        least, most = f"{spelled('min_speakers')} ({min_speakers})", f"{spelled('max_speakers')} ({max_speakers})"
        raise OptionError(f"{least} is more than {most}: exchange them")
    return Speakers(pool=_pool(diarize, spelled("diarize=True")), embeddings=speaker_embeddings, **counts)


def _check_count(name: str, count: object) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_SPEAKERS:
        raise OptionError(f"{name} is {count!r}: it must be a whole number from 1 to {MAX_SPEAKERS}")


def _pool(diarize: bool | str, usual: str) -> str | None:
    if diarize is True:
        return None
    if not isinstance(diarize, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", diarize):
        raise OptionError(
            f"{diarize!r} is no name of a pool that could tell speakers apart; {usual} takes the usual one"
        )
    return diarize


def takes(built: Callable[P, Wish]) -> Callable[[Callable[[S, Wish], R]], Callable[Concatenate[S, P], R]]:
    """Gives a method that takes a wish the parameters that the wish is built from."""

    def decorate(method: Callable[[S, Wish], R]) -> Callable[Concatenate[S, P], R]:
        @functools.wraps(method)
        def called(self: S, /, *args: P.args, **parameters: P.kwargs) -> R:
            return method(self, built(*args, **parameters))

        called.__dict__["__signature__"] = _signature(method, built)
        return called

    return decorate


def _signature(method: Callable[..., object], built: Callable[..., object]) -> inspect.Signature:
    """For ``help``: the method's own first parameter and result around the parameters of the wish."""
    own = inspect.signature(method)
    shared = inspect.signature(built).parameters.values()
    first = next(iter(own.parameters.values())).replace(kind=inspect.Parameter.POSITIONAL_ONLY)
    return own.replace(parameters=[first, *shared])

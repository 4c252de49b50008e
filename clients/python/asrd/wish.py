"""What a caller wants of one piece of audio: the parameters that ``submit``, ``enqueue`` and ``transcribe`` share."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from asrd.audio import AudioLike, Sound
from asrd_protocol.messages import Priority, Retries, Submit

P = ParamSpec("P")
S = TypeVar("S")
R = TypeVar("R")


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
        by_path: the audio is a file that the daemon opens itself; nothing but its path is sent.
        sample_rate: Hz, of an array.
        timeout: seconds to wait; for what, the method says.
        options: of the pool's engine, such as ``language="en"`` or ``word_timestamps=True``.
    """
    question = Submit(
        job=job, pool=pool, priority=priority, client=client, deadline=deadline, retries=retries, options=options
    )
    return Wish(audio, question, sample_rate, timeout, by_path)


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

"""What callers give as audio, turned into what stands on the wire: a description and the bytes of the body.

The client reads files itself, so that the daemon needs no right to them. NumPy is never imported: an array is known by
its ``__array_interface__``.
"""

import operator
import os
import stat
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias, runtime_checkable

import msgspec

from asrd.errors import AudioError
from asrd_protocol.messages import Audio, LocalFile, MediaFile, Pcm

UNCHECKED = 1 << 20
"""Bytes. Every daemon takes a body of this size, so its limit is asked for beyond it only."""

_DTYPES = {"<f4": "float32", "<i2": "int16"}
_KINDS = "a path, bytes, a binary file object or a NumPy array of float32 or int16"


@runtime_checkable
class Array(Protocol):
    """The part of ``numpy.ndarray`` that is needed here."""

    @property
    def __array_interface__(self) -> dict[str, object]:
        """Shape and type of the samples."""
        ...

    def tobytes(self) -> bytes:
        """The samples in C order."""
        ...


AudioLike: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Array


class Sound(msgspec.Struct, frozen=True):
    """Audio that is ready to be sent."""

    name: str
    """For messages."""
    audio: Audio
    body: bytes
    """Empty when the daemon opens the file itself."""


def size(audio: AudioLike | Sound) -> int | None:
    """Bytes that the body will have, as far as can be told without reading; None otherwise."""
    match audio:
        case str() | os.PathLike():
            try:
                return Path(audio).stat().st_size or None
            except (OSError, ValueError):
                return None
        case bytes() | bytearray():
            return len(audio)
        case Sound(body=body):
            return len(body)
        case _:
            held = getattr(audio, "nbytes", None)
            return held if isinstance(held, int) else None


def load(audio: AudioLike | Sound, sample_rate: int = 16_000, limit: int | None = None) -> Sound:
    """Reads the audio; at most ``limit`` bytes. ``sample_rate`` in Hz is that of an array.

    Raises:
        AudioError: when it is missing, empty, too large or nothing that can be sent.
    """
    match audio:
        case Sound():
            sound = audio
        case str() | os.PathLike():
            sound = _from_path(Path(audio), limit)
        case bytes() | bytearray() | memoryview():
            sound = Sound("the audio", MediaFile(), bytes(audio))
        case Array():
            sound = _from_array(audio, sample_rate)
        case _ if hasattr(audio, "read"):
            sound = _from_file(audio, limit)
        case _:
            raise AudioError(f"audio of the type {type(audio).__name__} cannot be sent; give {_KINDS}")
    return _checked(sound, limit)


def named(audio: AudioLike | Sound) -> Sound:
    """A file that the daemon shall open itself; nothing of it is read here.

    Raises:
        AudioError: when it is not given by its path, or there is no such file.
    """
    if isinstance(audio, Sound) and isinstance(audio.audio, LocalFile):
        return audio
    if not isinstance(audio, str | os.PathLike):
        raise AudioError("only a file that is given by its path can be named to the daemon instead of being sent")
    path = Path(audio)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise AudioError(f"{path} is not a file, so it cannot be named to the daemon instead of being sent")
        real = os.path.realpath(path)
        real.encode()
    except (OSError, ValueError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(_unreadable(path, error)) from error
    return Sound(str(path), LocalFile(path=real), b"")


def _checked(sound: Sound, limit: int | None) -> Sound:
    if isinstance(sound.audio, LocalFile):
        return sound
    if not sound.body:
        raise AudioError(f"{sound.name} is empty")
    if limit and len(sound.body) > limit:
        raise AudioError(f"{sound.name} is larger than the {limit / 1e6:g} MB that this daemon takes")
    return sound


def _from_path(path: Path, limit: int | None) -> Sound:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise AudioError(f"{path} is a directory")
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise AudioError(f"{path} is neither a file nor a pipe")
        with path.open("rb") as file:
            body = file.read(-1 if limit is None else limit + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(_unreadable(path, error)) from error
    return Sound(str(path), MediaFile(name=_wire_name(path.name)), body)


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no file {path}"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{path} cannot be read: {reason}"


def _from_file(file: BinaryIO, limit: int | None) -> Sound:
    given = getattr(file, "name", "")
    name = given if isinstance(given, str) and given else "the file object"
    try:
        body = file.read(-1 if limit is None else limit + 1)
    except (OSError, ValueError) as error:
        raise AudioError(f"{name} cannot be read: {error}") from error
    if not isinstance(body, bytes):
        raise AudioError(f"{name} gave {type(body).__name__} instead of bytes; open it in binary mode")
    return Sound(name, MediaFile(name=_wire_name(Path(given).name if isinstance(given, str) else "")), body)


def _wire_name(name: str) -> str:
    """The file name with nothing that is not UTF-8, and no longer than the wire allows."""
    return name.encode("utf-8", "replace").decode()[:255]


def _from_array(array: Array, sample_rate: int) -> Sound:
    interface = array.__array_interface__
    shape, typestr = interface["shape"], str(interface["typestr"])
    if not isinstance(shape, tuple) or len(shape) != 1:
        raise AudioError(f"the array has the shape {shape}; audio is one-dimensional (mono)")
    if (dtype := _DTYPES.get(typestr)) is None:
        named = getattr(array, "dtype", typestr)
        raise AudioError(f"the array has the type {named}; use float32 (in -1..1) or int16")
    try:
        pcm = msgspec.convert({"kind": "pcm", "dtype": dtype, "rate": operator.index(sample_rate)}, Pcm)
    except (msgspec.ValidationError, TypeError):
        raise AudioError(f"a sample rate of {sample_rate!r} Hz is none between 4000 and 384000") from None
    return Sound("the array", pcm, array.tobytes())

"""Headers to bytes and back. A header is a map in msgpack or in JSON, told apart by its first byte."""

import difflib
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec

from asrd_protocol import VERSION
from asrd_protocol.faults import Code, Fault

T = TypeVar("T")

MAX_HEADER = 1 << 20
"""Bytes. A longer header is refused: decoding it would hold up everybody else."""


class Encoding(StrEnum):
    """How a header is written. The answer comes in the encoding of the question."""

    MSGPACK = "msgpack"
    JSON = "json"

    @classmethod
    def of(cls, header: bytes) -> "Encoding":
        """JSON when the first byte is one that JSON text can start with, msgpack otherwise."""
        return cls.JSON if header[:1] in (b"{", b" ", b"\n", b"\t", b"\r", b"[", b'"') else cls.MSGPACK


_ENCODERS: dict[Encoding, msgspec.msgpack.Encoder | msgspec.json.Encoder] = {
    Encoding.MSGPACK: msgspec.msgpack.Encoder(),
    Encoding.JSON: msgspec.json.Encoder(),
}

UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding hostile bytes can raise: the last two are not msgspec's own."""


class Unreadable(Exception):
    """A header that is no message of ours; carries the fault to answer and the question's ``ref``."""

    def __init__(self, fault: Fault, ref: str = "") -> None:
        super().__init__(fault.message)
        self.fault = fault
        self.ref = ref


def encode(message: msgspec.Struct, encoding: Encoding = Encoding.MSGPACK) -> bytes:
    """The header of a message."""
    return _ENCODERS[encoding].encode(message)


class Codec(Generic[T]):
    """Decodes the headers of one socket: a closed union of messages."""

    def __init__(self, union: Any) -> None:
        self._decoders: dict[Encoding, Any] = {
            Encoding.MSGPACK: msgspec.msgpack.Decoder(union),
            Encoding.JSON: msgspec.json.Decoder(union),
        }
        self.types = sorted(_tag(t) for t in union.__args__)

    def decode(self, header: bytes) -> T:
        """The message in a header.

        Raises:
            Unreadable: with the fault that names what is wrong with it.
        """
        if len(header) > MAX_HEADER:
            raise Unreadable(
                Fault.of(Code.FRAME_TOO_LARGE, f"the header has {len(header)} bytes, {MAX_HEADER} are allowed")
            )
        try:
            message: T = self._decoders[Encoding.of(header)].decode(header)
        except UNDECODABLE as error:
            raise self._diagnose(header, error) from None
        if getattr(message, "v", VERSION) != VERSION:
            raise self._diagnose(header, ValueError("another version"))
        return message

    def _diagnose(self, header: bytes, error: Exception) -> Unreadable:
        """What exactly is wrong, looked at only after the fast path has failed."""
        head = _peek(header)
        if head is None:
            return Unreadable(Fault.of(Code.BAD_MESSAGE, "the header is neither a msgpack nor a JSON map"))
        ref = head.ref if isinstance(head.ref, str) and len(head.ref) <= 64 else ""
        if head.v != VERSION:
            said = f"this daemon speaks protocol version {VERSION}, the message says v={_short(repr(head.v))}"
            return Unreadable(Fault.of(Code.UNSUPPORTED_VERSION, said), ref)
        if head.type not in self.types:
            word = _short(str(head.type))
            said = f"unknown message type {word!r}{did_you_mean(word, self.types)}"
            return Unreadable(Fault.of(Code.UNKNOWN_MESSAGE, said, known=self.types), ref)
        return Unreadable(Fault.of(Code.BAD_MESSAGE, f"{head.type}: {_short(str(error))}"), ref)


class _Head(msgspec.Struct):
    type: Any = None
    v: Any = VERSION
    ref: Any = ""


_HEADS: dict[Encoding, Any] = {
    Encoding.MSGPACK: msgspec.msgpack.Decoder(_Head),
    Encoding.JSON: msgspec.json.Decoder(_Head),
}


def _peek(header: bytes) -> _Head | None:
    try:
        head: _Head = _HEADS[Encoding.of(header)].decode(header)
    except UNDECODABLE:
        return None
    return head


def _short(text: str, most: int = 200) -> str:
    """What a stranger wrote goes into our answers and logs, but not in any length."""
    return text if len(text) <= most else f"{text[:most]}..."


def _tag(struct: type[msgspec.Struct]) -> str:
    return str(struct.__struct_config__.tag)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'beam_size'?`` when some known word is near, else the empty string."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""

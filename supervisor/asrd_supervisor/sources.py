"""Where the audio of a job lies: a file in our spool, or one of the caller's. Both reach a worker as a descriptor."""

import errno

import msgspec
import zmq

Body = bytes | zmq.Frame
"""Audio or a transcript, as it came or was stored."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
"""Errors that go away when others need less: of the disk, or of open files. Every other one is no weather."""


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """Which file it is, and that nobody has written to it."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class Spooled(msgspec.Struct, frozen=True, tag=True):
    """Sent with the job, and written to our spool under this name."""

    name: str
    size: int


class Named(msgspec.Struct, frozen=True, tag=True):
    """Named by the job; it must be the same file with the same content when its turn comes."""

    path: str
    identity: Identity

    @property
    def size(self) -> int:
        """Bytes."""
        return self.identity.size


Source = Spooled | Named

decode = msgspec.msgpack.Decoder(Source).decode
encode = msgspec.msgpack.Encoder().encode

"""What happens in the daemon, as it publishes it."""

import asyncio
from typing import Any, TypeAlias

import msgspec

from asrd.connection import Connection
from asrd.errors import NoDaemon

Event: TypeAlias = dict[str, Any]
"""One event: its ``type`` is the topic, ``at`` the time in seconds since the epoch; the rest depends on the topic."""

_decode = msgspec.msgpack.Decoder(Event).decode


class Feed:
    """The events of some topics. What happens while the daemon is away, or the listener too slow, is not told."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._watch = asyncio.create_task(self._watch_over())

    async def next(self) -> Event:
        """The next event.

        Raises:
            NoDaemon: when the daemon went away and did not come back, or the feed was closed.
        """
        while True:
            frames = await self._frames()
            try:
                return _decode(frames[-1])
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue  # of a newer daemon, or of none

    def close(self) -> None:
        """Ends it, also for whoever waits."""
        self._watch.cancel()
        self._connection.close(flush=False)

    async def _frames(self) -> list[bytes]:
        arriving = asyncio.ensure_future(self._connection.receive())
        try:
            await asyncio.wait((arriving, self._watch), return_when=asyncio.FIRST_COMPLETED)
            if arriving.done() and not arriving.cancelled():
                return arriving.result()
        finally:
            arriving.cancel()
        if self._watch.cancelled():
            raise NoDaemon("the client was closed")
        self._watch.result()
        raise NoDaemon("the daemon says nothing more")

    async def _watch_over(self) -> None:
        """Ends with an exception when the daemon is gone for good."""
        while True:
            await self._connection.change()

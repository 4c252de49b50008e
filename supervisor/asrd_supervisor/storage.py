"""Where the daemon keeps what must survive it: opened before anything else, so that what is wrong is said at once."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from asrd_supervisor.config import JournalConfig
from asrd_supervisor.core.events import Event
from asrd_supervisor.journal.ballast import Ballast
from asrd_supervisor.journal.entries import Standing
from asrd_supervisor.journal.opening import Damaged, JournalError, NoRoom, move_aside
from asrd_supervisor.journal.store import Store
from asrd_supervisor.journal.writer import Immediate, Writer
from asrd_supervisor.ledger import Ledger
from asrd_supervisor.spool import Spool

SMALL = 1 << 16
"""Bytes that the page cache takes in less time than a thread takes to wake up."""


class Storage:
    """The state directory: ``journal.db``, ``spool/`` and ``ballast``. With durability ``none`` only the audio is in
    files, in a directory that goes with the daemon.

    Raises:
        JournalError: one sentence with the way out; nothing was changed.
    """

    def __init__(self, directory: Path, volatile: Path, config: JournalConfig, *, accept_empty: bool) -> None:
        """``accept_empty``: begin with an empty journal when the one that is there is damaged."""
        durable = self._durable = config.durability != "none"
        journal, spool = (directory / "journal.db", directory / "spool") if durable else (None, volatile)
        try:
            spool.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._ballast = Ballast(directory / "ballast" if durable else None, config.ballast)
            try:
                self._store, self._standings = _opened(journal, config, accept_empty=accept_empty)
            except NoRoom:
                self._ballast.free()
                self._store, self._standings = _opened(journal, config, accept_empty=accept_empty)
            self.spool = Spool(spool, sync=config.durability == "full")
        except OSError as error:
            raise JournalError(f"cannot use the directory {spool.parent}: {error.strerror}") from None

    def take_standings(self) -> list[Standing]:
        """What the journal held when it was opened; a second time nothing, for it is large."""
        standings, self._standings = self._standings, []
        return standings

    def ledger(
        self, loop: asyncio.AbstractEventLoop, post: Callable[[Event], None], broken: Callable[[Exception], None]
    ) -> Ledger:
        """The ledger over it."""
        if not self._durable:
            return Ledger(loop, Immediate(self._store), self.spool, post, broken, SMALL)
        return Ledger(loop, Writer(loop, self._store, self._ballast, broken), self.spool, post, broken)


def _opened(path: Path | None, config: JournalConfig, *, accept_empty: bool) -> tuple[Store, list[Standing]]:
    try:
        store = Store(path, config.durability)
    except Damaged:
        if not accept_empty or path is None:
            raise
        move_aside(path)
        store = Store(path, config.durability)
    try:
        return store, store.recover()
    except JournalError:
        store.close()
        raise

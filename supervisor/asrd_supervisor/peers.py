"""Who is at the other end of a socket, as the kernel says, and what that user may do."""

import os
import pwd
import time
from collections.abc import Collection

import msgspec

from asrd_protocol.faults import Code, Fault

FORGET_S = 60.0
"""Seconds for which the groups of a user are believed to stay the same."""


class Peer(msgspec.Struct, frozen=True):
    """One end of a connection."""

    uid: int | None = None
    """None for one that came over TCP; it has shown a key then."""
    gid: int | None = None
    pid: int | None = None
    key: str = ""

    @property
    def owner(self) -> str:
        """The name under which jobs are its own."""
        return f"key:{self.key}" if self.uid is None else f"uid:{self.uid}"

    @property
    def trusted(self) -> bool:
        """Root, and whoever runs the daemon, may see and change all jobs."""
        return self.uid in (0, os.geteuid())

    @classmethod
    def parse(cls, address: str) -> "Peer":
        """From ZeroMQ's ``Peer-Address`` on a unix socket: ``NAME:UID:GID:PID``."""
        words = address.split(":")
        if len(words) != 4 or not all(word.isdecimal() for word in words[1:]):
            return cls()
        uid, gid, pid = (int(word) for word in words[1:])
        return cls(uid, gid, pid)


class Access:
    """Which users may use the sockets at all."""

    def __init__(self, uids: Collection[int], gids: Collection[int], operators: Collection[int | str] = ()) -> None:
        self._uids = frozenset(uids)
        self._operators = frozenset(operators)
        self._gids = frozenset(gids)
        self._groups = Groups()

    def objection(self, peer: Peer) -> Fault | None:
        """None when the peer may ask."""
        if peer.uid is None and not peer.key:
            return Fault.of(Code.NOT_ALLOWED, "nobody knows who this peer is")
        if not self._uids and not self._gids:
            return None
        if peer.trusted or peer.key or peer.uid in self._uids or (self._gids & self._groups.of(peer)):
            return None
        who = "this peer" if peer.uid is None else f"the user {peer.uid}"
        return Fault.of(Code.NOT_ALLOWED, f"{who} is not in access.uids or access.gids of this daemon")

    def may_operate(self, peer: Peer) -> bool:
        """Whether the peer may stop, drain and recycle, which concerns the jobs of all others."""
        return peer.trusted or (peer.key or peer.uid) in self._operators


class Groups:
    """The groups of users; asking the system may be slow, so it is asked once a minute."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, frozenset[int]]] = {}

    def of(self, peer: Peer) -> frozenset[int]:
        """All groups of a peer's user, the one it shows included."""
        if peer.uid is None:
            return frozenset()
        asked_at, groups = self._known.get(peer.uid, (0.0, frozenset[int]()))
        if time.monotonic() - asked_at > FORGET_S or not asked_at:
            groups = _groups_of(peer.uid)
            self._known[peer.uid] = (time.monotonic(), groups)
        return groups | {peer.gid} if peer.gid is not None else groups


def _groups_of(uid: int) -> frozenset[int]:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))

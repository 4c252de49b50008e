"""Whether a question may be answered at all: what is too much, what cannot be used, and what there is no room for."""

from collections.abc import Callable

import msgspec
import zmq

from asrd_protocol import link
from asrd_protocol import messages as msg
from asrd_protocol.faults import Code, Fault
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.jobs import Jobs
from asrd_supervisor.ledger import Ledger
from asrd_supervisor.offered import objection
from asrd_supervisor.peers import Peer
from asrd_supervisor.records import Record
from asrd_supervisor.sockets import Parcel

MAX_ASKED = 64 << 20
"""Bytes of the submits themselves, options and all, of jobs that have not ended: these stay in memory."""


class Rules(msgspec.Struct, frozen=True):
    """What a client may send, and how much is kept for all of them."""

    max_body: int
    max_results: int
    max_ended: int


class Admission:
    """Each method gives None, or the fault to answer. Nothing is changed by any of them."""

    def __init__(self, jobs: Jobs, ledger: Ledger, rules: Rules, offers: Callable[[str | None], link.Offers]) -> None:
        """``offers``: what the workers of a pool can do; None stands for the default pool."""
        self._jobs = jobs
        self._ledger = ledger
        self._rules = rules
        self._offers = offers

    def too_much(self, parcel: Parcel) -> Fault | None:
        """More than a message may have."""
        most = self._rules.max_body
        if parcel.surplus:
            said = f"a message has a header and at most one body; this one has {parcel.surplus} frames more"
            return Fault.of(Code.TOO_MANY_FRAMES, said)
        if parcel.body is not None and len(parcel.body) > most:
            said = f"the body has {len(parcel.body)} bytes, this daemon takes {most} (audio.max_body)"
            return Fault.of(Code.FRAME_TOO_LARGE, said)
        return None

    @staticmethod
    def unusable(peer: Peer, submit: msg.Submit, body: zmq.Frame | None) -> Fault | None:
        """No audio, or audio that this peer cannot name."""
        if isinstance(submit.audio, msg.LocalFile):
            if body is not None:
                return Fault.of(Code.BAD_MESSAGE, "a job that names its audio by path has no body")
            if peer.uid is None:
                said = "a path names a file of the daemon's host; from another host, send the audio itself"
                return Fault.of(Code.NOT_ALLOWED, said)
            return None
        if body is None or len(body) == 0:
            return Fault.of(Code.NO_AUDIO, "the submit has no body: send the audio as a second frame")
        return None

    def impossible(self, submit: msg.Submit) -> Fault | None:
        """What its pool cannot do."""
        return objection(submit, self._offers(submit.pool))

    def no_disk(self) -> Fault | None:
        """Nothing can be stored."""
        if self._ledger.broken:
            return Fault.of(Code.STORAGE_FAILED, "the daemon cannot store jobs any more, and leaves", retry_after=10.0)
        if self._ledger.full:
            said = "the disk of the daemon is full; nothing can be accepted until there is room"
            return Fault.of(Code.INSUFFICIENT_STORAGE, said, retry_after=10.0)
        return None

    def no_room(self) -> Fault | None:
        """No new job can be kept."""
        ledger = self._ledger
        if fault := self.no_disk():
            return fault
        if ledger.asked > MAX_ASKED:
            said = f"the options of all jobs that wait take {ledger.asked} bytes; come back later"
            return Fault.of(Code.OVERLOADED, said, retry_after=10.0)
        if ledger.archive.kept >= self._rules.max_results:
            said = f"{ledger.archive.kept} bytes of ended jobs wait to be released (results.max_bytes)"
        elif ledger.archive.known >= self._rules.max_ended:
            said = f"{ledger.archive.known} ended jobs wait to be released (results.max_jobs)"
        else:
            return None
        return Fault.of(Code.INSUFFICIENT_STORAGE, said, retry_after=10.0)

    def no_use(self, record: Record, end: msg.JobReport) -> Fault | None:
        """Why an ended job cannot be tried again. What is kept of it is no reason: a retry is what frees it."""
        if end.state in ("completed", "cancelled"):
            said = f"the job {record.job!r} is {end.state}; only one that failed can be tried again"
            return Fault.of(Code.BAD_MESSAGE, said)
        if record.source is None:
            said = f"the job {record.job!r} failed by its own fault and its audio is gone; submit it again"
            return Fault.of(Code.BAD_MESSAGE, said)
        again = ev.JobSubmitted(record.job, end.pool, end.bytes, record.owner)
        return self.no_disk() or self._jobs.objection(again)

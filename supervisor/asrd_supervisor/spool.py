"""The audio of jobs that have not ended, and the results of those that have.

This release keeps both in memory. Everything that has to survive the daemon goes through here: ``persist`` is where a
journal and files will take its place, and nothing is accepted before it has said that the job is stored.
"""

import time
from collections import OrderedDict

import msgspec
import zmq

from asrd_protocol.messages import Completed, Failed, JobReport, Submit
from asrd_supervisor.config import ResultPolicy


class Audio(msgspec.Struct):
    """What a client sent."""

    submit: Submit
    body: zmq.Frame | bytes


class Ended(msgspec.Struct):
    """What became of it."""

    answer: Completed | Failed
    body: zmq.Frame | bytes | None
    report: JobReport
    at: float
    submit: Submit
    size: int
    """Bytes of the audio."""


class Spool:
    """Keyed by job id. Results go, the oldest first, when there are too many, or too old ones."""

    def __init__(self, policy: ResultPolicy) -> None:
        self._policy = policy
        self._audio: dict[str, Audio] = {}
        self._ended: OrderedDict[str, Ended] = OrderedDict()
        self._bytes = 0

    def put(self, job: str, submit: Submit, body: zmq.Frame | bytes) -> None:
        """Take the audio of a new job."""
        self._audio[job] = Audio(submit, body)

    def audio(self, job: str) -> Audio | None:
        """The audio of a job that has not ended."""
        return self._audio.get(job)

    def drop(self, job: str) -> None:
        """The job was not accepted after all."""
        self._audio.pop(job, None)

    def settle(self, answer: Completed | Failed, body: zmq.Frame | bytes | None, report: JobReport) -> Ended:
        """The job has ended: its audio goes, its result stays."""
        audio = self._audio.pop(answer.job)
        size = len(audio.body)
        ended = Ended(answer, body, report, time.monotonic(), audio.submit, size)
        self._ended[answer.job] = ended
        self._bytes += len(body or b"")
        self._evict()
        return ended

    def ended(self, job: str) -> Ended | None:
        """The result of a job, if it is still here."""
        self._evict()
        return self._ended.get(job)

    def release(self, job: str) -> bool:
        """Forget a result; False when there is none."""
        ended = self._ended.pop(job, None)
        if ended is not None:
            self._bytes -= len(ended.body or b"")
        return ended is not None

    def reports(self) -> list[JobReport]:
        """The jobs that have ended, newest first, with their present age."""
        self._evict()
        now = time.monotonic()
        return [
            msgspec.structs.replace(ended.report, age_s=round(ended.report.age_s + now - ended.at, 3))
            for ended in reversed(self._ended.values())
        ]

    def _evict(self) -> None:
        policy, horizon = self._policy, time.monotonic() - self._policy.keep
        while self._ended:
            oldest = next(iter(self._ended))
            full = len(self._ended) > policy.max_jobs or self._bytes > policy.max_bytes
            if not full and self._ended[oldest].at > horizon:
                return
            self.release(oldest)

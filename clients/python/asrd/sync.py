"""The blocking client: :class:`~asrd.aio.AsyncClient` on a thread of its own. It may be used from several threads."""

import os
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from asrd.aio import ACCEPT_S, ANSWER_S, PATIENCE_S, RECHECK_S, AsyncClient
from asrd.audio import AudioLike, Sound, load
from asrd.job import AsyncJob
from asrd.loop import LoopThread
from asrd.track import Finished, JobProgress
from asrd_protocol import messages as m
from asrd_protocol.model import Run, Segment, Transcript


class Job:
    """One job that was submitted or attached to."""

    def __init__(self, client: "Client", job: AsyncJob) -> None:
        self._client = client
        self._job = job

    @property
    def id(self) -> str:
        """The name of the job in the daemon."""
        return self._job.id

    @property
    def progress(self) -> JobProgress:
        """How far it has come."""
        return self._job.progress

    @property
    def run(self) -> Run | None:
        """Where and how it ran; None until it is completed."""
        return self._job.run

    def segments(self) -> Iterator[Segment]:
        """The segments as they are decoded, each once, also when another worker takes the job over.

        Raises:
            JobFailed, NoDaemon
        """
        index = 0
        while (segment := self._client.wait_for(self._job.segment(index))) is not None:
            yield segment
            index += 1

    def result(self, timeout: float | None = None) -> Transcript:
        """The transcript.

        Raises:
            TimedOut: after ``timeout`` seconds; the job goes on.
            JobFailed, NoDaemon
        """
        return self._client.wait_for(self._job.result(timeout))

    def cancel(self) -> None:
        """Stops the job; :meth:`result` raises ``Cancelled`` then. A job that has ended stays as it is.

        Raises:
            NoDaemon, TimedOut, Refused
        """
        self._client.wait_for(self._job.cancel())


class Client:
    """A client of the daemon in ``runtime_dir``, or of the one that everybody finds by default.

    Close it, or use it as a context manager; what is left open is closed when the interpreter ends.
    """

    def __init__(
        self,
        runtime_dir: str | os.PathLike[str] | None = None,
        *,
        timeout: float = ANSWER_S,
        patience: float = PATIENCE_S,
        recheck: float = RECHECK_S,
    ) -> None:
        """``timeout``, ``patience`` and ``recheck`` are seconds: for an answer, for a lost daemon, without news."""
        self._async = AsyncClient(runtime_dir, timeout=timeout, patience=patience, recheck=recheck)
        self._thread = LoopThread(self._async.close)
        self.wait_for = self._thread.run
        self.close = weakref.finalize(self, self._thread.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

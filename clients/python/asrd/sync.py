"""The blocking client: :class:`~asrd.aio.AsyncClient` on a thread of its own. It may be used from several threads."""

import weakref
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import msgspec

from asrd.aio import PATIENCE_S, RECHECK_S, AsyncClient
from asrd.audio import AudioLike, Sound, load, named
from asrd.feed import Event
from asrd.job import AsyncJob
from asrd.loop import LoopThread
from asrd.operations import ANSWER_S
from asrd.remote import Place
from asrd.track import Finished, JobProgress, Receipt, SoFar
from asrd.wish import Wish, takes, wish
from asrd_protocol import messages as m
from asrd_protocol.model import Run, Segment, Transcript

T = TypeVar("T")


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
    def receipt(self) -> Receipt:
        """How the queue was when the daemon accepted it."""
        return self._job.receipt

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

        With ``diarize`` all of them come at the end, because they are cut where the speaker changes.

        Raises:
            JobFailed, NoDaemon
        """
        index = 0
        while (segment := self._client.perform(self._job.segment(index))) is not None:
            yield segment
            index += 1

    def result(self, timeout: float | None = None) -> Transcript:
        """The transcript.

        Raises:
            TimedOut: after ``timeout`` seconds; the job goes on.
            JobFailed, NoDaemon
        """
        return self._client.perform(self._job.result(timeout))

    def cancel(self) -> None:
        """Stops the job; :meth:`result` raises ``Cancelled`` then. A job that has ended stays as it is.

        Raises:
            NoDaemon, TimedOut, Refused
        """
        self._client.perform(self._job.cancel())


class Client:
    """A client of the daemon in ``runtime_dir``, or of the one that everybody finds by default.

    Close it, or use it as a context manager; what is left open is closed when the interpreter ends.
    """

    def __init__(
        self,
        runtime_dir: Place | None = None,
        *,
        timeout: float = ANSWER_S,
        patience: float = PATIENCE_S,
        recheck: float = RECHECK_S,
    ) -> None:
        """``timeout``, ``patience`` and ``recheck`` are seconds: for an answer, for a lost daemon, without news."""
        self._async = AsyncClient(runtime_dir, timeout=timeout, patience=patience, recheck=recheck)
        self._thread = LoopThread(self._async.close)
        self._finalizer = weakref.finalize(self, self._thread.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the daemon; jobs that were accepted go on. Calls that wait in other threads raise."""
        self._finalizer()

    def perform(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine of the asyncio client that is behind this one."""
        return self._thread.run(coroutine)

    # --- jobs ---------------------------------------------------------------------------------------------------------

    @takes(wish)
    def submit(self, wish: Wish) -> Job:
        """As :meth:`asrd.AsyncClient.submit`."""
        return Job(self, self.perform(self._async.desk.submit(self._loaded(wish))))

    @takes(wish)
    def enqueue(self, wish: Wish) -> str:
        """As :meth:`asrd.AsyncClient.enqueue`."""
        return self.perform(self._async.desk.deposit(self._loaded(wish))).job

    @takes(wish)
    def deposit(self, wish: Wish) -> Receipt:
        """As :meth:`asrd.AsyncClient.deposit`."""
        return self.perform(self._async.desk.deposit(self._loaded(wish)))

    @takes(wish)
    def transcribe(self, wish: Wish) -> Transcript:
        """As :meth:`asrd.AsyncClient.transcribe`; an interrupt cancels the job too."""
        return self.perform(self._async.desk.transcribe(self._loaded(wish)))

    def job(self, job: str) -> Job:
        """As :meth:`asrd.AsyncClient.job`."""
        return Job(self, self.perform(self._async.job(job)))

    @overload
    def fetch(self, job: str) -> Finished | m.Pending: ...
    @overload
    def fetch(self, job: str, *, partial: Literal[True]) -> Finished | SoFar: ...
    def fetch(self, job: str, *, partial: bool = False) -> Finished | m.Pending | SoFar:
        """As :meth:`asrd.AsyncClient.fetch`."""
        return self.perform(self._async.fetch(job, partial=True) if partial else self._async.fetch(job))

    def wait(self, job: str, timeout: float | None = None) -> Finished | m.Pending:
        """As :meth:`asrd.AsyncClient.wait`."""
        return self.perform(self._async.wait(job, timeout))

    def cancel(self, job: str) -> bool:
        """As :meth:`asrd.AsyncClient.cancel`."""
        return self.perform(self._async.cancel(job))

    def release(self, job: str) -> None:
        """As :meth:`asrd.AsyncClient.release`."""
        self.perform(self._async.release(job))

    def retry(self, job: str) -> bool:
        """As :meth:`asrd.AsyncClient.retry`."""
        return self.perform(self._async.retry(job))

    def load(self, audio: AudioLike | Sound, sample_rate: int = 16_000, *, by_path: bool = False) -> Sound:
        """Reads audio in the calling thread, which an interrupt can stop; no more of it than the daemon takes.

        Raises:
            AudioError, NoDaemon
        """
        if by_path:
            return named(audio)
        return load(audio, sample_rate, self.perform(self._async.desk.limit(audio)))

    def _loaded(self, wish: Wish) -> Wish:
        audio = self.load(wish.audio, wish.sample_rate, by_path=wish.by_path)
        return msgspec.structs.replace(wish, audio=audio)

    # --- what happens -------------------------------------------------------------------------------------------------

    def events(self, *topics: str) -> Iterator[Event]:
        """As :meth:`asrd.AsyncClient.events`."""
        events = self._async.events(*topics)

        async def following() -> Event:
            return await anext(events)

        async def leaving() -> None:
            await events.aclose()

        try:
            while True:
                yield self.perform(following())
        finally:
            self._thread.launch(leaving())

    # --- the daemon ---------------------------------------------------------------------------------------------------

    def health(self) -> m.HealthReport:
        """As :meth:`asrd.AsyncClient.health`."""
        return self.perform(self._async.health())

    def stats(self) -> m.StatsReport:
        """As :meth:`asrd.AsyncClient.stats`."""
        return self.perform(self._async.stats())

    def workers(self) -> list[m.WorkerReport]:
        """As :meth:`asrd.AsyncClient.workers`."""
        return self.perform(self._async.workers())

    def jobs(
        self,
        limit: int = 100,
        *,
        states: Sequence[m.JobState] = (),
        pool: str | None = None,
        client: str | None = None,
    ) -> list[m.JobReport]:
        """As :meth:`asrd.AsyncClient.jobs`."""
        return self.perform(self._async.jobs(limit, states=states, pool=pool, client=client))

    def quarantine(self, limit: int = 100) -> list[m.JobReport]:
        """As :meth:`asrd.AsyncClient.quarantine`."""
        return self.perform(self._async.quarantine(limit))

    def pools(self) -> list[m.PoolReport]:
        """As :meth:`asrd.AsyncClient.pools`."""
        return self.perform(self._async.pools())

    def recycles(self, limit: int = 50, pool: str | None = None) -> list[m.RecycleReport]:
        """As :meth:`asrd.AsyncClient.recycles`."""
        return self.perform(self._async.recycles(limit, pool))

    def insights(self) -> list[m.Insight]:
        """As :meth:`asrd.AsyncClient.insights`."""
        return self.perform(self._async.insights())

    def recycle(self, pool: str | None = None, seat: str | None = None) -> m.Done:
        """As :meth:`asrd.AsyncClient.recycle`."""
        return self.perform(self._async.recycle(pool, seat))

    def unload_pool(self, pool: str) -> m.Done:
        """As :meth:`asrd.AsyncClient.unload_pool`."""
        return self.perform(self._async.unload_pool(pool))

    def load_pool(self, pool: str) -> m.Done:
        """As :meth:`asrd.AsyncClient.load_pool`."""
        return self.perform(self._async.load_pool(pool))

    def reload_pool(self, pool: str) -> m.Done:
        """As :meth:`asrd.AsyncClient.reload_pool`."""
        return self.perform(self._async.reload_pool(pool))

    def set_pool(self, pool: str, settings: Mapping[str, Any]) -> m.Done:
        """As :meth:`asrd.AsyncClient.set_pool`."""
        return self.perform(self._async.set_pool(pool, settings))

    def drain(self, resume: bool = False) -> m.Done:
        """As :meth:`asrd.AsyncClient.drain`."""
        return self.perform(self._async.drain(resume))

    def stop(self, now: bool = False) -> m.Done:
        """As :meth:`asrd.AsyncClient.stop`."""
        return self.perform(self._async.stop(now))

"""Drives a session over real sockets: performs what it says and tells it what happened. One for each event loop."""

import asyncio
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import zmq.asyncio

from asrd.connection import LINGER_MS, Connection, Link
from asrd.errors import AsrdError, NoDaemon, Refused, TimedOut
from asrd.feed import Feed
from asrd.questions import Channel, Question
from asrd.remote import Remote
from asrd.session import Moved, Output, Reply, Send, Session, Settled
from asrd.track import Track
from asrd_protocol import messages as m
from asrd_protocol.addresses import Addresses


class Shell:
    """Session, sockets and the tasks that read them. All methods belong to one event loop."""

    def __init__(self, place: Addresses | Remote, patience: float, recheck_s: float) -> None:
        self._place = place
        self._patience = patience
        self._recheck_s = recheck_s
        self._session = Session()
        self._context: zmq.asyncio.Context | None = None
        self._connections: dict[Channel, Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: dict[str, asyncio.Future[Reply | AsrdError]] = {}
        self._feeds: set[Feed] = set()
        self._news: WeakKeyDictionary[Track, asyncio.Event] = WeakKeyDictionary()
        self._closed = False

    # --- questions ----------------------------------------------------------------------------------------------------

    async def ask(self, question: Question, timeout: float) -> Reply:
        """The answer to a plain question.

        Raises:
            NoDaemon, TimedOut, Refused
        """
        self._connect(Channel.of(question))
        ref, outputs = self._session.ask(question)
        answer: asyncio.Future[Reply | AsrdError] = asyncio.get_running_loop().create_future()
        self._answers[ref] = answer
        self._perform(outputs)
        try:
            async with asyncio.timeout(timeout):
                outcome = await answer
        except TimeoutError:
            raise self._silence(Channel.of(question), timeout) from None
        finally:
            del self._answers[ref]
            self._session.forget(ref)
        if isinstance(outcome, AsrdError):
            raise outcome
        if isinstance(outcome.answer, m.Refused):
            raise Refused.of(outcome.answer.fault)
        return outcome

    def _silence(self, channel: Channel, timeout: float) -> AsrdError:
        """Why there is no answer."""
        connection = self._connections.get(channel)
        if connection is None or connection.lost:
            return NoDaemon(f"the daemon went away and did not come back within {timeout:g} s")
        return TimedOut(f"the daemon did not answer within {timeout:g} s")

    def tell(self, question: Question) -> None:
        """Asks a plain question and does not wait for the answer; with no daemon it is not asked."""
        if Channel.of(question) in self._connections:
            _, outputs = self._session.ask(question)
            self._perform(outputs)

    def submit(self, question: m.Submit, body: bytes) -> Track:
        """Sends a job.

        Raises:
            NoDaemon, OptionError
        """
        self._connect(Channel.JOBS)
        track, outputs = self._session.submit(question, body)
        self._perform(outputs)
        return track

    def attach(self, job: str) -> Track:
        """Follows a job.

        Raises:
            NoDaemon
        """
        self._connect(Channel.JOBS)
        track, outputs = self._session.attach(job)
        self._perform(outputs)
        return track

    def leave(self, track: Track) -> None:
        """Follows the job no more."""
        self._session.leave(track)

    async def until(self, track: Track, reached: Callable[[], bool]) -> None:
        """Waits until the track is as wanted; asks from time to time, in case that a push was lost."""
        news = self._news.setdefault(track, asyncio.Event())
        while not reached():
            try:
                async with asyncio.timeout(self._recheck_s):
                    await news.wait()
            except TimeoutError:
                self._perform(self._session.recheck(track))

    def feed(self, topics: Sequence[str]) -> Feed:
        """What happens in the daemon from now on; to be closed with :meth:`end`.

        Raises:
            NoDaemon
        """
        context = self._ready()
        if isinstance(self._place, Remote):
            raise NoDaemon("the events of a daemon can be followed on its own host only")
        feed = Feed(Connection(context, self._place.events, self._patience, topics or ("",)))
        self._feeds.add(feed)
        return feed

    def end(self, feed: Feed) -> None:
        """Nobody listens to it any more; a second time does nothing."""
        if feed in self._feeds:
            self._feeds.remove(feed)
            feed.close()

    # --- connections --------------------------------------------------------------------------------------------------

    def _ready(self) -> zmq.asyncio.Context:
        if self._closed:
            raise AsrdError("the client is closed")
        if isinstance(self._place, Addresses) and (sentence := self._place.too_long()):
            raise NoDaemon(sentence)
        self._context = self._context or zmq.asyncio.Context()
        return self._context

    def _connect(self, channel: Channel) -> None:
        context = self._ready()
        if channel in self._connections:
            return
        address = self._place.jobs if channel is Channel.JOBS else self._place.control
        if not address:
            raise NoDaemon("this question is for the control socket, and $ASRD_CONTROL is not set")
        prepare = self._place.prepare if isinstance(self._place, Remote) else None
        connection = Connection(context, address, self._patience, prepare=prepare)
        self._connections[channel] = connection
        task = asyncio.create_task(self._serve(channel, connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, channel: Channel, connection: Connection) -> None:
        """The life of a connection: read it until its daemon is gone for good."""
        reading = asyncio.create_task(self._read(connection))
        try:
            while True:
                if await connection.change() is Link.BACK:
                    self._perform(self._session.back(channel))
        except NoDaemon as error:
            del self._connections[channel]
            self._perform(self._session.gone(channel, error))
            connection.close(flush=False)
        finally:
            reading.cancel()

    async def _read(self, connection: Connection) -> None:
        while True:
            self._perform(self._session.receive(await connection.receive()))

    def _perform(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            match output:
                case Send(channel=channel, frames=frames):
                    self._connections[channel].send(frames)
                case Settled(ref=ref, outcome=outcome):
                    if (answer := self._answers.get(ref)) and not answer.done():
                        answer.set_result(outcome)
                case Moved(track=track):
                    self._wake(track)

    def _wake(self, track: Track) -> None:
        """Wakes whoever waits for this track now."""
        if news := self._news.get(track):
            news.set()
            news.clear()

    async def close(self) -> None:
        """Ends what is open and closes the sockets. Takes at most ``LINGER_MS``."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel, connection in self._connections.items():
            self._perform(self._session.gone(channel, NoDaemon("the client was closed")))
            connection.close(flush=True)
        self._connections.clear()
        for feed in list(self._feeds):
            self.end(feed)
        if self._context:
            self._context.destroy(linger=LINGER_MS)
            self._context = None

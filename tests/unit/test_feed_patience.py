"""What callers cost that do not read, or are gone; and what they get when the segments change while some are held back.
Time is moved by hand here, so that minutes take none."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from asrd_supervisor.feed import PATIENCE_S, PORTION, Feed
from asrd_supervisor.reel import Reel


class _Due:
    def __init__(self, call: Callable[..., object]) -> None:
        self.call: Callable[..., object] | None = call

    def cancel(self) -> None:
        self.call = None


class Clock:
    """As much of an event loop as a feed needs."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._due: list[tuple[float, int, _Due]] = []
        self._count = itertools.count()

    def time(self) -> float:
        return self.now

    def call_soon(self, call: Callable[..., object]) -> _Due:
        return self.call_later(0.0, call)

    def call_later(self, delay: float, call: Callable[..., object]) -> _Due:
        due = _Due(call)
        heapq.heappush(self._due, (self.now + delay, next(self._count), due))
        return due

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, due = heapq.heappop(self._due)
            if due.call:
                due.call()
        self.now = end

    @property
    def waiting(self) -> int:
        """Calls that are still to come."""
        return sum(due.call is not None for _, _, due in self._due)


class Reader:
    """Takes so many messages, then none until it is told to go on; counts what it costs."""

    def __init__(self, room: int = 10**9, since: int = 0) -> None:
        self.clock = Clock()
        self.room = room
        self.tries: list[float] = []
        self.told: list[tuple[int, int, bytes]] = []
        self.ends: list[float] = []
        loop: Any = self.clock
        self.feed = Feed(loop, self._send, since)

    def _send(self, index: int, attempt: int, body: Any) -> bool:
        self.tries.append(self.clock.now)
        if not self.room:
            return False
        self.room -= 1
        self.told.append((index, attempt, bytes(body)))
        return True

    def end(self) -> None:
        self.ends.append(self.clock.now)

    @property
    def kept(self) -> dict[int, tuple[int, bytes]]:
        """What a caller has that goes by the index: a segment takes the place of the one there, and of all after it."""
        found: dict[int, tuple[int, bytes]] = {}
        for index, attempt, body in self.told:
            found = {at: one for at, one in found.items() if at < index}
            found[index] = (attempt, body)
        return found


def texts(count: int, word: str = "") -> list[Any]:
    return [f"{word}{number}".encode() for number in range(count)]


# --- a caller that is gone --------------------------------------------------------------------------------------------


def test_a_caller_that_is_gone_costs_one_try_a_second() -> None:
    gone = Reader(room=0)
    gone.feed.show(texts(5), 1)
    gone.clock.run(3.0)
    assert 5 <= len(gone.tries) <= 12, "one that is slow for a moment is not kept waiting"
    gone.tries.clear()
    gone.clock.run(600.0)
    assert 500 <= len(gone.tries) <= 601
    assert gone.clock.waiting == 1


def test_segments_that_come_meanwhile_cost_nothing() -> None:
    gone, shown = Reader(room=0), texts(1)
    gone.feed.show(shown, 1)
    gone.clock.run(10.0)
    gone.tries.clear()
    for number in range(1000):
        shown.append(str(number).encode())
        gone.feed.show(shown, 1)
        gone.clock.run(0.1)
    assert len(gone.tries) <= 101
    assert gone.clock.waiting == 1


def test_nor_do_attempts() -> None:
    gone, shown = Reader(room=0), texts(10)
    for attempt in range(1, 50):
        del shown[5:]
        gone.feed.show(shown, attempt)
        shown += texts(5)
        gone.feed.show(shown, attempt)
    assert (len(gone.tries), gone.clock.waiting) == (1, 1)


def test_after_the_end_it_is_given_up_once_and_nothing_is_left() -> None:
    gone = Reader(room=0)
    gone.feed.show(texts(5), 1)
    gone.clock.run(60.0)
    ended = gone.clock.now
    gone.feed.finish(gone.end)
    gone.clock.run(600.0)
    (at,) = gone.ends
    assert PATIENCE_S <= at - ended <= PATIENCE_S + 2.0
    assert gone.clock.waiting == 0


@pytest.mark.parametrize("finished", [False, True])
def test_one_that_follows_no_more_is_tried_no_more(finished: bool) -> None:
    gone = Reader(room=0)
    gone.feed.show(texts(5), 1)
    if finished:
        gone.feed.finish(gone.end)
    gone.feed.close()
    gone.tries.clear()
    gone.clock.run(60.0)
    assert (gone.tries, gone.ends, gone.clock.waiting) == ([], [], 0)


# --- one that is slow -------------------------------------------------------------------------------------------------


def test_who_reads_again_gets_the_rest_without_delay() -> None:
    slow = Reader(room=3)
    slow.feed.show(texts(PORTION * 3), 1)
    slow.clock.run(300.0)
    slow.room = 10**9
    slow.clock.run(1.0)
    assert [index for index, _, _ in slow.told] == list(range(PORTION * 3))
    assert slow.clock.waiting == 0


def test_one_that_reads_a_little_at_a_time_is_not_given_up() -> None:
    slow = Reader(room=1)
    slow.feed.show(texts(100), 1)
    slow.feed.finish(slow.end)
    for _ in range(99):
        slow.clock.run(PATIENCE_S / 2)
        assert not slow.ends
        slow.room = 1
    slow.clock.run(2.0)
    assert len(slow.ends) == 1
    assert [index for index, _, _ in slow.told] == list(range(100))


def test_the_pause_is_short_again_for_one_that_has_read() -> None:
    slow = Reader(room=0)
    slow.feed.show(texts(100), 1)
    slow.clock.run(60.0)
    slow.tries.clear()
    slow.room = 1
    slow.clock.run(2.0)
    taken, *after = slow.tries
    assert len(slow.told) == 1
    assert sum(at <= taken + 0.7 for at in after) >= 5


# --- a chunk that is tried anew ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [0, 30, PORTION // 2, PORTION, 10**9])
@pytest.mark.parametrize("base", [0, PORTION // 2, PORTION + 50])
def test_a_chunk_that_is_tried_anew_while_some_of_it_is_held_back(room: int, base: int) -> None:
    """What is kept by the index in the end is what was decoded in the end, in order and with nothing of before."""
    reader, shown = Reader(room=room), texts(3 * PORTION, "old ")
    reader.feed.show(shown, 1)
    del shown[base:]
    reader.feed.show(shown, 2)
    for number in range(base, 2 * PORTION):
        shown.append(f"new {number}".encode())
        reader.feed.show(shown, 2)
    reader.feed.finish(reader.end)
    reader.clock.run(1.5)
    reader.room = 10**9
    reader.clock.run(5.0)
    assert len(reader.ends) == 1
    assert [body for _, body in reader.kept.values()] == shown
    assert list(reader.kept) == list(range(2 * PORTION))
    assert all(attempt == 2 for attempt, body in reader.kept.values() if body.startswith(b"new"))


@pytest.mark.parametrize("room", [0, 40, PORTION - 10])
def test_of_what_was_held_back_and_is_decoded_anew_nothing_old_is_sent(room: int) -> None:
    reader, shown = Reader(room=room), texts(2 * PORTION, "old ")
    reader.feed.show(shown, 1)
    del shown[room:]
    reader.feed.show(shown, 2)
    reader.room = 10**9
    reader.clock.run(5.0)
    assert len(reader.told) == room
    shown.append(b"new")
    reader.feed.show(shown, 2)
    assert reader.told[room:] == [(room, 2, b"new")]


def test_one_that_wants_later_segments_only_gets_them_of_each_attempt() -> None:
    reader, shown = Reader(room=5, since=PORTION), texts(2 * PORTION, "old ")
    reader.feed.show(shown, 1)
    assert [index for index, _, _ in reader.told] == list(range(PORTION, PORTION + 5))
    del shown[10:]
    reader.feed.show(shown, 2)
    shown += texts(PORTION * 2, "new ")
    reader.feed.show(shown, 2)
    reader.room = 10**9
    reader.clock.run(5.0)
    assert min(index for index, _, _ in reader.told) == PORTION
    assert [body for _, body in reader.kept.values()] == shown[PORTION:]


def test_a_reel_and_its_feed_agree_whatever_is_tried_anew() -> None:
    """Three chunks, the foremost tried twice while the caller reads by fits and starts."""
    reel, reader = Reel(), Reader(room=0)
    reel.divide([3, 4, 5])

    def show(attempt: int) -> None:
        reader.feed.show(reel.shown, attempt)

    def says(step: int, attempt: int, words: list[Any]) -> None:
        for index, word in enumerate(words):
            if reel.add(step, attempt, index, word):
                show(attempt)

    for step in (3, 4):
        reel.begin(step, 1)
    says(3, 1, texts(PORTION, "lost "))
    says(4, 1, texts(PORTION, "b"))
    reader.room = 50
    reader.clock.run(1.5)
    reel.begin(3, 2)
    show(2)
    says(3, 2, texts(PORTION // 2, "a"))
    reader.room = 70
    reader.clock.run(1.5)
    reel.end(3)
    show(2)
    reel.begin(5, 1)
    says(5, 1, texts(3, "c"))
    reel.end(4)
    reel.end(5)
    show(2)
    reader.feed.finish(reader.end)
    reader.room = 10**9
    reader.clock.run(5.0)
    expected = texts(PORTION // 2, "a") + texts(PORTION, "b") + texts(3, "c")
    assert [body for _, body in reader.kept.values()] == expected
    assert len(reader.ends) == 1

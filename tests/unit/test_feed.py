"""All segments reach a caller in order, in portions, however slowly it reads; one that reads nothing stops nobody."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from asrd_supervisor import feed
from asrd_supervisor.feed import PORTION, Feed

Told = list[tuple[int, int, bytes]]


def played(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scene(), 20))


def texts(count: int) -> list[Any]:
    return [str(number).encode() for number in range(count)]


class Reader:
    """Takes so many messages, then none until it is told to go on."""

    def __init__(self, room: int = 10**9) -> None:
        self.room = room
        self.told: Told = []
        self.ended = asyncio.Event()

    def send(self, index: int, attempt: int, body: Any) -> bool:
        if not self.room:
            return False
        self.room -= 1
        self.told.append((index, attempt, bytes(body)))
        return True

    def feed(self, since: int = 0) -> Feed:
        return Feed(asyncio.get_running_loop(), self.send, since)

    @property
    def indices(self) -> list[int]:
        return [index for index, _, _ in self.told]


def test_many_come_in_portions_and_the_end_after_them() -> None:
    async def scene() -> None:
        reader = Reader()
        one, count = reader.feed(), 5 * PORTION + 7
        one.show(texts(count), 1)
        assert len(reader.told) == PORTION, "others have their turn"
        one.finish(reader.ended.set)
        assert not reader.ended.is_set()
        await reader.ended.wait()
        assert reader.told == [(number, 1, str(number).encode()) for number in range(count)]

    played(scene)


def test_who_has_all_is_told_of_the_end_at_once() -> None:
    async def scene() -> None:
        reader = Reader()
        one = reader.feed()
        one.show(texts(3), 1)
        one.finish(reader.ended.set)
        assert reader.ended.is_set()

    played(scene)


def test_what_is_not_taken_is_offered_again() -> None:
    async def scene() -> None:
        reader, shown = Reader(room=5), texts(9)
        one = reader.feed()
        one.show(shown, 1)
        shown.append(b"9")
        one.show(shown, 1)
        assert reader.indices == list(range(5)), "nothing overtakes what was not taken"
        one.finish(reader.ended.set)
        reader.room = 100
        await reader.ended.wait()
        assert reader.indices == list(range(10))

    played(scene)


def test_nothing_below_since_is_sent_in_no_attempt() -> None:
    async def scene() -> None:
        reader, shown = Reader(), texts(4)
        one = reader.feed(since=2)
        one.show(shown, 1)
        del shown[0:]
        one.show(shown, 2)
        shown += texts(4)
        one.show(shown, 2)
        assert [(index, attempt) for index, attempt, _ in reader.told] == [(2, 1), (3, 1), (2, 2), (3, 2)]

    played(scene)


def test_what_is_decoded_anew_is_sent_anew_from_where_it_changed() -> None:
    async def scene() -> None:
        reader, shown = Reader(), texts(4)
        one = reader.feed()
        one.show(shown, 1)
        del shown[2:]
        one.show(shown, 2)
        shown += [b"other"]
        one.show(shown, 2)
        assert reader.told[4:] == [(2, 2, b"other")]

    played(scene)


def test_who_reads_nothing_is_left_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "PATIENCE_S", 0.1)

    async def scene() -> None:
        reader = Reader(room=1)
        one = reader.feed()
        one.show(texts(3), 1)
        one.finish(reader.ended.set)
        await reader.ended.wait()
        assert reader.indices == [0]

    played(scene)


def test_after_it_is_closed_nothing_comes() -> None:
    async def scene() -> None:
        reader = Reader(room=1)
        one = reader.feed()
        one.show(texts(PORTION * 2), 1)
        one.close()
        reader.room = 100
        await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=0.1)
        assert reader.indices == [0]

    played(scene)

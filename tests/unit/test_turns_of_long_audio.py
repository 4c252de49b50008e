"""Whose turn it is when recordings are cut: of several of one client the oldest is done first, and clips of others go
in turns with chunks. Each recording that is cut and not done has its samples on the disk. Events in, actions out."""

from collections import Counter

import pytest

from asrd_protocol.model import Timings, Work
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.slot import Slot
from asrd_supervisor.core.stages import FIRST_CHUNK, MERGE, WHOLE
from support.long_play import LongPlay
from support.play import pool, seat

CHUNK_S = 60.0
CHUNKS = 12
LONG_S = CHUNK_S * CHUNKS


class Shop(LongPlay):
    """Warm workers that do a minute of audio in six seconds; a job whose name begins with ``long`` is cut."""

    def __init__(self, workers: int) -> None:
        self.done: list[tuple[str, int]] = []
        """The steps that have ended, each with its job."""
        self.ended: list[str] = []
        self.most_begun = 0
        self.most_cut = 0
        super().__init__(pool(workers=workers))
        self.boot(*(f"p/{slot}.1" for slot in range(workers)))

    def tell(self, *events: ev.Event) -> list[do.Action]:
        """As ever; who has a result is noted."""
        orders = super().tell(*events)
        self.ended += [order.job.id for order in orders if isinstance(order, do.Deliver)]
        return [order for order in orders if not isinstance(order, do.Deliver)]

    def comes(self, job: str, client: str, audio_s: float, lane: str = "normal") -> None:
        """A job of a client."""
        self.now += 0.01
        self.submit(job, client=client, audio_s=audio_s, lane=lane)

    @property
    def busy(self) -> list[Slot]:
        return [slot for slot in self.core.pools["p"].slots if slot.task]

    def step(self) -> bool:
        """The worker that has been at work for longest is done; whether there was one."""
        if not self.busy:
            return False
        slot = min(self.busy, key=lambda slot: slot.attempt)
        task, name = slot.task, str(slot.seat)
        assert task
        self.now += 6.0 / len(self.busy)
        self.done.append((task.job, task.index))
        if task.index == WHOLE and task.job.startswith("long"):
            stretches = tuple((CHUNK_S * at, CHUNK_S * (at + 1)) for at in range(CHUNKS))
            self.tell(ev.StepSplit(seat(name), self.attempt(name), stretches, b"head", Timings(decode=2.0)))
        else:
            heard = 0.0 if task.index == MERGE else CHUNK_S
            self.tell(ev.StepFinished(seat(name), self.attempt(name), Timings(), Work(audio_s=heard), "text"))
        jobs = self.core.jobs.active.values()
        self.most_begun = max(self.most_begun, sum(job.attempts > 0 for job in jobs))
        self.most_cut = max(self.most_cut, sum(FIRST_CHUNK in job.steps for job in jobs))
        return True

    def all(self) -> "Shop":
        """All that is to be done."""
        while self.step():
            pass
        return self


# --- many recordings of one client ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("count", [6, 20])
def test_no_more_of_them_are_begun_than_there_are_workers_and_two(workers: int, count: int) -> None:
    shop = Shop(workers)
    for number in range(count):
        shop.comes(f"long-{number}", "ann", LONG_S)
    shop.all()
    assert sorted(shop.ended) == sorted(f"long-{number}" for number in range(count))
    assert shop.most_begun <= workers + 2
    assert shop.most_cut <= workers + 2, "each of them has 115 MB an hour on the disk"


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_they_end_in_the_order_in_which_they_came(workers: int) -> None:
    shop = Shop(workers)
    for number in range(8):
        shop.comes(f"long-{number}", "ann", LONG_S)
    shop.all()
    assert shop.ended == [f"long-{number}" for number in range(8)]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_is_done_long_before_the_last_is_begun(workers: int) -> None:
    shop = Shop(workers)
    for number in range(10):
        shop.comes(f"long-{number}", "ann", LONG_S)
    while not shop.ended:
        assert shop.step()
    assert len(shop.done) <= (CHUNKS + 2) * workers + 3
    assert Counter(job for job, _ in shop.done)["long-9"] == 0


def test_recordings_of_several_clients_are_begun_side_by_side() -> None:
    """What one client has begun holds up nobody else."""
    shop = Shop(2)
    for number in range(4):
        for client in "xyz":
            shop.comes(f"long-{client}{number}", client, LONG_S)
    while len(shop.ended) < 3:
        assert shop.step()
    assert {job[:-1] for job in shop.ended} == {"long-x", "long-y", "long-z"}


# --- a recording against clips of others ------------------------------------------------------------------------------


def turns(workers: int, others: str, clips: int, before: int = 5, lane: str = "normal") -> str:
    """Who has which turn after the cut: ``X`` for a chunk of the recording, else the name of the other client."""
    shop = Shop(workers)
    for number in range(clips):
        for client in others:
            shop.comes(f"clip-{client}{number}", client, CHUNK_S)
    for _ in range(before):
        shop.step()  # so that it is known how long things take
    shop.comes("long", "ann", LONG_S, lane)
    while ("long", WHOLE) not in shop.done:
        assert shop.step(), "its turn must come"
    since = len(shop.done)
    shop.all()
    return "".join("X" if job == "long" else job[5] for job, index in shop.done[since:] if index != MERGE)


def test_chunks_and_clips_of_another_client_alternate() -> None:
    order = turns(1, "y", 40)
    while_both = order[: order.rindex("X")]
    assert while_both.count("X") == CHUNKS - 1
    assert "XX" not in while_both
    assert "yyy" not in while_both
    assert "yy" not in while_both[2:], "the recording has not paid twice"


def test_with_two_other_clients_each_has_a_third() -> None:
    order = turns(1, "yz", 40)
    while_all = order[: order.rindex("X")]
    counts = Counter(while_all)
    assert counts["X"] == CHUNKS - 1
    assert abs(counts["y"] - counts["X"]) <= 2
    assert abs(counts["z"] - counts["X"]) <= 2
    assert all("X" in while_all[at : at + 5] for at in range(len(while_all) - 5)), "no long wait between two"


@pytest.mark.parametrize("workers", [2, 4])
def test_several_workers_are_shared_alike(workers: int) -> None:
    order = turns(workers, "y", 60)
    counts = Counter(order[: order.rindex("X")])
    assert abs(counts["y"] - counts["X"]) <= workers + 1


def test_a_recording_of_a_low_lane_does_not_pay_twice_either() -> None:
    """A lane of another weight has every fifth turn, from the cut on."""
    order = turns(1, "y", 100, lane="low")
    assert "X" in order[:7]
    while_both = order[: order.rindex("X")]
    assert "y" * 7 not in while_both


def test_the_turn_that_is_given_back_is_no_credit() -> None:
    """Who comes with a recording after a client that has worked all day goes in turns with it, and not before it."""
    order = turns(1, "y", 60, before=20)
    for end in range(1, order.rindex("X")):
        x = order[:end].count("X")
        assert x <= end - x + 1


def test_a_client_with_a_recording_and_a_clip_gains_no_turn() -> None:
    """The clip of the same client waits for a chunk; the other client has every second turn all the same."""
    shop = Shop(1)
    for number in range(40):
        shop.comes(f"clip-y{number}", "bob", CHUNK_S)
    for _ in range(3):
        shop.step()
    shop.comes("long", "ann", LONG_S)
    while ("long", WHOLE) not in shop.done:
        shop.step()
    for number in range(4):
        shop.comes(f"clip-x{number}", "ann", CHUNK_S / 2)
    since = len(shop.done)
    shop.all()
    order = [job for job, index in shop.done[since:] if index != MERGE]
    last = max(at for at, job in enumerate(order) if job == "long")
    ours = [job for job in order[:last] if not job.startswith("clip-y")]
    assert abs(len(ours) - (last - len(ours))) <= 4

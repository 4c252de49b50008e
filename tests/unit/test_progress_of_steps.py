"""How far a job of several steps is: what callers see while its halves and chunks are done, tried again, withdrawn, or
known from before a restart. Never more than there is, never backwards within an attempt. Events in, actions out."""

import itertools
from typing import Any

import pytest

from asrd_protocol.faults import Code
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import RetryPolicy
from asrd_supervisor.core.stages import FIRST_CHUNK, MERGE, SPEAKERS, WHOLE
from support.long_play import LongPlay
from support.play import pool, progressed, seat

A, B, C, D = range(FIRST_CHUNK, FIRST_CHUNK + 4)
LONG_S = 600.0
P, D1 = "p/0.1", "d/0.1"


class Job(LongPlay):
    """Warm workers, one of them for speakers, and what a caller sees of the one job ``a``: seconds that are done, and
    seconds that there are. Plans and parts are stored at once."""

    def __init__(self, workers: int = 1, **more: Any) -> None:
        self.seen: list[tuple[float, float]] = []
        super().__init__(pool(workers=workers), pool("d", workers=1, diarizes=True), **more)
        self.boot(*(f"p/{slot}.1" for slot in range(workers)), D1)

    def tell(self, *events: ev.Event) -> list[do.Action]:
        orders = super().tell(*events)
        self.seen += [(order.done, order.duration) for order in orders if isinstance(order, do.Relay)]
        return [order for order in orders if not isinstance(order, do.Relay)]

    def reaches(self, name: str, done: float, duration: float = 0.0) -> tuple[float, float]:
        """What is seen when a worker has come so far."""
        self.tell(progressed(name, self.attempt(name), done, duration))
        return self.seen[-1]

    def ends(self, name: str, audio_s: float = 0.0) -> list[do.Action]:
        """The worker has a result, of so many seconds."""
        return self.tell(ev.StepFinished(seat(name), self.attempt(name), Timings(), Work(audio_s=audio_s), "text"))

    def divides(self, chunks: int = 4, length: float = 150.0) -> None:
        """The first worker has cut the recording."""
        self.cut(P, chunks, length)

    def at_work(self) -> dict[int, str]:
        """Who has which step."""
        slots = [slot for one in self.core.pools.values() for slot in one.slots]
        return {slot.task.index: str(slot.seat) for slot in slots if slot.task}

    @property
    def now_done(self) -> tuple[float, float]:
        """As it is listed."""
        job = self.core.jobs.active["a"]
        return job.done, job.duration

    def sane(self) -> None:
        """Nothing that was seen is more than there is, or less than was seen before."""
        known = [(done, duration) for done, duration in self.seen if duration]
        assert all(0.0 <= done <= duration for done, duration in known), known
        assert all(one[0] <= after[0] for one, after in itertools.pairwise(known)), known


def kept(index: int, audio_s: float, *, failed: bool = False) -> ev.KeptStep:
    """A step that had ended when the daemon was killed."""
    return ev.KeptStep(index, 1, 0, True, failed, Timings(), Work(audio_s=audio_s))


def recovered(job: Job, *steps: ev.KeptStep, diarize: bool = True, chunks: tuple[ev.Stretch, ...] = ()) -> None:
    job.tell(ev.JobRecovered(ev.JobSubmitted("a", None, 1, diarize=diarize), 1, chunks=chunks, steps=steps))


# --- both halves ------------------------------------------------------------------------------------------------------


def test_each_half_counts_half() -> None:
    job = Job()
    job.submit("a", diarize=True)
    assert job.reaches(P, 0.0, LONG_S) == (0.0, LONG_S)
    assert job.reaches(P, 200.0, LONG_S) == (100.0, LONG_S)
    assert job.reaches(D1, 300.0, LONG_S) == (250.0, LONG_S)
    job.ends(P, LONG_S)
    assert job.reaches(D1, 450.0, LONG_S) == (525.0, LONG_S)
    job.ends(D1)
    assert job.now_done == (LONG_S, LONG_S)
    job.sane()


def test_a_half_that_has_ended_is_done_wherever_its_last_words_were() -> None:
    """Speech ends at 400 of 600 s: the rest was silence, and is done too."""
    job = Job()
    job.submit("a", diarize=True)
    job.reaches(P, 0.0, LONG_S)
    job.reaches(P, 400.0, LONG_S)
    job.ends(P, LONG_S)
    assert job.reaches(D1, 0.0, LONG_S) == (300.0, LONG_S)
    assert job.reaches(D1, LONG_S, LONG_S) == (LONG_S, LONG_S)
    job.sane()


def test_speakers_may_be_known_first() -> None:
    job = Job()
    job.submit("a", diarize=True)
    job.reaches(D1, 0.0, LONG_S)
    assert job.reaches(D1, 300.0, LONG_S) == (150.0, LONG_S)
    job.ends(D1)
    assert job.reaches(P, 0.0, LONG_S) == (300.0, LONG_S)
    assert job.reaches(P, 100.0, LONG_S) == (350.0, LONG_S)
    job.sane()


def test_the_length_is_known_from_whoever_opens_it_first() -> None:
    job = Job()
    job.submit("a", diarize=True)
    assert job.now_done == (0.0, 0.0)
    assert job.reaches(D1, 30.0, LONG_S) == (15.0, LONG_S)


def test_speakers_that_could_not_be_told_apart_hold_nothing_up() -> None:
    job = Job()
    job.submit("a", diarize=True)
    job.reaches(P, 100.0, LONG_S)
    for _ in range(5):
        if SPEAKERS in job.at_work():
            job.fault(D1, Code.ENGINE_ERROR)
    assert SPEAKERS not in job.at_work()
    assert job.now_done == (350.0, LONG_S)


# --- after a restart --------------------------------------------------------------------------------------------------


def test_what_was_transcribed_before_a_restart_is_half_of_it() -> None:
    job = Job()
    recovered(job, kept(WHOLE, LONG_S))
    assert job.at_work() == {SPEAKERS: D1}
    assert job.now_done == (300.0, LONG_S), "it is known before anybody opens it"
    assert job.reaches(D1, 0.0, LONG_S) == (300.0, LONG_S)
    assert job.reaches(D1, 300.0, LONG_S) == (450.0, LONG_S)
    job.ends(D1, LONG_S)
    assert job.now_done == (LONG_S, LONG_S)
    job.sane()


@pytest.mark.parametrize("failed", [False, True])
def test_speakers_that_were_known_before_a_restart_are_half_of_it(failed: bool) -> None:
    job = Job()
    recovered(job, kept(SPEAKERS, 0.0 if failed else LONG_S, failed=failed))
    assert job.at_work() == {WHOLE: P}
    assert job.reaches(P, 0.0, LONG_S) == (300.0, LONG_S)
    assert job.reaches(P, 300.0, LONG_S) == (450.0, LONG_S)
    job.sane()


@pytest.mark.parametrize(("diarize", "done"), [(False, 300.0), (True, 150.0)])
def test_chunks_that_were_done_before_a_restart_are_done(diarize: bool, done: float) -> None:
    job = Job()
    chunks = tuple((150.0 * at, 150.0 * (at + 1)) for at in range(4))
    recovered(job, kept(A, 150.0), kept(C, 150.0), diarize=diarize, chunks=chunks)
    assert job.now_done == (done, LONG_S)
    assert job.reaches(job.at_work()[B], 50.0, 150.0) == (done + (25.0 if diarize else 50.0), LONG_S)
    job.sane()


def test_all_is_done_while_it_is_merged_after_a_restart() -> None:
    job = Job()
    recovered(job, kept(WHOLE, LONG_S), kept(SPEAKERS, LONG_S))
    assert list(job.at_work()) == [MERGE]
    assert job.now_done == (LONG_S, LONG_S)


# --- chunks that are tried again --------------------------------------------------------------------------------------


def test_a_chunk_that_is_tried_again_begins_anew_and_the_others_stay() -> None:
    job = Job(workers=2, retries=RetryPolicy(attempts=3))
    job.submit("a")
    job.divides()
    names = job.at_work()
    job.reaches(names[A], 140.0, 150.0)
    assert job.reaches(names[B], 100.0, 150.0) == (240.0, LONG_S)
    job.ends(names[B], 150.0)
    assert job.now_done == (290.0, LONG_S)
    job.fault(names[A], Code.ENGINE_ERROR)
    while A not in job.at_work():
        job.ends(next(name for index, name in job.at_work().items() if index != A), 150.0)
    done, _ = job.reaches(job.at_work()[A], 10.0, 150.0)
    assert done == 10.0 + 150.0 * sum(step.state == "ended" for step in job.core.jobs.active["a"].chunks)


def test_a_chunk_that_is_missing_holds_nothing_up() -> None:
    job = Job()
    job.submit("a", report_missing=True)
    job.divides()
    job.fault(P, Code.BAD_AUDIO)
    assert job.now_done == (150.0, LONG_S)
    for _ in range(3):
        job.ends(P, 150.0)
    assert list(job.at_work()) == [MERGE]
    assert job.now_done == (LONG_S, LONG_S)


# --- nobody wants it any more -----------------------------------------------------------------------------------------


def cancelled(job: Job, *names: str) -> do.Fail:
    """These workers let go of what they have; the end of the job."""
    orders = [order for name in names for order in job.fault(name, Code.CANCELLED)]
    (end,) = [order for order in orders if isinstance(order, do.Fail)]
    return end


def test_chunks_that_were_withdrawn_are_not_done() -> None:
    job = Job(workers=2)
    job.submit("a")
    job.divides()
    names = job.at_work()
    job.reaches(names[A], 50.0, 150.0)
    job.reaches(names[B], 20.0, 150.0)
    job.tell(ev.CancelRequested("a"))
    assert job.now_done == (70.0, LONG_S), "while it is being cancelled"
    job.fault(names[B], Code.CANCELLED)
    assert job.now_done == (70.0, LONG_S)
    end = cancelled(job, names[A])
    assert (end.job.done, end.job.duration) == (70.0, LONG_S), "as it is listed for ever"


def test_what_was_done_before_it_was_cancelled_stays_done() -> None:
    job = Job()
    job.submit("a")
    job.divides()
    job.ends(P, 150.0)
    job.reaches(P, 30.0, 150.0)
    job.tell(ev.CancelRequested("a"))
    assert cancelled(job, P).job.done == 180.0


def test_too_late_says_the_same_as_the_list() -> None:
    job = Job()
    job.submit("a", deadline=60.0)
    job.divides()
    job.ends(P, 150.0)
    job.reaches(P, 30.0, 150.0)
    job.wake("a", "deadline")
    end = cancelled(job, P)
    assert end.fault.code is Code.DEADLINE
    assert end.fault.context["done_s"] == end.job.done == 180.0


@pytest.mark.parametrize("listened", [0.0, 120.0])
def test_a_half_that_was_withdrawn_is_not_done(listened: float) -> None:
    job = Job()
    job.submit("a", diarize=True)
    job.reaches(P, 200.0, LONG_S)
    job.reaches(D1, listened, LONG_S)
    job.tell(ev.CancelRequested("a"))
    job.fault(D1, Code.CANCELLED)
    assert job.now_done == ((200.0 + listened) / 2, LONG_S)
    assert cancelled(job, P).job.done == (200.0 + listened) / 2


def test_a_job_that_fails_for_one_chunk_has_not_done_the_others() -> None:
    job = Job(workers=2)
    job.submit("a")
    job.divides()
    names = job.at_work()
    job.reaches(names[A], 50.0, 150.0)
    job.fault(names[B], Code.BAD_AUDIO)
    assert cancelled(job, names[A]).job.done == 50.0


def test_a_worker_that_is_killed_for_a_cancel_has_not_done_its_chunk() -> None:
    job = Job()
    job.submit("a")
    job.divides()
    job.reaches(P, 50.0, 150.0)
    job.tell(ev.CancelRequested("a"))
    assert do.Kill(seat(P), dump=False) in job.ring(0)
    (end,) = [order for order in job.exit(P, "SIGKILL") if isinstance(order, do.Fail)]
    assert (end.fault.code, end.job.done) == (Code.CANCELLED, 50.0)

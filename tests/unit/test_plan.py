"""Jobs of several steps: long audio that is cut, speakers beside it, a merge at the end. Events in, actions out."""

import random
from typing import Any

import pytest

from asrd_protocol.exits import Exit
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Timings, Work
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.plan import JobState
from asrd_supervisor.core.policy import Duration, PoolPolicy, RetryPolicy
from asrd_supervisor.core.stages import FIRST_CHUNK, MERGE, SPEAKERS, WHOLE
from support.long_play import LongPlay
from support.play import pool, progressed, seat

A, B, C, D = range(FIRST_CHUNK, FIRST_CHUNK + 4)
"""The steps of the first chunks."""

SLOW_RETRY = RetryPolicy(delay=Duration(30), jitter=0)


class Long(LongPlay):
    """With questions of these tests."""

    def at_work(self) -> dict[str, int]:
        """Which step each busy worker has."""
        slots = [slot for pool in self.core.pools.values() for slot in pool.slots]
        return {str(slot.seat): slot.task.index for slot in slots if slot.task}

    def wake_all(self, job: str) -> list[do.Action]:
        """Wait for all alarms of a job that are for a next try."""
        keys = [key for key, (_, rang) in self.alarms.items() if rang.job == job and rang.kind.startswith("retry")]
        orders = []
        for key in keys:
            self.now, rang = self.alarms.pop(key)
            orders += self.tell(rang)
        return orders


def warm(workers: int = 2, *others: PoolPolicy, chunks: int = 4, **more: Any) -> Long:
    """A job ``a`` that was cut, with its first chunks under way in a pool of warm workers."""
    play = started(workers, *others, **more)
    submit = {"report_missing": True} if play.report else {}
    play.submit("a", **submit)
    play.cut("p/0.1", chunks)
    return play


class Started(Long):
    """As long as nothing was submitted."""

    report = False


def started(workers: int = 2, *others: PoolPolicy, report: bool = False, **more: Any) -> Started:
    """Warm workers, and nothing to do."""
    play = Started(pool(workers=workers), *others, **more)
    play.report = report
    play.boot(*(f"p/{slot}.1" for slot in range(workers)))
    play.boot(*(f"{other.name}/{slot}.1" for other in others for slot in range(other.workers)))
    return play


def given(orders: list[do.Action]) -> list[tuple[int, str]]:
    """Which steps went to which worker, by step."""
    return sorted((order.step, str(order.seat)) for order in orders if isinstance(order, do.SendStep))


def ends(orders: list[do.Action]) -> list[do.Deliver | do.Fail]:
    return [order for order in orders if isinstance(order, do.Deliver | do.Fail)]


def failure(orders: list[do.Action]) -> Fault:
    (end,) = ends(orders)
    assert isinstance(end, do.Fail)
    return end.fault


def delivered(orders: list[do.Action]) -> do.Deliver:
    (end,) = ends(orders)
    assert isinstance(end, do.Deliver)
    return end


LISTENERS = pool("d", workers=1, diarizes=True)

# --- all goes well ----------------------------------------------------------------------------------------------------


def test_a_job_that_was_cut_is_done_by_all_workers_and_merged_last() -> None:
    play = started()
    assert given(play.submit("a")) == [(WHOLE, "p/0.1")]
    assert given(play.cut("p/0.1", 3)) == [(A, "p/1.1"), (B, "p/0.1")]
    assert given(play.finish("p/1.1")) == [(C, "p/1.1")]
    assert given(play.finish("p/1.1")) == []
    assert [step for step, _ in given(play.finish("p/0.1"))] == [MERGE]
    (merging,) = play.at_work()
    end = delivered(play.finish(merging, "all of it"))
    assert (end.body, end.run.steps, end.run.attempts) == ("all of it", 5, 1)
    assert play.core.jobs.ended == {"completed": 1}
    assert play.core.jobs.count(*JobState) == 0


def test_the_plan_is_kept_before_any_chunk_is_begun() -> None:
    play = started(slow=True)
    play.submit("a")
    assert given(play.cut("p/0.1", 2)) == []
    (plan,) = play.plans
    assert plan == do.PersistPlan("a", seat("p/0.1"), 1, ((0.0, 100.0), (100.0, 200.0)), b"head")
    assert play.core.jobs.count(JobState.RUNNING) == 1
    assert given(play.tell(ev.PlanPersisted("a"))) == [(A, "p/1.1"), (B, "p/0.1")]


def test_the_merge_waits_until_the_last_part_is_stored() -> None:
    play = started(slow=True)
    play.submit("a")
    play.cut("p/0.1", 1)
    play.tell(ev.PlanPersisted("a"))
    (name,) = play.at_work()
    assert given(play.finish(name, "chunk")) == []
    assert [(part.step, part.body) for part in play.parts] == [(A, "chunk")]
    assert [step for step, _ in given(play.tell(ev.PartPersisted("a", A)))] == [MERGE]


def test_one_chunk_waits_at_a_time() -> None:
    play = warm(workers=2, chunks=10)
    assert [step.index for step in play.core.pools["p"].backlog] == [C]
    play.finish("p/0.1")
    assert [step.index for step in play.core.pools["p"].backlog] == [D]


def test_chunks_of_one_job_alone_keep_all_workers_busy() -> None:
    play = warm(workers=4, chunks=6)
    assert sorted(play.at_work().values()) == [A, B, C, D]


def test_figures_are_sums_over_the_steps() -> None:
    play = warm(workers=1, chunks=2)
    for _ in range(2):
        play.finish("p/0.1")
    end = delivered(play.finish("p/0.1"))
    assert (end.run.timings.decode, end.run.timings.transcribe) == (2.0, 3.0)
    assert end.run.work.audio_s == 9.0


def test_progress_is_that_of_the_whole() -> None:
    play = warm(workers=2, chunks=3)
    by_step = {step: name for name, step in play.at_work().items()}
    (told,) = play.tell(progressed(by_step[A], play.attempt(by_step[A]), 40.0, 100.0))
    assert isinstance(told, do.Relay)
    assert (told.done, told.duration, told.step) == (40.0, 300.0, A)
    (told,) = play.tell(progressed(by_step[B], play.attempt(by_step[B]), 10.0, 100.0))
    assert isinstance(told, do.Relay)
    assert (told.done, told.duration) == (50.0, 300.0)
    play.finish(by_step[A])
    assert play.core.jobs.active["a"].done == 110.0


def test_a_chunk_that_claims_more_than_it_is_counts_as_itself() -> None:
    play = warm(workers=1, chunks=2)
    (told,) = play.tell(progressed("p/0.1", play.attempt("p/0.1"), 5000.0, 100.0))
    assert isinstance(told, do.Relay)
    assert told.done == 100.0


@pytest.mark.parametrize("step", ["chunk", "merge"])
def test_only_the_recording_itself_can_be_cut(step: str) -> None:
    play = warm(workers=1, chunks=1)
    if step == "merge":
        play.finish("p/0.1")
    orders = play.cut("p/0.1", 2)
    assert do.Kill(seat("p/0.1"), dump=True) in orders or do.Kill(seat("p/0.1"), dump=False) in orders
    assert not ends(orders)


def test_audio_whose_cut_cannot_be_stored_is_cut_anew() -> None:
    play = started(2, LISTENERS, slow=True)
    play.submit("a", diarize=True)
    play.cut("p/0.1", 5)
    orders = play.tell(ev.PlanUnstored("a", Fault.of(Code.INSUFFICIENT_STORAGE, "no room", retry_after=10.0)))
    assert (ends(orders), given(orders), play.waits("a")) == ([], [], 10.0)
    ((again, worker),) = given(play.wake("a"))
    assert again == WHOLE
    play.cut(worker, 2)
    assert [step for step, _ in given(play.tell(ev.PlanPersisted("a")))] == [A, B]
    assert play.plans[-1].chunks == ((0.0, 100.0), (100.0, 200.0))


def test_a_cut_that_can_never_be_stored_ends_the_job() -> None:
    play = started(slow=True)
    play.submit("a")
    fault = Fault.of(Code.INSUFFICIENT_STORAGE, "no room")
    for _ in range(2):
        play.cut(next(iter(play.at_work())), 2)
        assert not ends(play.tell(ev.PlanUnstored("a", fault)))
    play.cut(next(iter(play.at_work())), 2)
    assert failure(play.tell(ev.PlanUnstored("a", fault))) == fault
    assert play.at_work() == {}


# --- fairness ---------------------------------------------------------------------------------------------------------


def test_a_short_job_of_the_same_client_waits_for_one_chunk_at_most() -> None:
    play = started(workers=1)
    play.submit("a", client="ann")
    play.cut("p/0.1", 50)
    play.submit("b", client="ann", audio_s=5.0)
    play.now += 10.0
    assert given(play.finish("p/0.1")) == [(B, "p/0.1")]
    assert play.sent(play.finish("p/0.1")) == [("b", "p/0.1")]


def test_a_long_one_waits_until_the_recording_that_was_begun_is_done() -> None:
    """Else a client with a hundred recordings has all of them cut, and on the disk, before the first one is done."""
    play = started(workers=1)
    play.submit("a", client="ann", audio_s=600.0)
    play.submit("b", client="ann", audio_s=600.0)
    play.cut("p/0.1", 50)
    for _ in range(49):
        assert play.sent(play.finish("p/0.1")) == [("a", "p/0.1")]


def test_two_long_jobs_share_the_workers() -> None:
    play = started(workers=2)
    play.submit("a", "b", client="ann")
    play.cut("p/0.1", 8)
    play.cut("p/1.1", 8)
    for _ in range(4):
        for name in ("p/0.1", "p/1.1"):
            play.finish(name)
    done = {job: sum(part.job == job for part in play.parts) for job in "ab"}
    assert abs(done["a"] - done["b"]) <= 2


def test_a_merge_goes_before_what_waits() -> None:
    play = warm(workers=1, chunks=1)
    play.submit("b", "c", client="somebody")
    assert play.sent(play.finish("p/0.1")) == [("b", "p/0.1")], "nobody is idle while the last part is stored"
    assert given(play.finish("p/0.1")) == [(MERGE, "p/0.1")]


def test_a_long_job_of_a_low_lane_gives_way_between_two_chunks() -> None:
    play = started(workers=1)
    play.submit("a", lane="low")
    play.cut("p/0.1", 20)
    play.submit("b", lane="high")
    assert play.sent(play.finish("p/0.1"))[0][0] == "b"


def test_a_chunk_that_is_tried_again_goes_in_front() -> None:
    play = warm(workers=1, chunks=5)
    for number in range(3):
        play.submit(f"b{number}", client=f"client {number}")
    assert len(play.sent(play.fault("p/0.1", Code.ENGINE_ERROR))) == 1, "it has found its next one already"
    assert given(play.finish("p/0.1")) == [(A, "p/0.1")]


# --- a chunk fails ----------------------------------------------------------------------------------------------------


def test_a_chunk_that_cannot_be_done_ends_the_job_and_says_where() -> None:
    play = warm(workers=2, chunks=4)
    name = next(name for name, step in play.at_work().items() if step == B)
    other = next(name for name, step in play.at_work().items() if step == A)
    orders = play.fault(name, Code.BAD_AUDIO)
    assert not ends(orders), "another worker still has a chunk"
    assert do.SendCancel(seat(other), play.attempt(other)) in orders
    fault = failure(play.fault(other, Code.CANCELLED))
    assert (fault.code, fault.context["start"], fault.context["end"]) == (Code.BAD_AUDIO, 100.0, 200.0)
    assert fault.message.startswith("at 100 to 200 s: ")
    assert play.at_work() == {}
    assert not len(play.core.pools["p"].backlog)


def test_a_job_that_reports_does_without_a_chunk() -> None:
    play = warm(workers=1, chunks=3, report=True)
    play.finish("p/0.1")
    assert given(play.fault("p/0.1", Code.BAD_AUDIO)) == [(C, "p/0.1")]
    kept = play.parts[-1]
    assert isinstance(kept.body, Fault)
    assert (kept.step, kept.body.context["start"]) == (B, 100.0)
    assert play.topics("job.part_failed")[0]["step"] == B
    assert given(play.finish("p/0.1")) == [(MERGE, "p/0.1")]
    assert delivered(play.finish("p/0.1", "with a gap")).body == "with a gap"


def test_a_job_of_which_nothing_is_left_fails_although_it_reports() -> None:
    play = warm(workers=1, chunks=2, report=True)
    assert not ends(play.fault("p/0.1", Code.BAD_AUDIO))
    assert failure(play.fault("p/0.1", Code.BAD_AUDIO)).code is Code.BAD_AUDIO


def test_tries_are_counted_for_each_chunk() -> None:
    play = warm(workers=1, chunks=3, retries=RetryPolicy(attempts=2))
    failed = set[int]()
    orders: list[do.Action] = []
    while (step := play.at_work()["p/0.1"]) != MERGE:
        orders = play.finish("p/0.1") if step in failed else play.fault("p/0.1", Code.ENGINE_ERROR)
        failed.add(step)
        assert not ends(orders)
    assert failed == {A, B, C}
    end = delivered(play.finish("p/0.1"))
    assert end.run.attempts == 4, "one, and one more for each that was repeated"


def test_a_chunk_has_so_many_tries_and_no_more() -> None:
    play = warm(workers=1, chunks=1, retries=RetryPolicy(attempts=2))
    assert not ends(play.fault("p/0.1", Code.ENGINE_ERROR))
    assert failure(play.fault("p/0.1", Code.ENGINE_ERROR)).code is Code.ENGINE_ERROR


@pytest.mark.parametrize("report", [False, True])
def test_a_chunk_that_kills_is_poison(report: bool) -> None:
    play = warm(workers=1, chunks=2, report=report)
    play.exit("p/0.1", "SIGSEGV")
    play.ring(0)
    assert given(play.boot("p/0.2")) == [(A, "p/0.2")]
    orders = play.exit("p/0.2", "SIGSEGV")
    if not report:
        assert failure(orders).code is Code.POISON
        return
    assert not ends(orders)
    play.ring(0)
    assert given(play.boot("p/0.3")) == [(B, "p/0.3")]
    assert [(part.step, part.body.code) for part in play.parts] == [(A, Code.POISON)]


def test_a_chunk_avoids_the_worker_that_failed_it() -> None:
    play = warm(workers=2, chunks=2)
    name = next(name for name, step in play.at_work().items() if step == A)
    other = next(name for name, step in play.at_work().items() if step == B)
    assert given(play.fault(name, Code.ENGINE_ERROR)) == []
    assert given(play.finish(other)) == [(A, other)]


def test_all_chunks_that_wait_for_their_next_try_get_it() -> None:
    play = warm(workers=2, chunks=2, retries=SLOW_RETRY)
    for name in ("p/0.1", "p/1.1"):
        assert given(play.fault(name, Code.ENGINE_ERROR)) == []
        play.now += 1
    assert play.at_work() == {}
    assert play.core.jobs.count(JobState.WAITING) == 1
    play.wake_all("a")
    assert sorted(play.at_work().values()) == [A, B]


def test_a_chunk_that_waits_for_its_next_try_holds_no_other_up() -> None:
    play = warm(workers=1, chunks=3, retries=SLOW_RETRY)
    assert given(play.fault("p/0.1", Code.ENGINE_ERROR)) == [(B, "p/0.1")]
    assert given(play.finish("p/0.1")) == [(C, "p/0.1")]
    assert given(play.finish("p/0.1")) == [], "no merge without the first"
    assert given(play.wake_all("a")) == [(A, "p/0.1")]
    assert given(play.finish("p/0.1")) == [(MERGE, "p/0.1")]


def test_a_merge_that_fails_is_tried_again() -> None:
    play = warm(workers=2, chunks=1)
    (name,) = play.at_work()
    play.finish(name)
    (merging,) = play.at_work()
    ((step, other),) = given(play.fault(merging, Code.ENGINE_ERROR))
    assert (step, other != merging) == (MERGE, True)
    assert delivered(play.finish(other)).run.attempts == 2


# --- speakers ---------------------------------------------------------------------------------------------------------


def test_speakers_are_told_apart_beside_the_transcription() -> None:
    play = started(1, LISTENERS)
    assert given(play.submit("a", diarize=True)) == [(WHOLE, "p/0.1"), (SPEAKERS, "d/0.1")]
    assert given(play.finish("p/0.1", "words")) == []
    assert given(play.finish("d/0.1", "turns")) == [(MERGE, "p/0.1")]
    assert [(part.step, part.body) for part in play.parts] == [(WHOLE, "words"), (SPEAKERS, "turns")]
    end = delivered(play.finish("p/0.1"))
    assert (end.run.steps, end.run.seat, end.run.work.audio_s) == (3, "p/0.1", 6.0)


def test_long_audio_has_its_speakers_told_apart_too() -> None:
    play = warm_with_speakers()
    for _ in range(2):
        play.finish("p/0.1")
    assert play.at_work() == {"d/0.1": SPEAKERS}
    assert given(play.finish("d/0.1")) == [(MERGE, "p/0.1")]


def warm_with_speakers(**more: Any) -> Started:
    play = started(1, LISTENERS, **more)
    play.submit("a", diarize=True)
    play.cut("p/0.1", 2)
    return play


@pytest.mark.parametrize("code", [Code.OUT_OF_MEMORY, Code.BAD_AUDIO, Code.ENGINE_ERROR])
def test_a_transcript_comes_without_speakers_when_they_cannot_be_told_apart(code: Code) -> None:
    play = warm_with_speakers(retries=RetryPolicy(attempts=1))
    assert not ends(play.fault("d/0.1", code))
    kept = play.parts[-1]
    assert isinstance(kept.body, Fault)
    assert (kept.step, kept.body.code) == (SPEAKERS, code)
    play.finish("p/0.1")
    assert given(play.finish("p/0.1")) == [(MERGE, "p/0.1")]
    assert delivered(play.finish("p/0.1"))


def test_two_deaths_of_listeners_cost_the_speakers_and_no_more() -> None:
    play = warm_with_speakers()
    for generation in (1, 2):
        assert not ends(play.exit(f"d/0.{generation}", "SIGSEGV"))
        play.ring(0, pool="d")
        play.boot(f"d/0.{generation + 1}")
    assert [(part.step, part.body.code) for part in play.parts] == [(SPEAKERS, Code.POISON)]
    assert "a" in play.core.jobs.active


@pytest.mark.parametrize("durable", [False, True])
def test_a_transcript_does_not_wait_for_listeners_that_will_never_come(durable: bool) -> None:
    play = Started(pool(workers=1), LISTENERS, durable=durable)
    play.boot("p/0.1")
    play.submit("a", diarize=True)
    play.exit("d/0.1", "exit 78", hopeless=True)
    assert given(play.finish("p/0.1")) == [(MERGE, "p/0.1")]
    assert [part.step for part in play.parts if isinstance(part.body, Fault)] == [SPEAKERS]


def test_a_transcription_that_fails_ends_the_job_and_stops_the_listener() -> None:
    play = started(1, LISTENERS)
    play.submit("a", diarize=True)
    orders = play.fault("p/0.1", Code.BAD_AUDIO)
    assert (ends(orders), do.SendCancel(seat("d/0.1"), play.attempt("d/0.1")) in orders) == ([], True)
    assert failure(play.fault("d/0.1", Code.CANCELLED)).code is Code.BAD_AUDIO


def test_half_of_the_work_is_done_when_half_of_it_is() -> None:
    play = warm_with_speakers()
    play.finish("p/0.1")
    play.finish("p/0.1")
    job = play.core.jobs.active["a"]
    assert (job.done, job.duration) == (100.0, 200.0)
    play.tell(progressed("d/0.1", play.attempt("d/0.1"), 100.0, 200.0))
    assert job.done == 150.0


def test_speakers_of_a_pool_that_has_none_are_refused() -> None:
    play = started(1)
    (refused,) = play.tell(ev.JobSubmitted("a", None, 1, diarize=True))
    assert isinstance(refused, do.Refuse)
    assert refused.fault.code is Code.BAD_OPTION
    play = started(1, LISTENERS)
    for wrong, code in (("p", Code.BAD_OPTION), ("x", Code.UNKNOWN_POOL)):
        (refused,) = play.tell(ev.JobSubmitted("a", None, 1, diarize=True, diarize_pool=wrong))
        assert isinstance(refused, do.Refuse)
        assert refused.fault.code is code
    (refused,) = play.tell(ev.JobSubmitted("a", "d", 1))
    assert isinstance(refused, do.Refuse)
    assert refused.fault.code is Code.UNKNOWN_POOL


# --- nobody wants it any more -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["cancel", "deadline"])
def test_a_job_with_several_steps_at_work_ends_once_with_the_last_of_them(why: str) -> None:
    play = started(workers=3)
    play.submit("a", deadline=50.0)
    play.cut("p/0.1", 8)
    orders = play.tell(ev.CancelRequested("a")) if why == "cancel" else play.wake("a", "deadline")
    assert sorted(str(order.seat) for order in orders if isinstance(order, do.SendCancel)) == [
        "p/0.1",
        "p/1.1",
        "p/2.1",
    ]
    assert not ends(orders)
    assert not len(play.core.pools["p"].backlog), "the chunk that waited is gone"
    assert not ends(play.fault("p/0.1", Code.CANCELLED))
    assert not ends(play.finish("p/1.1")), "it was faster than the cancel, and that does not matter"
    fault = failure(play.exit("p/2.1", "SIGKILL"))
    assert fault.code is (Code.CANCELLED if why == "cancel" else Code.DEADLINE)
    assert play.core.jobs.ended == {"cancelled" if why == "cancel" else "failed": 1}
    assert not play.core.jobs.active


def test_a_second_cancel_and_a_late_deadline_change_nothing() -> None:
    play = started(workers=1)
    play.submit("a", deadline=50.0)
    play.cut("p/0.1", 3)
    play.tell(ev.CancelRequested("a"))
    assert play.tell(ev.CancelRequested("a")) == []
    assert play.wake("a", "deadline") == []
    assert failure(play.fault("p/0.1", Code.CANCELLED)).code is Code.CANCELLED


@pytest.mark.parametrize("stored", ["plan", "part"])
def test_a_job_that_is_cancelled_while_something_is_stored_ends_after_that(stored: str) -> None:
    play = started(workers=1, slow=True)
    play.submit("a")
    play.cut("p/0.1", 1)
    if stored == "part":
        play.tell(ev.PlanPersisted("a"))
        play.finish("p/0.1")
    assert not ends(play.tell(ev.CancelRequested("a")))
    last = ev.PlanPersisted("a") if stored == "plan" else ev.PartPersisted("a", A)
    assert failure(play.tell(last)).code is Code.CANCELLED
    assert play.at_work() == {}


def test_no_chunk_is_tried_again_for_a_job_that_was_cancelled() -> None:
    play = warm(workers=2, chunks=2, retries=SLOW_RETRY)
    play.fault("p/0.1", Code.ENGINE_ERROR)
    play.tell(ev.CancelRequested("a"))
    assert given(play.wake_all("a")) == []
    assert not len(play.core.pools["p"].backlog)
    assert failure(play.fault("p/1.1", Code.CANCELLED)).code is Code.CANCELLED


def test_a_job_whose_chunks_all_wait_for_a_try_ends_at_once() -> None:
    play = warm(workers=1, chunks=1, retries=SLOW_RETRY)
    play.fault("p/0.1", Code.ENGINE_ERROR)
    assert failure(play.tell(ev.CancelRequested("a"))).code is Code.CANCELLED


def test_a_job_that_was_cancelled_while_it_was_cut_ends_without_a_chunk() -> None:
    play = started(workers=2)
    play.submit("a")
    play.tell(ev.CancelRequested("a"))
    orders = play.cut("p/0.1", 4)
    assert (failure(orders).code, given(orders)) == (Code.CANCELLED, [])


# --- the daemon leaves, and comes back --------------------------------------------------------------------------------


def test_a_stop_waits_for_the_chunks_at_hand_and_not_for_the_job() -> None:
    play = warm(workers=2, chunks=50, durable=True)
    assert play.tell(ev.StopRequested()) == []
    assert given(play.finish("p/0.1")) == []
    orders = play.finish("p/1.1")
    assert [str(order.seat) for order in orders if isinstance(order, do.SendStop)] == ["p/0.1", "p/1.1"]
    play.exit("p/0.1")
    assert play.exit("p/1.1") == [do.Leave(Exit.OK, "stopped")]
    assert sorted(part.step for part in play.parts) == [A, B]
    assert not any(end for end in play.core.jobs.ended.values())
    assert do.PersistWait("a", 1, 0, WHOLE) in play.kept


def test_a_stop_now_gives_the_chunks_at_hand_up_at_no_cost_for_the_job() -> None:
    play = warm(workers=2, chunks=50, durable=True)
    play.tell(ev.StopRequested(now=True))
    assert {do.PersistWait("a", 0, 0, step) for step in (A, B)} <= set(play.kept)
    assert any(kept.step == WHOLE for kept in play.kept), "the journal must not think that it still runs"


def test_a_try_whose_cut_is_still_being_stored_costs_the_job_nothing() -> None:
    play = started(durable=True, slow=True)
    play.submit("a")
    play.cut("p/0.1", 3)
    play.tell(ev.StopRequested(now=True))
    assert play.kept[-1] == do.PersistWait("a", 0, 0, WHOLE)
    assert not play.core.jobs.active


def test_a_stop_lets_a_part_be_stored() -> None:
    play = started(workers=1, slow=True, durable=True)
    play.submit("a")
    play.cut("p/0.1", 2)
    play.tell(ev.PlanPersisted("a"), ev.StopRequested())
    assert not any(isinstance(order, do.SendStop) for order in play.finish("p/0.1"))
    assert any(isinstance(order, do.SendStop) for order in play.tell(ev.PartPersisted("a", A)))


def test_a_drain_does_not_touch_a_long_job() -> None:
    play = warm(workers=1, chunks=3)
    play.tell(ev.DrainRequested())
    for _ in range(3):
        play.finish("p/0.1")
    assert delivered(play.finish("p/0.1"))


def test_a_worker_is_replaced_in_the_middle_of_a_long_job() -> None:
    play = warm(workers=1, chunks=3)
    play.tell(ev.RecycleRequested("p"))
    orders = play.finish("p/0.1")
    assert (do.SendStop(seat("p/0.1")) in orders, given(orders)) == (True, [])
    play.exit("p/0.1")
    assert given(play.boot("p/0.2")) == [(B, "p/0.2")]


def back(*steps: ev.KeptStep, chunks: int = 0, job: str = "a", **more: Any) -> ev.JobRecovered:
    """A job as the journal gives it back."""
    stretches = tuple((100.0 * at, 100.0 * (at + 1)) for at in range(chunks))
    known = {key: more.pop(key) for key in ("attempts", "deaths", "interrupted") if key in more}
    return ev.JobRecovered(ev.JobSubmitted(job, None, 1, **more), **known, chunks=stretches, steps=steps)


def done(step: int, *, failed: bool = False) -> ev.KeptStep:
    return ev.KeptStep(step, 1, 0, True, failed, Timings(transcribe=5.0), Work(audio_s=100.0))


def test_a_recovered_job_does_only_what_is_not_done() -> None:
    play = started(workers=2, durable=True)
    orders = play.tell(back(done(A), ev.KeptStep(B, 1, 0), done(D), chunks=4, attempts=1, interrupted=1))
    assert sorted(step for step, _ in given(orders)) == [B, C]
    assert play.core.jobs.active["a"].done == 200.0
    play.finish("p/0.1")
    play.finish("p/1.1")
    (merging,) = play.at_work()
    end = delivered(play.finish(merging))
    assert (end.run.timings.transcribe, end.run.work.audio_s, end.run.steps) == (13.0, 209.0, 6)


def test_a_recovered_job_with_all_its_parts_is_merged() -> None:
    play = started(workers=1, durable=True)
    assert given(play.tell(back(done(A), done(B, failed=True), chunks=2, report_missing=True))) == [(MERGE, "p/0.1")]


def test_deaths_of_a_chunk_count_across_restarts() -> None:
    play = started(workers=1, durable=True)
    play.tell(back(ev.KeptStep(A, 1, 1), chunks=2))
    assert failure(play.exit("p/0.1", "SIGSEGV")).code is Code.POISON


def test_a_recovered_job_whose_plan_is_broken_is_cut_anew() -> None:
    """A merge may have been begun; the journal still knows of that."""
    play = started(workers=1, durable=True)
    assert given(play.tell(back(ev.KeptStep(MERGE, 1, 0)))) == [(WHOLE, "p/0.1")]
    assert given(play.cut("p/0.1", 2)) == [(A, "p/0.1")]


def test_a_recovered_job_goes_on_with_its_speakers() -> None:
    play = started(1, LISTENERS, durable=True)
    assert given(play.tell(back(done(WHOLE), diarize=True))) == [(SPEAKERS, "d/0.1")]
    play = started(1, LISTENERS, durable=True)
    assert given(play.tell(back(done(SPEAKERS), diarize=True))) == [(WHOLE, "p/0.1")]


@pytest.mark.parametrize("kept", [(), (ev.KeptStep(SPEAKERS, 1, 0),)])
def test_a_recovered_job_whose_listeners_are_gone_is_transcribed_and_says_so(kept: tuple[ev.KeptStep, ...]) -> None:
    play = started(workers=1, durable=True)
    assert given(play.tell(back(*kept, diarize=True))) == [(WHOLE, "p/0.1")]
    assert [(part.step, part.body.code) for part in play.parts] == [(SPEAKERS, Code.BAD_OPTION)]
    assert given(play.finish("p/0.1")) == [(MERGE, "p/0.1")]


def test_a_recovered_job_whose_speakers_are_known_needs_no_listeners() -> None:
    play = started(workers=1, durable=True)
    assert given(play.tell(back(done(WHOLE), done(SPEAKERS), diarize=True))) == [(MERGE, "p/0.1")]
    assert play.parts == []


def test_a_job_that_was_interrupted_again_and_again_without_any_progress_is_poison() -> None:
    play = started(workers=1, durable=True)
    assert failure(play.tell(back(chunks=2, interrupted=4))).code is Code.POISON


# --- whatever happens -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_to_a_long_job_it_ends_once(seed: int) -> None:
    """Faults, deaths, cancels, a slow disk, at random: one end, nothing left, and nothing merged that is not there."""
    dice = random.Random(seed)
    play = started(3, LISTENERS, retries=RetryPolicy(attempts=4, deaths=3), slow=True)
    play.submit("a", diarize=dice.random() < 0.5, report_missing=dice.random() < 0.5)
    orders: list[do.Action] = []
    for _ in range(400):
        if not play.core.jobs.active:
            break
        orders += _stored(play, dice) or _seated(play) or _done(play, dice)
    (end,) = ends(orders)
    assert play.core.jobs.count(*JobState) == 0
    assert sum(play.core.jobs.ended.values()) == 1
    assert all(not len(pool.backlog) for pool in play.core.pools.values())
    if isinstance(end, do.Deliver) and play.plans:
        assert {part.step for part in play.parts} >= set(range(A, A + CHUNKS))


CHUNKS = 5


def _stored(play: Started, dice: random.Random) -> list[do.Action]:
    """The disk has taken something."""
    waiting = [step.index for step in play.core.jobs.active["a"].steps.values() if step.state == "storing"]
    if not waiting or dice.random() < 0.5:
        return []
    planned = WHOLE in waiting and bool(play.plans)
    return play.tell(ev.PlanPersisted("a") if planned else ev.PartPersisted("a", waiting[0]))


def _seated(play: Started) -> list[do.Action]:
    """Who was killed is gone, and its successor comes at once."""
    orders: list[do.Action] = []
    for name, one in play.core.pools.items():
        for slot in one.slots:
            if slot.state == "killing":
                orders += play.exit(str(slot.seat), "SIGKILL")
            if slot.state == "backoff":
                orders += play.ring(slot.index, pool=name)
            if slot.state == "starting":
                orders += play.boot(str(slot.seat))
    return orders


def _done(play: Started, dice: random.Random) -> list[do.Action]:
    """A worker has done something, or a client."""
    if not (busy := sorted(play.at_work().items())):
        return []
    name, step = dice.choice(busy)
    match dice.choices(["finish", "fault", "exit", "cancel"], [8, 2, 1, 0.2])[0]:
        case "finish" if step == WHOLE and dice.random() < 0.7:
            return play.cut(name, CHUNKS)
        case "finish":
            return play.finish(name)
        case "fault":
            return play.fault(name, Code.ENGINE_ERROR)
        case "exit":
            return play.exit(name, "SIGSEGV")
        case _:
            return play.tell(ev.CancelRequested("a"))

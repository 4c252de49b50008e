"""Jobs: admission, tries, and their one end. Events in, actions out."""

import pytest

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.plan import JobState
from asrd_supervisor.core.policy import QueuePolicy, RetryPolicy, Size
from support.play import Play, pool, progressed, seat

NO_MODEL = Fault.of(Code.MODEL_UNAVAILABLE, "model.bin is missing")


@pytest.fixture
def play() -> Play:
    """Two warm workers, ``p/0.1`` and ``p/1.1``."""
    started = Play()
    started.boot("p/0.1", "p/1.1")
    return started


def refusal(orders: list[do.Action]) -> do.Refuse:
    (order,) = orders
    assert isinstance(order, do.Refuse)
    return order


def failure(orders: list[do.Action]) -> do.Fail:
    (order,) = [order for order in orders if isinstance(order, do.Fail | do.Deliver)]
    assert isinstance(order, do.Fail)
    return order


# --- all goes well ----------------------------------------------------------------------------------------------------


def test_a_job_is_accepted_when_it_is_stored_and_ends_with_its_result(play: Play) -> None:
    assert play.tell(ev.JobSubmitted("a", None, 10)) == [do.Persist("a")]
    assert play.tell(ev.JobPersisted("a")) == [do.Accept("a", 0, 0.0), do.SendStep(seat("p/0.1"), 1, "a")]
    play.now = 2.5
    (delivered,) = play.finish("p/0.1", "the text")
    assert isinstance(delivered, do.Deliver)
    assert (delivered.job.id, delivered.body) == ("a", "the text")
    run = delivered.run
    assert (run.seat, run.attempts, run.job_index, run.worker_uptime) == ("p/0.1", 1, 1, 2.5)
    assert (run.timings.queue, run.timings.transcribe, run.timings.total) == (0.0, 1.0, 2.5)
    assert not play.core.jobs.active
    assert play.core.jobs.ended == {"completed": 1}


def test_waiting_jobs_are_told_how_many_are_ahead(play: Play) -> None:
    orders = play.submit("a", "b", "c", "d")
    assert [order.ahead for order in orders if isinstance(order, do.Accept)] == [0, 0, 0, 1]
    assert play.core.jobs.count(JobState.QUEUED) == 2
    assert play.sent(play.finish("p/0.1")) == [("c", "p/0.1")]


@pytest.mark.parametrize(
    ("ann", "bob", "shared"),
    [
        ({"client": "x"}, {"client": "x"}, True),
        ({"client": "x"}, {"client": "y"}, False),
        ({"client": "x", "owner": "ann"}, {"client": "x", "owner": "bob"}, False),
        ({"client": "x", "connection": "1"}, {"client": "x", "connection": "2"}, True),
        ({"connection": "1"}, {"connection": "2"}, False),
        ({"connection": "1"}, {"connection": "1"}, True),
    ],
)
def test_a_client_is_a_name_among_those_of_its_user_or_else_a_connection(
    ann: dict[str, str], bob: dict[str, str], shared: bool
) -> None:
    play = Play(pool(workers=1))
    play.boot("p/0.1")
    play.submit("a", "b", "c", **ann)
    play.submit("z", **bob)
    order = [play.sent(play.finish("p/0.1"))[0][0] for _ in range(3)]
    assert order == (["b", "c", "z"] if shared else ["b", "z", "c"])


def test_progress_and_segments_are_passed_on(play: Play) -> None:
    play.submit("a")
    assert play.tell(progressed("p/0.1", 1, 0.0, 60.0)) == [do.Relay("a", 0.0, 60.0, 1)]
    assert play.tell(ev.SegmentDecoded(seat("p/0.1"), 1, 0, 7.5, "words")) == [do.Relay("a", 7.5, 60.0, 1, 0, "words")]
    assert play.tell(progressed("p/0.1", 1, 5.0, 60.0)) == [do.Relay("a", 7.5, 60.0, 1)]


# --- admission --------------------------------------------------------------------------------------------------------


def test_a_full_queue_says_when_to_come_back() -> None:
    play = Play(queue=QueuePolicy(max_jobs=2))
    play.boot("p/0.1", "p/1.1")
    play.submit("a", "b", "c", "d")
    fault = refusal(play.tell(ev.JobSubmitted("e", None, 1))).fault
    assert (fault.code, fault.retry) == (Code.OVERLOADED, True)
    assert fault.retry_after is not None and fault.retry_after >= 1.0
    play.finish("p/0.1")
    assert play.tell(ev.JobSubmitted("e", None, 1)) == [do.Persist("e")]
    assert refusal(play.tell(ev.JobSubmitted("f", None, 1))).fault.code is Code.OVERLOADED  # e is being stored
    assert play.core.jobs.refused == {"overloaded": 2}


def test_the_longer_jobs_take_the_later_to_come_back() -> None:
    play = Play(pool(workers=1), queue=QueuePolicy(max_jobs=1))
    play.boot("p/0.1")
    play.submit("a")
    play.now = 90.0
    play.finish("p/0.1")
    play.submit("b", "c")
    assert refusal(play.tell(ev.JobSubmitted("d", None, 1))).fault.retry_after == 90.0


def test_the_audio_of_all_jobs_is_bounded() -> None:
    play = Play(queue=QueuePolicy(max_bytes=Size(100)))
    play.boot("p/0.1", "p/1.1")
    play.submit("a", "b", size=40)
    assert refusal(play.tell(ev.JobSubmitted("c", None, 21))).fault.code is Code.OVERLOADED
    assert play.tell(ev.JobSubmitted("d", None, 20)) == [do.Persist("d")]
    play.finish("p/0.1")
    assert play.tell(ev.JobSubmitted("c", None, 40)) == [do.Persist("c")]


def test_an_unknown_pool_is_named_with_its_likeness() -> None:
    play = Play(pool("fast"), pool("accurate"))
    fault = refusal(play.tell(ev.JobSubmitted("a", "fats", 1))).fault
    assert fault.code is Code.UNKNOWN_POOL
    assert "'fats'" in fault.message
    assert "fast" in fault.message.replace("'fats'", "")
    assert fault.context == {"known": ["accurate", "fast"]}


def test_an_id_is_used_once_at_a_time(play: Play) -> None:
    play.submit("a")
    assert refusal(play.tell(ev.JobSubmitted("a", None, 1))).fault.code is Code.ID_CONFLICT
    play.finish("p/0.1")
    assert play.tell(ev.JobSubmitted("a", None, 1)) == [do.Persist("a")]


def test_a_draining_daemon_refuses_finishes_and_resumes(play: Play) -> None:
    play.submit("a")
    play.tell(ev.DrainRequested())
    fault = refusal(play.tell(ev.JobSubmitted("b", None, 1))).fault
    assert (fault.code, fault.retry_after) == (Code.DRAINING, 30.0)
    assert isinstance(play.finish("p/0.1")[0], do.Deliver)
    assert play.states() == "idle idle"
    play.tell(ev.DrainRequested(resume=True))
    assert play.tell(ev.JobSubmitted("b", None, 1)) == [do.Persist("b")]


def test_a_job_that_cannot_be_stored_is_refused_and_forgotten(play: Play) -> None:
    play.tell(ev.JobSubmitted("a", None, 10))
    full = Fault.of(Code.INSUFFICIENT_STORAGE, "the disk is full", retry_after=10.0)
    assert play.tell(ev.JobUnstored("a", full)) == [do.Refuse("a", full)]
    assert play.core.jobs.refused == {"insufficient_storage": 1}
    assert play.core.jobs.count(*JobState) == 0
    assert play.tell(ev.JobPersisted("a")) == []
    assert play.tell(ev.JobSubmitted("a", None, 10)) == [do.Persist("a")]


def test_a_cancelled_job_that_cannot_be_stored_is_refused_all_the_same(play: Play) -> None:
    full = Fault.of(Code.INSUFFICIENT_STORAGE, "the disk is full")
    play.tell(ev.JobSubmitted("a", None, 10), ev.CancelRequested("a"))
    assert play.tell(ev.JobUnstored("a", full)) == [do.Refuse("a", full)]


def test_a_waiting_job_is_told_how_long_it_will_take(play: Play) -> None:
    sixty = {"audio_s": 60.0}
    etas = [order.eta for order in play.submit("a", "b", "c", "d", **sixty) if isinstance(order, do.Accept)]
    assert etas == [6.0, 6.0, 12.0, 15.0]  # a second of audio takes 0.1 s as long as nobody knows better
    play.now = 30.0
    play.finish("p/0.1")  # 3 s of audio took 30 s: a second takes ten
    _, accept = play.submit("e", audio_s=1.0)
    assert isinstance(accept, do.Accept)
    # Its own 10 s; d was queued at 6 s, b began at 6 s, and c at 600 s.
    assert accept.eta == 10.0 + (6.0 + 6.0 + 600.0) / 2


# --- tries ------------------------------------------------------------------------------------------------------------


def test_a_step_that_failed_is_tried_on_another_worker(play: Play) -> None:
    play.submit("a")
    assert play.fault("p/0.1", Code.ENGINE_ERROR) == [do.SendStep(seat("p/1.1"), 2, "a")]
    delivered, *_ = play.finish("p/1.1")
    assert isinstance(delivered, do.Deliver)
    assert delivered.run.attempts == 2
    assert play.core.jobs.retried == 1


def test_the_other_worker_is_waited_for_and_others_may_pass(play: Play) -> None:
    play.submit("a", "b")
    assert play.fault("p/0.1", Code.ENGINE_ERROR) == []
    assert play.sent(play.submit("c")) == [("c", "p/0.1")]
    assert play.sent(play.finish("p/1.1")) == [("a", "p/1.1")]


def test_the_same_worker_tries_again_when_it_is_alone() -> None:
    play = Play(pool(workers=1))
    play.boot("p/0.1")
    play.submit("a")
    assert play.fault("p/0.1", Code.ENGINE_ERROR) == [do.SendStep(seat("p/0.1"), 2, "a")]


@pytest.mark.parametrize("code", [Code.ENGINE_ERROR, Code.OUT_OF_MEMORY, Code.INTERNAL])
def test_three_tries_are_enough(play: Play, code: Code) -> None:
    play.submit("a")
    play.fault("p/0.1", code)
    play.fault("p/1.1", code)
    failed = failure(play.fault("p/0.1", code))
    assert failed.fault.code is code
    assert failed.job.attempts == 3


@pytest.mark.parametrize("code", [Code.BAD_AUDIO, Code.BAD_OPTION, Code.AUDIO_TOO_LONG])
def test_what_the_caller_is_to_blame_for_is_not_tried_again(play: Play, code: Code) -> None:
    play.submit("a")
    failed = failure(play.fault("p/0.1", code))
    assert (failed.fault.code, failed.job.attempts) == (code, 1)
    assert play.core.jobs.retried == 0


def test_a_step_that_lost_its_worker_goes_first_and_is_poison_after_two_deaths(play: Play) -> None:
    play.submit("a", "b", "c")
    assert play.exit("p/0.1", "SIGSEGV") == []
    assert play.sent(play.finish("p/1.1")) == [("a", "p/1.1")]
    failed = failure(play.exit("p/1.1", "SIGSEGV"))
    assert failed.fault.code is Code.POISON
    assert failed.fault.retry is False
    assert failed.fault.context == {
        "seat": "p/1.1",
        "death": "SIGSEGV",
        "log_tail": ["last line"],
        "deaths": 2,
        "attempts": 2,
        "done_s": 0.0,
        "duration_s": 0.0,
        "earlier": [{"seat": "p/0.1", "death": "SIGSEGV", "log_tail": ["last line"], "done_s": 0.0, "duration_s": 0.0}],
    }
    assert failed.job.steps[0].deaths == 2
    assert play.topics("job.quarantined")[0]["job"] == "a"
    assert play.topics("job.failed") == []


def test_deaths_count_among_the_tries() -> None:
    play = Play(retries=RetryPolicy(attempts=2, deaths=2))
    play.boot("p/0.1", "p/1.1")
    play.submit("a")
    play.fault("p/0.1", Code.ENGINE_ERROR)
    assert failure(play.exit("p/1.1", "SIGKILL")).fault.code is Code.WORKER_DIED


def test_a_worker_that_makes_no_end_is_told_from_one_that_dies() -> None:
    play = Play(retries=RetryPolicy(attempts=1))
    play.boot("p/0.1")
    play.submit("a")
    assert play.ring(0) == [do.Kill(seat("p/0.1"), dump=True)]
    assert failure(play.exit("p/0.1", "SIGABRT")).fault.code is Code.WORKER_HUNG


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_a_waiting_job_is_cancelled_at_once(play: Play) -> None:
    play.submit("a", "b", "c", "d")
    assert failure(play.tell(ev.CancelRequested("c"))).fault.code is Code.CANCELLED
    assert play.sent(play.finish("p/0.1")) == [("d", "p/0.1")]
    assert play.core.jobs.ended == {"cancelled": 1, "completed": 1}


def test_a_job_that_is_being_stored_is_cancelled_when_it_is_stored(play: Play) -> None:
    play.tell(ev.JobSubmitted("a", None, 1))
    assert play.tell(ev.CancelRequested("a")) == []
    accepted, failed = play.tell(ev.JobPersisted("a"))
    assert accepted == do.Accept("a", 0, 0.0)
    assert failure([failed]).fault.code is Code.CANCELLED


def test_a_running_job_is_cancelled_at_its_next_segment(play: Play) -> None:
    play.submit("a")
    assert play.tell(ev.CancelRequested("a")) == [do.SendCancel(seat("p/0.1"), 1)]
    assert play.tell(ev.CancelRequested("a")) == []
    assert play.left(0) == 2.0
    assert failure(play.fault("p/0.1", Code.CANCELLED)).fault.code is Code.CANCELLED
    assert play.states() == "idle idle"


def test_a_running_job_that_hears_no_cancel_is_killed_after_the_grace(play: Play) -> None:
    play.submit("a")
    play.tell(ev.CancelRequested("a"))
    assert play.ring(0) == [do.Kill(seat("p/0.1"), dump=False)]
    assert failure(play.exit("p/0.1", "SIGKILL")).fault.code is Code.CANCELLED
    assert play.left(0) == 0.0  # the next worker: it was not its fault
    assert play.core.jobs.ended == {"cancelled": 1}


def test_a_result_that_is_faster_than_the_cancel_counts(play: Play) -> None:
    play.submit("a")
    play.tell(ev.CancelRequested("a"))
    assert isinstance(play.finish("p/0.1")[0], do.Deliver)
    assert play.tell(ev.CancelRequested("a")) == []
    assert play.states() == "idle idle"


@pytest.mark.parametrize("how", ["it dies", "it faults"])
def test_a_cancelled_job_is_not_tried_again(play: Play, how: str) -> None:
    play.submit("a")
    play.tell(ev.CancelRequested("a"))
    orders = play.exit("p/0.1", "SIGSEGV") if how == "it dies" else play.fault("p/0.1", Code.ENGINE_ERROR)
    assert failure(orders).fault.code is Code.CANCELLED
    assert play.sent(orders) == []

"""How much of the queue is taken, in all and by each user."""

import pytest

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.policy import ClientQuota, Duration, QueuePolicy, Size
from support.play import Play


def play(**queue: object) -> Play:
    """Two warm workers and little room."""
    started = Play(queue=QueuePolicy(**queue))  # type: ignore[arg-type]
    started.boot("p/0.1", "p/1.1")
    return started


def try_one(at: Play, job: str, size: int = 10, **more: object) -> Fault | None:
    """Submit a job; why it is refused."""
    (order,) = at.tell(ev.JobSubmitted(job, None, size, **more))  # type: ignore[arg-type]
    return order.fault if isinstance(order, do.Refuse) else None


@pytest.mark.parametrize(
    ("quota", "limit"),
    [
        (ClientQuota(max_jobs=2), "max_jobs"),
        (ClientQuota(max_bytes=Size(25)), "max_bytes"),
        (ClientQuota(max_audio_s=Duration(25)), "max_audio_s"),
    ],
)
def test_a_user_that_takes_too_much_is_told_which_limit_and_others_are_not(quota: ClientQuota, limit: str) -> None:
    one = play(per_user=quota)
    assert try_one(one, "a", owner="ann", audio_s=10.0) is None
    assert try_one(one, "b", owner="ann", audio_s=10.0) is None
    fault = try_one(one, "c", owner="ann", audio_s=10.0)
    assert fault is not None
    assert (fault.code, fault.retry) == (Code.QUOTA, True)
    assert f"queue.per_user.{limit}" in fault.message
    assert "ann" in fault.message
    assert fault.retry_after is not None and fault.retry_after >= 1.0
    assert try_one(one, "d", owner="bob", audio_s=10.0) is None
    assert one.core.jobs.refused == {"quota": 1}


def test_running_jobs_count_for_their_user_until_they_end() -> None:
    one = play(per_user=ClientQuota(max_jobs=1))
    one.submit("a", owner="ann")
    assert try_one(one, "b", owner="ann")
    one.finish("p/0.1")
    assert try_one(one, "b", owner="ann") is None


@pytest.mark.parametrize("end", ["cancelled", "unstored", "failed"])
def test_however_a_job_ends_its_room_is_free_again(end: str) -> None:
    one = play(per_user=ClientQuota(max_jobs=1), max_bytes=Size(10))
    if end == "unstored":
        one.tell(
            ev.JobSubmitted("a", None, 10, "ann"), ev.JobUnstored("a", Fault.of(Code.INSUFFICIENT_STORAGE, "full"))
        )
    else:
        one.submit("a", size=10, owner="ann")
        one.tell(ev.CancelRequested("a"))
        one.fault("p/0.1", Code.CANCELLED if end == "cancelled" else Code.BAD_AUDIO)
    assert not one.core.jobs.active
    assert try_one(one, "b", owner="ann") is None


def test_audio_of_a_known_length_is_bounded_in_all() -> None:
    one = play(max_audio_s=Duration(60))
    assert try_one(one, "a", audio_s=40.0) is None
    fault = try_one(one, "b", audio_s=21.0)
    assert fault is not None and fault.code is Code.OVERLOADED
    assert try_one(one, "c", audio_s=20.0) is None


def test_audio_of_an_unknown_length_is_guessed_from_its_bytes() -> None:
    one = play(max_audio_s=Duration(60))
    assert try_one(one, "a", size=16_000 * 29) is None
    assert try_one(one, "b", size=16_000 * 29) is None
    fault = try_one(one, "c", size=16_000 * 3)
    assert fault is not None and fault.code is Code.OVERLOADED
    assert try_one(one, "d", size=16_000 * 2) is None


@pytest.mark.parametrize("whose", ["queue", "user"])
def test_a_guess_takes_half_of_the_queue_at_most(whose: str) -> None:
    narrow = {"max_audio_s": Duration(30)}
    one = play(**narrow) if whose == "queue" else play(per_user=ClientQuota(**narrow))
    assert try_one(one, "a", size=16_000 * 31, owner="ann") is None
    assert try_one(one, "b", size=16_000 * 3100, owner="ann") is None
    fault = try_one(one, "c", size=16_000, owner="ann")
    assert fault is not None and fault.code is (Code.OVERLOADED if whose == "queue" else Code.QUOTA)


@pytest.mark.parametrize("whose", ["queue", "user"])
def test_a_job_that_would_never_fit_is_not_told_to_come_back(whose: str) -> None:
    narrow = {"max_bytes": Size(20), "max_audio_s": Duration(30)}
    one = play(**narrow) if whose == "queue" else play(per_user=ClientQuota(**narrow))
    large, long = try_one(one, "a", size=21, audio_s=1.0), try_one(one, "b", audio_s=31.0)
    assert large is not None and (large.code, large.retry, large.retry_after) == (Code.FRAME_TOO_LARGE, False, None)
    assert long is not None and (long.code, long.retry, long.retry_after) == (Code.AUDIO_TOO_LONG, False, None)
    assert try_one(one, "c", size=20, audio_s=30.0) is None


def test_what_was_guessed_when_a_job_came_is_what_is_given_back() -> None:
    one = play(max_audio_s=Duration(60))
    one.submit("a", "b", size=16_000 * 20)
    one.finish("p/0.1")  # 320,000 bytes were 3 s: the next guess is another one
    one.finish("p/1.1")
    assert one.core.jobs._entrance.quotas._all.audio_s == pytest.approx(0.0)


def test_a_full_queue_is_told_before_the_quota() -> None:
    one = play(max_jobs=1, per_user=ClientQuota(max_jobs=1))
    try_one(one, "a", owner="ann")
    fault = try_one(one, "b", owner="ann")
    assert fault is not None and fault.code is Code.OVERLOADED


def test_zero_is_no_limit() -> None:
    one = play(max_bytes=Size(10**12))
    for number in range(50):
        assert try_one(one, f"job-{number}", size=10**9, owner="ann", audio_s=1e6) is None


def test_recovered_jobs_count_and_are_not_refused() -> None:
    one = play(max_bytes=Size(15), per_user=ClientQuota(max_jobs=1))
    for job in "ab":
        one.tell(ev.JobRecovered(ev.JobSubmitted(job, None, 10, owner="ann")))
    assert set(one.core.jobs.active) == {"a", "b"}
    fault = try_one(one, "c", owner="bob")
    assert fault is not None and fault.code is Code.OVERLOADED

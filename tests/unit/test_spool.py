"""The spool: the audio of a job until it ends, its result until somebody releases it or it has to make room."""

import zmq

from asrd_protocol.faults import Code, Fault
from asrd_protocol.messages import Completed, Failed, JobReport, Submit
from asrd_protocol.model import Run
from asrd_supervisor.config import ResultPolicy
from asrd_supervisor.core.policy import Duration, Size
from asrd_supervisor.spool import Ended, Spool
from support.wait import eventually


def _spool(keep: float = 3600, max_jobs: int = 100, max_bytes: int = 1 << 20) -> Spool:
    return Spool(ResultPolicy(keep=Duration(keep), max_jobs=max_jobs, max_bytes=Size(max_bytes)))


def _end(spool: Spool, job: str, body: bytes | zmq.Frame | None = b"text", age: float = 0.0) -> Ended:
    """A job from its submit to its result."""
    spool.put(job, Submit(job=job), b"audio")
    run = Run(seat="default/0.1")
    return spool.settle(Completed(job=job, run=run), body, _report(job, age))


def _report(job: str, age: float = 0.0) -> JobReport:
    return JobReport(job=job, pool="default", state="completed", age_s=age)


def _kept(spool: Spool) -> list[str]:
    return [report.job for report in reversed(spool.reports())]


def test_audio_is_there_until_the_job_ends() -> None:
    spool = _spool()
    spool.put("a", Submit(job="a", options={"x": 1}), b"audio")

    audio = spool.audio("a")
    assert audio
    assert (audio.submit.options, audio.body) == ({"x": 1}, b"audio")
    assert spool.ended("a") is None

    spool.settle(Completed(job="a", run=Run(seat="s")), b"text", _report("a"))
    assert spool.audio("a") is None


def test_a_job_that_was_not_accepted_leaves_nothing() -> None:
    spool = _spool()
    spool.put("a", Submit(job="a"), b"audio")
    spool.drop("a")
    spool.drop("a")

    assert (spool.audio("a"), spool.ended("a")) == (None, None)


def test_a_result_can_be_had_again_and_again() -> None:
    spool = _spool()
    settled = _end(spool, "a", b"text")

    assert spool.ended("a") is settled is spool.ended("a")
    assert (settled.answer.job, settled.body, settled.size, settled.submit.job) == ("a", b"text", 5, "a")
    assert spool.ended("b") is None


def test_a_failure_is_a_result_without_a_body() -> None:
    spool = _spool(max_bytes=10)
    spool.put("a", Submit(job="a"), b"audio")
    spool.settle(Failed(job="a", fault=Fault.of(Code.POISON, "two died")), None, _report("a"))

    ended = spool.ended("a")
    assert ended
    assert isinstance(ended.answer, Failed)
    assert ended.body is None


def test_a_released_result_is_gone_and_its_room_is_free() -> None:
    spool = _spool(max_bytes=10)
    _end(spool, "a", b"123456")

    assert spool.release("a")
    assert not spool.release("a")
    assert spool.ended("a") is None
    _end(spool, "b", b"123456")
    _end(spool, "c", b"1234")
    assert _kept(spool) == ["b", "c"]


def test_the_oldest_go_when_there_are_too_many() -> None:
    spool = _spool(max_jobs=3)
    for job in "abcde":
        _end(spool, job)

    assert _kept(spool) == ["c", "d", "e"]
    assert spool.ended("b") is None


def test_asking_for_a_result_does_not_make_it_younger() -> None:
    spool = _spool(max_jobs=2)
    _end(spool, "a")
    _end(spool, "b")
    assert spool.ended("a")
    _end(spool, "c")

    assert _kept(spool) == ["b", "c"]


def test_the_oldest_go_when_they_are_too_large() -> None:
    spool = _spool(max_bytes=100)
    _end(spool, "a", bytes(40))
    _end(spool, "b", zmq.Frame(bytes(40)))
    _end(spool, "c", bytes(20))
    assert _kept(spool) == ["a", "b", "c"]
    _end(spool, "d", bytes(1))
    assert _kept(spool) == ["b", "c", "d"]
    _end(spool, "e", bytes(99))
    assert _kept(spool) == ["d", "e"]


def test_one_that_is_larger_than_everything_is_not_kept_but_was_had() -> None:
    spool = _spool(max_bytes=10)
    _end(spool, "a", b"1")

    assert _end(spool, "b", bytes(11)).body == bytes(11)
    assert _kept(spool) == []
    _end(spool, "c", bytes(10))
    assert _kept(spool) == ["c"]


def test_old_ones_go() -> None:
    spool = _spool(keep=0.2)
    _end(spool, "a")
    assert spool.ended("a")

    eventually(lambda: spool.ended("a") is None)
    assert spool.reports() == []


def test_old_ones_go_from_the_list_too() -> None:
    spool = _spool(keep=0.1)
    _end(spool, "a")

    eventually(lambda: not spool.reports())


def test_the_list_is_newest_first_with_ages_as_of_now() -> None:
    spool = _spool()
    _end(spool, "a", age=5.0)
    _end(spool, "b", age=1.0)

    first = spool.reports()
    assert [report.job for report in first] == ["b", "a"]
    assert 5 <= first[1].age_s < 65
    eventually(lambda: spool.reports()[1].age_s > first[1].age_s)

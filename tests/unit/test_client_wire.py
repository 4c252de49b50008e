"""The clients over real sockets, with a daemon that loses answers, says too much, goes away and comes back."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import asrd
from asrd.questions import Question
from asrd_protocol import messages as m
from asrd_protocol.addresses import MAX_SOCKET_PATH
from asrd_protocol.faults import Code, Fault
from support.fake_daemon import FakeDaemon, Says, completed, decoded
from support.wait import eventually

HEALTHY = m.HealthReport(status="ready", reason="fine", max_body=2_000_000)


@pytest.fixture
def place() -> Iterator[Path]:
    """A runtime directory whose path is short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix="asrd-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def client(place: Path) -> Iterator[asrd.Client]:
    """A client that loses patience quickly."""
    with asrd.Client(place, timeout=10, patience=0.5, recheck=0.2) as made:
        yield made


def good(question: Question, body: bytes) -> Sequence[Says]:
    """A daemon without faults that knows one text."""
    match question:
        case m.Health():
            return [HEALTHY]
        case m.Submit(job=str(job)):
            return [m.Accepted(job=job), m.Progress(job=job, done=0, duration=2), decoded(job, 0), completed(job, 2)]
        case m.Cancel(job=job) | m.Release(job=job):
            return [m.Released(job=job)]
        case m.Fetch(job=job) | m.Wait(job=job):
            return [completed(job, 2)]
        case _:
            return [m.Done(message="done")]


def refused(code: Code, **more: float) -> m.Refused:
    return m.Refused(fault=Fault.of(code, "no", **more))


def test_a_transcript(place: Path, client: asrd.Client) -> None:
    with FakeDaemon(place, good) as daemon:
        assert client.transcribe(b"audio", language="en").text == " 0 1"
        submit = eventually(lambda: daemon.asked[0])
        assert isinstance(submit, m.Submit) and submit.options == {"language": "en"}
        assert eventually(lambda: "Release" in daemon.kinds())


def test_segments_and_the_run_of_a_job(place: Path, client: asrd.Client) -> None:
    with FakeDaemon(place, good):
        job = client.submit(b"audio", job="mine")
        assert job.id == "mine"
        assert [segment.text for segment in job.segments()] == [" 0", " 1"]
        assert [segment.text for segment in job.segments()] == [" 0", " 1"], "they can be had again"
        assert job.run is not None and job.run.seat == "default/0.1"
        assert job.progress.fraction == 1.0


def test_the_same_with_asyncio(place: Path) -> None:
    async def story() -> None:
        async with asrd.AsyncClient(place) as client:
            job = await client.submit(b"audio")
            assert [segment.text async for segment in job.segments()] == [" 0", " 1"]
            updates = [progress async for progress in job.updates()]
            assert updates[-1].fraction == 1.0
            assert (await client.health()).reason == "fine"
            many = await asyncio.gather(*(client.transcribe(b"audio") for _ in range(50)))
            assert {one.text for one in many} == {" 0 1"}

    with FakeDaemon(place, good):
        asyncio.run(story())


def test_what_the_daemon_has_found_out(place: Path, client: asrd.Client) -> None:
    recycle = m.RecycleReport(at=1.5, pool="p", seat="p/0.1", reason="max_jobs", said="enough", numbers={"jobs": [9]})
    insight = m.Insight(topic="host", severity="info", said="busy", numbers={"cpu_pressure": 61.5})

    def tells(question: Question, body: bytes) -> Sequence[Says]:
        recycles = isinstance(question, m.Recycles)
        return [m.RecyclesReport(recycles=[recycle]) if recycles else m.InsightsReport(insights=[insight])]

    async def story() -> None:
        async with asrd.AsyncClient(place) as asking:
            assert await asking.recycles(7, "p") == await asking.recycles() == [recycle]
            assert await asking.insights() == [insight]

    with FakeDaemon(place, tells) as daemon:
        assert client.recycles() == [recycle]
        assert client.recycles(limit=2, pool="p") == [recycle]
        assert client.insights() == [insight]
        asyncio.run(story())
        asked = [question for question in daemon.asked if isinstance(question, m.Recycles)]
        assert [(question.limit, question.pool) for question in asked] == [(50, None), (2, "p"), (7, "p"), (50, None)]


def test_options_may_have_any_name_that_is_not_reserved(place: Path, client: asrd.Client) -> None:
    with FakeDaemon(place, good) as daemon:
        client.transcribe(b"audio", **{"audio": 1, "self": 2, "beam-size": 3})
        assert isinstance(daemon.asked[0], m.Submit)
        assert daemon.asked[0].options == {"audio": 1, "self": 2, "beam-size": 3}


def test_a_lost_result_is_fetched(place: Path, client: asrd.Client) -> None:
    def loses(question: Question, body: bytes) -> Sequence[Says]:
        return good(question, body)[:1]

    with FakeDaemon(place, loses) as daemon:
        assert client.submit(b"audio").result(timeout=10).text == " 0 1"
        assert daemon.kinds()[:2] == ["Submit", "Fetch"]


def test_a_lost_acceptance_is_found_out_too(place: Path, client: asrd.Client) -> None:
    def loses(question: Question, body: bytes) -> Sequence[Says]:
        return [] if isinstance(question, m.Submit) else good(question, body)

    with FakeDaemon(place, loses):
        assert client.submit(b"audio").result(timeout=10).text == " 0 1"


def test_a_submit_without_any_answer_times_out_and_is_cancelled(place: Path, client: asrd.Client) -> None:
    def silent(question: Question, body: bytes) -> Sequence[Says]:
        return [] if isinstance(question, m.Submit | m.Fetch) else good(question, body)

    with FakeDaemon(place, silent) as daemon:
        with pytest.raises(asrd.TimedOut, match=r"within 0\.5 s"):
            client.submit(b"audio", timeout=0.5)
        assert eventually(lambda: "Cancel" in daemon.kinds())


def test_a_question_without_an_answer_times_out(place: Path) -> None:
    with (
        FakeDaemon(place, lambda question, body: []),
        asrd.Client(place, timeout=0.3) as client,
        pytest.raises(TimeoutError, match=r"within 0\.3 s"),
    ):
        client.health()


def test_a_wait_that_a_restart_has_prolonged_says_how_the_job_stands(place: Path) -> None:
    def silent(question: Question, body: bytes) -> Sequence[Says]:
        return [m.Pending(job="j", state="running")] if isinstance(question, m.Fetch) else []

    with FakeDaemon(place, silent) as daemon, asrd.Client(place, timeout=0.2) as client:
        assert isinstance(client.wait("j", timeout=0.1), m.Pending)
        assert daemon.kinds() == ["Wait", "Fetch"]


def test_segments_so_far_that_are_none_are_named(place: Path) -> None:
    bodies = [(m.Pending(job="j", state="running"), b'[{"id":'), m.Pending(job="j", state="running")]
    for answer in bodies:
        with (
            FakeDaemon(place, lambda question, body, answer=answer: [answer]),
            asrd.Client(place) as client,
            pytest.raises(asrd.ProtocolError, match="job j"),
        ):
            client.fetch("j", partial=True)


def test_a_result_that_takes_longer_than_wanted_times_out_and_the_job_goes_on(place: Path) -> None:
    def slow(question: Question, body: bytes) -> Sequence[Says]:
        return [m.Accepted(job="j")] if isinstance(question, m.Submit) else good(question, body)

    with FakeDaemon(place, slow) as daemon, asrd.Client(place) as client:
        job = client.submit(b"audio")
        with pytest.raises(asrd.TimedOut, match=job.id):
            job.result(timeout=0.1)
        assert "Cancel" not in daemon.kinds()
        with pytest.raises(asrd.TimedOut, match="cancelled"):
            client.transcribe(b"audio", timeout=0.1)
        assert eventually(lambda: "Cancel" in daemon.kinds()), "nobody else could have its result"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refused(Code.OVERLOADED, retry_after=3), asrd.Overloaded),
        (refused(Code.UNKNOWN_POOL), asrd.Refused),
        (m.Failed(job="j", fault=Fault.of(Code.BAD_OPTION, "no")), asrd.JobFailed),
        (m.Failed(job="j", fault=Fault.of(Code.CANCELLED, "no")), asrd.Cancelled),
    ],
)
def test_faults_have_types(place: Path, client: asrd.Client, answer: Says, kind: type[asrd.FaultError]) -> None:
    with FakeDaemon(place, lambda question, body: [answer]):
        with pytest.raises(kind) as caught:
            client.transcribe(b"audio")
        assert str(caught.value) == "no" and caught.value.fault.code


def test_an_answer_of_the_wrong_kind_is_named(place: Path, client: asrd.Client) -> None:
    with FakeDaemon(place, lambda question, body: [m.Done()]):
        with pytest.raises(asrd.ProtocolError, match="Stats with Done"):
            client.stats()
        with pytest.raises(asrd.ProtocolError, match="Fetch with Done"):
            client.fetch("j")


def test_garbage_harms_nobody(place: Path, client: asrd.Client) -> None:
    def noisy(question: Question, body: bytes) -> Sequence[Says]:
        return [b"\xc1\xff", b"", m.Done(ref="unknown"), *good(question, body), b"{"]

    with FakeDaemon(place, noisy):
        assert client.transcribe(b"audio").text == " 0 1"


def test_an_oversized_body_is_refused_before_it_is_sent(place: Path, client: asrd.Client) -> None:
    with FakeDaemon(place, good) as daemon:
        with pytest.raises(asrd.AudioError, match="2 MB"):
            client.transcribe(b"x" * 2_000_001)
        assert daemon.kinds() == ["Health"]
        assert client.transcribe(b"x" * 2_000_000).text
        assert client.transcribe(b"x").text
        assert daemon.kinds().count("Health") == 1


def test_no_daemon_is_a_sentence(place: Path, client: asrd.Client) -> None:
    with pytest.raises(asrd.NoDaemon, match="asrd serve"):
        client.health()
    with pytest.raises(ConnectionError):
        client.submit(b"audio")


def test_a_dead_socket_is_a_sentence(place: Path, client: asrd.Client) -> None:
    daemon = FakeDaemon(place, good)
    shutil.copytree(place, place / "before", symlinks=True, copy_function=os.link)
    daemon.close()
    for left in (place / "before").iterdir():
        left.rename(place / left.name)
    with pytest.raises(asrd.NoDaemon, match="is gone"):
        client.health()


def test_a_listener_that_is_no_daemon_is_a_sentence(place: Path, client: asrd.Client) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "control.sock"))
        listener.listen()
        with pytest.raises(asrd.NoDaemon, match="does not answer as a daemon"):
            client.health()


def test_a_path_too_long_for_a_socket_is_a_sentence(tmp_path: Path) -> None:
    with asrd.Client(tmp_path / ("x" * MAX_SOCKET_PATH)) as client, pytest.raises(asrd.NoDaemon, match="shorter"):
        client.health()


def test_a_daemon_that_goes_away_ends_what_waits(place: Path, client: asrd.Client) -> None:
    def stuck(question: Question, body: bytes) -> Sequence[Says]:
        return [m.Accepted(job="j")] if isinstance(question, m.Submit) else []

    daemon = FakeDaemon(place, stuck)
    job = client.submit(b"audio")
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(job.result), pool.submit(lambda: list(job.segments()))]
        daemon.close()
        for future in waiting:
            with pytest.raises(asrd.NoDaemon, match="went away"):
                future.result(timeout=10)
    with FakeDaemon(place, good):
        assert client.transcribe(b"audio").text == " 0 1", "the same client finds the next daemon"


def came_back(place: Path, second: Callable[[Question, bytes], Sequence[Says]]) -> tuple[FakeDaemon, object]:
    """The outcome of a job whose daemon is replaced by a second one while it runs."""

    def first(question: Question, body: bytes) -> Sequence[Says]:
        return [m.Accepted(job="j"), decoded("j", 0)] if isinstance(question, m.Submit) else []

    daemon = FakeDaemon(place, first)
    with asrd.Client(place, patience=10) as client:
        job = client.submit(b"audio", job="j")
        assert next(job.segments()).text == " 0"
        daemon.close()
        with FakeDaemon(place, second) as replacement:
            try:
                return replacement, [segment.text for segment in job.segments()]
            except asrd.AsrdError as error:
                return replacement, error


def test_a_job_goes_on_in_a_restarted_daemon_that_knows_it(place: Path) -> None:
    replacement, outcome = came_back(place, good)
    assert outcome == [" 0", " 1"]
    assert "Submit" not in replacement.kinds()


def test_a_job_that_a_restarted_daemon_does_not_know_is_lost(place: Path) -> None:
    replacement, outcome = came_back(place, lambda question, body: [refused(Code.UNKNOWN_JOB)])
    assert isinstance(outcome, asrd.JobLost)
    assert "Submit" not in replacement.kinds(), "it may have been done already"


def test_a_job_that_was_not_accepted_is_submitted_again_after_a_restart(place: Path) -> None:
    def second(question: Question, body: bytes) -> Sequence[Says]:
        known = isinstance(question, m.Submit | m.Release)
        return good(question, body) if known else [refused(Code.UNKNOWN_JOB)]

    first = FakeDaemon(place, lambda question, body: [])
    with asrd.Client(place, patience=10) as client, ThreadPoolExecutor() as pool:
        waiting = pool.submit(client.transcribe, b"audio", job="j")
        eventually(lambda: first.kinds() == ["Submit"])
        first.close()
        with FakeDaemon(place, second) as replacement:
            assert waiting.result(timeout=20).text == " 0 1"
            submits = [question for question in replacement.asked if isinstance(question, m.Submit)]
            assert [submit.job for submit in submits] == ["j"]


def test_many_threads_share_a_client(place: Path, client: asrd.Client) -> None:
    with FakeDaemon(place, good), ThreadPoolExecutor(8) as pool:
        texts = set(pool.map(lambda _: client.transcribe(b"audio").text, range(64)))
    assert texts == {" 0 1"}


def test_closing_wakes_other_threads_and_is_final(place: Path) -> None:
    before = _threads()

    def stuck(question: Question, body: bytes) -> Sequence[Says]:
        return [m.Accepted(job="j")] if isinstance(question, m.Submit) else []

    with FakeDaemon(place, stuck):
        client = asrd.Client(place)
        job = client.submit(b"audio")
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(job.result)
            client.close()
            with pytest.raises(asrd.AsrdError, match="closed"):
                waiting.result(timeout=10)
        client.close()
        with pytest.raises(asrd.AsrdError, match="closed"):
            client.health()
    assert not _threads() - before


def _threads() -> set[threading.Thread]:
    """Of clients; the default one of this process may have one, too."""
    return {thread for thread in threading.enumerate() if thread.name == "asrd-client"}


def test_closing_waits_for_the_thread(place: Path) -> None:
    before = _threads()
    with FakeDaemon(place, good):
        client = asrd.Client(place)
        client.health()
        client.close()
        assert not _threads() - before


def test_closing_an_asyncio_client_ends_what_waits(place: Path) -> None:
    async def story() -> None:
        client = asrd.AsyncClient(place)
        job = await client.submit(b"audio")
        waiting = [asyncio.create_task(job.result()), asyncio.create_task(client.wait("k"))]
        await asyncio.wait(waiting, timeout=0.05)
        await client.close()
        for task in waiting:
            with pytest.raises(asrd.NoDaemon, match="closed"):
                await asyncio.wait_for(task, 10)

    with FakeDaemon(place, lambda question, body: [m.Accepted(job="j")] if isinstance(question, m.Submit) else []):
        asyncio.run(story())


PROGRAM = """
import asrd, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
client = asrd.Client(sys.argv[1])
job = client.submit(b"audio")
try:
    print("submitted", flush=True)
{then}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""

FORK = """
sys.stdin.read()  # what it says before the test is done reading lines would be lost
if os.fork():
    os.wait()
else:
    try:
        client.health()
    except asrd.AsrdError as error:
        print(error, flush=True)
"""


def program(place: Path, then: str) -> "subprocess.Popen[str]":
    """A program that has submitted a job which never ends."""
    code = PROGRAM.format(then=textwrap.indent(then, "    "))
    process = subprocess.Popen([sys.executable, "-P", "-c", code, place], stdin=-1, stdout=-1, stderr=-1, text=True)
    assert process.stdout is not None and process.stdout.readline() == "submitted\n"
    return process


@pytest.fixture
def stuck(place: Path) -> Iterator[FakeDaemon]:
    """A daemon that accepts jobs and is not heard of again."""

    def accepts(question: Question, body: bytes) -> Sequence[Says]:
        return [m.Accepted(job="j")] if isinstance(question, m.Submit) else []

    with FakeDaemon(place, accepts) as daemon:
        yield daemon


def test_an_interrupt_leaves_at_once(place: Path, stuck: FakeDaemon) -> None:
    process = program(place, "job.result()")
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=20)
    assert (out, errors, process.returncode) == ("interrupted\n", "", 0)


def test_an_interrupted_transcribe_cancels_its_job(place: Path, stuck: FakeDaemon) -> None:
    process = program(place, "client.transcribe(b'more')")
    eventually(lambda: stuck.kinds().count("Submit") == 2)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("interrupted\n", "")
    assert eventually(lambda: "Cancel" in stuck.kinds())


def test_a_program_that_closes_nothing_ends_all_the_same(place: Path, stuck: FakeDaemon) -> None:
    process = program(place, "pass")
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0


def test_a_fork_is_told_to_make_its_own_client(place: Path, stuck: FakeDaemon) -> None:
    process = program(place, FORK)
    assert process.communicate(timeout=20) == ("a client does not survive a fork\n", "")


def test_errors_can_be_pickled() -> None:
    import pickle

    error = asrd.JobFailed(Fault.of(Code.POISON, "no", seat="default/0.1"))
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.fault) == (asrd.JobFailed, "no", error.fault)


def test_every_public_name_is_there() -> None:
    assert set(asrd.__all__) <= set(dir(asrd))
    assert all(getattr(asrd, name) is not None for name in asrd.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        asrd.nonsense  # noqa: B018

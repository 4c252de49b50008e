"""The protocol of the client, with no I/O: questions in, frames out; frames in, news out."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.errors import Cancelled, JobFailed, JobLost, NoDaemon, OptionError, Overloaded, ProtocolError, UnknownJob
from asrd.questions import Channel
from asrd.session import MAX_SENT, Moved, Output, Reply, Send, Session, Settled
from asrd.track import Finished, JobProgress, Track
from asrd_protocol import messages as m
from asrd_protocol.codec import Codec, encode
from asrd_protocol.faults import Code, Fault
from support.fake_daemon import completed, decoded, segment

QUESTIONS: Codec[m.JobQuestion | m.ControlQuestion] = Codec(m.JobQuestion | m.ControlQuestion)


def sent(outputs: list[Output]) -> list[m.JobQuestion | m.ControlQuestion]:
    """The questions among the outputs."""
    return [QUESTIONS.decode(output.frames[0]) for output in outputs if isinstance(output, Send)]


def said(answer: m.AnyAnswer, ref: str, body: bytes | None = None) -> list[bytes]:
    """The frames of an answer."""
    header = encode(msgspec.structs.replace(answer, ref=ref))
    return [header] if body is None else [header, body]


def push(index: int, ref: str) -> list[bytes]:
    """The frames of one segment."""
    answer, body = decoded("j", index)
    return said(answer, ref, body)


def refusal(code: Code, **more: float) -> m.Refused:
    return m.Refused(fault=Fault.of(code, f"because of {code}", **more))


def releases(outputs: list[Output]) -> list[str]:
    """The jobs that the daemon may forget."""
    assert all(isinstance(question, m.Release) for question in sent(outputs))
    return [question.job for question in sent(outputs) if isinstance(question, m.Release)]


def submitted(session: Session, *, accepted: bool = True, reply: str = "stream") -> tuple[Track, str]:
    """A job of ours and the ref of its submit."""
    track, outputs = session.submit(m.Submit(job="j", reply=reply, options={"language": "en"}), b"audio")
    (question,) = sent(outputs)
    if accepted:
        assert session.receive(said(m.Accepted(job="j"), question.ref)) == [Moved(track)]
    return track, question.ref


def test_a_plain_question_is_answered_once() -> None:
    session = Session()
    ref, outputs = session.ask(m.Health())
    assert sent(outputs) == [m.Health(ref=ref)]
    assert isinstance(outputs[0], Send) and outputs[0].channel is Channel.CONTROL
    done = m.Done(message="x", ref=ref)
    assert session.receive(said(done, ref)) == [Settled(ref, Reply(done))]
    assert session.receive(said(done, ref)) == [], "the second answer comes too late"


def test_refs_are_never_used_twice() -> None:
    session = Session()
    assert len({session.ask(m.Health())[0] for _ in range(100)}) == 100


def test_the_audio_goes_as_the_second_frame_and_the_job_gets_an_id() -> None:
    track, outputs = Session().submit(m.Submit(), b"audio")
    (send,) = outputs
    assert isinstance(send, Send) and send.channel is Channel.JOBS
    assert send.frames[1] == b"audio"
    (question,) = sent(outputs)
    assert isinstance(question, m.Submit) and question.job == track.job and len(track.job) == 32


def test_the_life_of_a_job() -> None:
    session = Session()
    track, ref = submitted(session)
    assert track.accepted and track.end is None
    assert track.body == b"", "accepted audio need not be kept"
    assert session.receive(said(m.Progress(job="j", done=1.0, duration=4.0), ref)) == [Moved(track)]
    assert track.progress == JobProgress(1.0, 4.0) and track.progress.fraction == 0.25
    assert session.receive(push(0, ref)) == [Moved(track)]
    assert [s.id for s in track.segments] == [0]
    end, body = completed("j", 2)
    moved, release = session.receive(said(end, ref, body))
    assert moved == Moved(track)
    assert releases([release]) == ["j"]
    assert isinstance(track.end, Finished) and track.end.transcript.text == " 0 1"
    assert [s.id for s in track.segments] == [0, 1]
    assert track.progress.fraction == 1.0
    assert session.receive(said(end, ref, body)) == []


def test_a_segment_of_a_second_attempt_is_not_taken_twice() -> None:
    session = Session()
    track, ref = submitted(session)
    for attempt, index in [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]:
        answer, body = decoded("j", index, attempt)
        news = session.receive(said(answer, ref, body))
        assert news == ([] if (attempt, index) in ((2, 0), (2, 1)) else [Moved(track)])
    assert [s.id for s in track.segments] == [0, 1, 2]


def test_segments_of_long_audio_are_numbered_through() -> None:
    """The worker of each stretch counts its own."""
    session = Session()
    track, ref = submitted(session)
    for index, own in enumerate([0, 1, 0, 1, 2]):
        body = msgspec.json.encode(segment(own, f" {index}"))
        assert session.receive(said(m.SegmentDecoded(job="j", index=index), ref, body)) == [Moved(track)]
    assert [(s.id, s.text) for s in track.segments] == [(i, f" {i}") for i in range(5)]
    answer, body = completed("j", 6)
    session.receive(said(answer, ref, body))
    assert [s.id for s in track.segments] == list(range(6))


def test_a_job_with_speakers_comes_at_once_and_survives_what_others_do() -> None:
    wanted = m.Submit(job="j", diarize=m.Speakers(num_speakers=2), split=False, on_chunk_error="report")
    session = Session()
    track, _ = session.submit(wanted, b"audio")
    (again,) = sent(session.back(Channel.JOBS))
    assert again == msgspec.structs.replace(wanted, ref=again.ref), "all that was wished for is sent again"
    (wait,) = sent(session.receive(said(m.Accepted(job="j"), again.ref)))
    assert isinstance(wait, m.Wait) and wait.since == 0
    assert session.receive(said(m.Progress(job="j", done=4.0, duration=4.0), again.ref)) == [Moved(track)]
    assert track.segments == [] and track.end is None, "all is decoded, and nothing to be seen of it"
    wait, fetch = sent(session.back(Channel.JOBS))
    assert isinstance(wait, m.Wait) and wait.since == 0
    session.receive(said(m.Pending(job="j", state="running", done=4.0, duration=4.0), fetch.ref))
    end, body = completed("j", 2)
    assert releases(session.receive(said(end, wait.ref, body))) == ["j"]
    assert [s.id for s in track.segments] == [0, 1]


@given(total=st.integers(0, 6), pushes=st.lists(st.integers(0, 5), max_size=20))
def test_whatever_is_pushed_segments_come_in_order_once_and_complete(total: int, pushes: list[int]) -> None:
    session = Session()
    track, ref = submitted(session)
    shown: list[int] = []
    for index in pushes:
        if index < total:
            session.receive(push(index, ref))
        assert [s.id for s in track.segments][: len(shown)] == shown, "what was shown stays"
        shown = [s.id for s in track.segments]
    end, body = completed("j", total)
    session.receive(said(end, ref, body))
    assert [s.id for s in track.segments] == list(range(total))


@pytest.mark.parametrize(
    ("code", "released"),
    [
        (Code.BAD_OPTION, ["j"]),
        (Code.CANCELLED, ["j"]),
        (Code.POISON, []),
        (Code.WORKER_DIED, []),
        (Code.DEADLINE, []),
        (Code.INTERNAL, []),
    ],
)
def test_a_failed_job_is_released_unless_a_retry_or_a_look_at_it_may_be_wanted(code: Code, released: list[str]) -> None:
    session = Session()
    track, ref = submitted(session)
    outputs = session.receive(said(m.Failed(job="j", fault=Fault.of(code, "no")), ref))
    assert releases(outputs) == released
    assert isinstance(track.end, JobFailed) and str(track.end) == "no"


def test_a_cancelled_job_has_a_type_of_its_own() -> None:
    session = Session()
    track, ref = submitted(session)
    session.receive(said(m.Failed(job="j", fault=Fault.of(Code.CANCELLED, "stopped")), ref))
    assert isinstance(track.end, Cancelled)


def test_a_job_of_somebody_else_is_not_released() -> None:
    session = Session()
    track, outputs = session.attach("j")
    assert [type(question) for question in sent(outputs)] == [m.Wait, m.Fetch]
    end, body = completed("j")
    assert session.receive(said(end, sent(outputs)[1].ref, body)) == [Moved(track)]


def test_a_detached_job_is_not_released() -> None:
    session = Session()
    _, ref = submitted(session, reply="accepted")
    end, body = completed("j")
    assert sent(session.receive(said(end, ref, body))) == []


def test_a_release_is_asked_again_until_it_is_answered() -> None:
    session = Session()
    _, ref = submitted(session)
    end, body = completed("j")
    (release,) = sent(session.receive(said(end, ref, body)))
    assert sent(session.back(Channel.JOBS)) == [release]
    session.receive(said(refusal(Code.UNKNOWN_JOB), release.ref))
    assert session.back(Channel.JOBS) == [], "that it is unknown is as good"


def test_a_refused_submit_ends_the_job_with_the_reason() -> None:
    session = Session()
    track, ref = submitted(session, accepted=False)
    assert session.receive(said(refusal(Code.OVERLOADED, retry_after=2.5), ref)) == [Moved(track)]
    assert isinstance(track.end, Overloaded) and track.end.retry_after == 2.5


def test_an_unknown_job_cannot_be_attached_to() -> None:
    session = Session()
    track, outputs = session.attach("j")
    session.receive(said(refusal(Code.UNKNOWN_JOB), sent(outputs)[0].ref))
    assert isinstance(track.end, UnknownJob)


def test_a_wait_that_ran_out_is_asked_again_and_a_fetch_is_not() -> None:
    session = Session()
    track, outputs = session.attach("j")
    wait, fetch = sent(outputs)
    assert session.receive(said(m.Pending(job="j", state="queued"), fetch.ref)) == [Moved(track)]
    assert track.accepted
    (again,) = sent(session.receive(said(m.Pending(job="j", state="running"), wait.ref)))
    assert isinstance(again, m.Wait) and again.stream and again.ref != wait.ref


def test_a_recheck_without_an_answer_is_the_same_question_again() -> None:
    session = Session()
    track, _ = submitted(session)
    (fetch,) = sent(session.recheck(track))
    assert fetch == m.Fetch(job="j", ref=fetch.ref)
    assert sent(session.recheck(track)) == [fetch]
    session.receive(said(m.Pending(job="j", state="running"), fetch.ref))
    assert len(session.recheck(track)) == 1


def test_after_a_restart_questions_are_asked_again_but_not_commands() -> None:
    session = Session()
    health, _ = session.ask(m.Health())
    stop, _ = session.ask(m.Stop())
    fetch, _ = session.ask(m.Fetch(job="j"))
    outputs = session.back(Channel.CONTROL)
    assert sent(outputs) == [m.Health(ref=health)]
    (settled,) = [output for output in outputs if isinstance(output, Settled)]
    assert settled.ref == stop and isinstance(settled.outcome, NoDaemon)
    assert sent(session.back(Channel.JOBS)) == [m.Fetch(job="j", ref=fetch)]


def test_after_a_restart_an_accepted_job_is_asked_for_and_is_lost_if_unknown() -> None:
    session = Session()
    track, old = submitted(session)
    wait, fetch = sent(session.back(Channel.JOBS))
    assert isinstance(wait, m.Wait) and wait.stream and isinstance(fetch, m.Fetch)
    end, body = completed("j")
    assert session.receive(said(end, old, body)) == [], "the former connection says nothing any more"
    assert session.receive(said(refusal(Code.UNKNOWN_JOB), fetch.ref)) == [Moved(track)]
    assert isinstance(track.end, JobLost) and "j" in str(track.end) and track.end.fault.retry


def test_after_a_restart_a_daemon_with_a_journal_goes_on() -> None:
    session = Session()
    track, ref = submitted(session)
    session.receive(push(0, ref))
    wait, fetch = sent(session.back(Channel.JOBS))
    assert isinstance(wait, m.Wait) and wait.stream and wait.since == 1, "the first that is missing"
    session.receive(said(m.Pending(job="j", state="running", done=1.0, duration=2.0), fetch.ref))
    assert track.progress == JobProgress(1.0, 2.0)
    session.receive(push(1, wait.ref))
    assert [s.id for s in track.segments] == [0, 1]
    end, body = completed("j", 2)
    assert releases(session.receive(said(end, wait.ref, body))) == ["j"]
    assert isinstance(track.end, Finished)


def test_a_job_that_was_never_accepted_is_submitted_again_with_its_id_but_not_for_ever() -> None:
    session = Session()
    track, _ = submitted(session, accepted=False)
    for _ in range(MAX_SENT - 1):
        (send,) = session.back(Channel.JOBS)
        (again,) = sent([send])
        assert isinstance(again, m.Submit) and again.job == "j" and again.options == {"language": "en"}
        assert isinstance(send, Send) and send.frames[1] == b"audio"
    assert session.back(Channel.JOBS) == [Moved(track)]
    assert "5 bytes" in str(track.end)


def test_a_submit_that_got_lost_on_the_way_is_repeated_when_the_daemon_is_asked() -> None:
    session = Session()
    track, _ = submitted(session, accepted=False)
    (fetch,) = sent(session.recheck(track))
    (again,) = sent(session.receive(said(refusal(Code.UNKNOWN_JOB), fetch.ref)))
    assert isinstance(again, m.Submit) and again.job == "j"


def test_a_repeated_submit_joins_its_job_where_it_is_and_a_first_one_needs_not() -> None:
    session = Session()
    track, _ = submitted(session, accepted=False)
    (again,) = sent(session.back(Channel.JOBS))
    (wait,) = sent(session.receive(said(m.Accepted(job="j", ahead=2, eta_s=7.5), again.ref)))
    assert isinstance(wait, m.Wait) and wait.stream and wait.since == 0
    assert (track.receipt.ahead, track.receipt.eta_s) == (2, 7.5)
    detached, _ = session.submit(m.Submit(job="k", reply="accepted"), b"audio")
    (again,) = [question for question in sent(session.back(Channel.JOBS)) if isinstance(question, m.Submit)]
    assert session.receive(said(m.Accepted(job="k"), again.ref)) == [Moved(detached)]


def test_segments_before_a_gap_are_asked_for_once() -> None:
    session = Session()
    track, ref = submitted(session)
    (wait,) = sent(session.receive(push(1, ref)))
    assert isinstance(wait, m.Wait) and wait.stream and wait.since == 0
    assert session.receive(push(2, ref)) == []
    for index in range(3):
        assert session.receive(push(index, wait.ref)) == [Moved(track)]
    assert session.receive(push(3, ref)) == [Moved(track)], "the first question still counts"
    (further,) = sent(session.receive(push(5, ref)))
    assert isinstance(further, m.Wait) and further.since == 4
    assert session.receive(push(4, wait.ref)) == [], "only one of them is listened to"


def test_a_job_by_path_has_no_body() -> None:
    track, (send,) = Session().submit(m.Submit(audio=m.LocalFile(path="/talk.mp3")), b"")
    assert isinstance(send, Send) and len(send.frames) == 1 and track.frames == []


def test_everything_on_a_lost_connection_ends() -> None:
    session = Session()
    track, _ = submitted(session)
    fetch, _ = session.ask(m.Fetch(job="k"))
    health, _ = session.ask(m.Health())
    error = NoDaemon("gone")
    assert session.gone(Channel.JOBS, error) == [Moved(track), Settled(fetch, error)]
    assert track.end is error
    assert session.gone(Channel.JOBS, error) == []
    assert session.gone(Channel.CONTROL, error) == [Settled(health, error)]


def test_a_track_that_nobody_follows_stays_silent() -> None:
    session = Session()
    track, ref = submitted(session)
    session.leave(track)
    end, body = completed("j")
    assert session.receive(said(end, ref, body)) == []
    assert session.back(Channel.JOBS) == []


def test_a_delimiter_before_the_answer_is_skipped() -> None:
    session = Session()
    ref, _ = session.ask(m.Health())
    assert session.receive([b"", *said(m.Done(), ref)]) == [Settled(ref, Reply(m.Done(ref=ref)))]


@pytest.mark.parametrize("header", [b"", b"\xc1", b"{", b"[1]", b"\xff" * 100, b'{"type":"done","ref":7}'])
def test_garbage_of_the_daemon_means_nothing(header: bytes) -> None:
    session = Session()
    submitted(session)
    assert session.receive([header]) == []


def test_an_answer_in_another_version_or_of_an_unknown_type_settles_its_question() -> None:
    for answer in ({"type": "done", "v": 99}, {"type": "what"}):
        session = Session()
        ref, _ = session.ask(m.Health())
        (settled,) = session.receive([msgspec.msgpack.encode({**answer, "ref": ref})])
        assert isinstance(settled, Settled) and isinstance(settled.outcome, ProtocolError)


def test_fields_that_a_newer_daemon_adds_are_ignored() -> None:
    session = Session()
    ref, _ = session.ask(m.Health())
    (settled,) = session.receive([msgspec.msgpack.encode({"type": "done", "ref": ref, "new": 1})])
    assert settled == Settled(ref, Reply(m.Done(ref=ref)))


def test_a_transcript_that_cannot_be_read_ends_the_job() -> None:
    session = Session()
    track, ref = submitted(session)
    end, _ = completed("j")
    session.receive(said(end, ref, b"{broken"))
    assert isinstance(track.end, ProtocolError)


@pytest.mark.parametrize("value", [object(), 1 << 80, "\ud800", {1, 2}.__iter__()])
def test_an_option_that_no_message_can_carry_is_named(value: object) -> None:
    session = Session()
    with pytest.raises(OptionError):
        session.submit(m.Submit(options={"o": value}), b"audio")
    assert session.gone(Channel.JOBS, NoDaemon("x")) == [], "nothing was opened"


def test_options_beyond_a_header_are_refused_here() -> None:
    with pytest.raises(OptionError, match="1048576"):
        Session().submit(m.Submit(options={"initial_prompt": "x" * (1 << 20)}), b"audio")

"""Speakers and long audio as callers ask for them, and as they get them: the clients and the command."""

import importlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner, Result

import asrd
from asrd.cli.app import app
from asrd.cli.options import Lane, OnChunkError, wishes
from asrd.cli.output import caveats, words_for_speakers
from asrd.cli.progress import summary
from asrd.errors import OptionError
from asrd.questions import Question
from asrd.track import Finished
from asrd.wish import speakers, wish
from asrd_protocol import messages as m
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Diarization, MissingStretch, Run, Segment, Transcript, Turn, Word
from support.fake_daemon import FakeDaemon, Says

HEALTHY = m.HealthReport(status="ready", reason="fine", max_body=2_000_000)
TURNS = [Turn(speaker="SPEAKER_00", start=0.0, end=1.6), Turn(speaker="SPEAKER_01", start=1.5, end=2.0)]
HEARD = Diarization(turns=TURNS, embeddings={"SPEAKER_00": [1.0, 0.0]})
FAILED = Diarization(status="failed", reason="the worker ran out of memory")
LOST = MissingStretch(start=600.0, end=725.4, code="poison", message="it ended two workers")


def told(diarization: Diarization, **more: Any) -> Transcript:
    """A question and its answer."""
    segments = [piece(0, 0.2, 1.4, " Are you sure?", "SPEAKER_00"), piece(1, 1.5, 2.0, " Yes.", "SPEAKER_01")]
    if diarization.status == "failed":
        segments = [Segment(id=0, seek=0, start=0.2, end=2.0, text=" Are you sure? Yes.")]
    text = "Are you sure? Yes."
    return Transcript(text=text, language="en", segments=segments, duration=2.0, diarization=diarization, **more)


def piece(number: int, start: float, end: float, text: str, speaker: str) -> Segment:
    word = Word(start=start, end=end, word=text, probability=1.0, speaker=speaker)
    return Segment(id=number, seek=0, start=start, end=end, text=text, words=[word], speaker=speaker)


def pool(name: str, engine: str, *, default: bool = False) -> m.PoolReport:
    made = {"model": "m", "device": "cpu", "compute_type": "int8", "workers": 1, "queued": 0, "status": "ready"}
    return m.PoolReport(name=name, engine=engine, default=default, **made)


POOLS = [pool("default", "faster-whisper", default=True), pool("aligned", "whisperx"), pool("play", "scripted")]


def gives(transcript: Transcript) -> Callable[[Question, bytes], Sequence[Says]]:
    """A daemon that has this result for every job, and streams none of it."""

    def script(question: Question, body: bytes) -> Sequence[Says]:
        match question:
            case m.Submit(job=str(job)) | m.Fetch(job=job) | m.Wait(job=job):
                end = (m.Completed(job=job, run=Run(seat="default/0.1")), msgspec.json.encode(transcript))
                started = [m.Accepted(job=job), m.Progress(job=job, done=2.0, duration=2.0)]
                return [*started, end] if isinstance(question, m.Submit) else [end]
            case m.Stats():
                return [m.StatsReport(jobs=m.JobCount(), workers=m.WorkerCount(), recycles={}, deaths={}, audio_s=0.0)]
            case m.Pools():
                return [m.PoolsReport(pools=POOLS)]
            case m.Release(job=job):
                return [m.Released(job=job)]
            case _:
                return [HEALTHY]

    return script


@pytest.fixture
def place() -> Iterator[Path]:
    """A runtime directory whose path is short enough for sockets, with a file in it."""
    directory = Path(tempfile.mkdtemp(prefix="asrd-"))
    (directory / "talk.wav").write_bytes(b"audio")
    yield directory
    shutil.rmtree(directory)


def run(place: Path, command: str, *arguments: str) -> Result:
    for theme in ("transcribe", "jobs"):
        importlib.import_module(f"asrd.cli.{theme}")
    where = ["--runtime-dir", str(place)]
    return CliRunner().invoke(app, [command, str(place / "talk.wav"), *arguments, *where], env={"COLUMNS": "200"})


def submitted(daemon: FakeDaemon) -> m.Submit:
    (submit,) = [question for question in daemon.asked if isinstance(question, m.Submit)]
    return submit


# --- what is asked for ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({}, None),
        ({"diarize": False}, None),
        ({"diarize": True}, m.Speakers()),
        ({"diarize": "voices"}, m.Speakers(pool="voices")),
        ({"diarize": True, "num_speakers": 2}, m.Speakers(num_speakers=2)),
        ({"diarize": True, "min_speakers": 2, "max_speakers": 2}, m.Speakers(min_speakers=2, max_speakers=2)),
        ({"diarize": True, "speaker_embeddings": True}, m.Speakers(embeddings=True)),
    ],
)
def test_what_shall_be_found_out_about_speakers(asked: dict[str, Any], wanted: m.Speakers | None) -> None:
    assert wish(b"audio", **asked).question.diarize == wanted
    assert wish(b"audio", **asked).question.options == {}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"num_speakers": 2}, "num_speakers is of no use without diarize=True: add it"),
        ({"max_speakers": 2}, "max_speakers is of no use without diarize=True: add it"),
        ({"speaker_embeddings": True}, "speaker_embeddings is of no use without diarize=True: add it"),
        (
            {"diarize": True, "num_speakers": 2, "max_speakers": 3},
            "num_speakers and max_speakers do not go together: leave out one of them",
        ),
        (
            {"diarize": True, "min_speakers": 3, "max_speakers": 2},
            r"min_speakers \(3\) is more than max_speakers \(2\): exchange them",
        ),
        ({"diarize": True, "num_speakers": 0}, "num_speakers is 0: it must be a whole number from 1 to 64"),
        ({"diarize": True, "min_speakers": 65}, "min_speakers is 65: it must be"),
        ({"diarize": True, "max_speakers": 2.5}, r"max_speakers is 2\.5: it must be"),
        ({"diarize": True, "max_speakers": True}, "max_speakers is True: it must be"),
        ({"diarize": "no pool!"}, "'no pool!' is no name of a pool .* diarize=True takes the usual one"),
        ({"diarize": ""}, "'' is no name of a pool"),
        ({"diarize": 1}, "1 is no name of a pool"),
        ({"on_chunk_error": "ignore"}, "on_chunk_error is 'ignore': it must be 'fail' or 'report'"),
        ({"split": "no"}, "split is 'no': it must be True or False$"),
        ({"split": None}, "split is None: it must be True or False$"),
        ({"job": ""}, "job is '': it must be 1 to 64 letters"),
        ({"priority": "urgent"}, "priority is 'urgent': it must be 'high', 'normal' or 'low'$"),
        ({"deadline": 0}, "deadline is 0: it must be seconds from now: more than 0, and a week at most$"),
        ({"deadline": "soon"}, "deadline is 'soon': it must be seconds from now"),
        ({"by_path": 1}, "by_path is 1: it must be True or False$"),
        ({"diarize": True, "speaker_embeddings": "yes"}, "speaker_embeddings is 'yes': it must be True or False$"),
        ({"pool": 5}, "pool is 5: it must be the name of a pool: 1 to 32 "),
        ({"pool": "two words"}, "pool is 'two words': it must be the name of a pool"),
        ({"client": None}, "client is None: it must be a name of at most 64 characters$"),
        ({"client": "x" * 65}, "client is 'x+': it must be a name of at most 64 characters$"),
        ({"retries": 3}, r"retries is 3: it must be asrd\.Retries with 1 to 10 attempts"),
        ({"retries": asrd.Retries(attempts=11)}, r"retries is Retries\(attempts=11.*: it must be asrd\.Retries"),
        ({"timeout": "3"}, "timeout is '3': it must be a number of seconds$"),
        ({"timeout": True}, "timeout is True: it must be a number of seconds$"),
    ],
)
def test_wishes_that_do_not_fit_together_are_refused_before_anything_is_sent(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=f"^{said}"):
        wish(b"audio", **asked)


def test_what_fits_is_not_refused() -> None:
    retries = asrd.Retries(attempts=2, delay=0.5)
    asked = wish(b"audio", pool="p-1_A", client="me", retries=retries, split=False, by_path=True, timeout=3)
    assert (asked.question.pool, asked.question.client, asked.question.retries) == ("p-1_A", "me", retries)
    assert (asked.question.split, asked.by_path, asked.timeout) == (False, True, 3)
    assert wish(b"audio", timeout=np.float32(0.5)).timeout == 0.5


def test_the_limits_here_are_those_of_the_wire() -> None:
    for count, right in ((1, True), (64, True), (0, False), (65, False)):
        here, wire = speakers, lambda **counts: msgspec.convert(counts, m.Speakers)
        for name in ("num_speakers", "min_speakers", "max_speakers"):
            assert _takes(here, diarize=True, **{name: count}) is _takes(wire, **{name: count}) is right
    for name in ("a" * 32, "a" * 33, "a\n", "ä", "-_9"):
        assert _takes(speakers, diarize=name) is _takes(
            lambda pool: msgspec.convert({"pool": pool}, m.Speakers), pool=name
        )


def _takes(build: Callable[..., object], **given: Any) -> bool:
    try:
        build(**given)
    except (OptionError, msgspec.ValidationError):
        return False
    return True


def test_long_audio_may_be_cut_unless_it_is_said_otherwise() -> None:
    plain = wish(b"audio").question
    assert (plain.split, plain.on_chunk_error) == (True, "fail")
    whole = wish(b"audio", split=False, on_chunk_error="report").question
    assert (whole.split, whole.on_chunk_error) == (False, "report")


# --- what comes of it -------------------------------------------------------------------------------------------------


def test_segments_that_come_with_the_result_alone_have_their_speakers(place: Path) -> None:
    with FakeDaemon(place, gives(told(HEARD))) as daemon, asrd.Client(place) as client:
        job = client.submit(b"audio", diarize="voices", num_speakers=2, split=False)
        assert [segment.speaker for segment in job.segments()] == ["SPEAKER_00", "SPEAKER_01"]
        assert job.result().diarization == HEARD
        assert job.progress.fraction == 1.0
        question = submitted(daemon)
        assert (question.diarize, question.split) == (m.Speakers(pool="voices", num_speakers=2), False)
        assert client.enqueue(b"audio", job="later", diarize=True, on_chunk_error="report") == "later"
        last = [one for one in daemon.asked if isinstance(one, m.Submit)][-1]
        assert (last.diarize, last.on_chunk_error, last.reply) == (m.Speakers(), "report", "accepted")


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_asks_for_speakers_and_for_words_and_prints_them_at_the_end(place: Path) -> None:
    with FakeDaemon(place, gives(told(HEARD))) as daemon:
        ran = run(
            place, "transcribe", "--diarize", "--min-speakers", "1", "--max-speakers", "4", "--speaker-embeddings"
        )
        assert (ran.exit_code, ran.stdout) == (0, "[SPEAKER_00]: Are you sure?\n[SPEAKER_01]: Yes.\n")
        assert ran.stderr.endswith("by default/0.1, 2 speakers\n")
        question = submitted(daemon)
        assert question.diarize == m.Speakers(min_speakers=1, max_speakers=4, embeddings=True)
        assert question.options == {"word_timestamps": True}


@pytest.mark.parametrize("command", ["transcribe", "submit"])
def test_both_commands_pass_on_what_was_given(place: Path, command: str) -> None:
    given = [
        "--diarize",
        "--speakers-pool",
        "voices",
        "--num-speakers",
        "2",
        "--no-split",
        "--on-chunk-error",
        "report",
    ]
    with FakeDaemon(place, gives(told(HEARD))) as daemon:
        assert run(place, command, *given, "--pool", "aligned").exit_code == 0
        question = submitted(daemon)
        assert question.diarize == m.Speakers(pool="voices", num_speakers=2)
        assert (question.split, question.on_chunk_error, question.pool) == (False, "report", "aligned")
        assert question.options == {"word_timestamps": True}


@pytest.mark.parametrize("command", ["transcribe", "submit"])
@pytest.mark.parametrize(
    ("given", "options"),
    [
        (["--diarize", "--no-word-timestamps"], {"word_timestamps": False}),
        (["--diarize", "--pool", "play"], {}),
        ([], {}),
    ],
)
def test_words_are_asked_for_where_the_engine_has_them_and_nobody_said_no(
    place: Path, command: str, given: list[str], options: dict[str, Any]
) -> None:
    with FakeDaemon(place, gives(told(HEARD))) as daemon:
        assert run(place, command, *given).exit_code == 0
        assert submitted(daemon).options == options


def test_the_default_pool_counts_where_none_is_named() -> None:
    assert words_for_speakers(POOLS, None) == {"word_timestamps": True}
    assert words_for_speakers(POOLS, "aligned") == {"word_timestamps": True}
    assert words_for_speakers(POOLS, "play") == words_for_speakers([], None) == {}
    assert words_for_speakers([pool("default", "scripted", default=True), *POOLS[1:]], None) == {}


@pytest.mark.parametrize("command", ["transcribe", "submit"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--num-speakers", "2"], "--num-speakers is of no use without --diarize: add it"),
        (["--speakers-pool", "p"], "--speakers-pool is of no use without --diarize: add it"),
        (["--speaker-embeddings"], "--speaker-embeddings is of no use without --diarize: add it"),
        (
            ["--diarize", "--num-speakers", "2", "--min-speakers", "1"],
            "--num-speakers and --min-speakers do not go together: leave out one of them",
        ),
        (
            ["--diarize", "--min-speakers", "3", "--max-speakers", "2"],
            "--min-speakers (3) is more than --max-speakers (2): exchange them",
        ),
        (
            ["--diarize", "--speakers-pool", "a b"],
            "'a b' is no name of a pool that could tell speakers apart; --diarize",
        ),
        (["--set", "diarize=true"], "--set diarize=true: diarize is no option of an engine; use --diarize"),
        (["--set", "split=false"], "--set split=false: split is no option of an engine; use --no-split"),
        (
            ["--set", "num_speakers=2"],
            "--set num_speakers=2: num_speakers is no option of an engine; use --num-speakers",
        ),
    ],
)
def test_the_command_says_in_its_own_words_what_does_not_fit(
    place: Path, command: str, given: list[str], said: str
) -> None:
    ran = run(place, command, *given)
    assert (ran.exit_code, ran.stdout) == (2, "") and ran.stderr.startswith(f"asrd: {said}")


def test_text_is_not_printed_before_its_speakers_are_known(place: Path) -> None:
    """A daemon that streams segments all the same, cut otherwise."""
    whole = Segment(id=0, seek=0, start=0.2, end=2.0, text=" Are you sure? Yes.")
    at_the_end = gives(told(HEARD))

    def hasty(question: Question, body: bytes) -> Sequence[Says]:
        answers = at_the_end(question, body)
        if isinstance(question, m.Submit):
            early = (m.SegmentDecoded(job=str(question.job), index=0), msgspec.json.encode(whole))
            return [answers[0], early, *answers[1:]]
        return answers

    with FakeDaemon(place, hasty):
        assert run(place, "transcribe", "--diarize").stdout == "[SPEAKER_00]: Are you sure?\n[SPEAKER_01]: Yes.\n"
        assert run(place, "transcribe").stdout.startswith("Are you sure? Yes.\n")


def test_a_transcript_without_its_speakers_is_delivered_with_a_warning(place: Path) -> None:
    with FakeDaemon(place, gives(told(FAILED, missing=[LOST]))):
        ran = run(place, "transcribe", "--diarize", "-q")
        assert (ran.exit_code, ran.stdout) == (0, "Are you sure? Yes.\n")
        warning = f"asrd: {place / 'talk.wav'}: warning: "
        assert ran.stderr == (
            f"{warning}speakers could not be told apart: the worker ran out of memory\n"
            f"{warning}0:10:00 to 0:12:05 is missing: it ended two workers\n"
        )
        assert run(place, "transcribe", "--diarize", "-q", "-f", "rttm").stdout == ""
        written = json.loads(run(place, "transcribe", "--diarize", "-f", "json").stdout)
        assert written["diarization"]["status"] == "failed" and written["missing"][0]["code"] == "poison"


def test_turns_are_named_after_the_file(place: Path) -> None:
    with FakeDaemon(place, gives(told(HEARD))):
        first, second = run(place, "transcribe", "--diarize", "-q", "-f", "rttm").stdout.splitlines()
        assert first == "SPEAKER talk 1 0.000 1.600 <NA> <NA> SPEAKER_00 <NA> <NA>"
        assert second == "SPEAKER talk 1 1.500 0.500 <NA> <NA> SPEAKER_01 <NA> <NA>"


def test_turns_that_nobody_asked_for_are_not_missed_in_silence(place: Path) -> None:
    plain = msgspec.structs.replace(told(FAILED), diarization=msgspec.UNSET)
    with FakeDaemon(place, gives(plain)):
        ran = run(place, "transcribe", "-q", "-f", "rttm")
        assert (ran.exit_code, ran.stdout) == (0, "")
        assert ran.stderr == "asrd: warning: rttm has turns only with --diarize\n"
        both = run(place, "transcribe", "-q", "-f", "txt", "-f", "rttm", "-o", str(place / "out"))
        assert both.stderr == ran.stderr
        fetched = CliRunner().invoke(app, ["result", "j", "-f", "rttm", "--runtime-dir", str(place)])
        assert (fetched.exit_code, fetched.stdout) == (0, "")
        assert fetched.stderr == "asrd: j: warning: rttm has turns only with --diarize\n"
        assert run(place, "transcribe", "-q", "-f", "srt").stderr == ""
    with FakeDaemon(place, gives(told(HEARD))):
        assert run(place, "transcribe", "-q", "--diarize", "-f", "rttm").stderr == ""
        assert CliRunner().invoke(app, ["result", "j", "-f", "rttm", "--runtime-dir", str(place)]).stderr == ""


def test_a_result_that_is_fetched_has_the_same_warnings(place: Path) -> None:
    with FakeDaemon(place, gives(told(FAILED))):
        ran = CliRunner().invoke(app, ["result", "j", "--runtime-dir", str(place)])
        assert (ran.exit_code, ran.stdout) == (0, "Are you sure? Yes.\n")
        assert ran.stderr == "asrd: j: warning: speakers could not be told apart: the worker ran out of memory\n"


def test_many_missing_stretches_are_not_told_one_by_one() -> None:
    transcript = told(HEARD, missing=[LOST] * 7, warnings=["the file is truncated"])
    said = list(caveats(transcript))
    assert said[0] == "the file is truncated" and len(said) == 7
    assert said[-1] == "2 more stretches are missing; json tells of all"
    assert list(caveats(told(HEARD, missing=[LOST] * 6)))[-1].startswith("1 more stretch is missing")
    assert list(caveats(told(HEARD))) == []


@pytest.mark.parametrize(
    ("turns", "said"), [(TURNS, ", 2 speakers"), (TURNS[:1], ", 1 speaker"), ([], ", no speakers")]
)
def test_how_many_speakers_there_were_is_told(turns: list[Turn], said: str) -> None:
    run = Run(seat="p/0.1")
    assert summary(Finished("j", told(Diarization(turns=turns)), run)).endswith(f"by p/0.1{said}")
    assert summary(Finished("j", told(FAILED), run)).endswith("by p/0.1")


def test_a_refusal_for_want_of_an_engine_is_what_the_daemon_says(place: Path) -> None:
    said = "no pool can tell speakers apart; `asrd engines install diarize` makes one"

    def without(question: Question, body: bytes) -> Sequence[Says]:
        if isinstance(question, m.Submit):
            return [m.Refused(fault=Fault.of(Code.BAD_OPTION, said))]
        return gives(told(HEARD))(question, body)

    with FakeDaemon(place, without):
        ran = run(place, "transcribe", "--diarize")
        assert ran.exit_code == 1 and said in ran.stderr


def test_only_what_was_given_about_the_job_is_sent() -> None:
    names = ("speakers_pool", "num_speakers", "min_speakers", "max_speakers", "attempts")
    nothing = {**dict.fromkeys(names), "diarize": False, "speaker_embeddings": False, "no_split": False}
    given = {**nothing, "on_chunk_error": OnChunkError.FAIL, "priority": Lane.NORMAL}
    assert wishes(given) == {"priority": "normal"}
    assert wishes({**given, "diarize": True, "no_split": True, "on_chunk_error": OnChunkError.REPORT}) == {
        "priority": "normal",
        "diarize": True,
        "split": False,
        "on_chunk_error": "report",
    }

"""The worker's loop when something is wrong: with what it is to load, with a step, or with what it is told."""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from asrd_protocol import link
from asrd_protocol.exits import Exit
from asrd_protocol.faults import Blame, Code, Fault
from asrd_protocol.messages import Audio, MediaFile, Pcm
from asrd_protocol.model import Transcript
from support.bare_worker import BareWorker, Said, working

ONE: dict[str, Any] = {"do": "speak", "text": " one"}
UNTIL_CANCELLED: list[dict[str, Any]] = [ONE, {"do": "sleep", "s": 0.02}] * 500


@pytest.fixture
def worker() -> Iterator[BareWorker]:
    """A worker that has not been spoken to."""
    with working() as worker:
        yield worker


@pytest.fixture(scope="module")
def whisper() -> Iterator[BareWorker]:
    """A worker with real tiny.en, shared by the tests: whatever they do to it, it has to go on."""
    with working() as worker:
        yield worker.ready("faster-whisper", max_audio_s=5.0, model="tiny.en", threads=1)


def _fault(said: list[Said], code: Code, *, leave: bool = False) -> Fault:
    message, body = said[-1]
    assert isinstance(message, link.StepFailed), message
    assert (message.fault.code, message.leave, body) == (code, leave, b"")
    assert message.fault == Fault.of(code, message.fault.message), "the blame is that of the code"
    return message.fault


def _works(worker: BareWorker, attempt: int) -> None:
    """The process is still good for a step."""
    kinds = [type(message) for message, _ in worker.run(attempt, script=[ONE])]
    assert kinds == [link.StepProgress, link.StepSegment, link.StepDone]


# --- what it is to load -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "settings", "said"),
    [
        ("wisperx", {}, "there is no engine 'wisperx'; did you mean 'whisperx'?"),
        ("scripted", {"start": 1.0}, "unknown engine setting 'start'; did you mean 'start_s'?"),
        ("scripted", {"start_s": "soon"}, "engine setting start_s: expected `float`"),
        ("scripted", {"at_load": [{"do": "fail", "code": "model_unavailable", "message": "gone"}]}, "gone"),
        ("scripted", {"at_warm_up": [{"do": "fail", "code": "model_unavailable", "message": "bad"}]}, "bad"),
    ],
)
def test_what_never_loads_is_named_and_nobody_is_to_try_again(
    worker: BareWorker, engine: str, settings: dict[str, Any], said: str
) -> None:
    answer = worker.load(engine, **settings)

    assert isinstance(answer, link.LoadFailed), answer
    assert answer.fault.code is Code.MODEL_UNAVAILABLE
    assert answer.fault.message.startswith(said)
    assert worker.leaves() == (Exit.CONFIG, [])


@pytest.mark.parametrize("stage", ["at_load", "at_warm_up"])
def test_a_load_that_fails_for_another_reason_may_be_tried_again(worker: BareWorker, stage: str) -> None:
    """Memory that ran out, say: the process just ends, and its log has the traceback."""
    worker.hears()
    worker.say(link.Load("scripted", {stage: [{"do": "fail", "message": "no luck"}]}, 60.0))

    code, said = worker.leaves()
    assert code not in (Exit.OK, Exit.CONFIG)
    assert said == []
    assert "RuntimeError: no luck" in worker.log


def test_a_step_before_the_load_is_refused(worker: BareWorker) -> None:
    worker.hears()
    worker.start(1, script=[ONE])

    answer = worker.hears().message
    assert isinstance(answer, link.LoadFailed)
    assert answer.fault.message == "expected a load, got RunStep"
    assert worker.leaves() == (Exit.CONFIG, [])


@pytest.mark.parametrize("loaded", [False, True], ids=["instead of a load", "instead of a step"])
@pytest.mark.parametrize("frame", [b"", b"\xc1 garbage", b"\x92\xa5Hello\x01"], ids=["empty", "garbage", "our own"])
def test_what_is_no_message_ends_it(worker: BareWorker, frame: bytes, loaded: bool) -> None:
    """Both ends are of one release: who sends this is no supervisor that could be answered."""
    if loaded:
        worker.ready()
    else:
        worker.hears()
    worker.send(frame)

    code, said = worker.leaves()
    assert code not in (Exit.OK, Exit.CONFIG)
    assert said == []
    assert "Error" in worker.log


# --- a step that fails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scirpt": []}, "unknown option 'scirpt'; did you mean 'script'?"),
        ({"seconds": "ten"}, "option seconds: expected `float`"),
    ],
)
def test_a_bad_option_is_named_before_anything_is_done(worker: BareWorker, options: dict[str, Any], said: str) -> None:
    answers = worker.ready().run(1, **options)

    assert len(answers) == 1
    assert _fault(answers, Code.BAD_OPTION).message.startswith(said)
    _works(worker, 2)


def test_an_engine_that_raises_fails_the_step_only(worker: BareWorker) -> None:
    """What was said of it before stays said, and the traceback is in the log."""
    answers = worker.ready().run(1, script=[ONE, {"do": "fail", "message": "no luck"}, ONE])

    assert [type(message) for message, _ in answers] == [link.StepProgress, link.StepSegment, link.StepFailed]
    assert _fault(answers, Code.ENGINE_ERROR).message == "the engine failed: RuntimeError: no luck"
    assert "Traceback" in worker.log
    _works(worker, 2)


@pytest.mark.parametrize("leave", [False, True])
def test_a_fault_of_the_engine_is_passed_on_as_it_is(worker: BareWorker, leave: bool) -> None:
    fail = {"do": "fail", "code": "engine_error", "message": "sticky", "leave": leave}
    answers = worker.ready().run(1, script=[fail])

    assert _fault(answers, Code.ENGINE_ERROR, leave=leave).message == "sticky"
    assert worker.log == "", "it is no surprise"


def test_a_worker_without_memory_asks_to_be_replaced(worker: BareWorker) -> None:
    petabyte = {"do": "leak", "mb": 1e9}
    answers = worker.ready().run(1, script=[petabyte])

    assert _fault(answers, Code.OUT_OF_MEMORY, leave=True).blame is Blame.HOST


# --- a cancel ---------------------------------------------------------------------------------------------------------


def _segment_of(worker: BareWorker, attempt: int) -> None:
    """Wait until the step has said something."""
    while not isinstance(message := worker.hears().message, link.StepSegment):
        assert message == link.StepProgress(attempt, 0.0, 1.0)
    assert message.attempt == attempt


def test_a_step_is_given_up_at_the_next_segment_and_the_next_one_is_done(worker: BareWorker) -> None:
    worker.ready().start(1, script=UNTIL_CANCELLED)
    _segment_of(worker, 1)
    worker.say(link.CancelStep(1))

    answers = worker.ends(1)
    assert _fault(answers, Code.CANCELLED).blame is Blame.CALLER
    assert len(answers) < 400, "of 500 segments"
    _works(worker, 2)


def test_a_cancel_of_another_attempt_is_not_for_this_one(worker: BareWorker) -> None:
    worker.ready().start(5, script=[ONE, {"do": "sleep", "s": 0.05}] * 4)
    _segment_of(worker, 5)
    for stale in (4, 6, 0):
        worker.say(link.CancelStep(stale))

    answers = worker.ends(5)
    assert isinstance(answers[-1].message, link.StepDone)
    assert len(answers) == 4
    _works(worker, 6)


def test_a_cancel_that_crosses_the_answer_is_dropped(worker: BareWorker) -> None:
    worker.ready().run(1, script=[ONE])
    worker.say(link.CancelStep(1))

    _works(worker, 2)


def test_a_step_that_says_no_more_segments_hears_no_cancel(worker: BareWorker) -> None:
    worker.ready().start(1, script=[{"do": "sleep", "s": 0.3}])
    assert isinstance(worker.hears().message, link.StepProgress)
    worker.say(link.CancelStep(1))

    assert isinstance(worker.ends(1)[-1].message, link.StepDone)
    _works(worker, 2)


def test_what_comes_around_a_cancel_is_not_lost(worker: BareWorker) -> None:
    """The look for a cancel takes the next messages in: they are done afterwards, in their order."""
    worker.ready().start(1, script=UNTIL_CANCELLED)
    _segment_of(worker, 1)
    worker.say(link.CancelStep(9))
    worker.start(2, script=[ONE])
    worker.start(3, script=[ONE, ONE])
    worker.say(link.StopWorker())
    worker.say(link.CancelStep(1))

    _fault(worker.ends(1), Code.CANCELLED)
    assert len(worker.ends(2)) == 3
    assert len(worker.ends(3)) == 4
    assert worker.leaves() == (Exit.OK, [])


# --- a step of a real engine ------------------------------------------------------------------------------------------

NOISE = np.random.default_rng(0).normal(0, 1_000, 16_000).astype("<i2").tobytes()
"""One second."""


@pytest.mark.model
@pytest.mark.parametrize(
    ("audio", "body", "code"),
    [
        (Pcm(), b"", Code.NO_AUDIO),
        (Pcm(dtype="int16"), NOISE[:-1], Code.BAD_AUDIO),
        (Pcm(dtype="int16"), NOISE * 6, Code.AUDIO_TOO_LONG),
        (MediaFile(name="talk.wav"), b"these are words, and no media file", Code.NO_AUDIO_STREAM),
    ],
    ids=["empty", "half a sample", "longer than the load allows", "no media"],
)
def test_unusable_audio_is_the_callers_and_the_worker_goes_on(
    whisper: BareWorker, audio: Audio, body: bytes, code: Code
) -> None:
    answers = whisper.run(1, audio=audio, body=body)

    assert len(answers) == 1
    assert _fault(answers, code).blame is Blame.CALLER

    again = whisper.run(2, audio=Pcm(dtype="int16"), body=NOISE, beam_size=1, temperature=0.0, max_new_tokens=1)
    assert isinstance(again[-1].message, link.StepDone)
    assert again[0].message == link.StepProgress(2, 0.0, 1.0)


@pytest.mark.model
def test_what_is_odd_about_the_audio_and_the_options_is_said_together(whisper: BareWorker) -> None:
    loud = np.full(8_000, 1.5, "<f4").tobytes()
    _, body = whisper.run(1, body=loud, language="de", temperature=0.0, beam_size=1, max_new_tokens=1)[-1]

    audio, options = msgspec.json.decode(body, type=Transcript).warnings
    assert "clipped" in audio
    assert "'de' was ignored" in options


@pytest.mark.model
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"beam_sise": 5}, "unknown option 'beam_sise'; did you mean 'beam_size'?"),
        ({"logprob_threshold": "low"}, "option log_prob_threshold: expected `float | null`"),
    ],
    ids=["unknown", "by another name that people know"],
)
def test_options_are_checked_before_the_audio(whisper: BareWorker, options: dict[str, Any], said: str) -> None:
    answers = whisper.run(1, audio=Pcm(), body=b"", **options)

    assert _fault(answers, Code.BAD_OPTION).message.startswith(said)

"""The built-in clip, which a worker transcribes to prove itself: at the start, and whenever it is asked to."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asrd_protocol import link
from asrd_protocol.exits import Exit
from asrd_protocol.faults import Code
from asrd_protocol.messages import MediaFile
from asrd_worker import clip
from asrd_worker.pcm import SAMPLE_RATE
from support.bare_worker import BareWorker, working

ONE: dict[str, Any] = {"do": "speak", "text": " one"}
ORDERED: list[dict[str, Any]] = [{"do": "obey", "order": "canary"}, {"do": "speak", "text": " fine"}]
CLIP = "He might even have been made amiable himself."


@pytest.fixture
def worker() -> Iterator[BareWorker]:
    """A worker that has not been spoken to."""
    with working() as worker:
        yield worker


@pytest.fixture(scope="module")
def whisper() -> Iterator[tuple[BareWorker, link.Ready]]:
    """A worker with real tiny.en, and what it said when it was ready."""
    with working() as worker:
        answer = worker.load("faster-whisper", model="tiny.en", threads=1)
        assert isinstance(answer, link.Ready)
        yield worker, answer


def _ready(worker: BareWorker, **settings: Any) -> link.Ready:
    answer = worker.load(**settings)
    assert isinstance(answer, link.Ready), answer
    return answer


def _proof(worker: BareWorker, attempt: int, runs: int = 1) -> link.CanaryRun:
    answer = worker.canary(attempt, runs)
    assert isinstance(answer, link.CanaryDone), answer
    assert answer.attempt == attempt
    assert answer.rss > 1 << 20
    return answer.run


# --- at the start -----------------------------------------------------------------------------------------------------


def test_a_worker_is_ready_with_a_time_and_a_text(worker: BareWorker) -> None:
    ready = _ready(worker)

    assert ready.canary.text == "canary"
    (took,) = ready.canary.took
    assert 0.002 <= took < 10
    assert ready.rss > 1 << 20


def test_the_run_is_part_of_the_warm_up_and_the_warm_up_no_part_of_the_run(worker: BareWorker) -> None:
    slow = {"do": "sleep", "s": 2}
    ready = _ready(worker, at_warm_up=[slow], canary=[{"do": "sleep", "s": 0.1}, ONE])

    assert 0.1 <= ready.canary.took[0] < 2
    assert ready.warm_up_s >= 2.1


def test_who_never_transcribes_the_clip_is_not_loaded(worker: BareWorker) -> None:
    answer = worker.load(canary=[{"do": "fail", "code": "model_unavailable", "message": "no library"}])

    assert isinstance(answer, link.LoadFailed)
    assert answer.fault.message == "no library"
    assert worker.leaves() == (Exit.CONFIG, [])


@pytest.mark.parametrize("code", [None, "out_of_memory"])
def test_who_does_not_transcribe_it_now_may_be_started_again(worker: BareWorker, code: str | None) -> None:
    worker.hears()
    worker.say(link.Load("scripted", {"canary": [{"do": "fail", "message": "no luck", "code": code}]}, 60.0))

    left, said = worker.leaves()
    assert left not in (Exit.OK, Exit.CONFIG)
    told = [message.fault.message for message in said if isinstance(message, link.LoadFailed)]
    assert len(told) == len(said)
    assert "no luck" in worker.log + "".join(told)


# --- when it is asked to ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runs", [1, 3, 10])
def test_each_run_has_its_own_time(worker: BareWorker, runs: int) -> None:
    worker.ready(canary=[{"do": "sleep", "s": 0.02}, ONE, {"do": "speak", "text": " two"}])
    asked = time.perf_counter()
    proof = _proof(worker, 7, runs)
    elapsed = time.perf_counter() - asked

    assert proof.text == "one two"
    assert len(proof.took) == runs
    assert min(proof.took) >= 0.02
    assert sum(proof.took) <= elapsed


def test_the_text_is_that_of_the_last_run(worker: BareWorker, tmp_path: Path) -> None:
    worker.ready(orders=str(tmp_path), canary=ORDERED)
    (tmp_path / "canary").write_text(json.dumps([{"do": "speak", "text": "odd and"}]))

    assert _proof(worker, 1, 1).text == "odd and fine"
    (tmp_path / "canary").write_text(json.dumps([{"do": "speak", "text": "odd and"}]))
    assert _proof(worker, 2, 2).text == "fine"


@pytest.mark.parametrize(("script", "length"), [([], 0), ([{"do": "speak", "text": "x" * 9_000}], 4_096)])
def test_a_text_may_be_empty_and_is_cut_when_it_never_ends(
    worker: BareWorker, script: list[dict[str, Any]], length: int
) -> None:
    worker.ready(canary=script)

    assert _proof(worker, 1).text == "x" * length


def test_it_takes_its_turn_among_the_steps(worker: BareWorker) -> None:
    worker.ready().start(1, script=[ONE])
    worker.say(link.RunCanary(2, 1))
    worker.start(3, script=[ONE])

    assert len(worker.ends(1)) == 3
    assert isinstance(answer := worker.hears().message, link.CanaryDone)
    assert answer.attempt == 2
    done = worker.ends(3)[-1].message
    assert isinstance(done, link.StepDone)
    assert done.work.segments == 1


def test_a_cancel_that_comes_for_it_is_dropped(worker: BareWorker) -> None:
    worker.ready().say(link.RunCanary(1, 2))
    worker.say(link.CancelStep(1))

    assert isinstance(worker.hears().message, link.CanaryDone)
    assert len(_proof(worker, 2).took) == 1


@pytest.mark.parametrize(
    ("failing", "code"),
    [
        ({"do": "fail", "message": "no luck"}, Code.ENGINE_ERROR),
        ({"do": "fail", "message": "no luck", "code": "engine_error", "leave": False}, Code.ENGINE_ERROR),
        ({"do": "fail", "message": "no luck", "code": "model_unavailable"}, Code.ENGINE_ERROR),
        ({"do": "leak", "mb": 1e9}, Code.OUT_OF_MEMORY),
    ],
    ids=["surprise", "fault", "load error", "memory"],
)
def test_who_fails_it_is_not_to_be_trusted_with_a_job(
    worker: BareWorker, tmp_path: Path, failing: dict[str, Any], code: Code
) -> None:
    worker.ready(orders=str(tmp_path), canary=ORDERED)
    (tmp_path / "canary").write_text(json.dumps([failing]))
    answer = worker.canary(5, 3)

    assert isinstance(answer, link.StepFailed), answer
    assert (answer.attempt, answer.fault.code, answer.leave) == (5, code, True)
    worker.say(link.StopWorker())
    assert worker.leaves() == (Exit.OK, []), "one answer is enough"


# --- real speech ------------------------------------------------------------------------------------------------------


def test_the_clip_is_three_seconds_of_speech() -> None:
    samples = clip.samples()

    assert (samples.dtype, samples.ndim) == (np.float32, 1)
    assert 3 < samples.size / SAMPLE_RATE < 4
    assert 0.1 < float(np.abs(samples).max()) <= 1


@pytest.mark.model
def test_tiny_en_always_hears_the_same(whisper: tuple[BareWorker, link.Ready]) -> None:
    worker, ready = whisper
    proof = _proof(worker, 1, 3)

    assert [ready.canary.text, proof.text, _proof(worker, 2).text] == [CLIP] * 3
    times = [*ready.canary.took, *proof.took]
    assert len(times) == 4
    assert max(times) < 10 * min(times), "the first of them was warm as well"
    assert ready.warm_up_s > ready.canary.took[0] > 0.01


@pytest.mark.model
def test_no_job_sees_a_trace_of_it(whisper: tuple[BareWorker, link.Ready], speech: Path) -> None:
    worker, _ = whisper
    body = (speech / "ss-0880.wav").read_bytes()
    counted = []
    for attempt in (11, 12):
        done = worker.run(attempt, audio=MediaFile(name="a.wav"), body=body, beam_size=1, temperature=0.0)[-1].message
        assert isinstance(done, link.StepDone), done
        work = done.work
        counted.append((work.windows, work.beam_steps, work.attempts, work.segments))
        assert _proof(worker, attempt + 100).text == CLIP, "nor has the clip a trace of the job"

    assert counted[0] == counted[1]
    assert counted[0][0] == 1

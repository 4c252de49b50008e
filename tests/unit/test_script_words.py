"""The scripted engine: the work that it says it did, and how its workers grow slow, mute or fat when told to."""

import gc
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from asrd_protocol.model import Segment
from asrd_worker.engines.base import EngineFault, LoadError, Outline, options_of, settings_of
from asrd_worker.engines.scripted import Scripted
from asrd_worker.memory import rss_bytes
from support.wait import eventually

NAP: dict[str, Any] = {"do": "spin", "s": 0.004}
"""Of the processor's time, which a busy machine does not make any longer."""

ONE: dict[str, Any] = {"do": "speak", "text": " one"}
SLOW = 100.0
SLOW_S = 0.4
"""A nap that takes a hundred times as long."""


def _engine(seat: str = "default/0.1", **settings: Any) -> Scripted:
    engine = Scripted(settings_of(Scripted, settings), seat)
    engine.load()
    engine.warm_up()
    return engine


def _job(engine: Scripted, script: Iterable[dict[str, Any]] = (NAP, ONE)) -> tuple[list[Segment], Outline, float]:
    """Segments, outline and seconds of the processor of a job."""
    options = options_of(Scripted, {"script": list(script)})
    start = time.process_time()
    decoding = engine.transcribe(engine.read(None, b"", 1.0), options)  # type: ignore[arg-type]
    segments = []
    while True:
        try:
            segments.append(next(decoding))
        except StopIteration as end:
            return segments, end.value, time.process_time() - start


def _clip(engine: Scripted) -> float:
    start = time.process_time()
    engine.canary()
    return time.process_time() - start


def _is_slow(seconds: float) -> bool:
    """Many naps, and not one."""
    return seconds >= SLOW_S


def _texts(segments: list[Segment]) -> list[str]:
    return [segment.text for segment in segments]


# --- its work ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "steps"),
    [
        ([], 0),
        ([ONE], 0),
        ([NAP], 4),
        ([NAP, ONE, {"do": "sleep", "s": 0.02}, NAP], 28),
        ([{"do": "sleep", "s": 0.0028}] * 2, 6),
        ([{"do": "later", "s": 0.0, "script": [NAP]}], 0),
    ],
)
def test_the_work_of_a_job_is_its_milliseconds_as_they_are_written(script: list[dict[str, Any]], steps: int) -> None:
    _, outline, _ = _job(_engine(), script)

    work = outline.work
    assert (work.beam_steps, work.sample_steps, work.windows, work.attempts) == (steps, 0, 1, 1)
    assert work.segments == script.count(ONE)


def test_a_slow_worker_does_the_same_work_in_more_time() -> None:
    _, outline, seconds = _job(_engine(slow_factor=SLOW))

    assert _is_slow(seconds)
    assert outline.work.beam_steps == 4


def test_what_a_worker_is_ordered_to_do_is_no_work_of_the_job(tmp_path: Path) -> None:
    (tmp_path / "wait").write_text(json.dumps([{"do": "spin", "s": 0.2}, ONE]))
    segments, outline, seconds = _job(_engine(orders=str(tmp_path)), [{"do": "obey", "order": "wait"}, ONE, NAP])

    assert seconds >= 0.204
    assert outline.work.beam_steps == 4
    assert _texts(segments) == [" one", " one"], "but what it says is heard"


def test_jobs_are_of_the_kind_that_the_pool_is_told() -> None:
    assert _job(_engine())[1].work.kind == ""
    assert _job(_engine(kind="beam5+words"))[1].work.kind == "beam5+words"
    with pytest.raises(LoadError, match="kind"):
        _engine(kind="x" * 65)


# --- the built-in clip ------------------------------------------------------------------------------------------------


def test_the_clip_is_played_as_the_pool_says() -> None:
    assert _engine().canary() == "canary"
    spoken = [ONE, NAP, {"do": "speak", "text": " two "}]
    assert [_engine(canary=spoken).canary() for _ in range(2)] == ["one two"] * 2
    assert _engine(canary=[]).canary() == ""


def test_the_clip_is_no_job() -> None:
    engine = _engine(canary=[NAP], slow_after=2, slow_factor=SLOW)

    assert not any(_is_slow(_clip(engine)) for _ in range(3))
    assert not _is_slow(_job(engine)[2])
    assert _is_slow(_job(engine)[2])


# --- slow -------------------------------------------------------------------------------------------------------------


def test_slow_from_one_job_on_the_clip_too() -> None:
    engine = _engine(slow_after=3, slow_factor=SLOW, canary=[NAP])

    assert [_is_slow(_job(engine)[2]) for _ in range(2)] == [False, False]
    assert not _is_slow(_clip(engine))
    assert [_is_slow(_job(engine)[2]) for _ in range(2)] == [True, True]
    assert _is_slow(_clip(engine))


def test_slow_from_the_start() -> None:
    engine = _engine(slow_factor=SLOW, canary=[NAP])

    assert _is_slow(_clip(engine))
    assert _is_slow(_job(engine)[2])


def test_slower_with_each_job_and_the_clip_as_slow_as_the_last_one() -> None:
    engine = _engine(slow_per_job=SLOW, canary=[NAP])

    assert not _is_slow(_job(engine)[2])
    assert not _is_slow(_clip(engine))
    assert _is_slow(_job(engine)[2])
    assert _is_slow(_clip(engine))


def test_sleeping_is_slower_as_well() -> None:
    before = time.perf_counter()
    _job(_engine(slow_factor=SLOW), [{"do": "sleep", "s": 0.004}])

    assert time.perf_counter() - before >= SLOW_S


def test_one_worker_is_told_to_be_slow(tmp_path: Path) -> None:
    engines = [_engine(f"default/{slot}.1", orders=str(tmp_path), canary=[NAP]) for slot in range(2)]
    script = [{"do": "obey", "order": "slow"}, NAP]
    (tmp_path / "slow").write_text(json.dumps([{"do": "slow", "factor": SLOW}]))

    assert [_is_slow(_job(engine, script)[2]) for engine in engines] == [True, False]
    assert [_is_slow(_clip(engine)) for engine in engines] == [True, False]
    assert [_is_slow(_job(engine)[2]) for engine in engines] == [True, False], "from now on"


def test_being_told_anew_counts_alone_and_comes_on_top_of_the_settings() -> None:
    engine = _engine(slow_factor=SLOW, only_slots=[0])
    _job(engine, [{"do": "slow", "factor": 100.0}, {"do": "slow", "factor": 1 / SLOW}])
    assert not _is_slow(_job(engine)[2])

    other = _engine("default/1.1", slow_factor=SLOW, only_slots=[0])
    _job(other, [{"do": "slow", "factor": SLOW}])
    assert _is_slow(_job(other)[2]), "whoever is told misbehaves"


@pytest.mark.parametrize("factor", [0, -1])
def test_nobody_is_faster_than_time(factor: float) -> None:
    with pytest.raises(EngineFault, match="factor"):
        _job(_engine(), [{"do": "slow", "factor": factor}])
    with pytest.raises(LoadError, match="slow_factor"):
        _engine(slow_factor=factor)


# --- mute -------------------------------------------------------------------------------------------------------------


def test_mute_from_one_job_on_and_fast() -> None:
    engine = _engine(mute_after=2, canary=[NAP, ONE])
    script = [{"do": "spin", "s": 0.3}, ONE]

    segments, outline, seconds = _job(engine, script)
    assert (_texts(segments), outline.work.beam_steps) == ([" one"], 300)
    assert seconds >= 0.3
    assert engine.canary() == "one"

    for _ in range(2):
        segments, outline, seconds = _job(engine, script)
        assert (segments, outline.work.beam_steps, outline.work.segments) == ([], 0, 0)
        assert seconds < 0.3
        assert engine.canary() == ""


# --- who --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seat", "who", "misbehaves"),
    [
        ("default/0.1", {}, True),
        ("default/7.9", {}, True),
        ("default/0.1", {"only_slots": [0]}, True),
        ("default/1.1", {"only_slots": [0]}, False),
        ("a.b-c/2.1", {"only_slots": [1, 2]}, True),
        ("default/0.2", {"generations": 1}, False),
        ("default/0.1", {"generations": 1, "only_slots": [1]}, False),
        ("default/1.1", {"generations": 1, "only_slots": [1]}, True),
        ("default/1.2", {"generations": 1, "only_slots": [1]}, False),
    ],
)
def test_who_misbehaves_does_so_in_every_way(seat: str, who: dict[str, Any], misbehaves: bool) -> None:
    assert _is_slow(_job(_engine(seat, slow_factor=SLOW, **who))[2]) is misbehaves
    assert (_engine(seat, mute_after=1, **who).canary() == "canary") is True, "there was no job yet"
    mute = _engine(seat, mute_after=1, **who)
    assert (_job(mute)[0] == []) is misbehaves
    assert (mute.canary() == "") is misbehaves

    creeping = _engine(seat, slow_per_job=SLOW, **who)
    _job(creeping)
    assert _is_slow(_job(creeping)[2]) is misbehaves

    fat = _engine(seat, leak_mb_per_job=200.0, **who)
    gc.collect()  # what other tests have left is not to go meanwhile
    before = rss_bytes()
    _job(fat)
    assert (rss_bytes() - before > 100 << 20) is misbehaves

    fails = {"at_load": [{"do": "fail", "code": "engine_error", "message": "bad start"}]}
    if misbehaves:
        with pytest.raises(EngineFault, match="bad start"):
            _engine(seat, **fails, **who)
    else:
        assert _engine(seat, **fails, **who).canary() == "canary"


def test_what_is_done_later_is_done_once(tmp_path: Path) -> None:
    engine = _engine(orders=str(tmp_path))
    (tmp_path / "soon").write_text(json.dumps([ONE]))
    segments, _, _ = _job(engine, [{"do": "later", "s": 0.01, "script": [{"do": "obey", "order": "soon"}, ONE]}])

    assert segments == []
    eventually(lambda: not (tmp_path / "soon").exists())

"""Speakers told apart without torch: real weights, real speech."""

import json
import resource
import subprocess
import sys
from collections.abc import Generator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asrd_protocol.faults import Code
from asrd_protocol.messages import Speakers
from asrd_worker.engines.base import EngineFault, LoadError, Voices, options_of, settings_of
from asrd_worker.engines.diarize_lite import DiarizeLite
from asrd_worker.recording import Decoded
from asrd_worker.speakers import voices
from support.speech import RATE, Said, Talk, error_rate, joined, models, read, sample

pytestmark = [pytest.mark.model, pytest.mark.network]


@pytest.fixture(autouse=True)
def pulled(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models directory with the weights."""
    directory = models()
    monkeypatch.setenv("ASRD_MODELS_DIR", str(directory))
    return directory


@pytest.fixture(scope="module")
def talk() -> Talk:
    """Two people on the telephone."""
    return sample()


def engine(**given: Any) -> DiarizeLite:
    """Loaded and warm."""
    made = DiarizeLite(settings_of(DiarizeLite, given), "speakers/0.1")
    made.load()
    made.warm_up()
    return made


@pytest.fixture(scope="module")
def lite() -> DiarizeLite:
    """One for the tests that need nothing special of it."""
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("ASRD_MODELS_DIR", str(models()))
        return engine(threads=2)


def ends(listening: Generator[float, None, Voices]) -> tuple[list[float], Voices]:
    """What it yields, and its result."""
    steps = []
    while True:
        try:
            steps.append(next(listening))
        except StopIteration as end:
            return steps, end.value


def hears(talk: Talk, lite: DiarizeLite, **asked: Any) -> Voices:
    """The result for a recording."""
    options = options_of(DiarizeLite, asked)
    assert isinstance(options, Speakers)
    return ends(lite.diarize(Decoded(talk.samples, talk.duration, []), options))[1]


def said(found: Voices) -> list[Said]:
    return [Said(turn.start, turn.end, turn.speaker) for turn in found.diarization.turns]


def names(found: Voices) -> list[str]:
    """The speakers in the order in which they are first heard."""
    return list(dict.fromkeys(turn.speaker for turn in found.diarization.turns))


def test_two_people_on_the_telephone(talk: Talk, lite: DiarizeLite) -> None:
    found = hears(talk, lite, embeddings=True)
    turns = found.diarization.turns
    vectors = found.diarization.embeddings

    assert error_rate(talk.turns, said(found), talk.duration) < 0.15, "12.8 %; 9.9 % is said at once"
    assert error_rate(talk.turns, said(found), talk.duration, collar=0.5) < 0.03
    assert names(found) == ["SPEAKER_00", "SPEAKER_01"] == list(vectors)
    assert all(0 <= turn.start < turn.end <= talk.duration for turn in turns)
    assert all(one.end <= other.start for one, other in pairwise(turns))
    assert all(
        np.linalg.norm(vector) == pytest.approx(1, abs=1e-5) and len(vector) == 192 for vector in vectors.values()
    )
    assert np.dot(*vectors.values()) < 0.8
    assert (found.work.kind, found.work.audio_s, found.work.segments) == ("diarize-lite", 30.0, len(turns))
    assert 60 < found.work.windows < 120
    json.dumps(vectors)


def test_a_third_voice_between_them(talk: Talk, speech: Path, lite: DiarizeLite) -> None:
    reader = np.concatenate([read(path) for path in sorted(speech.glob("*.wav"))])
    length = reader.size / RATE
    three = joined(talk, Talk(reader, [Said(0.0, length, "reader")]), talk)
    found = hears(three, lite)

    assert error_rate(three.turns, said(found), three.duration) < 0.16
    assert names(found) == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_02"]
    second = {one.speaker for one in said(found) if one.start > talk.duration + length + 1}
    assert second == {"SPEAKER_00", "SPEAKER_01"}, "they are known again"


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"num_speakers": 1}, 1),
        ({"num_speakers": 2}, 2),
        ({"num_speakers": 3}, 3),
        ({"min_speakers": 3}, 3),
        ({"max_speakers": 1}, 1),
        ({"min_speakers": 2, "max_speakers": 2}, 2),
    ],
)
def test_who_knows_how_many_there_are_is_believed(
    talk: Talk, asked: dict[str, int], count: int, lite: DiarizeLite
) -> None:
    assert len(names(hears(talk, lite, **asked))) == count


def test_a_known_number_makes_the_threshold_irrelevant(talk: Talk) -> None:
    for threshold in (0.2, 0.55):
        lite = engine(threads=2, threshold=threshold)
        found = hears(talk, lite, num_speakers=2)
        assert error_rate(talk.turns, said(found), talk.duration) < 0.15
        assert len(names(hears(talk, lite))) != 2


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"min_speakers": 3, "max_speakers": 2},
            "min_speakers is 3 and max_speakers is 2; swap them, or leave one out",
        ),
        (
            {"num_speakers": 3, "max_speakers": 2},
            "num_speakers is 3, which min_speakers and max_speakers rule out; leave those out",
        ),
        (
            {"num_speakers": 3, "min_speakers": 4},
            "num_speakers is 3, which min_speakers and max_speakers rule out; leave those out",
        ),
    ],
)
def test_contradictions_are_refused(talk: Talk, asked: dict[str, int], message: str, lite: DiarizeLite) -> None:
    with pytest.raises(EngineFault) as caught:
        hears(talk, lite, **asked)
    assert (caught.value.fault.code, caught.value.fault.message) == (Code.BAD_OPTION, message)


@pytest.mark.parametrize("seconds", [0.001, 0.02, 1.0, 30.0])
def test_nobody_speaks(seconds: float, lite: DiarizeLite) -> None:
    quiet = np.random.default_rng(0).standard_normal(int(seconds * 16_000)).astype(np.float32) * np.float32(1e-4)
    found = hears(Talk(quiet, []), lite, num_speakers=2, embeddings=True)

    assert (found.diarization.turns, found.diarization.embeddings, found.work.windows) == ([], {}, 0)
    assert found.diarization.status == "ok"


def test_a_few_words(speech: Path, lite: DiarizeLite) -> None:
    words = read(speech / "ss-0880.wav")[:16_000]
    found = hears(Talk(words, []), lite)

    assert names(found) == ["SPEAKER_00"]
    assert found.diarization.embeddings == {}


def test_it_says_how_far_it_is(talk: Talk, lite: DiarizeLite) -> None:
    long = joined(*[talk] * 2)
    steps, found = ends(lite.diarize(Decoded(long.samples, long.duration, []), Speakers()))

    assert steps == sorted(steps)
    assert 0 < steps[0] < steps[-1] <= long.duration
    assert max(later - one for one, later in pairwise(steps)) < 12, "seconds of audio at a time"
    assert found.work.windows > 150


def test_the_clip_always_gives_the_same(lite: DiarizeLite) -> None:

    assert {lite.canary() for _ in range(3)} == {"2 speakers, 2 turns"} == {engine(threads=1).canary()}


def test_an_ear_that_hears_nonsense_is_not_believed(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, lite: DiarizeLite
) -> None:
    monkeypatch.setattr(voices, "centred", lambda features: features * np.float32(np.nan))
    with pytest.raises(EngineFault) as caught:
        hears(talk, lite)
    assert (caught.value.fault.code, caught.value.leave) == (Code.ENGINE_ERROR, True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"treshold": 0.4}, "unknown engine setting 'treshold'"),
        ({"threshold": 2.0}, "threshold"),
        ({"device": "cuda"}, "device"),
        ({"threads": 0}, "threads"),
    ],
)
def test_settings_are_checked(given: dict[str, Any], said: str) -> None:
    with pytest.raises(LoadError, match=said):
        settings_of(DiarizeLite, given)


def test_what_all_pools_may_set_is_no_mistake() -> None:
    settings_of(DiarizeLite, {"compute_type": "int8", "device_index": 0, "offline": True, "model": "diarize"})


def test_torch_is_not_wanted(pulled: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from asrd_worker.engines import find; from asrd_worker.engines.base"
    )
    code += " import settings_of; e = find('diarize-lite'); e = e(settings_of(e, {}), 's'); e.load(); print(e.canary())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)

    assert done.stdout == "2 speakers, 2 turns\n", done.stderr


def test_longer_audio_takes_little_more_memory(talk: Talk, lite: DiarizeLite) -> None:
    hears(talk, lite)
    long = joined(*[talk] * 4)
    before = _most_memory()
    hears(long, lite)

    assert _most_memory() - before < 64 << 20


def _most_memory() -> int:
    """Bytes that the process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_without_weights_it_says_how_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASRD_MODELS_DIR", str(tmp_path))
    with pytest.raises(LoadError, match="`asrd models pull diarize` brings it"):
        engine()


def test_without_onnx_it_says_what_to_install(own_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "asrd_worker.speakers.campplus", raising=False)
    with pytest.raises(
        LoadError, match=r"needs a package that \S+ lacks \(.*onnx.*\); `pip install 'asrd\[speakers\]'`, or onnx there"
    ):
        engine()

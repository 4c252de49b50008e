"""The engine ``diarize`` for real: pyannote.audio in its own interpreter, with weights that need no token."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import heavy
from support.models import REPOSITORY, flip, serving, write_cache

pytestmark = pytest.mark.timeout(600)

_RATE = 16_000


@pytest.fixture(scope="module")
def python() -> str:
    return heavy.interpreter()


@pytest.fixture(scope="module")
def sample(python: str) -> Path:
    """Thirty seconds of two people on the telephone, with who speaks when beside it."""
    return heavy.site(python) / "pyannote" / "audio" / "sample" / "sample.wav"


@pytest.fixture(scope="module")
def environ(python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("heavy")
    return {
        "ASRD_MODELS_DIR": str(heavy.pulled(folder / "models")),
        "ASRD_STATE_DIR": str(folder / "state"),
        "PYTHONPATH": heavy.packages(folder / "packages"),
        "HF_HUB_CACHE": str(folder / "hub"),
    }


def _wav(path: Path, samples: "np.ndarray[Any, np.dtype[np.float64]]") -> str:
    import wave

    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, _RATE, 0, "NONE", ""))
        file.writeframes((samples * 32_000).astype("<i2").tobytes())
    return str(path)


@pytest.fixture(scope="module")
def ran(python: str, sample: Path, environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One worker's life, and one of a worker with other settings."""
    folder = tmp_path_factory.mktemp("audio")
    (folder / "pyannoteai").mkdir()
    (folder / "pyannoteai" / "config.yaml").write_text("pipeline: {name: pyannote.audio.pipelines.pyannoteai.sdk.SDK}")
    rng = np.random.default_rng(1)
    whole = {"path": str(sample), "rttm": str(sample.with_suffix(".rttm")), "options": {"embeddings": True}}
    jobs = [
        whole,
        {"path": str(sample), "stop_after": 3},
        whole,
        {"path": str(sample), "options": {"num_speakers": 1}},
        {"path": str(sample), "options": {"min_speakers": 3, "max_speakers": 2}},
        {"path": _wav(folder / "silence.wav", np.zeros(5 * _RATE))},
        {"path": _wav(folder / "short.wav", rng.uniform(-0.1, 0.1, _RATE // 5))},
    ]
    other = {"segmentation_step": 0.2, "segmentation_batch_size": 8, "embedding_batch_size": 8, "threshold": 1.9}
    (folder / "nvidia").mkdir()
    (folder / "nvidia" / "config.yaml").write_text("pipeline: {name: x, params: {embedding: /nvidia/wespeaker.onnx}}")
    cache = write_cache(folder / "hub", {"config.yaml": b"pipeline: {}"})
    flip(cache / "config.yaml")
    stages = [
        {"settings": {"threads": 2}, "jobs": jobs},
        {"settings": other, "jobs": [whole]},
        {"settings": {"model": "pyannote/speaker-diarization-community-1"}},
        {"settings": {"model": str(folder / "pyannoteai")}},
        {"settings": {"device": "cuda", "device_index": 63}},
        {"settings": {"model": str(folder / "nvidia")}},
        {"settings": {"model": REPOSITORY, "download_root": str(folder / "hub")}},
    ]
    return heavy.drive(python, stages, environ)


@pytest.fixture(scope="module")
def jobs(ran: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ran["stages"][0]["jobs"]
    return found


def test_who_speaks_when(jobs: list[dict[str, Any]], record_property: Callable[[str, float], None]) -> None:
    turns = jobs[0]["found"]["turns"]

    record_property("diarization error rate, no collar, by pyannote.metrics", jobs[0]["der"])
    assert jobs[0]["der"] <= 0.08
    assert [turn["start"] for turn in turns] == sorted(turn["start"] for turn in turns)
    assert all(0 <= turn["start"] < turn["end"] <= jobs[0]["duration"] for turn in turns)
    names = [turn["speaker"] for turn in turns]
    assert list(dict.fromkeys(names)) == ["SPEAKER_00", "SPEAKER_01"]


def test_voices_are_unit_vectors_and_unlike_each_other(jobs: list[dict[str, Any]]) -> None:
    voices = jobs[0]["found"]["embeddings"]

    assert {name: len(vector) for name, vector in voices.items()} == {"SPEAKER_00": 192, "SPEAKER_01": 192}
    assert [np.linalg.norm(vector) for vector in voices.values()] == pytest.approx([1, 1], abs=1e-3)
    assert np.dot(*voices.values()) < 0.5


def test_progress_grows_to_nearly_all_of_the_audio(jobs: list[dict[str, Any]]) -> None:
    seen = jobs[0]["seen"]

    assert seen == sorted(seen)
    assert len(seen) > 5
    assert jobs[0]["duration"] * 0.7 < seen[-1] <= jobs[0]["duration"]
    assert jobs[0]["work"]["audio_s"] == pytest.approx(30.0, abs=0.1)
    assert jobs[0]["work"]["windows"] == 3


def test_a_cancelled_job_leaves_no_trace(jobs: list[dict[str, Any]]) -> None:
    assert len(jobs[1]["seen"]) == 3
    assert jobs[1]["took"] < max(jobs[0]["took"], jobs[2]["took"])
    assert jobs[2]["found"] == jobs[0]["found"]


def test_a_number_of_speakers_is_kept_to(jobs: list[dict[str, Any]]) -> None:
    assert {turn["speaker"] for turn in jobs[3]["found"]["turns"]} == {"SPEAKER_00"}
    assert jobs[3]["found"].get("embeddings", {}) == {}
    assert jobs[4]["fault"]["code"] == "bad_option"


def test_silence_and_a_blink_are_no_trouble(jobs: list[dict[str, Any]]) -> None:
    assert jobs[5]["found"].get("turns", []) == []
    assert "found" in jobs[6]


def test_the_built_in_clip_is_always_the_same(ran: dict[str, Any]) -> None:
    assert ran["stages"][0]["canaries"] == ["SPEAKER_00 speaks 3 s"] * 2


def test_settings_reach_the_pipeline(ran: dict[str, Any], jobs: list[dict[str, Any]]) -> None:
    """Voices that are almost opposite are one with such a threshold; twice the step in batches says less."""
    job = ran["stages"][1]["jobs"][0]

    assert job["der"] > 0.3
    assert list(job["found"].get("embeddings", {})) in ([], ["SPEAKER_00"])
    assert len(job["seen"]) < len(jobs[0]["seen"])


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        pytest.param(2, "is not in the cache of the hub's client", id="hub-offline"),
        pytest.param(3, "is pyannoteAI's service", id="cloud-in-disguise"),
        pytest.param(4, "cannot load diarize on cuda", id="no-such-gpu"),
        pytest.param(5, "misreads /nvidia/wespeaker.onnx", id="misleading-path"),
        pytest.param(6, "config.yaml is damaged (its checksum is not the one in the hub's cache)", id="damaged-cache"),
    ],
)
def test_what_cannot_be_loaded_says_why(ran: dict[str, Any], stage: int, said: str) -> None:
    assert said in ran["stages"][stage]["load_error"]


def test_nobody_is_told_and_nothing_is_said(ran: dict[str, Any]) -> None:
    assert ran["contacted"] == []
    assert [line for line in ran["noise"] if line] == []
    assert "Warning" not in ran["stderr"]


def test_nothing_of_the_daemon_is_needed(ran: dict[str, Any]) -> None:
    assert ran["packages"] == ["asrd_protocol", "asrd_worker"]


def test_a_pipeline_of_the_hub_takes_a_token(
    python: str, environ: dict[str, str], sample: Path, tmp_path: Path
) -> None:
    files = _pipeline(Path(environ["ASRD_MODELS_DIR"]), tmp_path)
    settings = {"model": REPOSITORY, "offline": False}
    with serving(files) as hub:
        hub.gated = True
        stages = [
            {"settings": settings},
            {"settings": settings, "environ": {"HF_TOKEN": "hf_of_a_test"}, "jobs": [{"path": str(sample)}]},
        ]
        ran = heavy.drive(python, stages, {**environ, **hub.environ})

    refused, loaded = ran["stages"]
    assert "there is no HF_TOKEN in the pool's env; accept its terms" in refused["load_error"]
    assert len(loaded["jobs"][0]["found"]["turns"]) > 3
    assert "Bearer hf_of_a_test" in hub.tokens
    assert ran["contacted"] == ["127.0.0.1"]


def _pipeline(models: Path, folder: Path) -> dict[str, bytes]:
    """The files of a repository with a whole pipeline, by their last names; the embedding is in the folder."""
    import io

    def saved(**arrays: "np.ndarray[Any, Any]") -> bytes:
        out = io.BytesIO()
        np.savez(out, **arrays)  # type: ignore[arg-type]
        return out.getvalue()

    embedding = folder / "wespeaker-campplus.onnx"
    embedding.symlink_to(next((models / ".derived").rglob(embedding.name)).absolute())
    config = {
        "pipeline": {
            "name": "pyannote.audio.pipelines.SpeakerDiarization",
            "params": {
                "segmentation": "$model/segmentation",
                "embedding": str(embedding),
                "plda": "$model/plda",
                "clustering": "AgglomerativeClustering",
            },
        },
        "params": {
            "clustering": {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7046},
            "segmentation": {"min_duration_off": 0.0},
        },
    }
    return {
        "config.yaml": json.dumps(config).encode(),
        "pytorch_model.bin": (models / "diarize" / "segmentation" / "pytorch_model.bin").read_bytes(),
        "xvec_transform.npz": saved(mean1=np.zeros(192), mean2=np.zeros(128), lda=np.eye(192, 128)),
        "plda.npz": saved(mu=np.zeros(128), tr=np.eye(128), psi=np.ones(128)),
    }

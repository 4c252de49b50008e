"""What the model of a ``diarize`` pool may name, how a pipeline is put together, and how speakers get their names."""

from pathlib import Path

import numpy as np
import pytest

from asrd_protocol.model import Diarization, Turn
from asrd_worker.engines.base import LoadError, settings_of
from asrd_worker.engines.diarize import Pyannote
from asrd_worker.speakers import pipeline
from asrd_worker.speakers.found import Found, Spoken, diarization
from asrd_worker.speakers.pipeline import Cloud, Folder, Hub, Weights, assembled, source


def _weights(folder: Path) -> Path:
    (folder / "segmentation").mkdir(parents=True)
    (folder / "segmentation" / "pytorch_model.bin").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize(
    ("model", "meant"),
    [
        ("pyannoteai:precision-2", Cloud("precision-2")),
        ("pyannote/speaker-diarization-precision-2", Cloud("precision-2")),
        ("pyannoteAI/speaker-diarization-precision", Cloud("precision")),
        ("pyannote/speaker-diarization-community-1-cloud", Cloud("community-1")),
        ("pyannote/speaker-diarization-community-1", Hub("pyannote/speaker-diarization-community-1")),
    ],
)
def test_names(model: str, meant: pipeline.Source) -> None:
    assert source(model) == meant


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.yaml").write_text("pipeline: {}")
    monkeypatch.setenv("ASRD_MODELS_DIR", str(tmp_path))

    assert source(str(mine)) == Folder(mine)
    assert source(str(_weights(tmp_path / "diarize"))) == Weights(tmp_path / "diarize")
    assert source("diarize") == Weights(tmp_path / "diarize")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("diarize", "`asrd models pull diarize` brings it"),
        ("/no/such/folder", "there is no pipeline folder /no/such/folder"),
        ("tiny.en", "there is no pipeline 'tiny.en'; a model is 'diarize'"),
        ("pyannoteai:", "lacks the name of a model"),
    ],
)
def test_what_means_nothing(model: str, said: str) -> None:
    with pytest.raises(LoadError, match=said):
        source(model)


def test_a_folder_with_neither_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"lacks config\.yaml, and as weights segmentation/pytorch_model\.bin"):
        source(str(tmp_path))


@pytest.mark.parametrize("word", ["tmp", "NVIDIA-drivers", "pyannote"])
def test_the_folder_for_loading_does_not_mislead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """Wherever temporary files go, and whatever the models directory is called."""
    onnx = tmp_path / "speechbrain" / "wespeaker-campplus.onnx"
    onnx.parent.mkdir()
    onnx.write_bytes(b"network")
    monkeypatch.setattr(pipeline, "embedding_model", lambda _: onnx)
    (tmp_path / word).mkdir()
    monkeypatch.setattr(pipeline.tempfile, "tempdir", str(tmp_path / word).replace("pyannote", "pyannote"))
    with assembled(_weights(tmp_path / "nvidia")) as folder:
        path = str(folder / "wespeaker-campplus.onnx")
        assert not [bad for bad in ("pyannote", "speechbrain", "nvidia") if bad in path.lower()]
        assert f'embedding: "{path}"' in (folder / "config.yaml").read_text()
        assert Path(path).read_bytes() == b"network"
        assert (folder / "segmentation" / "pytorch_model.bin").read_bytes() == b"weights"
        plda = np.load(folder / "plda" / "xvec_transform.npz")
        assert (plda["mean1"].shape, plda["lda"].shape) == ((192,), (192, 128))

    assert not folder.exists()


def test_speakers_are_named_as_they_are_heard_and_turns_kept_within_the_audio() -> None:
    voices = {"B": np.array([3.0, 4.0]), "A": np.array([0.0, -2.0]), "C": np.zeros(2), "D": np.array([np.nan, 1])}
    spoken = [
        Spoken(4.0, 9.0, "A"),
        Spoken(-0.2, 5.0004, "B"),
        Spoken(5.0, 5.0001, "A"),
        Spoken(6.0, 7.0, "C"),
        Spoken(7.0, 8.0, "D"),
        Spoken(9.0, 9.5, "E"),
    ]
    found = diarization(Found(spoken, voices), 8.0, embeddings=True)

    assert found == Diarization(
        turns=[
            Turn(start=0.0, end=5.0, speaker="SPEAKER_00"),
            Turn(start=4.0, end=8.0, speaker="SPEAKER_01"),
            Turn(start=6.0, end=7.0, speaker="SPEAKER_02"),
            Turn(start=7.0, end=8.0, speaker="SPEAKER_03"),
        ],
        embeddings={"SPEAKER_00": [0.6, 0.8], "SPEAKER_01": [0.0, -1.0]},
    )
    assert diarization(Found(spoken, voices), 8.0, embeddings=False).embeddings == {}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"treshold": 0.5}, "did you mean"),
        ({"segmentation_step": 0.0}, "segmentation_step"),
        ({"embedding_batch_size": 0}, "embedding_batch_size"),
    ],
)
def test_wrong_settings_are_refused_by_name(setting: dict[str, object], said: str) -> None:
    with pytest.raises(LoadError, match=said):
        settings_of(Pyannote, setting)

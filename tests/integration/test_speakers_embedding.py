"""The network of voices: converted without torch, kept, and mended."""

from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from asrd_worker.engines.base import LoadError
from asrd_worker.models import weights
from asrd_worker.speakers import embedding
from asrd_worker.speakers.embedding import NAME, WEIGHTS, embedding_model
from asrd_worker.speakers.voices import Ear
from support.speech import models

pytestmark = [pytest.mark.model, pytest.mark.network]

TORCH = {
    2: ([-1.3342, 1.1247, 0.9193, 0.6521, -0.5983], 225.448),
    98: ([-0.654, -0.6833, 0.4908, -1.2564, -0.6117], 112.151),
    201: ([-0.7801, -0.5833, 0.4849, -1.1129, -0.6118], 102.011),
    450: ([-0.8387, -0.5608, 0.4353, -1.0849, -0.5299], 103.802),
}
"""What the original network says in torch to :func:`pattern`, by its frames: five numbers, and the sum of all sizes."""


@pytest.fixture(autouse=True)
def pulled(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models directory with the weights."""
    directory = models()
    monkeypatch.setenv("ASRD_MODELS_DIR", str(directory))
    return directory


def pattern(frames: int) -> np.ndarray:
    """Features that are not noise, of shape (1, frames, 80)."""
    row, column = np.arange(frames)[:, None], np.arange(80)[None]
    return (3 * np.sin(row * 0.37 + column * 0.11 * (1 + row % 5))).astype(np.float32)[None]


@pytest.mark.parametrize("frames", TORCH)
def test_the_graph_says_what_torch_says(frames: int) -> None:
    ear = Ear(embedding_model(weights("diarize")), 1)
    first, total = TORCH[frames]
    features = np.concatenate([pattern(frames), 2 * pattern(frames)])
    (found,) = ear._session.run(None, {"feats": features})

    assert found.shape == (2, 192)
    assert found[0, :5].tolist() == pytest.approx(first, abs=2e-4)
    assert float(np.abs(found[0]).sum()) == pytest.approx(total, abs=2e-2)


def test_it_is_converted_once(own_models: Path) -> None:
    made = embedding_model(weights("diarize"))
    before = made.stat()

    assert made.name == NAME
    assert made.parent.parent == own_models / ".derived"
    assert embedding_model(weights("diarize")) == made
    assert (made.stat().st_ino, made.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert sorted(path.name for path in made.parent.iterdir()) == [NAME.replace("onnx", "json"), NAME]
    assert made.stat().st_mode & 0o444 == 0o444, "for whoever runs the daemon"


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "record"])
def test_a_damaged_one_is_made_anew(own_models: Path, harm: str) -> None:
    made = embedding_model(weights("diarize"))
    good = made.read_bytes()
    match harm:
        case "flip":
            made.write_bytes(good[:5000] + bytes([good[5000] ^ 1]) + good[5001:])
        case "cut":
            made.write_bytes(good[:-1])
        case "remove":
            made.unlink()
        case "record":
            made.with_suffix(".json").write_text("{}")

    assert embedding_model(weights("diarize")).read_bytes() == good


def _convert(directory: Path) -> bytes:
    return embedding_model(directory).read_bytes()


def test_workers_that_start_at_once_do_not_disturb_each_other(own_models: Path) -> None:
    with get_context("spawn").Pool(4) as pool:
        found = pool.map(_convert, [weights("diarize")] * 8)

    assert len(set(found)) == 1
    assert len(list((own_models / ".derived").rglob("*.onnx"))) == 1


def test_where_models_cannot_be_written_it_is_kept_with_the_state(
    own_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_models / ".derived").write_text("in the way, for root too")
    monkeypatch.setenv("ASRD_STATE_DIR", str(tmp_path / "state"))
    made = embedding_model(weights("diarize"))

    assert made.parent.parent == tmp_path / "state" / "derived"
    assert f"no converted model is kept in {own_models / '.derived'} (" in capsys.readouterr().err
    assert embedding_model(weights("diarize")) == made
    assert capsys.readouterr().err == ""


def test_and_where_that_cannot_be_either_in_a_private_folder(
    own_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_models / ".derived").write_text("in the way")
    (tmp_path / "state").write_text("in the way")
    monkeypatch.setenv("ASRD_STATE_DIR", str(tmp_path / "state"))
    made = embedding_model(weights("diarize"))
    private = made.parent.parent

    assert private.parent == tmp_path
    assert private.stat().st_mode & 0o777 == 0o700
    private.chmod(0o777)
    with pytest.raises(LoadError, match="cannot convert"):
        embedding_model(weights("diarize"))


def test_a_model_that_root_has_converted_serves_everybody(own_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = embedding_model(weights("diarize"))

    def never(*_: object) -> None:
        raise AssertionError("it is there")

    monkeypatch.setattr(embedding, "_written", never)
    monkeypatch.setattr(embedding, "_converted", never)
    assert embedding_model(weights("diarize")) == made


def test_other_weights_are_refused(tmp_path: Path, pulled: Path, own_models: Path) -> None:
    (tmp_path / WEIGHTS).parent.mkdir(parents=True)
    other = pulled / "diarize" / "segmentation" / "pytorch_model.bin"
    (tmp_path / WEIGHTS).write_bytes(other.read_bytes())
    with pytest.raises(LoadError, match="is refused: it wants to call "):
        embedding_model(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(LoadError, match="is missing; `asrd models pull diarize` brings it"):
        embedding_model(tmp_path)

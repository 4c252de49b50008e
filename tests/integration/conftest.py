"""What tests of several engines need."""

from pathlib import Path

import pytest


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pulled: Path) -> Path:
    """A models directory where nothing is converted, with the same weights."""
    own = tmp_path / "models"
    own.mkdir()
    (own / "diarize").symlink_to(pulled / "diarize")
    monkeypatch.setenv("ASRD_MODELS_DIR", str(own))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return own

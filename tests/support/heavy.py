"""Engines on torch, in an interpreter of their own: where it is, and how one of them is driven without a daemon."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

INTERPRETER = "ASRD_TEST_ENGINES_PYTHON"
"""Names the interpreter of an environment with whisperX and pyannote.audio."""

MODELS = "ASRD_TEST_MODELS_DIR"
"""Names a models directory with what the tests would else have to pull."""

_ROOT = Path(__file__).parents[2]
_DRIVER = Path(__file__).with_name("drive_diarize.py")

_ALIGNER = """
import json, sys, torch
from pathlib import Path
from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC
from transformers import Wav2Vec2Processor
out = Path(sys.argv[1])
out.mkdir()
marks = ["<pad>", "<s>", "</s>", "<unk>", "|"]
letters = {letter: at for at, letter in enumerate([*marks, *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"])}
(out / "vocab.json").write_text(json.dumps(letters))
tokenizer = Wav2Vec2CTCTokenizer(str(out / "vocab.json"))
Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(out)
torch.manual_seed(0)
config = Wav2Vec2Config(
    vocab_size=len(letters), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
    conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, pad_token_id=0,
)
Wav2Vec2ForCTC(config).save_pretrained(out)
"""
"""Makes an alignment model that knows nothing: what it says is in order, and that is all that is asked of it here."""


def interpreter() -> str:
    """The interpreter; the test is skipped where there is none."""
    named = os.environ.get(INTERPRETER, "")
    if not named:
        pytest.skip(f"{INTERPRETER} names no environment with the heavy engines")
    if not Path(named).is_file():
        pytest.fail(f"{INTERPRETER}: there is no {named}")
    return named


def packages(folder: Path) -> str:
    """A PYTHONPATH with what a worker needs of ours, and nothing else of this environment."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("asrd_protocol", "protocol"), ("asrd_worker", "worker")):
        if not (folder / name).exists():
            (folder / name).symlink_to(_ROOT / part / name)
    return str(folder)


def site(python: str) -> Path:
    """Where the packages of an interpreter are."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())


def aligner(python: str, folder: Path) -> Path:
    """A new folder with an alignment model for whisperX."""
    subprocess.run([python, "-c", _ALIGNER, str(folder)], check=True, capture_output=True, timeout=120)
    return folder


def pulled(folder: Path) -> Path:
    """A models directory with the weights ``diarize``, and the embedding made of them."""
    models = Path(os.environ.get(MODELS, "") or folder)
    if not (models / "diarize").is_dir():
        done = _ours("asrd_worker.models", "pull", "diarize", ASRD_MODELS_DIR=str(models))
        if done.returncode:
            pytest.fail(f"{MODELS} names no weights 'diarize', nor can they be pulled: {done.stderr.strip()[-300:]}")
    code = (
        "from asrd_worker.models.resolve import weights; from asrd_worker.speakers.embedding import embedding_model; "
        "embedding_model(weights('diarize'))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env={**os.environ, "ASRD_MODELS_DIR": str(models)}, check=False
    )
    assert done.returncode == 0, "the embedding cannot be made of the weights"
    return models


def _ours(module: str, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-P", "-m", module, *arguments]
    return subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=300, check=False
    )


def drive(python: str, stages: list[dict[str, Any]], environ: Mapping[str, str]) -> dict[str, Any]:
    """Load the engine ``diarize`` once for each stage, and do its jobs; see the driver for what both are."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYANNOTE", "HF_", "PYTHON"))
    }
    done = subprocess.run(
        [python, "-P", str(_DRIVER), json.dumps(stages)],
        env={**inherited, **environ},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *noise, answer = done.stdout.splitlines()
    return {**json.loads(answer), "noise": noise, "stderr": done.stderr}

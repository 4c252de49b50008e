"""Where models are: the models directory, and the cache of the hub's client. Workers and the command share the rule."""

import os
from collections.abc import Mapping
from pathlib import Path

from asrd_protocol.addresses import state_dir

LOCK = "asrd.lock.json"
"""The name of the lock in the directory of a model."""


def models_dir(environ: Mapping[str, str] | None = None) -> Path:
    """``$ASRD_MODELS_DIR``, else ``models`` in the state directory; it need not exist."""
    env = os.environ if environ is None else environ
    given = env.get("ASRD_MODELS_DIR")
    return Path(given) if given else state_dir(environ) / "models"


def seals_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where it is remembered which files have been verified."""
    return state_dir(environ) / "verified"


def hub_cache(environ: Mapping[str, str] | None = None) -> Path:
    """Where the hub's client keeps what it has downloaded, by its own rule; asking the client takes 0.3 s."""
    env = os.environ if environ is None else environ
    if given := env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE"):
        return Path(given)
    if given := env.get("HF_HOME"):
        return Path(given) / "hub"
    home = env.get("XDG_CACHE_HOME") or str(Path(env.get("HOME") or "/") / ".cache")
    return Path(home) / "huggingface" / "hub"


def folder_name(name: str) -> str:
    """The directory of a model in the models directory: ``org/model`` becomes ``org--model``, as in the hub's cache."""
    return name.replace("/", "--")

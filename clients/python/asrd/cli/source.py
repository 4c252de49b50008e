"""What the words on the command line name: files, pipes and standard input."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from asrd.audio import Sound, load
from asrd.cli.verdict import UsageError
from asrd.errors import AudioError


class Source(msgspec.Struct, frozen=True):
    """One piece of audio to be transcribed."""

    name: str
    """As it was given, for messages."""
    stem: str
    """Names the output files."""
    audio: Path | Sound | AudioError


def sources(files: Sequence[str]) -> list[Source]:
    """One for each word. Pipes are read here and now, where Ctrl-C can stop it; files when their turn comes.

    Raises:
        UsageError: when standard input is named twice.
    """
    if files.count("-") > 1:
        raise UsageError("standard input can be read only once")
    return [_source(word) for word in files]


def _source(word: str) -> Source:
    if word == "-":
        return Source("standard input", "stdin", _read_pipe(word))
    path = Path(word)
    return Source(word, path.stem, _read_pipe(word) if path.is_fifo() else path)


def _read_pipe(word: str) -> Sound | AudioError:
    try:
        sound = load(sys.stdin.buffer if word == "-" else word)
    except AudioError as error:
        return error
    return msgspec.structs.replace(sound, name="standard input") if word == "-" else sound


def check_stems(given: Sequence[Source], directory: Path) -> None:
    """No result may overwrite another one.

    Raises:
        UsageError: naming the two sources.
    """
    for first, second in _same_stem(given):
        raise UsageError(f"{first.name} and {second.name} would both be written to {directory / first.stem}.*")


def _same_stem(given: Sequence[Source]) -> Iterator[tuple[Source, Source]]:
    seen: dict[str, Source] = {}
    for source in given:
        if source.stem in seen:
            yield seen[source.stem], source
        seen[source.stem] = source

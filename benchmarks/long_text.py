"""Two texts of one recording: how many words differ, where, and how far from the places where it was cut."""

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise

import jiwer
import msgspec

from asrd_protocol.model import Transcript
from figures import Table
from long_reference import Heard, Recorded

LISTED = 12
NEAR_S = 5.0
"""How far from a cut a word may be to count as near it."""
WORDS = jiwer.Compose([jiwer.ToLowerCase(), jiwer.SubstituteRegexes({r"\bmr\b": "mister"}), jiwer.RemovePunctuation()])


def plain(text: str) -> str:
    """A text as it is compared."""
    return str(WORDS(text.replace("-", " ")))


def wer(expected: str, heard: str) -> float:
    """The share of words that are wrong, missing or too many."""
    return float(jiwer.wer(plain(expected), plain(heard)))


class Words(msgspec.Struct, frozen=True):
    """The words of a transcript, made comparable, each with its place in seconds as far as its segment tells."""

    said: list[str]
    at: list[float]


class Difference(msgspec.Struct, frozen=True):
    """One place where two texts differ."""

    at: float
    """Seconds."""
    from_cut: float
    """Seconds to the nearest cut."""
    expected: str
    heard: str
    words: int
    """How many are wrong, missing or too many."""

    @property
    def near(self) -> bool:
        """Whether it is at a cut."""
        return self.from_cut <= NEAR_S


def cuts_of(recorded: Recorded, chunk_s: float, ways: int) -> list[float]:
    """Where a worker cuts a recording, in seconds: found by the same code, which gives the same."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # the voice activity detector is loaded here
    from asrd_worker.cuts import cut
    from asrd_worker.recording import Recording

    with recorded.samples.open("rb") as file:
        parts = cut(Recording(file.fileno()), chunk_s, ways)
    return [before[1] for before, _ in pairwise(parts)]


def words_of(transcript: Transcript) -> Words:
    """In a segment words are taken to be spoken one after the other at one pace."""
    words = Words([], [])
    for segment in transcript.segments:
        said = plain(segment.text).split()
        pace = (segment.end - segment.start) / max(1, len(said))
        words.said.extend(said)
        words.at.extend(segment.start + (number + 0.5) * pace for number in range(len(said)))
    return words


def differences(expected: Words, heard: Words, cuts: Sequence[float]) -> list[Difference]:
    """The places where two texts differ, in their order; neighbouring words are one place."""
    aligned = jiwer.process_words(" ".join(expected.said), " ".join(heard.said)).alignments[0]
    found: list[Difference] = []
    joined = False
    for one in aligned:
        if one.type == "equal":
            joined = False
            continue
        missed = slice(one.ref_start_idx, one.ref_end_idx)
        extra = slice(one.hyp_start_idx, one.hyp_end_idx)
        at = expected.at[missed][0] if expected.at[missed] else heard.at[extra][0]
        difference = Difference(
            at=at,
            from_cut=min((abs(at - cut) for cut in cuts), default=float("inf")),
            expected=" ".join(expected.said[missed]),
            heard=" ".join(heard.said[extra]),
            words=max(missed.stop - missed.start, extra.stop - extra.start),
        )
        if joined:
            difference = _both(found.pop(), difference)
        found.append(difference)
        joined = True
    return found


def _both(one: Difference, other: Difference) -> Difference:
    return Difference(
        at=one.at,
        from_cut=min(one.from_cut, other.from_cut),
        expected=f"{one.expected} {other.expected}".strip(),
        heard=f"{one.heard} {other.heard}".strip(),
        words=one.words + other.words,
    )


def text_tables(
    recorded: Recorded, heard: Mapping[str, Heard], sequential: str, cut: Mapping[str, int], chunk_s: float
) -> list[Table]:
    """The texts against what was read and against ``sequential``, if that is there; and where they differ from it.

    ``cut`` says for how many workers each way cuts; the others do not.

    Raises:
        RuntimeError: a way has not as many chunks as there are between the cuts that were found.
    """
    rows, places = [], []
    expected = heard[sequential].transcript if sequential in heard else None
    for way, one in heard.items():
        cuts = cuts_of(recorded, chunk_s, cut[way]) if way in cut else []
        if way in cut and len(cuts) + 1 != one.chunks:
            raise RuntimeError(f"{recorded.name}, {way}: {one.chunks} chunks, and {len(cuts)} cuts were found")
        found = differences(words_of(expected), words_of(one.transcript), cuts) if expected else []
        rows.append(_row(recorded, way, one, expected, found))
        places += [[way, f"{d.at:.1f}", f"{d.from_cut:.1f}", d.expected, d.heard] for d in found]
    columns = ["way", "chunks", "words", "differ", f"of them within {NEAR_S:g} s of a cut"]
    columns += [f"WER to `{sequential}`", "WER to what was read"]
    note = f"{len(plain(recorded.truth).split())} words were read."
    tables = [Table(title=f"Words of {recorded.name}", columns=columns, rows=rows, note=note)]
    if places:
        title = f"Where the texts of {recorded.name} differ: {min(LISTED, len(places))} of {len(places)} places"
        heads = ["way", "at s", "s to the nearest cut", f"`{sequential}`", "heard"]
        tables.append(Table(title=title, columns=heads, rows=places[:LISTED]))
    return tables


def _row(recorded: Recorded, way: str, one: Heard, expected: Transcript | None, found: list[Difference]) -> list[str]:
    """One row of the table of words."""
    text = one.transcript.text
    cells = [way, str(one.chunks), str(len(plain(text).split()))]
    if expected is None:
        cells += ["-", "-", "-"]
    else:
        near = sum(d.words for d in found if d.near)
        cells += [str(sum(d.words for d in found)), str(near) if one.chunks > 1 else "-"]
        cells.append(f"{wer(expected.text, text):.4f}")
    return [*cells, f"{wer(recorded.truth, text):.4f}"]

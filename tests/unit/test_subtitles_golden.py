"""What whisper does not write: four formats, the layout made for reading, and speakers, as files that people have read.

Run as a script, it writes the expected files anew.
"""

import io
from pathlib import Path

import msgspec
import pytest

from asrd.subtitles import FORMATS, WHISPER_FORMATS, AnyLayout, Layout, WhisperLayout, cues, render
from asrd_protocol.model import Segment, Transcript, Word

DATA = Path(__file__).parents[1] / "data" / "formats"
OWN = DATA / "own"
INPUTS = {path.stem: path for folder in (DATA, OWN) for path in sorted((folder / "inputs").glob("*.json"))}
NEW_FORMATS = tuple(fmt for fmt in FORMATS if fmt not in WHISPER_FORMATS)

LAYOUTS: dict[str, AnyLayout] = {
    "whisper": WhisperLayout(),
    "whisper lines": WhisperLayout(max_line_width=24, max_line_count=2),
    "whisper highlight": WhisperLayout(highlight_words=True, speaker_labels="changes"),
    "broadcast": Layout(),
    "broadcast highlight": Layout(highlight_words=True),
    "broadcast narrow": Layout(max_line_width=16, max_line_count=3, speaker_labels="changes"),
}
ASKED = (
    *((fmt, "whisper") for fmt in FORMATS),
    ("srt", "whisper lines"),
    ("srt", "whisper highlight"),
    ("srt", "broadcast"),
    ("srt", "broadcast narrow"),
    ("vtt", "broadcast highlight"),
    ("lrc", "broadcast highlight"),
    ("ass", "broadcast highlight"),
)
"""What is written of each input; what only repeats whisper's own golden files is left out."""


class SpokenWord(Word, frozen=True, kw_only=True):
    """A word that tells its speaker."""

    speaker: str | None = None


class SpokenSegment(Segment, frozen=True, kw_only=True):
    """A segment that tells its speaker."""

    words: list[SpokenWord] | None = None
    speaker: str | None = None


class SpokenTranscript(Transcript, frozen=True, kw_only=True):
    """A transcript with speakers."""

    segments: list[SpokenSegment]


def transcript_of(case: str) -> Transcript:
    return msgspec.json.decode(INPUTS[case].read_bytes(), type=SpokenTranscript)


def written(case: str) -> dict[str, str]:
    """All that is expected of an input, by format and layout."""
    transcript, ours = transcript_of(case), INPUTS[case].parent.parent == OWN
    return {
        f"{fmt}, {name}": render(transcript, fmt, LAYOUTS[name], name="the talk")
        for fmt, name in ASKED
        if ours or fmt in NEW_FORMATS or name.startswith("broadcast")
    }


def expected(case: str) -> dict[str, str]:
    """The sections of a file, by their headings."""
    text = (OWN / f"{case}.txt").read_bytes().decode()
    return dict(section.split(" ===\n", 1) for section in text.split("\n=== ")[1:])


@pytest.mark.parametrize("case", INPUTS)
def test_golden(case: str) -> None:
    assert {heading: text + "<end>" for heading, text in written(case).items()} == expected(case)


def test_no_expected_file_is_forgotten() -> None:
    assert {path.stem for path in OWN.glob("*.txt")} == set(INPUTS)


@pytest.mark.parametrize("case", INPUTS)
@pytest.mark.parametrize(("fmt", "demuxer"), [("srt", "srt"), ("vtt", "webvtt"), ("lrc", "lrc"), ("ass", "ass")])
def test_a_player_finds_every_cue_at_its_time(case: str, fmt: str, demuxer: str) -> None:
    """FFmpeg, which most players read subtitles with, as the judge."""
    av = pytest.importorskip("av")
    transcript, layout = transcript_of(case), Layout(min_subtitle_duration=2.0)
    if not render(transcript, "srt", layout):
        return
    with av.open(io.BytesIO(render(transcript, fmt, layout).encode()), format=demuxer) as media:
        base = media.streams[0].time_base
        found = [(float(p.pts * base), bytes(p).decode()) for p in media.demux(media.streams[0]) if p.size]
    wanted = [(cue.start / 1000, cue.text) for cue in cues(transcript.segments, layout)]
    assert [start for start, _ in found] == pytest.approx([start for start, _ in wanted], abs=0.0051)
    for (_, text), (_, lines) in zip(found, wanted, strict=True):
        assert bare(text).endswith(bare(lines))


def bare(text: str) -> str:
    """The text without white space and labels, and without what ass writes for line ends and to escape."""
    for gone in ("\\N", "\u2060", "[SPEAKER_00]:", "[SPEAKER_01]:", *"\\{}"):
        text = text.replace(gone, "")
    return "".join(text.split())


def main() -> None:
    """Writes what is expected: to be read by people before it is kept."""
    for case in INPUTS:
        sections = (f"\n=== {heading} ===\n{text}<end>" for heading, text in written(case).items())
        (OWN / f"{case}.txt").write_bytes("".join(sections).encode())


if __name__ == "__main__":
    main()

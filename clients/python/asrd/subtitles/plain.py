"""The formats that are written from segments: txt, tsv, json, aud and rttm."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from msgspec import UNSET

from asrd.subtitles.cue import Labels, milliseconds, speaker_of
from asrd.subtitles.layout import SpeakerLabels
from asrd_protocol import model
from asrd_protocol.model import Segment, Transcript, Word

_SEGMENT_KEYS = (
    "id",
    "seek",
    "start",
    "end",
    "text",
    "tokens",
    "temperature",
    "avg_logprob",
    "compression_ratio",
    "no_speech_prob",
)
_WORD_KEYS = ("word", "start", "end", "probability")

_SAME_TURN_MS = 500
"""Silence within which a speaker is taken to go on."""


class Turn(msgspec.Struct, frozen=True):
    """What one speaker says without a pause. Times are milliseconds."""

    speaker: str
    start: int
    end: int


def txt(segments: Sequence[Segment], speaker_labels: SpeakerLabels) -> str:
    """A line for each segment."""
    labels = Labels(speaker_labels)
    return "".join(f"{labels.next(speaker_of(segment))}{segment.text.strip()}\n" for segment in segments)


def tsv(segments: Sequence[Segment]) -> str:
    """A table of start, end (in milliseconds) and text."""
    return "start\tend\ttext\n" + "".join(map(_tsv_row, segments))


def _tsv_row(segment: Segment) -> str:
    text = segment.text.strip().replace("\t", " ")
    return f"{milliseconds(segment.start)}\t{milliseconds(segment.end)}\t{text}\n"


def aud(segments: Sequence[Segment]) -> str:
    """Labels for Audacity, as whisperX writes them: start and end in seconds, the speaker in double brackets, text."""
    return "".join(map(_aud_row, segments))


def _aud_row(segment: Segment) -> str:
    start, end = (max(milliseconds(time), 0) / 1000 for time in (segment.start, segment.end))
    speaker = speaker_of(segment)
    text = " ".join(segment.text.split())
    return f"{start}\t{end}\t{text if speaker is None else f'[[{speaker}]]{text}'}\n"


def rttm(transcript: Transcript, name: str) -> str:
    """Who speaks when, as diarization is exchanged and scored; nothing where no speaker is known.

    The turns are those that were heard, words or not; where nobody listened for them, those of the text.
    ``name`` is that of the recording; spaces, which divide the fields, become ``_``.
    """
    heard = transcript.diarization
    found = _heard(heard.turns) if heard and heard.status == "ok" else turns(transcript.segments)
    return "".join(
        f"SPEAKER {_field(name)} 1 {turn.start / 1000:.3f} {(turn.end - turn.start) / 1000:.3f}"
        f" <NA> <NA> {_field(turn.speaker)} <NA> <NA>\n"
        for turn in found
    )


def _heard(said: Iterable[model.Turn]) -> list[Turn]:
    """Turns in whole milliseconds, in the order of their starts."""
    found = (Turn(one.speaker, max(milliseconds(one.start), 0), milliseconds(one.end)) for one in said)
    return sorted((turn for turn in found if turn.end > turn.start), key=lambda turn: (turn.start, turn.end))


def turns(segments: Sequence[Segment]) -> list[Turn]:
    """The turns of the speakers in the order of the text, by words where these have times."""
    found: list[Turn] = []
    for said in _said(segments):
        last = found[-1] if found else None
        if last and last.speaker == said.speaker and 0 <= said.start - last.end <= _SAME_TURN_MS:
            found[-1] = Turn(last.speaker, last.start, max(last.end, said.end))
        else:
            found.append(said)
    return [turn for turn in found if turn.end > turn.start]


def _said(segments: Sequence[Segment]) -> Iterator[Turn]:
    for segment in segments:
        whole = speaker_of(segment)
        spoken: Sequence[Segment | Word] = segment.words or (segment,)
        for part in spoken:
            speaker = speaker_of(part) or whole
            if speaker is not None:
                start = max(milliseconds(part.start), 0)
                yield Turn(speaker, start, max(milliseconds(part.end), start))


def _field(text: str) -> str:
    return "_".join(text.split()) or "<NA>"


def as_json(transcript: Transcript, extra: Mapping[str, object] | None) -> str:
    """ASCII only and without a line end at the end of the file, like whisper's, which knows no speakers."""
    result: dict[str, object] = {
        # whisper's has the space in front that its tokens have; the one of a Transcript is stripped for people
        "text": "".join(segment.text for segment in transcript.segments),
        "segments": [_json_segment(segment) for segment in transcript.segments],
        "language": transcript.language,
    }
    for key in ("missing", "diarization"):
        if (said := getattr(transcript, key)) is not UNSET:
            result[key] = msgspec.to_builtins(said)
    if extra is not None:
        result["asrd"] = dict(extra)
    return json.dumps(result)


def _json_segment(segment: Segment) -> dict[str, object]:
    fields: dict[str, object] = {key: getattr(segment, key) for key in _SEGMENT_KEYS}
    if segment.words is not None:
        fields["words"] = [
            _with_speaker({key: getattr(word, key) for key in _WORD_KEYS}, word) for word in segment.words
        ]
    return _with_speaker(fields, segment)


def _with_speaker(fields: dict[str, object], spoken: Segment | Word) -> dict[str, object]:
    """The fields, and the speaker where one was told, under the key that whisperX uses."""
    return {**fields, "speaker": spoken.speaker} if spoken.speaker else fields

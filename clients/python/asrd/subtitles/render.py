"""A transcript as the text of a file, in any of the formats. Made for UTF-8 files and "\\n" line ends."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from asrd.subtitles.broadcast import broadcast_cues
from asrd.subtitles.cue import Cue
from asrd.subtitles.cued import ass, lrc, srt, vtt
from asrd.subtitles.layout import AnyLayout, Layout, WhisperLayout
from asrd.subtitles.plain import as_json, aud, rttm, tsv, txt
from asrd.subtitles.whisper import whisper_cues
from asrd_protocol.codec import did_you_mean
from asrd_protocol.model import Segment, Transcript

WHISPER_FORMATS: tuple[str, ...] = ("txt", "srt", "vtt", "tsv", "json")
"""What openai-whisper writes, and what "all" means there and on asrd's command line."""

FORMATS: tuple[str, ...] = (*WHISPER_FORMATS, "lrc", "ass", "rttm", "aud")
"""The names that ``render`` knows; each is also the extension of the file."""

_LIKE_WHISPER = WhisperLayout()


class UnknownFormat(ValueError):
    """A format that is none of ``FORMATS``; the message names the nearest one."""

    def __init__(self, fmt: str) -> None:
        super().__init__(f"unknown format {fmt!r}{did_you_mean(fmt.lower(), FORMATS)} (known: {', '.join(FORMATS)})")
        self.fmt = fmt


def cues(segments: Sequence[Segment], layout: AnyLayout) -> Iterator[Cue]:
    """The cues of a transcript, in order."""
    match layout:
        case WhisperLayout():
            return whisper_cues(segments, layout)
        case Layout():
            return broadcast_cues(segments, layout)


def render(
    transcript: Transcript,
    fmt: str,
    layout: AnyLayout = _LIKE_WHISPER,
    extra: Mapping[str, object] | None = None,
    name: str = "audio",
) -> str:
    """The whole file as text. With the default layout txt, srt, vtt, tsv and json are byte for byte openai-whisper's.

    Args:
        layout: how text is set in cues; it matters to srt, vtt, lrc and ass, and its speaker labels to txt.
        extra: plain data for the key ``asrd`` of json.
        name: of the recording, for rttm.

    Raises:
        UnknownFormat: when ``fmt`` is none of ``FORMATS``.
    """
    segments = transcript.segments
    match fmt:
        case "srt":
            return srt(cues(segments, layout))
        case "vtt":
            return vtt(cues(segments, layout))
        case "lrc":
            # a line for each word and each pause between words would be nothing to sing from
            return lrc(cues(segments, msgspec.structs.replace(layout, highlight_words=False)))
        case "ass":
            return ass(cues(segments, layout))
        case "txt":
            return txt(segments, layout.speaker_labels)
        case "tsv":
            return tsv(segments)
        case "aud":
            return aud(segments)
        case "rttm":
            return rttm(transcript, name)
        case "json":
            return as_json(transcript, extra)
        case _:
            raise UnknownFormat(fmt)

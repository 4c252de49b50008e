"""The step that makes one transcript of the parts of a job: chunks in their order, and who speaks when."""

import time

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from asrd_protocol import link, sheaf
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Diarization, MissingStretch, Segment, Timings, Transcript, Work
from asrd_protocol.sheaf import Part, Sheaf
from asrd_worker import whole
from asrd_worker.blob import Files
from asrd_worker.engines.base import EngineFault
from asrd_worker.line import Line
from asrd_worker.memory import rss_bytes
from asrd_worker.speakers.assign import attribute
from asrd_worker.whole import Whole

_json = msgspec.json.Encoder().encode
_transcript = msgspec.json.Decoder(Transcript).decode
_segment = msgspec.json.Decoder(Segment).decode
_diarization = msgspec.json.Decoder(Diarization).decode


def merge(step: link.RunMerge, files: Files, line: Line) -> None:
    """Read the parts, say the whole."""
    start = time.perf_counter()
    transcript = merged(sheaf.decode(files.body[:]))
    timings = Timings(write=round(time.perf_counter() - start, 6))
    line.say(link.StepDone(step.attempt, timings, Work(), transcript.language, rss_bytes()), _json(transcript))


def merged(parts: Sheaf) -> Transcript:
    """One transcript. Segments are numbered anew, and cut anew where the speaker changes."""
    heard = [_heard(part) for part in parts.parts]
    known = [one for one in heard if one is not None]
    said = whole.decode(parts.head) if parts.head else _said(known[0])
    segments = [segment for part, one in zip(parts.parts, heard, strict=True) for segment in _segments(part, one)]
    diarization = _speakers(parts.diarization)
    if isinstance(diarization, Diarization) and diarization.status == "ok":
        segments = attribute(segments, diarization)
    spoken = said if said.language else next((one for one in known if one.language), said)
    missing = [gap for part, one in zip(parts.parts, heard, strict=True) if (gap := _gap(part, one))]
    return Transcript(
        text="".join(segment.text for segment in segments).strip(),
        language=spoken.language,
        language_probability=spoken.language_probability,
        segments=[replace(segment, id=number) for number, segment in enumerate(segments)],
        duration=round(said.duration, 3),
        duration_after_vad=_after_vad(known),
        warnings=_warnings(said, known),
        missing=missing or UNSET,
        diarization=diarization,
    )


def _heard(part: Part) -> Transcript | None:
    return None if isinstance(part.content, Fault) else _transcript(part.content)


def _said(transcript: Transcript) -> Whole:
    """A recording that was not cut."""
    return Whole(
        duration=transcript.duration,
        language=transcript.language,
        language_probability=transcript.language_probability,
    )


def _segments(part: Part, heard: Transcript | None) -> list[Segment]:
    """What a part has said, or what it had said when it failed.

    Raises:
        EngineFault: it has said something, and its segments are not here: a transcript must not lose them in silence.
    """
    segments = [_segment(one) for one in part.segments] or (heard.segments if heard else [])
    if heard and heard.text and not segments:
        said = f"the segments of {part.start:.0f} to {part.end:.0f} s were not stored; submit the job again"
        raise EngineFault(Fault.of(Code.INTERNAL, said))
    return segments


def _gap(part: Part, heard: Transcript | None) -> MissingStretch | None:
    if heard is not None or not isinstance(part.content, Fault):
        return None
    last = _segment(part.segments[-1]).end if part.segments else part.start
    fault = part.content
    return MissingStretch(start=min(last, part.end), end=part.end, code=str(fault.code), message=fault.message)


def _speakers(given: bytes | Fault | None) -> Diarization | msgspec.UnsetType:
    match given:
        case None:
            return UNSET
        case Fault(message=message):
            return Diarization(status="failed", reason=message)
        case _:
            return _diarization(given)


def _after_vad(parts: list[Transcript]) -> float | None:
    known = [part.duration_after_vad for part in parts if part.duration_after_vad is not None]
    return round(sum(known), 3) if known else None


def _warnings(said: Whole, parts: list[Transcript]) -> list[str]:
    """Each once: what is odd about the options is said of every chunk."""
    return list(dict.fromkeys([*said.warnings, *(warning for part in parts for warning in part.warnings)]))

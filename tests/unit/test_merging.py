"""One transcript out of the parts of a job: what stands where, what is missing, and who speaks."""

import itertools
import random

import msgspec
import pytest
from msgspec import UNSET

from asrd_protocol import link, sheaf
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Diarization, MissingStretch, Segment, Transcript, Turn, Word
from asrd_protocol.sheaf import Part, Sheaf
from asrd_worker import whole
from asrd_worker.blob import Body, Files
from asrd_worker.engines.base import EngineFault
from asrd_worker.line import Line
from asrd_worker.merging import merge, merged
from asrd_worker.whole import Whole

_json = msgspec.json.encode

POISON = Fault.of(Code.POISON, "at 10 to 20 s: 2 workers died of this job")


def segment(start: float, end: float, text: str, number: int = 0) -> Segment:
    """Said in a chunk; its worker counts its own segments."""
    return Segment(id=number, seek=round(start * 100), start=start, end=end, text=text)


def part(
    start: float, end: float, *segments: Segment, warnings: tuple[str, ...] = (), after_vad: float | None = None
) -> Part:
    """A chunk that went well."""
    text = "".join(one.text for one in segments).strip()
    transcript = Transcript(
        text=text,
        language="en",
        segments=[],
        duration=end - start,
        duration_after_vad=after_vad,
        warnings=list(warnings),
    )
    return Part(start, end, _json(transcript), [_json(one) for one in segments])


def lost(start: float, end: float, *segments: Segment, fault: Fault = POISON) -> Part:
    """A chunk that had said this much when it failed for good."""
    return Part(start, end, fault, [_json(one) for one in segments])


def head(duration: float, **more: object) -> bytes:
    return whole.encode(Whole(duration=duration, **more))  # type: ignore[arg-type]


THREE = [
    part(0.0, 10.0, segment(1.0, 4.0, " One"), segment(4.0, 9.5, " two.", 1)),
    part(10.0, 20.0, segment(10.5, 12.0, " Three.")),
    part(20.0, 25.0, segment(21.0, 24.0, " Four.")),
]


def test_segments_are_in_order_and_counted_through() -> None:
    found = merged(Sheaf(head(25.0, language="en"), THREE, None))
    assert [(one.id, one.start, one.end, one.text) for one in found.segments] == [
        (0, 1.0, 4.0, " One"),
        (1, 4.0, 9.5, " two."),
        (2, 10.5, 12.0, " Three."),
        (3, 21.0, 24.0, " Four."),
    ]
    assert found.text == "One two. Three. Four."
    assert (found.duration, found.missing, found.diarization) == (25.0, UNSET, UNSET)


def test_a_chunk_whose_segments_are_gone_is_not_left_out_in_silence() -> None:
    gone = Part(10.0, 20.0, THREE[1].content, [])
    with pytest.raises(EngineFault, match="the segments of 10 to 20 s were not stored; submit the job again") as caught:
        merged(Sheaf(head(25.0), [THREE[0], gone, THREE[2]], None))
    assert caught.value.fault.code is Code.INTERNAL


def test_what_is_known_of_the_whole_counts_and_not_what_a_chunk_thinks() -> None:
    chunk = Part(0.0, 9.0, _json(Transcript(text="", language="fr", segments=[], duration=9.0)))
    found = merged(Sheaf(head(9.0, language="de", language_probability=0.7), [chunk], None))
    assert (found.language, found.language_probability) == ("de", 0.7)


def test_an_engine_that_does_not_look_for_the_language_first_takes_that_of_the_first_chunk() -> None:
    assert merged(Sheaf(head(25.0), THREE, None)).language == "en"
    assert merged(Sheaf(head(20.0), [lost(0.0, 10.0), THREE[1]], None)).language == "en"


def test_seconds_of_speech_are_added_up() -> None:
    parts = [part(0.0, 10.0, after_vad=4.25), part(10.0, 20.0, after_vad=0.0), lost(20.0, 30.0)]
    assert merged(Sheaf(head(30.0), parts, None)).duration_after_vad == 4.25
    assert merged(Sheaf(head(25.0), THREE, None)).duration_after_vad is None


def test_silence_is_a_transcript_without_words() -> None:
    found = merged(Sheaf(head(20.0), [part(0.0, 10.0), part(10.0, 20.0)], None))
    assert (found.text, found.segments, found.duration) == ("", [], 20.0)


def test_a_warning_is_given_once_in_the_order_in_which_they_come() -> None:
    parts = [part(0.0, 10.0, warnings=("x", "y")), part(10.0, 20.0, warnings=("x", "z"))]
    assert merged(Sheaf(head(20.0, warnings=["cut short", "y"]), parts, None)).warnings == ["cut short", "y", "x", "z"]


# --- what is missing --------------------------------------------------------------------------------------------------


def test_a_stretch_that_failed_is_missing() -> None:
    found = merged(Sheaf(head(25.0), [THREE[0], lost(10.0, 20.0), THREE[2]], None))
    assert found.missing == [MissingStretch(start=10.0, end=20.0, code="poison", message=POISON.message)]
    assert found.warnings == []
    assert found.text == "One two. Four."
    assert [one.id for one in found.segments] == [0, 1, 2]


def test_what_a_stretch_had_said_before_it_failed_is_not_missing() -> None:
    found = merged(Sheaf(head(20.0), [THREE[0], lost(10.0, 20.0, segment(10.5, 13.5, " Th"))], None))
    assert found.missing == [MissingStretch(start=13.5, end=20.0, code="poison", message=POISON.message)]
    assert found.text == "One two. Th"


def test_a_gap_is_never_longer_than_nothing() -> None:
    """A last segment may end after the audio does."""
    found = merged(Sheaf(head(20.0), [lost(0.0, 10.0, segment(5.0, 11.0, " late")), THREE[1]], None))
    assert isinstance(found.missing, list)
    assert [(gap.start, gap.end) for gap in found.missing] == [(10.0, 10.0)]


def test_a_recording_of_which_nothing_was_heard_is_all_missing() -> None:
    found = merged(Sheaf(head(20.0), [lost(0.0, 10.0), lost(10.0, 20.0)], None))
    assert isinstance(found.missing, list)
    assert [(gap.start, gap.end) for gap in found.missing] == [(0.0, 10.0), (10.0, 20.0)]
    assert found.text == ""


# --- who speaks -------------------------------------------------------------------------------------------------------

TURNS = Diarization(
    turns=[Turn(start=0.0, end=5.0, speaker="SPEAKER_00"), Turn(start=5.0, end=25.0, speaker="SPEAKER_01")]
)


def test_a_recording_that_was_not_cut_keeps_all_but_gets_its_speakers() -> None:
    transcript = Transcript(
        text="One two.",
        language="en",
        language_probability=0.5,
        segments=[segment(1.0, 4.0, " One"), segment(6.0, 9.0, " two.", 1)],
        duration=10.0,
        duration_after_vad=7.0,
        warnings=["odd"],
    )
    found = merged(Sheaf(b"", [Part(0.0, 0.0, _json(transcript))], _json(TURNS)))
    assert [one.speaker for one in found.segments] == ["SPEAKER_00", "SPEAKER_01"]
    assert found.diarization == TURNS
    bare = [msgspec.structs.replace(one, speaker=UNSET) for one in found.segments]
    assert msgspec.structs.replace(found, diarization=UNSET, segments=bare) == transcript


def test_segments_of_chunks_are_cut_where_the_speaker_changes_and_counted_after_that() -> None:
    words = [
        Word(start=1.0, end=4.0, word=" One", probability=1.0),
        Word(start=6.0, end=9.0, word=" two.", probability=1.0),
    ]
    spoken = msgspec.structs.replace(segment(1.0, 9.0, " One two."), words=words)
    found = merged(Sheaf(head(20.0), [part(0.0, 10.0, spoken), THREE[1]], _json(TURNS)))
    assert [(one.id, one.text.strip(), one.speaker) for one in found.segments] == [
        (0, "One", "SPEAKER_00"),
        (1, "two.", "SPEAKER_01"),
        (2, "Three.", "SPEAKER_01"),
    ]
    assert found.text == "One two. Three."


def test_a_transcript_says_why_it_has_no_speakers() -> None:
    fault = Fault.of(Code.OUT_OF_MEMORY, "no memory for speakers")
    found = merged(Sheaf(head(25.0), THREE, fault))
    assert found.diarization == Diarization(status="failed", reason="no memory for speakers")
    assert [one.speaker for one in found.segments] == [UNSET] * 4
    assert found.text == "One two. Three. Four."


def test_speakers_that_failed_by_their_own_account_change_no_segment() -> None:
    failed = Diarization(status="failed", reason="no speech", turns=TURNS.turns)
    found = merged(Sheaf(head(25.0), THREE, _json(failed)))
    assert (found.diarization, [one.speaker for one in found.segments]) == (failed, [UNSET] * 4)


# --- as a step --------------------------------------------------------------------------------------------------------


class Told(Line):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[tuple[link.FromWorker, bytes]] = []

    def say(self, message: link.FromWorker, *body: bytes) -> None:
        self.said.append((message, b"".join(body)))


class Parts(Files):
    """What a step is about, without a file."""

    def __init__(self, content: bytes) -> None:
        self.body: Body = content  # type: ignore[assignment]


def test_the_step_reads_a_sheaf_and_says_the_transcript() -> None:
    parts = Sheaf(head(25.0, language="en"), THREE, None)
    told = Told()
    merge(link.RunMerge(7), Parts(sheaf.encode(parts)), told)
    ((message, body),) = told.said
    assert isinstance(message, link.StepDone)
    assert (message.attempt, message.language) == (7, "en")
    assert message.work == type(message.work)()
    assert msgspec.json.decode(body, type=Transcript) == merged(parts)


def test_a_sheaf_goes_through_the_wire_unchanged() -> None:
    parts = Sheaf(head(25.0), [*THREE, lost(25.0, 30.0)], POISON)
    assert sheaf.decode(sheaf.encode(parts)) == parts


@pytest.mark.parametrize("seed", range(30))
def test_however_it_is_cut_no_word_is_lost_or_doubled(seed: int) -> None:
    dice = random.Random(seed)
    edges = sorted({0.0, 100.0, *(round(dice.uniform(0, 100), 2) for _ in range(dice.randint(0, 8)))})
    count, parts, wanted = 0, [], []
    for start, end in itertools.pairwise(edges):
        texts = [f" w{count + at}" for at in range(dice.randint(0, 5))]
        count += len(texts)
        length = (end - start) / max(1, len(texts))
        spoken = [segment(start + at * length, start + (at + 1) * length, text, at) for at, text in enumerate(texts)]
        if dice.random() < 0.2:
            kept = spoken[: dice.randint(0, len(spoken))]
            parts.append(lost(start, end, *kept))
            wanted += [one.text for one in kept]
        else:
            parts.append(part(start, end, *spoken))
            wanted += texts
    found = merged(Sheaf(head(100.0), parts, None))
    assert [one.text for one in found.segments] == wanted
    assert found.text == "".join(wanted).strip()
    assert [one.id for one in found.segments] == list(range(len(wanted)))
    starts = [one.start for one in found.segments]
    assert starts == sorted(starts)
    gone = sum(gap.end - gap.start for gap in found.missing or []) if found.missing is not UNSET else 0.0
    spoken_s = sum(one.end - one.start for one in found.segments)
    silent = sum(p.end - p.start for p in parts if not p.segments and not isinstance(p.content, Fault))
    assert gone + spoken_s + silent == pytest.approx(100.0, abs=0.01)

"""A chunk says nothing that is after its end, although what decodes it may: its windows are longer than it. So segments
of neighbours do not overlap, and the merged transcript never goes backwards."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
import zmq

from asrd_protocol import link, sheaf
from asrd_protocol.messages import Pcm
from asrd_protocol.model import Segment, Transcript, Word
from asrd_worker import whole
from asrd_worker.blob import Files
from asrd_worker.engines.base import Transcription
from asrd_worker.engines.script import ScriptSettings
from asrd_worker.engines.scripted import CHUNK_S, Scripted
from asrd_worker.line import Line
from asrd_worker.merging import merge
from asrd_worker.transcribing import Transcribing
from asrd_worker.whole import Whole

Said = list[tuple[float, float]]
"""Seconds from the beginning of a chunk."""

_segment = msgspec.json.Decoder(Segment).decode
_transcript = msgspec.json.Decoder(Transcript).decode


class Reciter(Scripted):
    """Says of each chunk what the test wants it to say: a segment from each first to the last of some words."""

    def __init__(self, said: list[list[Said]]) -> None:
        super().__init__(ScriptSettings(), "p/0.1")
        self._said = iter(said)

    def transcribe(self, heard: Any, options: Any) -> Transcription:
        outline = super().transcribe(heard, options)
        for number, words in enumerate(next(self._said)):
            spoken = [Word(start=start, end=end, word=" w", probability=1.0) for start, end in words]
            yield Segment(id=number, seek=0, start=words[0][0], end=words[-1][1], text=" w" * len(words), words=spoken)
        return (yield from outline)


class Other:
    """The other end of a worker's link."""

    def __init__(self, end: "zmq.Socket[bytes]") -> None:
        self._end = end

    def hears(self) -> list[tuple[Any, bytes]]:
        """All that was said."""
        said = []
        while self._end.poll(0):
            header, *body = self._end.recv_multipart()
            said.append((link.from_worker.decode(header), b"".join(body)))
        return said


@contextmanager
def linked() -> Iterator[tuple[Line, Other]]:
    """A line of a worker, and its other end."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as near, context.socket(zmq.PAIR) as far:
        far.bind("inproc://link")
        near.connect("inproc://link")
        yield Line(near), Other(far)


def file_of(content: bytes) -> Files:
    fd = os.memfd_create("file", os.MFD_CLOEXEC)
    os.pwrite(fd, content, 0)
    return Files([fd])


def chunks_of(said: list[list[Said]]) -> list[tuple[float, list[Segment], Transcript]]:
    """What becomes of such chunks, one after the other: where each begins, its segments and the rest."""
    done = []
    head = whole.encode(Whole(duration=CHUNK_S * len(said), language="en"))
    engine = Reciter(said)
    silent = {"script": [], "chunks": ["[]"] * len(said)}
    for number in range(len(said)):
        start = CHUNK_S * number
        step = link.RunChunk(number + 1, start, start + CHUNK_S, silent, head)
        with linked() as (line, other), file_of(b"") as files:
            Transcribing(engine, line, 60.0).chunk(step, files)
            told = other.hears()
        segments = [_segment(body) for message, body in told if isinstance(message, link.StepSegment)]
        done.append((start, segments, _transcript(told[-1][1])))
    return done


def times(segment: Segment) -> list[tuple[float, float]]:
    """Of the segment and of its words."""
    return [(segment.start, segment.end), *((word.start, word.end) for word in segment.words or [])]


LATE: list[list[Said]] = [
    [[(0.0, 40.0), (40.0, 99.0)], [(99.0, 99.5), (99.5, 100.42)]],
    [[(0.0, 98.0)], [(98.0, 101.0), (101.0, 103.0)], [(103.0, 104.0)]],
    [[(1.0, 2.0), (97.0, 129.98)]],
]
"""The last words of each chunk end after it, or are after it altogether."""


def test_nothing_of_a_chunk_ends_after_the_chunk() -> None:
    for start, segments, _ in chunks_of(LATE):
        assert segments
        for first, last in itertools.chain.from_iterable(times(segment) for segment in segments):
            assert start <= first <= last <= start + CHUNK_S


def test_what_ends_in_time_is_where_it_was() -> None:
    (_, (one, two), _), (_, (other,), _) = chunks_of([LATE[0], [[(3.25, 4.5), (5.0, 99.999)]]])
    assert times(one) == [(0.0, 99.0), (0.0, 40.0), (40.0, 99.0)]
    assert times(two) == [(99.0, 100.0), (99.0, 99.5), (99.5, 100.0)]
    assert times(other) == [(103.25, 199.999), (103.25, 104.5), (105.0, 199.999)]


def test_no_word_is_lost_at_a_cut() -> None:
    for (_, segments, transcript), said in zip(chunks_of(LATE), LATE, strict=True):
        assert [len(segment.words or []) for segment in segments] == [len(words) for words in said]
        assert transcript.text.split() == ["w"] * sum(len(words) for words in said)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_merged_transcript_never_goes_backwards(count: int) -> None:
    parts = [
        sheaf.Part(start, start + CHUNK_S, msgspec.json.encode(rest), [msgspec.json.encode(one) for one in segments])
        for start, segments, rest in chunks_of(LATE[:count])
    ]
    head = whole.encode(Whole(duration=CHUNK_S * count, language="en"))
    with linked() as (line, other), file_of(sheaf.encode(sheaf.Sheaf(head, parts, None))) as files:
        merge(link.RunMerge(9), files, line)
        (_, body), *more = other.hears()
    assert not more
    merged = _transcript(body)
    assert [segment.id for segment in merged.segments] == list(range(len(merged.segments)))
    for one, after in itertools.pairwise(merged.segments):
        assert one.start <= one.end <= after.start <= after.end
    words = [word for segment in merged.segments for word in segment.words or []]
    assert len(words) == sum(len(segment) for chunk in LATE[:count] for segment in chunk)
    for one_word, next_word in itertools.pairwise(words):
        assert one_word.start <= one_word.end <= next_word.start
    assert merged.segments[-1].end <= merged.duration == CHUNK_S * count


def test_a_recording_that_is_not_cut_keeps_its_times() -> None:
    """There is nothing after it that they could run into, and a window's end is all that is known of them."""
    engine = Reciter([[[(0.0, 1.5)]]])
    with linked() as (line, other), file_of(b"audio") as files:
        Transcribing(engine, line, 60.0).whole(link.RunStep(1, Pcm(), {}, None), files)
        told = other.hears()
    assert times(_transcript(told[-1][1]).segments[0]) == [(0.0, 1.5), (0.0, 1.5)]

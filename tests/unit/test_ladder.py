"""What a worker does when so many windows at once do not fit into memory: the ladder, and the room of a card.

No machine of the tests can run out of a card's memory, so CTranslate2's model is wrapped: it refuses what is too large
with the very words of the real one. All else is the real model.
"""

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from asrd_protocol.faults import Code
from asrd_protocol.model import Segment
from asrd_worker.audio import Decoded
from asrd_worker.engines import room
from asrd_worker.engines.base import EngineFault, Outline, options_of, settings_of
from asrd_worker.engines.faster_whisper import FasterWhisper
from asrd_worker.engines.ladder import CALMEST, Ladder
from asrd_worker.pcm import Samples

NO_MEMORY = RuntimeError("CUDA failed with error out of memory")
BROKEN = RuntimeError("CUDA failed with error an illegal memory access was encountered")
GIB = 2**30


# --- the ladder itself ------------------------------------------------------------------------------------------------


def _job(ladder: Ladder, asked: int, fits: int) -> list[int]:
    """The sizes that were tried for a job, the one that went well last; it fills its batch."""
    ladder.begin(asked)
    tried = [ladder.size]
    while tried[-1] > fits:
        assert ladder.halve(tried[-1])
        tried.append(ladder.size)
    ladder.fitted(tried[-1])
    ladder.end()
    return tried


def test_it_halves_until_it_fits_and_remembers() -> None:
    ladder = Ladder()

    assert _job(ladder, 12, fits=4) == [12, 6, 3]
    assert ladder.warnings == ["batch size 12 did not fit into memory, 3 was used"]
    assert ladder.fell
    assert _job(ladder, 12, fits=4) == [3]
    assert ladder.warnings == ["batch size 12 did not fit into memory, 3 was used"]
    assert not ladder.fell
    assert _job(ladder, 2, fits=4) == [2]
    assert ladder.warnings == []


def test_below_one_window_there_is_no_rung() -> None:
    ladder = Ladder()
    ladder.begin(2)

    assert ladder.halve(2)
    assert ladder.size == 1
    assert not ladder.halve(1)
    assert ladder.size == 1


def test_what_counts_is_how_many_there_were_and_not_how_many_could_have_been() -> None:
    """The last batch of an audio has few windows."""
    ladder = Ladder()
    ladder.begin(8)

    assert ladder.halve(3)
    assert ladder.size == 1


def test_more_is_tried_again_after_jobs_that_went_well_and_later_each_time() -> None:
    ladder = Ladder(calm=3)
    tries = [_job(ladder, 8, fits=2) for _ in range(12)]
    assert tries == [[8, 4, 2], [2], [2], [2], [4, 2], [2], [2], [2], [2], [2], [2], [4, 2]]

    assert [_job(ladder, 8, fits=8)[0] for _ in range(25)] == [2] * 12 + [4] * 12 + [8]


def test_the_wait_has_an_end() -> None:
    ladder = Ladder(calm=CALMEST - 1)
    for _ in range(2):
        _job(ladder, 2, fits=1)
        for _ in range(CALMEST):
            assert _job(ladder, 2, fits=1)[0] in (1, 2)
    assert sum(_job(ladder, 2, fits=1) == [2, 1] for _ in range(2 * CALMEST + 2)) == 2


def test_a_job_that_fills_no_batch_proves_nothing() -> None:
    ladder = Ladder(calm=1)
    _job(ladder, 8, fits=2)
    for _ in range(5):
        ladder.begin(8)
        ladder.fitted(1)
        ladder.end()

    assert ladder.size == 2


# --- the engine with too little memory --------------------------------------------------------------------------------


class SmallMemory:
    """CTranslate2's model on a card that has no room for so many windows at once."""

    def __init__(self, model: Any, fits: int) -> None:
        self._model = model
        self.fits = fits
        self.error: Exception = NO_MEMORY
        self.refused: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, features: Any, *args: Any, **kwargs: Any) -> Any:
        """Refuses after the windows are encoded: half of the work is done by then."""
        if features.shape[0] > self.fits:
            self.refused.append(features.shape[0])
            raise self.error
        return self._model.generate(features, *args, **kwargs)


@pytest.fixture(scope="module")
def loaded() -> FasterWhisper:
    engine = FasterWhisper(settings_of(FasterWhisper, {"model": "tiny.en", "threads": 1}), "default/0.1")
    engine.load()
    engine.warm_up()
    return engine


@pytest.fixture
def engine(loaded: FasterWhisper) -> FasterWhisper:
    """With a ladder that remembers nothing of another test."""
    loaded._ladder = Ladder()
    return loaded


@pytest.fixture
def memory(engine: FasterWhisper) -> Iterator[SmallMemory]:
    """Room for two windows, unless the test says otherwise."""
    counted = cast(Any, engine._model.model)
    small = counted._model = SmallMemory(counted._model, 2)
    yield small
    counted._model = small._model


@pytest.fixture(scope="module")
def windows(speech: Path) -> Samples:
    """Five clips of speech, each a window of its own."""
    raw = [
        np.frombuffer(file.read_bytes()[44:], np.int16) / np.float32(32_768) for file in sorted(speech.glob("*.wav"))
    ]
    return np.concatenate([np.pad(one, (0, 16_000 * 8 - one.size)) for one in raw])


CLIPS = [0, 8, 8, 16, 16, 24, 24, 32, 32, 40]


@pytest.fixture
def transcribe(engine: FasterWhisper, windows: Samples) -> Callable[..., tuple[list[Segment], Outline]]:
    """Five windows, with these options."""

    def _transcribe(**given: Any) -> tuple[list[Segment], Outline]:
        options = options_of(FasterWhisper, {"clip_timestamps": CLIPS, "beam_size": 1, **given})
        decoding = engine.transcribe(Decoded(samples=windows, duration=40.0, warnings=[]), options)
        found = []
        while True:
            try:
                found.append(next(decoding))
            except StopIteration as end:
                return found, end.value

    return _transcribe


@pytest.mark.model
def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost_or_said_twice(
    memory: SmallMemory, transcribe: Callable[..., tuple[list[Segment], Outline]]
) -> None:
    memory.fits = 5
    expected, plenty = transcribe(batch_size=5)
    memory.fits = 2
    found, little = transcribe(batch_size=5)

    assert memory.refused == [5]
    assert [one.text for one in found] == [one.text for one in expected]
    assert [one.start for one in found] == pytest.approx([one.start for one in expected], abs=0.05)
    assert [one.id for one in found] == list(range(len(found)))
    assert plenty.warnings == []
    assert little.warnings == ["batch size 5 did not fit into memory, 2 was used"]
    assert (plenty.work.batches, plenty.work.batch_rows, plenty.work.batch_room) == (1, 5, 5)
    assert (little.work.batches, little.work.batch_rows, little.work.batch_room) == (3, 5, 6)
    assert (plenty.work.windows, little.work.windows) == (5, 10), "what was encoded in vain was work, too"
    assert plenty.work.kind == "beam1+batch5+words"
    assert little.work.kind == "beam1+batch2+words+fell", "its time is to be compared with no other's"


@pytest.mark.model
def test_the_next_job_begins_where_this_one_ended(
    memory: SmallMemory, transcribe: Callable[..., tuple[list[Segment], Outline]]
) -> None:
    transcribe(batch_size=5)
    memory.refused.clear()
    _, next_one = transcribe(batch_size=4)

    assert memory.refused == []
    assert next_one.warnings == ["batch size 4 did not fit into memory, 2 was used"]
    assert next_one.work.kind == "beam1+batch2+words"
    assert (next_one.work.batches, next_one.work.batch_rows, next_one.work.batch_room) == (3, 5, 6)


@pytest.mark.model
@pytest.mark.parametrize("batch_size", [0, 5])
def test_with_no_room_for_one_window_another_process_has_to_do_it(
    memory: SmallMemory, transcribe: Callable[..., tuple[list[Segment], Outline]], batch_size: int
) -> None:
    memory.fits = 0
    with pytest.raises(EngineFault) as caught:
        transcribe(batch_size=batch_size)

    fault = caught.value.fault
    assert fault.code is Code.OUT_OF_MEMORY
    assert fault.retry
    assert caught.value.leave
    assert fault.context == {"batch_size": 1, "device": "cpu", "compute_type": "int8_float32"}
    assert memory.refused == ([5, 2, 1] if batch_size else [1])


@pytest.mark.model
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED")])
def test_other_words_for_the_same(
    memory: SmallMemory, transcribe: Callable[..., tuple[list[Segment], Outline]], error: Exception
) -> None:
    memory.error = error
    found, _ = transcribe(batch_size=4)

    assert memory.refused == [4]
    assert len(found) >= 5


@pytest.mark.model
@pytest.mark.parametrize("batch_size", [0, 4])
def test_after_any_other_error_of_the_card_nothing_is_tried_again(
    memory: SmallMemory, transcribe: Callable[..., tuple[list[Segment], Outline]], batch_size: int
) -> None:
    memory.fits = 0
    memory.error = BROKEN
    with pytest.raises(RuntimeError, match="illegal memory access"):
        transcribe(batch_size=batch_size)
    assert len(memory.refused) == 1


# --- how much room a card has -----------------------------------------------------------------------------------------


class Driver:
    """The functions of the driver of a machine with two cards."""

    def __init__(self, failing: str = "") -> None:
        self._failing = failing
        self._card = -1

    def _done(self, name: str) -> int:
        return 999 if name == self._failing else 0

    def cuInit(self, _flags: int) -> int:
        return self._done("cuInit")

    def cuDeviceGet(self, device: Any, index: int) -> int:
        ctypes.cast(device, ctypes.POINTER(ctypes.c_int))[0] = index + 40
        return self._done("cuDeviceGet")

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:
        ctypes.cast(context, ctypes.POINTER(ctypes.c_void_p))[0] = device.value + 400
        return self._done("cuDevicePrimaryCtxRetain")

    def cuCtxSetCurrent(self, context: Any) -> int:
        self._card = context.value - 440
        return self._done("cuCtxSetCurrent")

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:
        ctypes.cast(free, ctypes.POINTER(ctypes.c_size_t))[0] = (self._card + 1) * 5 * GIB
        ctypes.cast(total, ctypes.POINTER(ctypes.c_size_t))[0] = 80 * GIB
        return self._done("cuMemGetInfo_v2")


def test_free_memory_is_that_of_the_card_in_question() -> None:
    assert room.free_bytes(0, Driver()) == 5 * GIB
    assert room.free_bytes(1, Driver()) == 10 * GIB


@pytest.mark.parametrize(
    "failing", ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuMemGetInfo_v2"]
)
def test_a_driver_that_does_not_say_is_no_failure(failing: str) -> None:
    assert room.free_bytes(0, Driver(failing)) is None
    assert room.free_bytes(0, object()) is None


def test_more_memory_has_room_for_more_and_wider_models_and_beams_need_more() -> None:
    large = {"width": 1280, "beam_size": 5, "compute_type": "float16"}
    sizes = [room.fitting(free * GIB, **large) for free in (0, 1, 2, 4, 8, 16, 32, 64)]

    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (1, room.MOST)
    assert 2 < sizes[3] < 8
    assert room.window_bytes(1280, 5, "float32") == 2 * room.window_bytes(1280, 5, "int8_float16")
    assert room.window_bytes(384, 5, "float16") < room.window_bytes(1024, 5, "float16") < room.window_bytes(**large)
    assert room.window_bytes(1280, 1, "float16") < room.window_bytes(**large)
    assert room.fitting(None, **large) == room.UNKNOWN
    assert room.fitting(int(10.1 * room.window_bytes(**large) / room.SHARE), **large) == 10


@pytest.mark.model
def test_without_a_card_auto_is_one_window_after_the_other(loaded: FasterWhisper, windows: Samples) -> None:
    engine = FasterWhisper(settings_of(FasterWhisper, {"batch_size": "auto"}), "default/0.1")
    engine._room = room.Room(cast(Any, loaded._model.model), 0)

    assert engine._pools_batch_size(cast(Any, options_of(FasterWhisper, {}))) == 0

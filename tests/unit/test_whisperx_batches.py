"""How many windows whisperX decodes at once, and that the ladder begins there; nothing here needs whisperX."""

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from faster_whisper.transcribe import TranscriptionOptions

from asrd_worker.counters import CountedModel, Counters
from asrd_worker.engines import room
from asrd_worker.engines.aligners import Aligners
from asrd_worker.engines.base import LoadError, options_of, settings_of
from asrd_worker.engines.ladder import Ladder
from asrd_worker.engines.room import Room
from asrd_worker.engines.whisperx import _GREEDY, WhisperX
from asrd_worker.engines.whisperx_options import WhisperXOptions

FREE = 4 * 2**30
NO_MEMORY = RuntimeError("CUDA failed with error out of memory")


class Model:
    """CTranslate2's, as far as its place goes."""

    compute_type = "float16"

    def __init__(self, device: str) -> None:
        self.device = device


class Windows:
    """A pipeline that has room for so many windows at once and hears nothing in them."""

    multilingual = False
    options = TranscriptionOptions(**dict.fromkeys(field.name for field in dataclasses.fields(TranscriptionOptions)))

    def __init__(self, fits: int) -> None:
        self._fits = fits
        self.tried: list[int] = []

    def tokenizer(self, language: str, task: str) -> None:
        """None is needed."""

    def decode(self, samples: object, windows: Sequence[int], tokenizer: None, options: object) -> Sequence[int]:
        """The windows themselves are the texts."""
        self.tried.append(len(windows))
        if len(windows) > self._fits:
            raise NO_MEMORY
        return windows


def counted(device: str, width: int = 1280) -> CountedModel:
    """A model that has computed, unless its width is 0."""
    model = CountedModel(Model(device), Counters())
    model.width = width
    return model


@pytest.fixture(autouse=True)
def _card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cards: the second one is full but for a little."""
    monkeypatch.setattr(room, "free_bytes", {0: FREE, 1: 2**20}.get)


def engine(device: str = "cuda", fits: int = 64, index: int = 0, **settings: Any) -> WhisperX:
    """The engine with all that a batch needs of a loaded one."""
    found = WhisperX(settings_of(WhisperX, settings), "default/0.1")
    found._windows = cast(Any, Windows(fits))
    found._aligners = Aligners({})
    found._ladder = Ladder()
    found._counters = Counters()
    found._room = Room(counted(device), index)
    return found


def size(found: WhisperX, **options: Any) -> int:
    """Of the batches of a job."""
    return found._plan(cast(WhisperXOptions, options_of(WhisperX, options)), "en").batch_size


def fitting(beam_size: int) -> int:
    """What the other engine would take."""
    return room.fitting(FREE, 1280, beam_size, "float16")


def test_auto_is_what_fits_on_the_card_by_the_beam_of_the_job() -> None:
    found = engine(batch_size="auto")

    assert size(found) == fitting(5)
    assert size(found, beam_size=1) == fitting(1)
    assert 1 < fitting(5) < fitting(1) <= room.MOST, "or the test says nothing"
    assert size(engine(batch_size="auto", index=1)) == 1, "each card has its own memory"


def test_without_a_card_auto_is_one_window_after_the_other() -> None:
    assert size(engine("cpu", batch_size="auto")) == 1


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_a_job_or_a_pool_says_in_figures_goes_before(device: str) -> None:
    assert size(engine(device)) == 8
    assert size(engine(device, batch_size=12)) == 12
    assert size(engine(device, batch_size=0)) == 1
    assert size(engine(device, batch_size="auto"), batch_size=3) == 3


def test_no_other_word_is_taken() -> None:
    with pytest.raises(LoadError, match="batch_size"):
        settings_of(WhisperX, {"batch_size": "most"})


def test_the_built_in_clip_needs_no_answer_before_there_is_one() -> None:
    found = engine(batch_size="auto")
    del found._room

    assert found._plan(_GREEDY, "en").batch_size == 1


def test_a_detector_that_heard_nothing_in_the_clip_leaves_the_width_unknown() -> None:
    assert Room(counted("cuda", width=0), 0).windows(5) == room.UNKNOWN


def test_the_ladder_goes_down_from_there() -> None:
    found = engine(fits=2, batch_size="auto")
    plan = found._plan(WhisperXOptions(beam_size=5), "en")
    found._ladder.begin(plan.batch_size)
    windows = cast(Any, list(range(7)))
    said = list(found._texts(np.zeros(0, np.float32), windows, plan))

    first = fitting(5)
    assert said == windows
    tried = cast(Any, found._windows).tried
    assert tried[0] == min(first, 7)
    assert tried[-1] <= 2
    assert found._ladder.warnings == [f"batch size {first} did not fit into memory, {found._ladder.size} was used"]

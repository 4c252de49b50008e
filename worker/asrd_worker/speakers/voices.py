"""What voices are like: one vector of unit length for each window of speech, by CAM++."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from asrd_protocol.faults import Code, Fault
from asrd_worker.engines.base import EngineFault
from asrd_worker.recording import SAMPLE_RATE, Samples
from asrd_worker.speakers.fbank import centred, fbank
from asrd_worker.speakers.speech import Stretch

WINDOW = SAMPLE_RATE
HOP = WINDOW // 4
"""Samples of a window, and from one to the next."""

BATCH = 24
"""Windows that are heard at a time."""

Vectors = npt.NDArray[np.float32]


class Ear:
    """CAM++ in onnxruntime."""

    def __init__(self, model: Path, threads: int) -> None:
        """Load it.

        Raises:
            RuntimeError: or a subclass, when onnxruntime cannot read the file.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def hear(self, samples: Samples, windows: list[Stretch]) -> Vectors:
        """The voices in these windows: (windows, 192), each of unit length.

        One that is shorter than WINDOW is heard over and over.

        Raises:
            EngineFault: the process is not to be trusted any more.
        """
        clips = np.stack([np.resize(samples[start:end], WINDOW) for start, end in windows])
        (voices,) = self._session.run(None, {"feats": centred(fbank(clips))})
        lengths = np.linalg.norm(voices, axis=1, keepdims=True)
        if not np.isfinite(lengths).all():
            raise EngineFault(Fault.of(Code.ENGINE_ERROR, "the network of voices gives no numbers"), leave=True)
        return np.asarray(voices / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def windows(stretch: Stretch) -> list[Stretch]:
    """Windows over a stretch of speech; the last one ends where it ends, and a short stretch is one window."""
    last = max(stretch.start, stretch.end - WINDOW)
    starts = [*range(stretch.start, last, HOP), last]
    return [Stretch(start, min(start + WINDOW, stretch.end)) for start in starts]

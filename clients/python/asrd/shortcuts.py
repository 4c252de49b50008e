"""``asrd.submit`` and ``asrd.transcribe``: a client that needs no mention."""

import functools
import os
from pathlib import Path
from typing import Any

from asrd.audio import AudioLike
from asrd.sync import Client, Job
from asrd_protocol.addresses import daemon_dir
from asrd_protocol.model import Transcript


@functools.cache
def _shared(directory: Path, pid: int) -> Client:
    """One client for each daemon and process; a fork makes its own."""
    return Client(directory)


def submit(audio: AudioLike, /, **options: Any) -> Job:
    """Sends audio to the daemon that everybody finds by default; see :meth:`asrd.Client.submit`."""
    return _shared(daemon_dir(), os.getpid()).submit(audio, **options)


def transcribe(audio: AudioLike, /, **options: Any) -> Transcript:
    """The transcript of audio, by the daemon that everybody finds by default; see :meth:`asrd.Client.transcribe`."""
    return _shared(daemon_dir(), os.getpid()).transcribe(audio, **options)

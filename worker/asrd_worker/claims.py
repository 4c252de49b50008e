"""What a media file says of its own length, and how much of it is missing."""

import struct

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from asrd_worker.blob import Body


def warnings_of(seconds: float, stated_s: float, damaged: int) -> list[str]:
    """What to tell of audio of which so many seconds were decoded, and so many packets were not."""
    warnings = []
    # Codecs pad: a tenth of a second is nothing, however short the clip.
    if stated_s - seconds > max(0.02 * stated_s, 0.1):
        warnings.append(f"partial audio: {seconds:.1f} of {stated_s:.1f} s")
    if damaged:
        warnings.append(f"{damaged} damaged packet{'s' if damaged > 1 else ''} left out")
    return warnings


def stated(container: InputContainer, stream: AudioStream, body: Body, seconds: float) -> float:
    """The seconds of audio that the file says it has; 0 when it does not say, and FFmpeg only guesses."""
    kind = container.format.name
    if kind == "wav" and (share := _wav_share(body)) < 1:
        return seconds / share
    stated_s = 0.0
    if stream.duration and stream.time_base:
        stated_s = float(stream.duration * stream.time_base)
    elif container.duration and len(container.streams) == 1:
        stated_s = container.duration / av.time_base
    if kind in ("mp3", "aac", "amr"):
        # They need not state a length; FFmpeg then divides size by bit rate, and what the size tells is no claim.
        sized_s = len(body) * 8 / (stream.codec_context.bit_rate or 1)
        return stated_s if sized_s < 0.98 * stated_s else 0.0
    return stated_s


def _wav_share(body: Body) -> float:
    """The share of a WAV's samples that is there: FFmpeg takes the end of the body for the end of the samples."""
    at = 12
    for _ in range(64):
        if at + 8 >= len(body):
            break
        name, size = struct.unpack("<4sI", body[at : at + 8])
        at += 8
        if name == b"data":
            # Programs that write to a pipe put a length near 2 or 4 GB there, for want of the real one.
            return min(1.0, (len(body) - at) / size) if 0 < size < 0x7FFF_0000 else 1.0
        at += size + size % 2
    return 1.0

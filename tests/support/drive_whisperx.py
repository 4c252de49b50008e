"""Runs in the interpreter of the heavy engines: loads ``whisperx`` once, does jobs, and prints what came of them.

The only argument is JSON: ``settings``, and ``jobs`` with ``audio`` (files that are joined, or seconds of silence),
``options`` and, to give up early, ``take`` segments. Before that it tries each of ``bad``, which are settings too, and
keeps why it could not be loaded.
"""

import json
import sys
import wave
from pathlib import Path

import msgspec
import numpy as np


def _samples(parts):
    return np.concatenate([_part(part) for part in parts])


def _part(part):
    if not isinstance(part, str):
        return np.zeros(int(part * 16_000), np.float32)
    with wave.open(part) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32_768


def _job(engine, job):
    from asrd_worker.engines.base import EngineFault, options_of
    from asrd_worker.pcm import Decoded

    samples = _samples(job["audio"])
    heard = Decoded(samples=samples, duration=samples.size / 16_000, warnings=[])
    segments, outline = [], None
    try:
        decoding = engine.transcribe(heard, options_of(type(engine), job["options"]))
        while len(segments) < job.get("take", 10**9):
            segments.append(next(decoding))
        decoding.close()
    except StopIteration as end:
        outline = end.value
    except EngineFault as error:
        return {"fault": error.fault}
    return {"segments": segments, "outline": outline, "heard": engine.heard, "duration": heard.duration}


def main():
    """Answer in one line, the last one of stdout."""
    asked = json.loads(sys.argv[1])
    calls = []

    def watch(event, given):
        if event in ("socket.connect", "socket.getaddrinfo"):
            calls.append(f"{event} {given[-1] if event == 'socket.connect' else given[:2]}")

    sys.addaudithook(watch)
    from asrd_worker.engines.base import LoadError, settings_of
    from asrd_worker.engines.whisperx import WhisperX

    light = sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "whisperx", "transformers", "pyannote"})

    def loaded(settings):
        engine = WhisperX(settings_of(WhisperX, settings), "test/0.1")
        engine.load()
        engine.warm_up()
        return engine

    answer = {"light": light, "bad": []}
    for settings in asked.get("bad", []):
        try:
            loaded(settings)
        except LoadError as error:
            answer["bad"].append(str(error))
        else:
            answer["bad"].append("")
    try:
        engine = loaded(asked["settings"])
    except LoadError as error:
        answer["refused"] = str(error)
    else:
        answer["canary"] = engine.canary()
        answer["jobs"] = [_job(engine, job) for job in asked["jobs"]]
        answer["home"] = sorted(str(path.relative_to(Path.home())) for path in Path.home().rglob("*") if path.is_file())
    answer["calls"] = calls
    sys.stdout.write(f"{msgspec.json.encode(answer).decode()}\n")


main()

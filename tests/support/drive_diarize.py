"""Run by the interpreter of the heavy engines: load the engine ``diarize``, do jobs, say in JSON what came of it.

A stage is ``{"settings": {}, "environ": {}, "jobs": []}``. A job is ``{"path", "rttm"?, "options"?, "stop_after"?}``.
Which hosts the process wanted to talk to is said at the end, telemetry flushed before.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from asrd_protocol.messages import MediaFile, Speakers
from asrd_worker.engines.base import LoadError, settings_of
from asrd_worker.engines.diarize import Pyannote
from asrd_worker.failures import failure_of
from asrd_worker.memory import rss_bytes

contacted: list[str] = []


def note(event: str, arguments: tuple[Any, ...]) -> None:
    """Keep the hosts."""
    if event == "socket.getaddrinfo":
        contacted.append(str(arguments[0]))
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        contacted.append(str(arguments[1][0]))


def stage(wanted: dict[str, Any]) -> dict[str, Any]:
    """Load, warm up, do the jobs."""
    os.environ.update(wanted.get("environ", {}))
    start = time.perf_counter()
    try:
        engine = Pyannote(settings_of(Pyannote, wanted["settings"]), "speakers/0.1")
        engine.load()
        loaded = time.perf_counter()
        engine.warm_up()
    except LoadError as error:
        return {"load_error": str(error)}
    warm_s = time.perf_counter() - loaded
    canaries = [engine.canary() for _ in range(2)]
    jobs = [job(engine, asked) for asked in wanted.get("jobs", [])]
    return {"load_s": loaded - start, "warm_s": warm_s, "canaries": canaries, "jobs": jobs, "rss": rss_bytes()}


def job(engine: Pyannote, asked: dict[str, Any]) -> dict[str, Any]:
    """Do one."""
    heard = engine.read(MediaFile(), Path(asked["path"]).read_bytes(), 36_000)
    start = time.perf_counter()
    seen: list[float] = []
    try:
        listening = engine.diarize(heard, msgspec.convert(asked.get("options", {}), Speakers))
        while True:
            seen.append(next(listening))
            if len(seen) == asked.get("stop_after"):
                listening.close()
                return {"seen": seen, "took": time.perf_counter() - start}
    except StopIteration as end:
        voices = end.value
    except Exception as error:
        return {"fault": msgspec.to_builtins(failure_of(error).fault)}
    found = msgspec.to_builtins(voices.diarization)
    der = error_rate(found["turns"], Path(asked["rttm"]), heard.duration) if "rttm" in asked else None
    return {
        "seen": seen,
        "took": time.perf_counter() - start,
        "found": found,
        "work": msgspec.to_builtins(voices.work),
        "duration": heard.duration,
        "der": der,
    }


def error_rate(turns: list[dict[str, Any]], rttm: Path, duration: float) -> float:
    """The diarization error rate, without a collar."""
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    reference, hypothesis = Annotation(), Annotation()
    for number, line in enumerate(rttm.read_text().splitlines()):
        fields = line.split()
        reference[Segment(float(fields[3]), float(fields[3]) + float(fields[4])), number] = fields[7]
    for number, turn in enumerate(turns):
        hypothesis[Segment(turn["start"], turn["end"]), number] = turn["speaker"]
    return float(DiarizationErrorRate()(reference, hypothesis, uem=Timeline([Segment(0, duration)])))


def main() -> None:
    """Do the stages."""
    sys.addaudithook(note)
    before = set(sys.modules)
    stages = [stage(wanted) for wanted in json.loads(sys.argv[1])]
    if telemetry := sys.modules.get("pyannote.audio.telemetry.metrics"):
        telemetry.provider.force_flush()
    ours = sorted(name.split(".")[0] for name in {*before, *sys.modules} if name.startswith("asrd"))
    answer = {"stages": stages, "contacted": sorted(set(contacted)), "packages": sorted(set(ours))}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    sys.stdout.flush()
    os._exit(0)


main()

"""A long job whose daemon and workers are killed when most of it is done: how much is transcribed once more?"""

import time
from typing import Any

import msgspec

import asrd
from daemon import Control
from figures import Aim, Table
from long_reference import Heard, Recorded
from long_station import PATIENCE, Station
from long_text import wer
from recovery import restart

KILL_AT = 0.9
WINDOW_S = 30.0
"""What a worker decodes at once; it counts as done when it has its text."""
WORKERS = 2


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """A file whose daemon was killed, and what that cost."""

    name: str
    seconds: float
    chunks: int
    killed_at: float
    """Seconds of audio that were transcribed."""
    kept: float
    """The same after the restart."""
    plain_cpu_s: float
    """CPU time of the workers when nobody kills them."""
    cpu_s: float
    """The same of both lives."""
    start_cpu_s: float
    """What the second start of the workers took; it is not part of that."""
    wer: float
    """Of the text, to that of when nobody kills them. Where the decoder is not sure it samples: two runs may differ."""

    @property
    def again_s(self) -> float:
        """Seconds of audio that were transcribed twice."""
        return max(0.0, self.killed_at - self.kept)

    @property
    def work(self) -> float:
        """Audio transcribed in both lives, as a multiple of the audio."""
        return 1 + self.again_s / self.seconds

    @property
    def work_at_most(self) -> float:
        """The same with what was being decoded when it was killed: at most a window, or a chunk, of each worker."""
        return self.work + WORKERS * min(WINDOW_S, self.seconds / self.chunks) / self.seconds

    def table(self) -> Table:
        """The figures."""
        columns = ["file", "chunks", "killed at", "kept", "audio s done again", "work by audio", "at most"]
        columns += ["work by CPU", "CPU s of both lives", "undisturbed", "of another start", "WER to undisturbed"]
        cells = [self.name, str(self.chunks)]
        cells += [f"{100 * x / self.seconds:.1f} %" for x in (self.killed_at, self.kept)]
        cells += [f"{self.again_s:.1f}", f"{self.work:.3f}", f"{self.work_at_most:.3f}"]
        cells += [f"{self.cpu_s / self.plain_cpu_s:.3f}"]
        cells += [f"{x:.1f}" for x in (self.cpu_s, self.plain_cpu_s, self.start_cpu_s)]
        note = (
            "By audio: seconds transcribed in both lives, of those of the file; at most: with the windows that were at "
            "work then. By CPU: of the workers, without their second start, of what it takes when nobody kills them."
        )
        title = "kill -9 of the daemon, and so of all workers"
        return Table(title=title, columns=columns, rows=[[*cells, f"{self.wer:.4f}"]], note=note)

    def aims(self) -> list[Aim]:
        """The bounds; that on the work is on seconds of audio, those that were at work when it was killed included."""
        text = f"{self.name}: audio transcribed with a kill at {KILL_AT:.0%}, of that without, at most"
        return [
            Aim(text=text, measured=self.work_at_most, bound=1.15, at_most=True),
            Aim(text=f"{self.name}: WER to the undisturbed text", measured=self.wer, bound=0.005, at_most=True),
        ]


def resume(recorded: Recorded, clip: Recorded, options: dict[str, Any], chunk_s: float, plain: Heard | None) -> Resumed:
    """Kill everything when most is done, and let the next daemon end it.

    ``plain`` is how it goes when nobody kills anything, with the same chunks; if it is None that is measured first.

    Raises:
        RuntimeError: the job ended too early, or nobody serves after the kill.
    """
    with Station(WORKERS, chunk_s) as daemon:
        start_cpu = daemon.cpu_s()
        daemon.warm_up(clip, options)
        plain = plain or daemon.transcribe(recorded, options)
        before = daemon.cpu_s()
        with daemon.client() as client:
            job = client.enqueue(recorded.path, by_path=True, **options)
            killed_at = _most_of_it(client, job, recorded.seconds)
            first_life = daemon.cpu_s() - before
            daemon.kill()
        print(f"{recorded.name}: killed at {killed_at:.0f} s", flush=True)
        kept, ended = _second_life(daemon, job)
        return Resumed(
            name=recorded.name,
            seconds=recorded.seconds,
            chunks=plain.chunks,
            killed_at=killed_at,
            kept=kept,
            plain_cpu_s=plain.cpu_s,
            cpu_s=first_life + daemon.cpu_s() - start_cpu,
            start_cpu_s=start_cpu,
            wer=wer(plain.transcript.text, ended.transcript.text),
        )


def _most_of_it(client: asrd.Client, job: str, seconds: float) -> float:
    """Wait until KILL_AT of the job is done; the seconds that are."""
    done = 0.0
    while done < KILL_AT * seconds:
        time.sleep(0.05)
        if isinstance(state := client.fetch(job), asrd.Finished):
            raise RuntimeError("the job ended before it could be killed")
        done = state.done
    return done


def _second_life(daemon: Station, job: str) -> tuple[float, asrd.Finished]:
    """The seconds that the next daemon finds done, before its workers can have done more; and how the job ended."""
    restart(daemon, 0)
    daemon.control.close()
    daemon.control = Control(daemon.addresses.control)
    with daemon.client() as client:
        state = client.fetch(job)
        if isinstance(state, asrd.Finished):
            raise RuntimeError("the job ended before anybody could see what was kept")
        ended = client.wait(job, PATIENCE)
    assert isinstance(ended, asrd.Finished)
    return state.done, ended

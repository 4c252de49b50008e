"""The parts of the command that need no daemon."""

import ast
import importlib
import inspect
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

import asrd
from asrd.aio import AsyncClient
from asrd.cli import progress, screen
from asrd.cli.app import app
from asrd.cli.frame import Rate, Sample
from asrd.cli.operate import await_pool
from asrd.cli.options import Lane, OnChunkError, engine_options, formats_of, states_of, wishes
from asrd.cli.output import Rendering
from asrd.cli.source import Source, check_stems, sources
from asrd.cli.tables import insights_lines, pools_table, recycles_table, workers_table
from asrd.cli.verdict import UsageError, report
from asrd.errors import AudioError, JobFailed, NoDaemon, OptionError, Refused, TimedOut
from asrd.subtitles import WhisperLayout as Layout
from asrd.sync import Client
from asrd.track import Finished, JobProgress
from asrd_protocol import messages as m
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Diarization, Run, Transcript, Turn
from support.fake_daemon import FakeDaemon, Says

POOL: dict[str, Any] = {
    "name": "p",
    "engine": "diarize",
    "model": "m",
    "device": "cpu",
    "compute_type": "int8",
    "workers": 1,
    "ready": 1,
    "queued": 0,
    "status": "ready",
    "threads": 2,
}
HEALTHY = m.HealthReport(status="ready", reason="")


def test_help_imports_nothing_that_is_slow() -> None:
    code = (
        "import importlib, sys, asrd.cli as cli\n"
        "for theme in cli._THEMES: importlib.import_module(f'asrd.cli.{theme}')\n"
        "print(sorted({'zmq', 'msgspec', 'rich', 'numpy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "[]\n"


def test_the_client_never_imports_the_daemon_or_numpy() -> None:
    code = (
        "import sys, asrd, asrd.cli.batch, asrd.cli.show, asrd.cli.frame\n"
        "for name in asrd.__all__: getattr(asrd, name)\n"
        "print(sorted({'asrd_supervisor', 'asrd_worker', 'numpy', 'av', 'uvloop'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "[]\n"


def test_settings_are_json_or_text_and_only_given_options_are_sent() -> None:
    given = ["temperature=[0, 0.2]", "hotwords=a=b", "vad_filter=true", "language=de"]
    assert engine_options(given, beam_size=3, task=None) == {
        "temperature": [0, 0.2],
        "hotwords": "a=b",
        "vad_filter": True,
        "language": "de",
        "beam_size": 3,
    }
    assert engine_options(None, word_timestamps=False) == {"word_timestamps": False}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("beam_size", "NAME=VALUE"),
        ("=5", "NAME=VALUE"),
        ("timeout=3", "--timeout"),
        ("job=x", "no option of an engine"),
    ],
)
def test_a_setting_that_is_none_is_named(setting: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        engine_options([setting])
    assert setting in str(caught.value)


def test_reserved_settings_are_those_that_submit_takes() -> None:
    from asrd.cli.options import _RESERVED

    for method in (AsyncClient.submit, AsyncClient.enqueue, Client.transcribe, asrd.submit):
        parameters = inspect.signature(method).parameters.values()
        keywords = {one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}
        assert keywords == _RESERVED.keys()


def test_only_wishes_that_were_given_are_sent() -> None:
    nothing = {
        "pool": None,
        "client": "",
        "deadline": None,
        "by_path": False,
        "attempts": None,
        "priority": Lane.NORMAL,
        **dict.fromkeys(("speakers_pool", "num_speakers", "min_speakers", "max_speakers")),
        **dict.fromkeys(("diarize", "speaker_embeddings", "no_split"), False),
        "on_chunk_error": OnChunkError.FAIL,
    }
    assert wishes(nothing) == {"priority": "normal"}
    given = {"pool": "p", "job": "j", "client": "c", "deadline": 5.0, "by_path": True, "attempts": 2, "timeout": 3.0}
    assert wishes({**nothing, **given, "priority": Lane.LOW}) == {
        "pool": "p",
        "job": "j",
        "client": "c",
        "deadline": 5.0,
        "by_path": True,
        "retries": asrd.Retries(attempts=2),
        "priority": "low",
    }


def test_states() -> None:
    assert states_of(None) == []
    assert states_of(["running", "queued", "running"]) == ["queued", "running"]
    with pytest.raises(UsageError, match="'quarantine'; did you mean 'quarantined'"):
        states_of(["quarantine"])


def test_formats() -> None:
    assert formats_of(None) == ("txt",)
    assert formats_of(["srt", "txt", "srt"]) == ("srt", "txt")
    assert formats_of(["json", "all"]) == ("json", "txt", "srt", "vtt", "tsv")
    with pytest.raises(UsageError, match="'srrt'; did you mean 'srt'"):
        formats_of(["srrt"])


def test_wishes_that_do_not_fit_together() -> None:
    with pytest.raises(UsageError, match="--output-dir"):
        Rendering(("txt", "srt")).check(words=True)
    with pytest.raises(UsageError, match="--word-timestamps"):
        Rendering(("srt",), Layout(max_line_width=40)).check(words=False)
    Rendering(("srt",), Layout(max_line_width=40)).check(words=True)
    Rendering(("txt", "srt"), directory=Path()).check(words=False)


def test_only_plain_text_on_stdout_is_streamed() -> None:
    assert Rendering(("txt",)).streams
    assert not Rendering(("srt",)).streams
    assert not Rendering(("txt",), directory=Path()).streams


def test_a_file_whose_name_is_no_text_has_its_files_written(tmp_path: Path) -> None:
    stem = os.fsdecode(b"caf\xe9")
    turns = Diarization(turns=[Turn(start=0.0, end=1.0, speaker="SPEAKER_00")])
    transcript = Transcript(text="", language="en", segments=[], diarization=turns, duration=1.0)
    finished = Finished("job", transcript, Run(seat="p/0.1"))
    (path,) = Rendering(("rttm",), directory=tmp_path).write(finished, stem)
    assert path == tmp_path / f"{stem}.rttm"
    assert path.read_text(encoding="utf-8").startswith("SPEAKER caf? 1 0.000 1.000")


def test_two_sources_of_one_name_are_not_written_to_one_file() -> None:
    twice = [Source("a/x.wav", "x", Path("a/x.wav")), Source("b/x.mp3", "x", Path("b/x.mp3"))]
    with pytest.raises(UsageError, match=r"a/x\.wav and b/x\.mp3"):
        check_stems(twice, Path("out"))
    check_stems(sources(["a/x.wav", "a/y.wav"]), Path("out"))


def test_standard_input_is_read_once() -> None:
    with pytest.raises(UsageError, match="once"):
        sources(["-", "-"])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (NoDaemon("none"), 2, "asrd: none\n"),
        (UsageError("so"), 2, "asrd: so\n"),
        (OptionError("option"), 2, "asrd: option\n"),
        (AudioError("empty"), 1, "asrd: empty\n"),
        (TimedOut("late"), 1, "asrd: late\n"),
        (JobFailed(Fault.of(Code.POISON, "poison")), 1, "asrd: poison\n"),
        (Refused(Fault.of(Code.DRAINING, "draining")), 1, "asrd: draining\n"),
        (PermissionError(13, "Permission denied", "out"), 1, "asrd: [Errno 13] Permission denied: 'out'\n"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(143), 143, ""),
    ],
)
def test_verdicts(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(error) == code
    assert capsys.readouterr().err == said


def test_a_defect_is_one_sentence_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ZeroDivisionError("oops")) == 70
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "ZeroDivisionError: oops" in said


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0 s"), (99.9, "99 s"), (100, "1 min"), (7_500, "2 h 05"), (180_000, "2 d 02 h")]
)
def test_ages(seconds: float, shown: str) -> None:
    assert screen.age(seconds) == shown


def test_answers_are_shown_with_all_fields_and_none_of_the_wire() -> None:
    fields = screen.fields(HEALTHY)
    assert list(fields) == ["status", "reason", "pools", "version", "pid", "uptime_s", "max_body"]


def test_words_of_the_daemon_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    screen.show(screen.table(("FAULT",), [("[red]x[/red] :smile:",)]))
    assert "[red]x[/red] :smile:" in capsys.readouterr().out


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times of day are those of Greenwich."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC0")
        time.tzset()
        yield
    time.tzset()


def shown(table: Table, width: int = 200) -> list[str]:
    """The lines of a table without the spaces at their ends."""
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def worker(**more: Any) -> m.WorkerReport:
    plain = {"seat": "default/0.17", "pool": "default", "slot": 0, "generation": 17, "pid": 13421, "state": "busy"}
    figures = {"jobs_done": 3, "uptime_s": 60.0, "rss_bytes": 315_000_000, "vram_bytes": None}
    return m.WorkerReport(**{**plain, **figures, **more})


@pytest.mark.parametrize(
    ("known", "cell"),
    [
        ({}, "-"),
        ({"condition": "ok", "slowdown": 1.026}, "ok 1.03x"),
        ({"condition": "wrong"}, "wrong"),
        ({"slowdown": 0.9}, "0.90x"),
    ],
)
def test_workers_are_shown_with_their_condition(known: dict[str, Any], cell: str) -> None:
    head, row = shown(workers_table([worker(**known)]))
    place = head.index("CONDITION")
    assert row[place:].startswith(f"{cell}  ")
    assert row[head.index("RSS") :].split("  ")[:2] == ["315 MB", "-"]
    assert "315 MB  2400 MB  -" in shown(workers_table([worker(vram_bytes=2_400_000_000)]))[1]


def test_on_a_narrow_terminal_the_job_gives_way_and_not_what_is_left_of_it() -> None:
    busy = worker(condition="suspect", slowdown=1.21, job="0f8b5a" * 5)
    lines = shown(workers_table([busy]), width=80)
    assert len(lines) == 2 and "suspect 1.21x  315 MB" in lines[1] and "…" in lines[1]
    assert busy.job in shown(workers_table([busy]))[1]


@pytest.mark.usefixtures("utc")
def test_recycles_are_sentences_with_what_came_of_them() -> None:
    first = m.RecycleReport(at=1_795_255_200.9, pool="p", seat="p/0.1", reason="memory", said="p/0.1 retired: fat")
    helped, useless = (msgspec.structs.replace(first, effective=effective) for effective in (True, False))
    assert shown(recycles_table([first, helped, useless])) == [
        "WHEN                 HELPED  WHAT",
        "2026-11-21 10:00:00  -       p/0.1 retired: fat",
        "2026-11-21 10:00:00  yes     p/0.1 retired: fat",
        "2026-11-21 10:00:00  no      p/0.1 retired: fat",
    ]


def test_a_long_sentence_takes_several_lines_and_loses_nothing() -> None:
    said = "default/0.17 retired: 1.62× slower than its own start for the same work, siblings 1.03×; replacement 0.99×"
    report = m.RecycleReport(at=0.0, pool="p", seat="p/0.1", reason="slow", said=said)
    lines = shown(recycles_table([report]), width=60)
    assert " ".join(line[29:] for line in lines[1:]) == said


def test_insights_have_advice_and_figures_below_them() -> None:
    grows = {"mb_per_job": 5.0625, "rss_mb": 12345.6, "seats": ["p/0.1"], "exact": 7, "unit": "MB", "cause": None}
    leak = m.Insight(topic="memory", severity="critical", said="it leaks", advice="recycle it", numbers=grows)
    plain = m.Insight(topic="host", severity="info", said="[b]busy[/b]")
    assert shown(insights_lines([leak, plain])) == [
        "critical  it leaks",
        "            recycle it",
        '            mb_per_job 5.062, rss_mb 12346, seats ["p/0.1"], exact 7, unit MB, cause null',
        "info      [b]busy[/b]",
    ]


def stats(completed: int, audio_s: float) -> m.StatsReport:
    counts, workers = m.JobCount(completed=completed), m.WorkerCount()
    return m.StatsReport(jobs=counts, workers=workers, recycles={}, deaths={}, audio_s=audio_s)


def test_throughput_is_what_came_since_the_last_look() -> None:
    first = Sample(10.0, HEALTHY, stats(5, 50.0), [], [])
    rate = Rate().next(first)
    assert rate.jobs_s is None
    rate = rate.next(Sample(12.0, HEALTHY, stats(9, 90.0), [], []))
    assert (rate.jobs_s, rate.audio_s) == (2.0, 20.0)
    other = m.HealthReport(status="ready", reason="", pid=7)
    assert rate.next(Sample(13.0, other, stats(0, 0.0), [], [])).jobs_s is None, "a restarted daemon counts from 0"


# --- lines of progress ------------------------------------------------------------------------------------------------


def test_lines_of_progress_do_not_run_backwards(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    lines = progress.Lines()
    for done in (0.0, 26.0, 0.0, 16.0, 26.0, 30.0):
        lines.moved("a.wav", JobProgress(done, 371.0))
    lines.moved("b.wav", JobProgress(2.0, 10.0))
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" of ")[0] for line in said] == ["a.wav: 0", "a.wav: 26", "a.wav: 30", "b.wav: 2"]


# --- signals ----------------------------------------------------------------------------------------------------------

SLOW_TO_LEAVE = """
import asyncio, sys
from asrd import cli
from asrd.cli import leaving

async def work():
    with leaving.cancelled_by_signals():
        try:
            print("at work", flush=True)
            await asyncio.Event().wait()
        finally:
            print("cancelling", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            print("cancelled", flush=True)

import signal
signal.signal(signal.SIGTERM, cli._leave)
asyncio.run(work())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_end_what_the_first_one_has_begun(number: signal.Signals) -> None:
    command = [sys.executable, "-P", "-c", SLOW_TO_LEAVE]
    take: Any = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True, **take) as process:
        assert process.stdout and process.stdout.readline() == "at work\n"
        process.send_signal(number)
        assert process.stdout.readline() == "cancelling\n"
        process.send_signal(number)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate("go on\n", timeout=20)
    assert (process.returncode, out, err) == (128 + number, "cancelled\n", "")


# --- what is ready ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({}, "p is ready: m, int8, 2 threads"),
        ({"threads": 1}, "p is ready: m, int8, 1 thread"),
        ({"compute_type": ""}, "p is ready: m, 2 threads"),
        ({"model": "", "compute_type": "", "threads": 1}, "p is ready: 1 thread"),
        ({"model": "", "compute_type": "", "threads": 0}, "p is ready"),
    ],
)
def test_only_what_is_known_of_a_pool_is_said(known: dict[str, Any], said: str) -> None:
    report = m.PoolReport(**{**POOL, **known})
    with tempfile.TemporaryDirectory(prefix="asrd-") as place:

        def script(question: m.JobQuestion | m.ControlQuestion, body: bytes) -> Sequence[Says]:
            return [m.PoolsReport(pools=[report])]

        with FakeDaemon(Path(place), script), Client(place) as client:
            assert await_pool(client, "p", resting=False) == said
    row = shown(pools_table([report]))[1].split()
    assert row[5] == (report.compute_type or "-")


@pytest.mark.parametrize(
    ("after", "code", "out", "err"),
    [
        ({}, 0, "p gets that\np is ready: m, int8, 2 threads; change its configuration too, which counts again ", ""),
        (
            {"change_fault": "no model"},
            1,
            "p gets that\n",
            "asrd: p goes on with what it had loaded before: no model\n",
        ),
    ],
)
def test_what_to_do_with_a_change_is_said_when_it_has_worked(
    after: dict[str, Any], code: int, out: str, err: str
) -> None:
    importlib.import_module("asrd.cli.status")

    def script(question: m.JobQuestion | m.ControlQuestion, body: bytes) -> Sequence[Says]:
        if isinstance(question, m.SetPool):
            return [m.Done(message="p gets that")]
        return [m.PoolsReport(pools=[m.PoolReport(**{**POOL, **after})])]

    with tempfile.TemporaryDirectory(prefix="asrd-") as place, FakeDaemon(Path(place), script):
        ran = CliRunner().invoke(app, ["pools", "set", "p", "model=m", "--runtime-dir", place])
    assert (ran.exit_code, ran.stderr) == (code, err)
    assert ran.stdout.startswith(out) and ran.stdout.count("\n") == out.count("\n") + (code == 0)


# --- the laws of style ------------------------------------------------------------------------------------------------


def test_no_function_of_the_client_is_longer_than_sixty_lines() -> None:
    functions = [
        (node.name, (node.end_lineno or 0) - node.lineno + 1)
        for path in Path(asrd.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert len(functions) > 300 and [one for one in functions if one[1] > 60] == []

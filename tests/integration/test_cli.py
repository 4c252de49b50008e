"""The ``asrd`` command as people and scripts use it: real processes, a real daemon."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from asrd_protocol import messages as m
from asrd_protocol.faults import Code, Fault
from support.daemon import Daemon
from support.fake_daemon import FakeDaemon, Says
from support.opened import begun
from support.stage import PATIENT, UNHURRIED, Stage, staged
from support.wait import eventually

ASRD = str(Path(sys.executable).parent / "asrd")


class Ran:
    """What a finished command has said."""

    def __init__(self, done: "subprocess.CompletedProcess[str]") -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        assert "Traceback" not in self.out + self.err, self.err


def _take_interrupts() -> None:
    """A shell lets what it starts in the background ignore them, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Cli:
    """Runs ``asrd`` for the daemon in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environ = {**os.environ, "ASRD_RUNTIME_DIR": str(directory), "COLUMNS": "80", "TERM": "xterm"}
        self.environ.pop("PYTHONUNBUFFERED", None)  # it would hide what the interpreter says of a closed pipe

    def __call__(self, *arguments: str | Path, stdin: bytes | None = None, cwd: Path | None = None) -> Ran:
        command = [ASRD, *map(str, arguments)]
        done = subprocess.run(command, input=stdin, capture_output=True, env=self.environ, timeout=60, cwd=cwd)
        return Ran(subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode()))

    def start(self, *arguments: str | Path, **more: Any) -> "subprocess.Popen[str]":
        """Begins a command."""
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "preexec_fn": _take_interrupts, **more}
        return begun(subprocess.Popen([ASRD, *map(str, arguments)], env=self.environ, text=True, **more))

    def json(self, *arguments: str) -> Any:
        """The JSON that a command prints."""
        ran = self(*arguments, "--json")
        assert ran.code == 0, ran.err
        return json.loads(ran.out)


@pytest.fixture
def cli(scripted: Callable[..., Daemon]) -> Cli:
    """The command beside a daemon with two scripted workers."""
    return Cli(scripted().directory)


@pytest.fixture
def stage() -> Iterator[Stage]:
    """The same with workers that take orders."""
    with staged(UNHURRIED + PATIENT) as stage:
        yield stage


@pytest.fixture
def nowhere() -> Iterator[Cli]:
    """The command where there is no daemon."""
    with tempfile.TemporaryDirectory(prefix="asrd-") as directory:
        yield Cli(Path(directory))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A file; the scripted engine does not listen."""
    path = tmp_path / "talk.wav"
    path.write_bytes(b"audio")
    return path


class Hold(NamedTuple):
    """Where a job stays until somebody is killed: who comes there first sleeps, and who comes later goes on at once."""

    order: str


def _do(step: str | float | Hold) -> dict[str, Any]:
    match step:
        case str():
            return {"do": "speak", "text": step}
        case Hold(order):
            return {"do": "obey", "order": order}
        case _:
            return {"do": "sleep", "s": step}


def script(*steps: str | float | Hold) -> str:
    """The option that lets the engine say texts and sleep seconds."""
    return f"--set=script={json.dumps([_do(step) for step in steps])}"


def hold(stage: Stage, *orders: str) -> tuple[Hold, ...]:
    """Steps of a script; each holds one job."""
    for order in orders:
        stage.order(order, [{"do": "sleep", "s": 25}])
    return tuple(map(Hold, orders))


# --- transcribe -------------------------------------------------------------------------------------------------------


def test_text_goes_to_stdout_and_a_plain_line_to_stderr(cli: Cli, clip: Path) -> None:
    ran = cli("transcribe", clip, script(" hello", " world"))
    assert (ran.code, ran.out) == (0, "hello\nworld\n")
    assert re.fullmatch(rf"{clip}: \d+\.\d s of audio in .* by default/[01]\.1\n", ran.err)
    assert cli("transcribe", clip, script(" hello"), "-q").err == ""


def test_standard_input_and_subtitles(cli: Cli, clip: Path) -> None:
    ran = cli("transcribe", "-", script(" hello"), "-f", "srt", "-q", stdin=b"audio")
    assert (ran.code, ran.out, ran.err) == (0, "1\n00:00:00,000 --> 00:00:01,000\nhello\n\n", "")


def test_json_tells_where_and_how_the_job_ran(cli: Cli, clip: Path) -> None:
    shown = json.loads(cli("transcribe", clip, script(" hello"), "-f", "json", "-q").out)
    assert list(shown) == ["text", "segments", "language", "asrd"]
    added = {"job", "duration", "language_probability", "warnings", "seat", "timings", "work", "attempts"}
    assert set(shown["asrd"]) == added
    assert shown["text"].strip() == "hello" and shown["asrd"]["attempts"] == 1
    assert shown["asrd"]["timings"]["total"] > 0 and shown["asrd"]["work"]["segments"] == 1


def test_files_are_written_as_whisper_names_them(cli: Cli, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    ran = cli("transcribe", clip, script(" hello"), "-f", "all", "-o", out)
    assert (ran.code, ran.out) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == [
        f"talk.{fmt}" for fmt in ("json", "srt", "tsv", "txt", "vtt")
    ]
    assert (out / "talk.txt").read_text() == "hello\n"
    assert (out / "talk.vtt").read_text() == "WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n\n"


def test_many_files_in_order_and_one_bad_one_does_not_stop_the_others(cli: Cli, tmp_path: Path) -> None:
    names = [f"{n}.wav" for n in range(12)]
    for name in names:
        (tmp_path / name).write_bytes(b"audio")
    (tmp_path / "5.wav").unlink()
    (tmp_path / "7.wav").write_bytes(b"")
    ran = cli("transcribe", *names, script("fine"), "-f", "json", cwd=tmp_path)
    assert ran.code == 1
    assert "asrd: there is no file 5.wav\n" in ran.err and "asrd: 7.wav is empty\n" in ran.err
    assert len(ran.out.splitlines()) == 10
    told = [line.partition(":")[0] for line in ran.err.splitlines() if not line.startswith("asrd: ")]
    assert sorted(told) == sorted(set(names) - {"5.wav", "7.wav"})


def test_many_files_are_printed_in_the_order_given(scripted: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = scripted()
    cli = Cli(daemon.directory)
    slow, fast = tmp_path / "slow", tmp_path / "fast"
    os.mkfifo(slow)
    fast.write_bytes(b"audio")
    process = cli.start("transcribe", slow, fast, script("x"), "-f", "json", "-q")
    slow.write_bytes(b"audio")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and len(out.splitlines()) == 2


def test_text_is_printed_as_it_is_decoded_and_an_interrupt_cancels_the_job(cli: Cli, clip: Path) -> None:
    process = cli.start("transcribe", clip, script(" first", 60, " second"))
    assert process.stdout is not None and process.stdout.readline() == "first\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "")
    eventually(lambda: cli.json("stats")["jobs"]["cancelled"] == 1)


def test_sigterm_cancels_the_job_too(cli: Cli, clip: Path) -> None:
    process = cli.start("transcribe", clip, script(" first", 60))
    assert process.stdout is not None and process.stdout.readline() == "first\n"
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 143
    eventually(lambda: cli.json("stats")["jobs"]["cancelled"] == 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_repeated_does_not_keep_jobs_from_being_cancelled(
    cli: Cli, tmp_path: Path, number: signal.Signals
) -> None:
    """As ``timeout`` does it."""
    files = [tmp_path / f"{n}.wav" for n in range(8)]
    for file in files:
        file.write_bytes(b"audio")
    process = cli.start("transcribe", *files, script(60.0), "-f", "json")
    eventually(lambda: len(cli.json("jobs")) == 4)
    for _ in range(2):
        process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode in (128 + number, -number) and err == ""
    eventually(lambda: cli.json("stats")["jobs"]["cancelled"] == 4)


def test_ctrl_c_that_is_ignored_from_the_beginning_stays_so(cli: Cli, clip: Path) -> None:
    ignore: Any = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    process = cli.start("transcribe", clip, script(" first", 0.5, " last"), "-q", **ignore)
    assert process.stdout is not None and process.stdout.readline() == "first\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "last\n", "")


def test_a_killed_worker_does_not_show_in_the_text(stage: Stage, clip: Path) -> None:
    cli = Cli(stage.daemon.directory)
    process = cli.start("transcribe", clip, script(" one", " two", *hold(stage, "here"), " three"))
    assert process.stdout is not None
    lines = [process.stdout.readline(), process.stdout.readline()]
    (victim,) = [worker["pid"] for worker in cli.json("workers") if worker["job"]]
    os.kill(victim, signal.SIGKILL)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "".join(lines) + out == "one\ntwo\nthree\n"
    assert "2 attempts" in err


def test_the_timeout_cancels_the_job(cli: Cli, clip: Path) -> None:
    ran = cli("transcribe", clip, script(60.0), "--timeout", "0.3")
    assert ran.code == 1 and "0.3 s" in ran.err and str(clip) in ran.err
    eventually(lambda: cli.json("stats")["jobs"]["cancelled"] == 1)


def test_a_full_queue_is_waited_for(scripted: Callable[..., Daemon], tmp_path: Path) -> None:
    pool = '[pools.default]\nengine = "scripted"\nmodel = ""\nworkers = 1\n'
    cli = Cli(scripted(config=pool + "[queue]\nmax_jobs = 1\n").directory)
    (tmp_path / "clip").write_bytes(b"audio")
    blocker = cli("submit", tmp_path / "clip", script(60.0)).out.strip()
    eventually(lambda: cli.json("stats")["jobs"]["running"] == 1)
    waiting = cli("submit", tmp_path / "clip", script(0.1)).out.strip()
    process = cli.start("transcribe", tmp_path / "clip", script(" through"))
    eventually(lambda: cli.json("stats")["refused"].get("overloaded", 0) >= 1)
    cli("cancel", blocker)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "through\n"), err
    assert cli("wait", waiting).code == 0


def test_a_reader_that_goes_away_is_no_error(cli: Cli, clip: Path) -> None:
    process = cli.start("transcribe", clip, script(" a", 2, " b", 0.2, " c"))
    assert process.stdout is not None and process.stdout.readline() == "a\n"
    process.stdout.close()
    with process:
        assert process.stderr is not None and process.stderr.read() == ""
        assert process.wait(20) == 141


def test_a_terminal_shows_a_bar_and_loses_no_text(cli: Cli, clip: Path) -> None:
    master, slave = pty.openpty()
    process = cli.start(
        "transcribe", clip, script(" spoken [b]text[/b]", 0.4, " end"), stderr=slave, stdout=subprocess.PIPE
    )
    os.close(slave)
    out, _ = process.communicate(timeout=30)
    shown = os.read(master, 65_536).decode()
    os.close(master)
    assert (process.returncode, out) == (0, "spoken [b]text[/b]\nend\n")
    assert "talk.wav" in shown and "left" in shown and "━" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-f", "srrt"], 2, "did you mean 'srt'"),
        (["-f", "txt", "-f", "srt"], 2, "--output-dir"),
        (["--max_line_width", "30"], 2, "--word-timestamps"),
        (["--set", "x"], 2, "NAME=VALUE"),
        (["--no-such-option"], 2, "No such option"),
        (["--beam-size", "many"], 2, "beam-size"),
        (["--timeout", "-1"], 2, "timeout"),
        (["--pool", "defualt"], 1, "did you mean 'default'"),
        (["--set", "scrpt=[]"], 1, "did you mean 'script'"),
        (["--set", 'script=[{"do":"fail","code":"bad_audio","message":"no sound"}]'], 1, "no sound"),
    ],
)
def test_bad_wishes_are_named(cli: Cli, clip: Path, arguments: list[str], code: int, said: str) -> None:
    ran = cli("transcribe", clip, *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    if code == 1:
        assert re.fullmatch(r"asrd: .+\n", ran.err)


def test_two_files_of_one_name_are_not_written_over_each_other(cli: Cli, clip: Path, tmp_path: Path) -> None:
    ran = cli("transcribe", clip, clip, "-o", tmp_path / "out")
    assert ran.code == 2 and "would both be written" in ran.err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_a_sentence(cli: Cli, clip: Path) -> None:
    ran = cli("transcribe", clip, script("x"), "-q", "-o", clip / "below")
    assert (ran.code, ran.out) == (2, "")
    assert re.fullmatch(r"asrd: --output-dir .* cannot be a directory: Not a directory\n", ran.err)


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_a_job_that_outlives_its_command(cli: Cli, clip: Path) -> None:
    assert cli("submit", clip, "--job", "mine", script(" hello")).out == "mine\n"
    done = cli("wait", "mine")
    assert (done.code, done.out) == (0, "mine completed\n")
    assert cli("result", "mine").out == "hello\n"
    assert json.loads(cli("result", "mine", "-f", "json").out)["asrd"]["job"] == "mine"
    (job,) = cli.json("jobs")
    assert (job["job"], job["state"], job["attempts"]) == ("mine", "completed", 1)
    late = cli("cancel", "mine")
    assert late.code == 1 and "had ended" in late.err
    assert cli("result", "mine", "--release").out == "hello\n"
    gone = cli("result", "mine")
    assert gone.code == 1 and "mine" in gone.err
    assert cli.json("jobs") == []


def test_a_job_that_still_runs_has_no_result(cli: Cli, clip: Path) -> None:
    cli("submit", clip, "--job", "mine", script(60.0))
    early = cli("result", "mine")
    assert (early.code, early.out) == (1, "") and "asrd wait mine" in early.err
    waited = cli("wait", "mine", "--timeout", "0")
    assert waited.code == 1 and waited.out in ("mine running\n", "mine queued\n")
    assert cli("cancel", "mine").code == 0


def test_a_job_is_cancelled(cli: Cli, clip: Path) -> None:
    name = cli("submit", "-", script(60.0), stdin=b"audio").out.strip()
    assert name in cli("jobs").out
    assert cli("cancel", name).out == f"{name} cancelled\n"
    waited = cli("wait", name)
    assert waited.code == 1 and "cancelled" in waited.err
    assert cli.json("jobs")[0]["state"] == "cancelled"


@pytest.mark.parametrize("command", ["wait", "result", "cancel", "retry"])
def test_an_unknown_job_is_named(cli: Cli, command: str) -> None:
    ran = cli(command, "no-such")
    assert ran.code == 1 and re.fullmatch(r"asrd: there is no job 'no-such'.*\n", ran.err)


def test_wishes_are_options(cli: Cli, clip: Path) -> None:
    cli("transcribe", clip, script(0.3, "measured"))
    for _ in range(2):
        cli("submit", clip, script(60.0))
    wishes = ("--priority", "low", "--client", "archive", "--attempts", "1", "--deadline", "500", "--by-path")
    late = cli("submit", clip, "--job", "late", *wishes)
    assert (late.code, late.out) == (0, "late\n")
    assert re.fullmatch(r"result expected in about \d+ s\n", late.err), late.err
    assert "1 ahead of it, " in cli("submit", clip, "--job", "later").err
    (shown,) = cli.json("jobs", "--client", "archive")
    assert (shown["job"], shown["priority"], shown["state"]) == ("late", "low", "queued") and shown["eta_s"] > 0
    assert {one["job"] for one in cli.json("jobs", "--state", "queued")} == {"late", "later"}
    assert cli.json("jobs", "--pool", "other") == []
    assert re.search(r"late +queued +default .* \d+ s ", cli("jobs").out)
    wrong = cli("jobs", "--state", "queud")
    assert wrong.code == 2 and "did you mean 'queued'" in wrong.err


def test_transcribe_takes_the_same_wishes(cli: Cli, clip: Path) -> None:
    ran = cli("transcribe", clip, script("fine"), "--by-path", "--priority", "high", "--client", "x", "-q")
    assert (ran.code, ran.out) == (0, "fine\n"), ran.err
    late = cli("transcribe", clip, script(60.0), "--deadline", "0.3", "-q")
    assert late.code == 1 and re.fullmatch(r"asrd: .*talk.wav: .*\n", late.err), late.err
    piped = cli("transcribe", "-", "--by-path", stdin=b"audio")
    assert piped.code == 1 and "given by its path" in piped.err
    wrong = cli("transcribe", clip, "--priority", "urgent")
    assert wrong.code == 2 and "urgent" in wrong.err
    assert cli("transcribe", clip, "--attempts", "0").code == 2


def test_a_transcript_outlives_the_daemon(stage: Stage, clip: Path) -> None:
    cli = Cli(stage.daemon.directory)
    process = cli.start("transcribe", clip, script(" one", " two", *hold(stage, "here"), " three"))
    assert process.stdout is not None
    lines = [process.stdout.readline(), process.stdout.readline()]
    eventually(lambda: stage.obeyed("here"))
    stage.daemon.kill()
    stage.daemon.restart()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "".join(lines) + out == "one\ntwo\nthree\n"
    assert "2 attempts" in err


def connections(daemon: Daemon) -> int:
    """How many clients are connected to the socket for jobs; the one that listens there is no client."""
    table = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(f" {daemon.directory}/jobs.sock") for line in table) - 1


def test_wait_and_result_outlive_the_daemon(stage: Stage, clip: Path) -> None:
    daemon = stage.daemon
    cli = Cli(daemon.directory)
    cli("submit", clip, "--job", "mine", script(*hold(stage, "here"), " kept"))
    eventually(lambda: stage.obeyed("here") and connections(daemon) == 0)
    waiting = cli.start("wait", "mine")
    eventually(lambda: connections(daemon) == 1)
    daemon.kill()
    daemon.restart()
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out, err) == (0, "mine completed\n", "")
    daemon.stop()
    assert cli("result", "mine").code == 2
    daemon.restart()
    daemon.ready()
    assert cli("result", "mine").out == "kept\n"


def test_a_failed_job_is_tried_again(clip: Path) -> None:
    with staged() as stage:
        cli = Cli(stage.daemon.directory)
        stage.order("fail", [{"do": "fail", "message": "for now"}])
        steps = '--set=script=[{"do":"obey","order":"fail"},{"do":"speak","text":"well"}]'
        assert cli("submit", clip, steps, "--job", "mine", "--attempts", "1").code == 0
        failed = cli("wait", "mine")
        assert failed.code == 1 and "for now" in failed.err
        tried = cli("retry", "mine", "no-such")
        assert (tried.code, tried.out) == (1, "mine is tried again\n") and "no-such" in tried.err
        assert cli("wait", "mine").code == 0
        assert cli("result", "mine").out == "well\n"


def test_the_quarantine_shows_the_evidence(clip: Path) -> None:
    with staged() as stage:
        cli = Cli(stage.daemon.directory)
        said = '{"do":"speak","text":"a"},{"do":"print","text":"last words"},{"do":"sleep","s":0.3}'
        words = said + ',{"do":"die","signal":"SIGSEGV"}'
        for name in ("one", "two"):
            cli("submit", clip, f"--set=script=[{words}]", "--job", name)
            assert cli("wait", name).code == 1
        assert {job["job"] for job in cli.json("quarantine", "list")} == {"one", "two"}
        assert re.search(r"one +quarantined ", cli("quarantine", "list").out)
        shown = cli("quarantine", "show", "one").out
        for evidence in (
            r"deaths +2 ",
            r"last seat +default/[01]\.\d+ ",
            r"death +SIGSEGV",
            r"1\.0 of 1\.0 s",
            "last words",
        ):
            assert re.search(evidence, shown), shown
        told = cli.json("quarantine", "show", "one")
        assert told["job"]["attempts"] == 2 and told["fault"]["context"]["deaths"] == 2
        assert cli("quarantine", "drop", "one").out == "one is forgotten\n"
        assert cli("result", "one").code == 1
        assert cli("quarantine", "retry", "two").out == "two is tried again\n"
        assert cli("wait", "two").code == 1, "it dies again"
        healthy = cli("submit", clip, "--job", "healthy").out.strip()
        for command in ("show", "retry", "drop"):
            wrong = cli("quarantine", command, healthy)
            assert wrong.code == 1 and re.fullmatch(r"asrd: there is no job 'healthy' in quarantine.*\n", wrong.err)


def test_events_are_printed_as_they_happen(cli: Cli, clip: Path) -> None:
    lines = cli.start("events", "--json", "job.")
    words = cli.start("events", "job.completed")
    assert lines.stdout is not None and words.stdout is not None
    os.set_blocking(lines.stdout.fileno(), False)
    os.set_blocking(words.stdout.fileno(), False)

    first: list[str] = ["", ""]

    def both() -> bool:
        cli("transcribe", clip, script("x"), "-q")
        for index, stream in enumerate((lines.stdout, words.stdout)):
            assert stream is not None
            first[index] = first[index] or stream.readline()
        return all(first)

    eventually(both, 20)
    event = json.loads(first[0])
    assert event["type"].startswith("job.") and event["job"]
    assert re.match(r"\d\d:\d\d:\d\d job\.completed job=\w+ pool=default ", first[1])
    for process in (lines, words):
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (130, "")


# --- the daemon -------------------------------------------------------------------------------------------------------


def test_the_shapes_that_scripts_rely_on(cli: Cli, clip: Path) -> None:
    cli("transcribe", clip, script("x"))
    workers = cli.json("workers")
    wanted = {"seat", "pool", "slot", "generation", "pid", "state", "jobs_done", "uptime_s", "rss_bytes", "vram_bytes"}
    wanted |= {"pss_bytes", "condition", "slowdown", "proof_age_s"}
    assert all(wanted <= set(worker) for worker in workers)
    assert sum(worker["jobs_done"] for worker in workers) == 1
    stats = cli.json("stats")
    assert stats["jobs"] == {"queued": 0, "running": 0, "completed": 1, "failed": 0, "cancelled": 0}
    assert stats["workers"] == {"ready": 2, "total": 2}
    assert (stats["recycles"], stats["deaths"]) == ({}, {})
    health = cli.json("health")
    assert list(health) == ["status", "reason", "pools", "version", "pid", "uptime_s", "max_body"]
    assert health["status"] == "ready"
    assert cli.json("pools")[0]["engine"] == "scripted"


@pytest.mark.parametrize("command", ["health", "stats", "workers", "jobs", "pools", "recycles", "insights"])
def test_tables_for_people(cli: Cli, command: str) -> None:
    ran = cli(command)
    assert (ran.code, ran.err) == (0, "")
    assert {"jobs": "JOB", "workers": "default/0.1", "recycles": "No worker", "insights": ""}.get(
        command, "ready"
    ) in ran.out


def test_health_says_by_its_exit_code_whether_work_may_be_sent(cli: Cli, clip: Path) -> None:
    assert cli("health").code == 0
    assert cli("drain").code == 0
    drained = cli("health", "--json")
    assert (drained.code, json.loads(drained.out)["status"]) == (1, "draining")
    refused = cli("transcribe", clip)
    assert refused.code == 1 and "no new jobs" in refused.err
    assert cli("drain", "--resume").code == 0
    assert cli("health").code == 0


def findings(question: m.JobQuestion | m.ControlQuestion, body: bytes) -> Sequence[Says]:
    """A daemon that has found out something."""
    said = "default/0.17 retired: 1.62× slower than its own start"
    slow = m.RecycleReport(at=1.5, pool="default", seat="default/0.17", reason="slow", said=said, effective=True)
    busy = m.Insight(topic="host", severity="warning", said="the host is busy", advice="wait", numbers={"load": 9.5})
    match question:
        case m.Recycles(pool="nowhere"):
            return [m.Refused(fault=Fault.of(Code.UNKNOWN_POOL, "there is no pool 'nowhere'"))]
        case m.Recycles():
            return [m.RecyclesReport(recycles=[slow] * min(2, question.limit))]
        case _:
            return [m.InsightsReport(insights=[busy])]


def test_what_the_daemon_has_found_out(nowhere: Cli) -> None:
    with FakeDaemon(nowhere.directory, findings) as daemon:
        told = nowhere("recycles").out
        assert len(re.findall(r"\d\d:\d\d:\d\d  yes     default/0\.17 retired: 1\.62× slower", told)) == 2
        (first,) = nowhere.json("recycles", "--limit", "1", "--pool", "default")
        assert (first["seat"], first["effective"], first["reload_s"]) == ("default/0.17", True, None)
        assert daemon.asked[-1] == m.Recycles(limit=1, pool="default", ref=daemon.asked[-1].ref)
        wrong = nowhere("recycles", "--pool", "nowhere")
        assert (wrong.code, wrong.err) == (1, "asrd: there is no pool 'nowhere'\n")
        assert nowhere("recycles", "--limit", "0").code == 2
        lines = [line.rstrip() for line in nowhere("insights").out.splitlines()]
        assert lines == ["warning  the host is busy", "           wait", "           load 9.5"]
        (insight,) = nowhere.json("insights")
        assert insight["topic"] == "host" and insight["numbers"] == {"load": 9.5}


def test_nothing_to_report_is_a_sentence_and_no_failure(nowhere: Cli) -> None:
    def nothing(question: m.JobQuestion | m.ControlQuestion, body: bytes) -> Sequence[Says]:
        recycles = isinstance(question, m.Recycles)
        return [m.RecyclesReport(recycles=[]) if recycles else m.InsightsReport(insights=[])]

    with FakeDaemon(nowhere.directory, nothing):
        for command, said in (("recycles", "No worker was replaced"), ("insights", "Nothing to report: ")):
            ran = nowhere(command)
            assert (ran.code, ran.err) == (0, "") and ran.out.startswith(said) and ran.out.count("\n") == 1
            assert nowhere.json(command) == []
        assert nowhere("recycles", "--pool", "p").out.startswith("No worker of p was replaced")


def test_top_in_a_pipe_is_one_frame(cli: Cli, clip: Path) -> None:
    name = cli("submit", clip, script(60.0)).out.strip()
    for arguments in (["top", "--once"], ["top"]):
        ran = cli(*arguments, stdin=b"")
        assert ran.code == 0 and "2 workers" in ran.out and name in ran.out and "running" in ran.out
    cli("cancel", name)


def test_top_on_a_terminal_goes_on_until_q(cli: Cli) -> None:
    master, slave = pty.openpty()
    process = cli.start("top", stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = ""

    def reads(wanted: str) -> bool:
        nonlocal shown
        shown += os.read(master, 65_536).decode(errors="replace")
        return wanted in shown

    eventually(lambda: reads("default/0.1"))
    os.write(master, b"q")
    assert process.wait(10) == 0
    os.close(master)


def test_recycle(cli: Cli) -> None:
    before = {worker["seat"] for worker in cli.json("workers") if worker["pid"]}
    assert cli("recycle", "--seat", "default/0.1").code == 0
    eventually(lambda: "default/0.1" not in {worker["seat"] for worker in cli.json("workers")}, 30)
    assert cli("recycle").code == 0
    eventually(lambda: not before & {worker["seat"] for worker in cli.json("workers") if worker["pid"]}, 30)
    wrong = cli("recycle", "--seat", "default/9.9")
    assert wrong.code == 1 and "default/9.9" in wrong.err


def test_stop_waits_until_the_daemon_has_gone(cli: Cli, clip: Path) -> None:
    process = cli.start("transcribe", clip, script(" first", 0.5, " last"), "-q")
    assert process.stdout is not None and process.stdout.readline() == "first\n"
    ran = cli("stop")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "stopped")
    assert not (cli.directory / "jobs.sock").exists()
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, "last\n"), err


def test_the_daemon_dies_under_a_running_command(scripted: Callable[..., Daemon], clip: Path) -> None:
    daemon = scripted()
    process = Cli(daemon.directory).start("transcribe", clip, script(" first", 60), "-q", "--patience", "1")
    assert process.stdout is not None and process.stdout.readline() == "first\n"
    daemon.kill()
    _, err = process.communicate(timeout=20)
    kept = r"the job (\w+) is kept: `asrd wait \1` when it is back, then `asrd result \1`"
    assert process.returncode == 2 and re.fullmatch(rf"asrd: the daemon went away.*; {kept}\n", err), err


def test_the_jobs_of_a_daemon_that_does_not_come_back_are_named_and_kept(stage: Stage, tmp_path: Path) -> None:
    daemon = stage.daemon
    cli = Cli(daemon.directory)
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"audio")
    held = script(*hold(stage, "one", "other"), " kept")
    process = cli.start("transcribe", tmp_path / "a.wav", tmp_path / "b.wav", held, "--patience", "1")
    eventually(lambda: stage.obeyed("one") and stage.obeyed("other"))
    daemon.kill()
    _, err = process.communicate(timeout=20)
    away = "asrd: the daemon went away and did not come back within 1 s"
    kept = r"the jobs (\w+), (\w+) are kept: `asrd wait ID` when it is back, then `asrd result ID`"
    found = re.fullmatch(rf"{away}; {kept}\n", err)
    assert process.returncode == 2 and found, err
    daemon.restart()
    daemon.ready()
    for job in found.groups():
        assert cli("wait", job).code == 0
        assert cli("result", job).out == "kept\n"


# --- without a daemon -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["transcribe", "CLIP"],
        ["submit", "CLIP"],
        ["wait", "x"],
        ["result", "x"],
        ["cancel", "x"],
        ["retry", "x"],
        ["quarantine", "list"],
        ["quarantine", "show", "x"],
        ["events"],
        ["jobs"],
        ["health"],
        ["stats", "--json"],
        ["workers"],
        ["pools"],
        ["recycles", "--json"],
        ["insights", "--json"],
        ["top", "--once"],
        ["recycle"],
        ["drain"],
        ["stop"],
    ],
)
def test_without_a_daemon_every_command_says_how_to_start_one(nowhere: Cli, clip: Path, arguments: list[str]) -> None:
    ran = nowhere(*[str(clip) if word == "CLIP" else word for word in arguments])
    assert (ran.code, ran.out) == (2, "")
    assert re.fullmatch(r"asrd: no daemon is running .*`asrd serve`\n", ran.err)


def test_health_without_a_daemon_is_json_all_the_same(nowhere: Cli) -> None:
    ran = nowhere("health", "--json")
    assert ran.code == 2
    assert json.loads(ran.out)["status"] == "unavailable" and "asrd serve" in json.loads(ran.out)["reason"]


def test_the_runtime_directory_may_be_an_option(cli: Cli, nowhere: Cli) -> None:
    assert nowhere("health", "--runtime-dir", cli.directory).code == 0


def test_help_and_version(nowhere: Cli) -> None:
    commands = (
        "serve transcribe submit wait result cancel retry quarantine jobs events health stats workers pools "
        "recycles insights top recycle drain stop config demo lab"
    )
    shown = nowhere("--help").out
    assert all(re.search(rf"\b{name} ", shown) for name in commands.split())
    assert re.fullmatch(r"asrd \d+\.\d+\.\d+\S* \(protocol 1\)\n", nowhere("--version").out)
    assert nowhere("transcribe").code == 2
    assert "did you mean" in nowhere("transcrib").err.lower()


def test_serve_and_config_get_their_arguments_unparsed(nowhere: Cli) -> None:
    for command in ("serve", "config"):
        shown = " ".join(nowhere(command, "--help").out.split())
        assert "--compute-type" in shown
        assert "engine of the default pool: faster-whisper, whisperx; asrd engines list shows all" in shown
        assert "scripted" not in shown
    assert nowhere("serve", "--no-such-option").code == 2
    shown = nowhere("config", "show", "--workers", "3", "--engine", "scripted")
    assert json.loads(shown.out)["pools"]["default"]["workers"] == 3
    wrong = nowhere("config", "check", "--config", "/no/such/file.toml")
    assert wrong.code == 78 and "/no/such/file.toml" in wrong.err


def test_engines_for_tests_are_shown_to_those_who_ask(nowhere: Cli) -> None:
    def named(*more: str) -> set[str]:
        lines = nowhere("engines", "list", *more).out.splitlines()[1:]
        return {line.split()[0] for line in lines if not line.startswith(" ")}

    usual, everything = named(), named("--all")
    assert {"faster-whisper", "whisperx", "diarize", "diarize-lite"} <= usual
    assert everything - usual == {"scripted", "diarize-scripted"}
    entries = {entry["engine"]: entry for entry in nowhere.json("engines", "list")}
    assert entries.keys() == everything and all(entry["about"] for entry in entries.values())


def test_serve_in_one_terminal_and_stop_in_another(nowhere: Cli) -> None:
    daemon = nowhere.start(
        "serve", "--engine", "scripted", "--workers", "1", "--state-dir", nowhere.directory / "state"
    )
    eventually(lambda: nowhere("health").code == 0, 30)
    assert nowhere.json("health")["pid"] == daemon.pid, "the command became the daemon"
    assert nowhere("stop").code == 0
    daemon.communicate(timeout=10)
    assert daemon.returncode == 0


# --- real speech ------------------------------------------------------------------------------------------------------


@pytest.mark.model
def test_real_speech_through_the_command(whisper: Daemon, speech: Path) -> None:
    cli = Cli(whisper.directory)
    ran = cli("transcribe", speech / "ss-0930.wav", "--language", "en", "--beam_size", "1", "-q")
    assert ran.code == 0 and "amiable" in ran.out
    words = cli("transcribe", speech / "ss-0930.wav", "--word-timestamps", "--highlight-words", "-f", "vtt", "-q")
    assert words.out.startswith("WEBVTT\n\n") and "<u>" in words.out


@pytest.mark.model
def test_what_is_no_speech_is_named_and_harms_nobody(whisper: Daemon, speech: Path, tmp_path: Path) -> None:
    cli = Cli(whisper.directory)
    (tmp_path / "noise.mp3").write_bytes(os.urandom(4_000))
    with wave.open(str(tmp_path / "none.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
    good = speech / "ss-0930.wav"
    ran = cli("transcribe", tmp_path / "noise.mp3", tmp_path / "none.wav", good, "-q", "--set", "vad_filter=true")
    assert ran.code == 1 and "amiable" in ran.out
    assert [line.split(":")[1].strip().rpartition("/")[2] for line in ran.err.splitlines()] == ["noise.mp3", "none.wav"]
    wrong = cli("transcribe", good, "--set", "beam_szie=3")
    assert wrong.code == 1 and "did you mean 'beam_size'" in wrong.err
    assert cli.json("stats")["deaths"] == {}


@pytest.mark.model
def test_the_demo_shows_text_and_pool_and_leaves_nothing(tmp_path: Path) -> None:
    short = Path(tempfile.mkdtemp(prefix="asrd-"))
    environ = {**os.environ, "TMPDIR": str(short)}
    done = subprocess.run([ASRD, "demo"], capture_output=True, text=True, env=environ, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "John Dashwood" in done.stdout and "2 of 2 ready" in done.stdout and "4 completed" in done.stdout
    assert re.search(r"default/0\.1 +idle", done.stdout) and re.search(r"default/1\.1 +idle", done.stdout)
    assert list(short.iterdir()) == []
    short.rmdir()


def test_a_demo_that_is_ended_early_leaves_nothing(tmp_path: Path) -> None:
    short = Path(tempfile.mkdtemp(prefix="asrd-"))
    own = {"ASRD_STATE_DIR": str(tmp_path / "state"), "XDG_STATE_HOME": str(tmp_path / "home")}
    process = subprocess.Popen([ASRD, "demo"], stdout=-1, stderr=-1, env={**os.environ, **own, "TMPDIR": str(short)})
    eventually(lambda: list(short.glob("asrd-demo-*/run/control.sock")), 30)
    process.terminate()
    process.communicate(timeout=40)
    assert process.returncode == 143
    assert list(short.iterdir()) == []
    assert list(tmp_path.iterdir()) == [], "the user's own jobs are not touched"
    short.rmdir()


def test_a_demo_whose_daemon_does_not_start_shows_its_log() -> None:
    environ = {**os.environ, "ASRD_CONFIG": "/no/such/file.toml"}
    done = subprocess.run([ASRD, "demo"], capture_output=True, text=True, env=environ, timeout=60)
    assert done.returncode == 1
    assert "exit code 78" in done.stderr and "/no/such/file.toml" in done.stderr and "Traceback" not in done.stderr

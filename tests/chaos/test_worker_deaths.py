"""Where a worker dies, times how it dies: what must become of its job, of its seat and of everybody else.

Each case puts one order into the worker's way. Whoever comes to it first obeys it once, so the next try is a good one.
"""

import contextlib
import functools
import json
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from support.stage import ONE, PATIENT, QUICK, TWO, UNHURRIED, Script, Stage, staged
from support.wait import eventually

HANG: dict[str, Any] = {"do": "hang", "how": "c"}

SOON_WARM = QUICK.replace('warm_up = "6s"', 'warm_up = "2s"')
"""For the many tests that wait for this deadline; what it is for takes a scripted worker no time."""


class Fate(NamedTuple):
    """How a worker ends."""

    script: Script
    death: str
    """What the daemon calls it; empty where the deadline of the state has to end it."""


DEATHS = {
    "SIGKILL": Fate([{"do": "die"}], "SIGKILL"),
    "segfault": Fate([{"do": "segfault"}], "SIGSEGV"),
    "SIGABRT": Fate([{"do": "die", "signal": "SIGABRT"}], "SIGABRT"),
    "exit 0": Fate([{"do": "die", "code": 0}], "exit 0"),
    "exit 3": Fate([{"do": "die", "code": 3}], "exit 3"),
}
HANGS = {
    "hang in C": Fate([HANG], ""),
    "hang with the GIL": Fate([{"do": "hang", "how": "gil"}], ""),
    "endless loop": Fate([{"do": "hang", "how": "python"}], ""),
    "SIGSTOP": Fate([{"do": "hang", "how": "stopped"}], ""),
    "hang, deaf to SIGABRT": Fate([{"do": "deafen"}, HANG], ""),
}
BREACHES = {
    "garbage": Fate([{"do": "lie", "how": "garbage"}], "breach: an unreadable message"),
    "another's step": Fate([{"do": "lie", "how": "attempt"}], "breach: it spoke of a step that it does not have"),
    "Ready twice": Fate([{"do": "lie", "how": "ready"}], "breach: ready while"),
    "Hello twice": Fate([{"do": "lie", "how": "twice"}], "breach: hello while"),
}
ALL = DEATHS | HANGS | BREACHES

WHERE: dict[str, Script] = {
    "before the first segment": [{"do": "obey", "order": "job"}, ONE, TWO],
    "between segments": [ONE, {"do": "obey", "order": "job"}, TWO],
    "after the last segment": [ONE, TWO, {"do": "obey", "order": "job"}],
}


def _table(fates: dict[str, Fate]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fate", fates.values(), ids=fates.keys())


@pytest.fixture(scope="module")
def stages() -> Iterator[Callable[[str], Stage]]:
    """One for each set of deadlines, from when it is needed."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda deadlines: stack.enter_context(staged(deadlines + PATIENT)))


@pytest.fixture
def stage(stages: Callable[[str], Stage]) -> Iterator[Stage]:
    with _unharmed(stages(QUICK)) as stage:
        yield stage


@pytest.fixture
def soon_warm(stages: Callable[[str], Stage]) -> Iterator[Stage]:
    with _unharmed(stages(SOON_WARM)) as stage:
        yield stage


@pytest.fixture
def unhurried(stages: Callable[[str], Stage]) -> Iterator[Stage]:
    with _unharmed(stages(UNHURRIED)) as stage:
        yield stage


@contextlib.contextmanager
def _unharmed(stage: Stage) -> Iterator[Stage]:
    """All workers warm and idle before; after, a job runs, nothing lies dead about, and nobody else was harmed."""
    pid = stage.daemon.process.pid
    yield stage.rest()
    answer, body = stage.rest().daemon.wire().play(ONE, TWO)
    assert (answer["type"], answer["run"]["attempts"]) == ("completed", 1)
    assert json.loads(body)["text"] == "one two"
    assert stage.daemon.ask("health")["pid"] == pid
    assert len(stage.daemon.processes()) == 1 + 1 + 2, "the daemon, its janitor and two workers"


def _submit(stage: Stage, script: Script) -> list[dict[str, Any]]:
    """Every answer to a job, up to its end; the text is put beside the last one."""
    wire = stage.daemon.wire()
    wire.send("submit", b"audio", options={"script": script})
    answers: list[dict[str, Any]] = []
    while not answers or answers[-1]["type"] not in ("completed", "failed"):
        answer, body = wire.receive()
        answers.append({**answer, "text": json.loads(body)["text"]} if body else answer)
    wire.close()
    return answers


def _only_death(stage: Stage, name: str) -> None:
    """One worker was lost since the last rest, and this is why."""
    assert sum(stage.deaths().values()) == 1, stage.deaths()
    assert next(iter(stage.deaths())).startswith(name), stage.deaths()


@_table(ALL)
@pytest.mark.parametrize("script", WHERE.values(), ids=WHERE.keys())
def test_a_job_survives_the_death_of_its_worker(stage: Stage, script: Script, fate: Fate) -> None:
    # After a lie the worker hangs: what ends it must be the lie. It is the deadline that ends the one who only hangs.
    stage.order("job", [*fate.script, HANG])
    answers = _submit(stage, script)
    assert (answers[-1]["type"], answers[-1]["text"]) == ("completed", "one two")
    assert answers[-1]["run"]["attempts"] == 2
    _only_death(stage, fate.death or "busy deadline")
    segments = [(a.get("attempt", 1), a.get("index")) for a in answers if a["type"] == "segment"]
    first = [index for attempt, index in segments if attempt == 1]
    assert first == list(range(len(first))) and len(first) <= 2
    assert [index for attempt, index in segments if attempt == 2] == [0, 1]
    assert segments == sorted(segments), "what the lost try said comes before the second one begins"
    (lost,) = stage.tells("job.retried", job=answers[-1]["job"])
    assert lost["seat"] != answers[-1]["run"]["seat"]


@_table(ALL)
def test_a_job_that_kills_two_workers_is_poison(stage: Stage, fate: Fate) -> None:
    end = _submit(stage, [ONE, *fate.script, HANG])[-1]
    assert (end["type"], end["fault"]["code"], end["attempts"]) == ("failed", "poison", 2)
    assert (end["fault"]["blame"], end["fault"].get("retry", False)) == ("caller", False)
    (name,) = stage.deaths()
    assert name.startswith(fate.death or "busy deadline") and stage.deaths()[name] == 2
    assert end["fault"]["context"]["death"] == name
    assert name in end["fault"]["message"]


@_table({**DEATHS, "hang with the GIL": HANGS["hang with the GIL"], "SIGSTOP": HANGS["SIGSTOP"]})
def test_an_idle_worker_that_dies_costs_no_job(stage: Stage, fate: Fate) -> None:
    said = {"do": "print", "text": f"farewell {uuid.uuid4().hex}"}
    stage.order("idle", [{"do": "later", "s": 0.2, "script": [said, *fate.script]}])
    assert _submit(stage, [ONE, TWO, {"do": "obey", "order": "idle"}])[-1]["run"]["attempts"] == 1
    stage.tells("worker output", line=said["text"])
    if fate.death:
        eventually(stage.deaths)
        _only_death(stage, fate.death)
        return
    # A hung idle worker shows when it gets a step, and its turn comes soon; another one does that step.
    assert 2 in (_submit(stage, [ONE])[-1]["run"]["attempts"] for _ in range(4))
    _only_death(stage, "busy deadline")


@_table(ALL)
@pytest.mark.parametrize("when", ["load", "warm-up"])
def test_a_worker_that_dies_before_it_is_warm_is_started_again(soon_warm: Stage, when: str, fate: Fate) -> None:
    stage = soon_warm
    stage.order(when, fate.script)
    old = {worker["seat"] for worker in stage.daemon.workers()}
    assert stage.daemon.ask("recycle", seat=min(old))["type"] == "done"
    eventually(stage.deaths, 20)
    assert stage.daemon.wire().play(ONE)[0]["type"] == "completed", "the others work on"
    eventually(lambda: min(old) not in {worker["seat"] for worker in stage.daemon.workers()}, 20)
    _only_death(stage, fate.death or "warming deadline")
    assert stage.obeyed(when)


@pytest.mark.parametrize(
    ("shell", "death"),
    [
        ("exit 3", "exit 3"),
        ("kill -9 $$", "SIGKILL"),
        ("sleep 60 & exit 3", "exit 3"),
        ("exec sleep 60", "starting deadline"),
        ("exec 1>&- 2>&-; exec sleep 60", "starting deadline"),
    ],
)
def test_a_process_that_never_greets_is_replaced_with_all_that_it_started(stage: Stage, shell: str, death: str) -> None:
    stage.order("start", shell)
    seat = stage.daemon.workers()[0]["seat"]
    stage.daemon.ask("recycle", seat=seat)
    eventually(lambda: seat not in {worker["seat"] for worker in stage.daemon.workers()}, 30)
    assert stage.obeyed("start")
    _only_death(stage, death)


@_table(ALL)
def test_a_worker_that_dies_while_it_is_told_to_leave_is_gone_all_the_same(stage: Stage, fate: Fate) -> None:
    stage.order("exit", [*fate.script, HANG])
    seat = stage.daemon.workers()[0]["seat"]
    stage.daemon.ask("recycle", seat=seat)
    eventually(lambda: seat not in {worker["seat"] for worker in stage.daemon.workers()}, 20)
    assert stage.obeyed("exit")
    if fate in DEATHS.values():
        stage.tells("worker.left", seat=seat, how=fate.death)
        assert not stage.deaths(), "it was to leave, so how it leaves is nobody's loss"
    else:
        _only_death(stage, fate.death or "stopping deadline")


@_table({name: ALL[name] for name in ("SIGKILL", "hang in C", "garbage")})
def test_a_job_survives_a_worker_that_dies_while_it_is_being_retired(fate: Fate) -> None:
    look = [{"do": "sleep", "s": 0.05}, {"do": "obey", "order": "draining"}]
    with staged(QUICK.replace("1500ms", "4s") + PATIENT) as stage:
        wire = stage.rest().daemon.wire()
        wire.send("submit", b"audio", job="held", options={"script": [ONE, *look * 200, TWO]})
        while wire.receive()[0]["type"] != "segment":
            pass
        (seat,) = (worker["seat"] for worker in stage.daemon.workers() if worker["state"] == "busy")
        stage.daemon.ask("recycle", seat=seat)
        eventually(lambda: any(w["seat"] == seat and w["state"] == "draining" for w in stage.daemon.workers()))
        stage.order("draining", [*fate.script, HANG])
        eventually(stage.deaths)
        _only_death(stage, fate.death or "busy deadline")
        stage.order("draining", [{"do": "fail", "code": "bad_audio"}])  # the second try need not look on for ever
        end, _ = wire.end_of("held")
        assert (end["attempts"], end["fault"]["code"]) == (2, "bad_audio")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGINT])
def test_a_signal_from_outside_is_no_more_than_a_death(unhurried: Stage, number: signal.Signals) -> None:
    stage = unhurried
    stage.order("hold", [{"do": "sleep", "s": 20}])  # the second try finds no order and goes on at once
    wire = stage.daemon.wire()
    wire.send("submit", b"audio", options={"script": [ONE, {"do": "obey", "order": "hold"}, TWO]})
    while wire.receive()[0]["type"] != "segment":
        pass
    (pid,) = (worker["pid"] for worker in stage.daemon.workers() if worker["state"] == "busy")
    os.kill(pid, number)
    end, body = wire.end_of()
    _only_death(stage, number.name)
    assert (end["type"], end["run"]["attempts"]) == ("completed", 2)
    assert json.loads(body)["text"] == "one two"

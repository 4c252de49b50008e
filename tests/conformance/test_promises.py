"""What ``PROTOCOL.md`` says of figures, configuration, events and repeated questions is what the daemon does."""

import random
import re
from collections import deque
from typing import Any, get_args

import msgspec
import pytest

from asrd_protocol import messages, model
from asrd_protocol.codec import MAX_HEADER
from asrd_protocol.faults import Code, Fault
from asrd_protocol.model import Segment, Timings, Work
from asrd_supervisor.config import Config, JournalConfig, SplitConfig
from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev
from asrd_supervisor.core.backlog import WEIGHTS
from asrd_supervisor.core.edition import MEMORY
from asrd_supervisor.core.plan import MAX_INTERRUPTED
from asrd_supervisor.core.policy import PoolPolicy, RetryPolicy
from asrd_supervisor.core.stages import SPEAKERS
from asrd_supervisor.core.supervisor import Policy, Supervisor
from asrd_supervisor.frontend import MAX_STORING
from asrd_supervisor.ledger import Record
from asrd_supervisor.reel import Reel
from asrd_supervisor.sockets import Limits
from conformance.page import ROOT, TEXT, Row, fields, section, tables

UNITS = {"": 1, "GiB": 1 << 30, "seconds": 1, "hours": 3600}


# --- figures and keys of the configuration ----------------------------------------------------------------------------


def configured(key: str) -> Any:
    """The default of a key; an AttributeError when there is no such key."""
    value: Any = Config()
    for part in key.split("."):
        value = getattr(value, part)
    return value


def said_of(key: str) -> set[str]:
    """The defaults that stand behind a key, in parentheses or after a colon."""
    return set(re.findall(rf"`{re.escape(key)}`(?:: | \()(no limit|\d+(?: GiB| hours| seconds)?)", TEXT))


def amount(text: str) -> float:
    """A figure with its unit."""
    number, _, unit = text.partition(" ")
    return float(number) * UNITS[unit]


def keys() -> list[str]:
    """Every key of the configuration that the page names."""
    tops = "|".join(field.name for field in msgspec.structs.fields(Config))
    return sorted(set(re.findall(rf"`((?:{tops})\.[a-z_.]+|drain_timeout)`", TEXT)))


@pytest.mark.parametrize("key", keys())
def test_the_keys_are_there_and_have_the_defaults_that_are_said(key: str) -> None:
    value = configured(key)

    for said in said_of(key):
        if said == "no limit":
            assert not any(msgspec.structs.astuple(value) if isinstance(value, msgspec.Struct) else [value])
        else:
            assert amount(said) == value


def test_the_keys_with_figures_are_found() -> None:
    """The test above is of no use when it finds nothing."""
    assert {key for key in keys() if said_of(key)} >= {
        *("queue.max_jobs", "queue.max_bytes", "queue.max_audio_s", "queue.per_user"),
        *("results.max_bytes", "results.ttl", "audio.max_s", "drain_timeout"),
    }


def test_the_limits_are_those_of_the_code() -> None:
    rows = {row["What"]: row["Limit"] for table in tables(section("Limits")) for row in table}

    assert str(MAX_HEADER) in rows["header"]
    assert str(2 * MAX_HEADER) in rows["a frame of the control socket"]
    assert str(configured("audio.max_body")) in rows["body"]
    assert str(MAX_STORING) in rows["audio on its way to the disk"]
    assert str(Limits(1).backlog) in rows["answers kept for a peer that does not read"]


def test_the_attempts_are_those_of_the_code() -> None:
    life = " ".join(section("The life of a job").split())

    assert f"{RetryPolicy().attempts} attempts at most" in life
    assert f"A job that {RetryPolicy().deaths} workers have died of" in life
    assert f"killed more than {MAX_INTERRUPTED} times" in life


def test_the_defaults_of_retries_are_those_of_a_pool() -> None:
    rows = fields("The shape `Retries`")
    said = {name: msgspec.json.decode(row["In the pool"].strip("`")) for name, row in rows.items()}

    assert said == {name: getattr(RetryPolicy(), name) for name in messages.Retries.__struct_fields__}


def test_the_lanes_have_the_shares_of_the_code() -> None:
    shares = [str(int(WEIGHTS[lane])) for lane in get_args(messages.Priority)]

    assert " to ".join(shares) in " ".join(section("Whose turn it is").split())
    assert set(WEIGHTS) == set(get_args(messages.Priority))


def test_long_is_what_the_code_takes_for_long() -> None:
    said = " ".join(section("Long audio").split())
    default = SplitConfig()

    assert f"`split.longer_than` of its pool ({default.longer_than:g} seconds" in said
    assert f"about `split.chunk` ({default.chunk:g} seconds) long" in said


def test_every_durability_has_its_row() -> None:
    said = re.findall(r"^  \| `(\w+)`( \(unless configured\))? \|", section("What is promised"), flags=re.M)
    words = get_args(JournalConfig.__annotations__["durability"])

    assert [word for word, _ in said] == list(words)
    assert [word for word, default in said if default] == [JournalConfig().durability]


# --- bodies and the door ----------------------------------------------------------------------------------------------


def test_the_body_of_pending_is_an_array_of_segments() -> None:
    segment = Segment(id=0, seek=0, start=0.0, end=4.5, text=" Ask not")
    record = Record("a", "uid:0", b"")
    assert record.so_far() == b"[]"
    record.reel = Reel()
    record.reel.begin(0, 1)
    for index in range(2):
        deque(record.reel.add(0, 1, index, msgspec.json.encode(msgspec.structs.replace(segment, id=index))))

    assert [one.id for one in msgspec.json.decode(record.so_far(), type=list[Segment])] == [0, 1]


def test_the_worker_is_told_of_its_door_as_the_page_says() -> None:
    launcher = (ROOT / "supervisor" / "asrd_supervisor" / "launcher.py").read_text(encoding="utf-8")
    said = section("The private link")

    assert "`--door`" in said and '"--door"' in launcher
    assert "`SOCK_SEQPACKET`" in said and "socket.SOCK_SEQPACKET" in launcher
    assert "8 bytes, the highest first" in said and 'to_bytes(8, "big")' in launcher


# --- events -----------------------------------------------------------------------------------------------------------


class Scene:
    """A core whose workers do as they are told, until the name of a job says otherwise."""

    def __init__(self) -> None:
        pool = PoolPolicy(name="p", workers=1, start_first=False)
        listeners = PoolPolicy(name="s", workers=1, start_first=False, diarizes=True)
        self._core = Supervisor(Policy(pools=[pool, listeners], default_pool="p"), random.Random(0))
        self._loads = True
        self.told: dict[str, set[str]] = {}
        self._perform(self._core.start(0.0))

    def tell(self, event: ev.Event) -> None:
        """Something happens, and whatever follows from it."""
        self._perform(self._core.handle(0.0, event))

    def change(self, *, loads: bool) -> None:
        """The pool is told to load something else, which it can or cannot."""
        self._loads = loads
        self.tell(ev.RenewRequested("p", "changed", {"threads": 2}))

    def _perform(self, actions: list[do.Action]) -> None:
        todo = deque(actions)
        while todo:
            for event in self._answer(todo.popleft()):
                todo.extend(self._core.handle(0.0, event))

    def _answer(self, action: do.Action) -> list[ev.Event]:
        match action:
            case do.Announce(topic, said):
                self.told.setdefault(topic, set()).update(said)
                return []
            case do.Spawn(seat) if self._loads:
                return [ev.WorkerGreeted(seat, 1), ev.WorkerWarmed(seat)]
            case do.Spawn(seat):
                self._loads = True
                return [ev.WorkerGreeted(seat, 1), ev.WorkerExited(seat, "exit 78")]
            case do.SendStop(seat):
                return [ev.WorkerExited(seat, "exit 0")]
            case do.Persist(job):
                return [ev.JobPersisted(job)]
            case do.PersistAttempt(seat=seat, attempt=attempt):
                return [ev.AttemptPersisted(seat, attempt)]
            case do.PersistPart(job, step):
                return [ev.PartPersisted(job, step)]
            case do.SendStep():
                return self._work(action)
            case do.Kill(seat):
                return [ev.WorkerExited(seat, "SIGKILL")]
            case do.SetTimer(pool, slot, kind, number, delay) if delay <= 1.0:
                return [ev.TimerFired(pool, slot, kind, number)]
            case _:
                return []

    @staticmethod
    def _work(step: do.SendStep) -> list[ev.Event]:
        match step:
            case do.SendStep(seat, attempt, step=number) if number == SPEAKERS:
                return [ev.StepFaulted(seat, attempt, Fault.of(Code.BAD_OPTION, "nobody"))]
            case do.SendStep(seat, attempt, "good"):
                return [ev.StepFinished(seat, attempt, Timings(), Work(), b"{}")]
            case do.SendStep(seat, attempt, "bad"):
                return [ev.StepFaulted(seat, attempt, Fault.of(Code.BAD_AUDIO, "noise"))]
            case do.SendStep(seat, _, "deadly"):
                return [ev.WorkerExited(seat, "SIGKILL")]
            case _:
                return []


@pytest.fixture(scope="module")
def told() -> dict[str, set[str]]:
    """Every topic that comes in a life with all kinds of jobs, with the fields that it had."""
    scene = Scene()
    scene.tell(ev.JobSubmitted("good", None, 10, diarize=True))
    scene.change(loads=True)
    scene.change(loads=False)
    scene.tell(ev.RestRequested("p"))
    for job in ("bad", "deadly", "endless"):
        scene.tell(ev.JobSubmitted(job, None, 10))
    for event in (ev.DrainRequested(), ev.DrainRequested(resume=True), ev.StopRequested(), ev.StopRequested(now=True)):
        scene.tell(event)
    return scene.told


def described() -> dict[str, Row]:
    """The rows of the table of topics; a row may have several of them."""
    rows = [row for table in tables(section("Events socket")) for row in table if "Topic" in row]
    return {topic: row for row in rows for topic in re.findall(r"`([a-z]+\.[a-z_]+)`", row["Topic"])}


SAME = {"job.quarantined": "job.failed"}
"""Topics whose row says that they have the fields of another."""

IN_THE_SCENE = [
    *("job.accepted", "job.retried", "job.completed", "job.failed", "job.quarantined", "job.part_failed"),
    *("pool.standby", "pool.waking", "pool.changing", "pool.changed", "pool.change_failed"),
    *("worker.starting", "worker.ready", "worker.died", "worker.left"),
    *("daemon.draining", "daemon.resumed", "daemon.stopping", "daemon.hurrying"),
]


@pytest.mark.parametrize("topic", IN_THE_SCENE)
def test_the_events_have_the_fields_that_the_page_names(topic: str, told: dict[str, set[str]]) -> None:
    said = described()[SAME.get(topic, topic)]["Further fields"].split("](#")[0]
    names = set(re.findall(r"`(\w+)`", said))
    if "Run" in names:
        names = names - {"Run"} | set(model.Run.__struct_encode_fields__)

    assert told[topic] - {"log_tail"} == names  # that stays in the log
    assert (described()[topic]["Further fields"] == "the same") == (topic in SAME)


def test_every_topic_that_the_core_announces_is_described() -> None:
    core = ROOT / "supervisor" / "asrd_supervisor" / "core"
    source = "".join(path.read_text(encoding="utf-8") for path in core.rglob("*.py"))

    assert set(re.findall(r'"((?:worker|job|daemon|pool|recycle)\.[a-z_]+)"', source)) == set(described())


def test_every_reason_of_a_recycle_has_its_row() -> None:
    core = ROOT / "supervisor" / "asrd_supervisor" / "core"
    source = "".join(path.read_text(encoding="utf-8") for path in core.rglob("*.py"))
    orders = (core.parent / "control.py").read_text(encoding="utf-8")
    (table,) = tables(section("Reason"))

    assert {word for row in table for word in re.findall(r"`(\w+)`", row["Word"])} == {
        *re.findall(r'Verdict\(\s*"(\w+)"', source),
        *re.findall(r'RenewRequested\(name, "(\w+)"', orders),
        MEMORY,
    }

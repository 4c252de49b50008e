"""The checker of histories sees what is wrong with them, and nothing in those that are right."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.history import Entry, History, digest_of
from support.promises import check

Line = tuple[str, str, str, dict[str, Any]]
"""Process, phase, act and the rest; of job ``j`` unless told otherwise."""


def _history(*lines: Line) -> list[Entry]:
    """One line each second."""
    return [
        Entry(at=float(at), process=process, phase=phase, act=act, **{"job": "j", **more})  # type: ignore[arg-type]
        for at, (process, phase, act, more) in enumerate(lines)
    ]


def _asks(act: str = "fetch", process: str = "c", **more: Any) -> Line:
    return (process, "invoke", act, more)


def _gets(answer: str, act: str = "fetch", process: str = "c", **more: Any) -> Line:
    return (process, "ok", act, {"answer": answer, **more})


def _refused(code: str, act: str = "fetch", process: str = "c") -> Line:
    return (process, "fail", act, {"answer": "refused", "code": code})


def _silence(act: str = "submit", process: str = "c") -> Line:
    return (process, "info", act, {})


def _result(act: str = "fetch", process: str = "c", **more: Any) -> Line:
    return _gets("completed", act, process, **{"text": "hello", "digest": "d", "attempts": 1, **more})


def _fault(code: str, act: str = "fetch", **more: Any) -> Line:
    return _gets("failed", act, code=code, digest="f", **more)


def _harm(act: str) -> Line:
    return ("nemesis", "info", act, {"job": ""})


SUBMIT = _asks("submit", text="hello")
DOOMED = _asks("submit", doomed=True)
ACCEPTED = _gets("accepted", "submit")
FETCH = _asks()
RAN: Line = ("log", "info", "ran", {})

GOOD: dict[str, list[Line]] = {
    "one job": [SUBMIT, ACCEPTED, FETCH, _gets("pending"), FETCH, _result()],
    "an end at once": [SUBMIT, _result("submit"), FETCH, _result()],
    "not acknowledged, and not there": [SUBMIT, _silence(), FETCH, _refused("unknown_job")],
    "not acknowledged, and there": [SUBMIT, _silence(), FETCH, _result(), RAN],
    "refused, then taken": [SUBMIT, _refused("overloaded", "submit"), SUBMIT, _result("submit"), RAN],
    "refused": [SUBMIT, _refused("overloaded", "submit"), FETCH, _refused("unknown_job")],
    "released": [
        SUBMIT,
        _result("submit"),
        _asks("release"),
        _gets("released", "release"),
        FETCH,
        _refused("unknown_job"),
    ],
    "perhaps released": [
        SUBMIT,
        _result("submit"),
        _asks("release"),
        _silence("release"),
        FETCH,
        _refused("unknown_job"),
    ],
    "cancelled": [SUBMIT, ACCEPTED, _asks("cancel"), _fault("cancelled", "cancel"), FETCH, _fault("cancelled")],
    "poison": [DOOMED, ACCEPTED, FETCH, _fault("poison", attempts=2), RAN, RAN],
    "unlucky": [SUBMIT, ACCEPTED, _harm("kill worker"), _harm("stop worker"), FETCH, _fault("poison", attempts=2)],
    "run again after kills": [SUBMIT, ACCEPTED, _harm("kill supervisor"), FETCH, _result(), RAN, RAN, RAN, RAN],
    "attempts made up for": [SUBMIT, _harm("kill supervisor"), _result("submit", attempts=4), RAN, RAN, RAN, RAN],
    "run again after a stop": [SUBMIT, _harm("stop supervisor"), _result("submit", attempts=3), RAN, RAN, RAN, RAN],
    "another question": [
        SUBMIT,
        ACCEPTED,
        _asks("submit", text="other"),
        _refused("id_conflict", "submit"),
        FETCH,
        _result(),
    ],
    "unknown just before it was accepted": [
        SUBMIT,
        _asks(process="d"),
        ACCEPTED,
        _refused("unknown_job", process="d"),
        FETCH,
        _result(),
    ],
    "pending just before it ended": [
        SUBMIT,
        ACCEPTED,
        _asks(process="d"),
        FETCH,
        _result(),
        _gets("pending", process="d"),
    ],
    "a client that is gone": [SUBMIT, ACCEPTED, FETCH, _result(), _asks(process="d")],
}

BAD: dict[str, tuple[str, list[Line]]] = {
    "accepted, then unknown": ("lost", [SUBMIT, ACCEPTED, FETCH, _refused("unknown_job")]),
    "pending, then unknown": ("lost", [SUBMIT, _silence(), FETCH, _gets("pending"), FETCH, _refused("unknown_job")]),
    "ended, then unknown": ("lost", [SUBMIT, _result("submit"), FETCH, _refused("unknown_job")]),
    "no end": ("lost", [SUBMIT, ACCEPTED, FETCH, _gets("pending")]),
    "no end, and no answer": ("lost", [SUBMIT, ACCEPTED, FETCH, _silence("fetch")]),
    "unknown before the release": (
        "lost",
        [SUBMIT, ACCEPTED, FETCH, _refused("unknown_job"), _asks("release"), _refused("unknown_job", "release")],
    ),
    "two results": ("two results", [SUBMIT, _result("submit"), FETCH, _result(digest="e")]),
    "two results for two clients": (
        "two results",
        [SUBMIT, ACCEPTED, FETCH, _asks(process="d"), _result(), _result(process="d", digest="e")],
    ),
    "completed and failed": (
        "two results",
        [SUBMIT, _result("submit"), _asks("cancel"), _fault("cancelled", "cancel")],
    ),
    "a result of nothing": ("invented", [FETCH, _result()]),
    "a result before the submit": ("invented", [FETCH, _result(), SUBMIT, _result("submit")]),
    "a run of nothing": ("invented", [RAN]),
    "a job of nothing": ("invented", [("judge", "info", "listed", {"answer": "completed"})]),
    "refused, and run": ("refused", [SUBMIT, _refused("overloaded", "submit"), RAN]),
    "refused, and known": ("refused", [SUBMIT, _refused("overloaded", "submit"), FETCH, _gets("pending")]),
    "refused, and listed": (
        "refused",
        [SUBMIT, _refused("overloaded", "submit"), ("judge", "info", "listed", {"answer": "failed"})],
    ),
    "still queued": ("unfinished", [SUBMIT, _result("submit"), ("judge", "info", "listed", {"answer": "queued"})]),
    "still running": ("unfinished", [SUBMIT, _result("submit"), ("judge", "info", "listed", {"answer": "running"})]),
    "pending after the end": ("not final", [SUBMIT, _result("submit"), FETCH, _gets("pending"), FETCH, _result()]),
    "back after its release": (
        "not released",
        [SUBMIT, _result("submit"), _asks("release"), _gets("released", "release"), FETCH, _result()],
    ),
    "two questions": (
        "two questions",
        [SUBMIT, ACCEPTED, _asks("submit", text="other"), _gets("accepted", "submit"), FETCH, _result()],
    ),
    "a repeat refused": ("repeat refused", [SUBMIT, _result("submit"), SUBMIT, _refused("draining", "submit")]),
    "a repeat in conflict": ("repeat refused", [SUBMIT, _result("submit"), SUBMIT, _refused("id_conflict", "submit")]),
    "another job's result": ("wrong text", [SUBMIT, _result("submit", text="world")]),
    "the result of the question that was refused": (
        "wrong text",
        [
            SUBMIT,
            ACCEPTED,
            _asks("submit", text="other"),
            _refused("id_conflict", "submit"),
            FETCH,
            _result(text="other"),
        ],
    ),
    "too many attempts": ("attempts", [SUBMIT, _result("submit", attempts=4)]),
    "too many attempts for one kill": (
        "attempts",
        [SUBMIT, _harm("kill supervisor"), _harm("stop supervisor"), _result("submit", attempts=5)],
    ),
    "too many runs": ("attempts", [SUBMIT, _result("submit"), RAN, RAN, RAN, RAN]),
    "too many runs for one kill": ("attempts", [SUBMIT, _harm("kill supervisor"), _result("submit"), *[RAN] * 5]),
    "failed for nothing": ("unlawful end", [SUBMIT, _fault("internal", "submit")]),
    "cancelled by nobody": ("unlawful end", [SUBMIT, _fault("cancelled", "submit")]),
    "lost audio": ("unlawful end", [SUBMIT, _fault("storage_failed", "submit")]),
    "poison for one death": ("unlawful end", [SUBMIT, _harm("kill worker"), _fault("poison", "submit", attempts=1)]),
    "poison for few kills": ("unlawful end", [SUBMIT, _harm("kill supervisor"), _fault("poison", "submit")]),
    "poison that went well": ("unlawful end", [DOOMED, _result("submit", text="")]),
    "an answer to nothing": ("history", [_result()]),
    "an answer to something else": ("history", [SUBMIT, _gets("accepted", "fetch")]),
    "two questions of one client": ("history", [SUBMIT, FETCH, _result()]),
}


@pytest.mark.parametrize("lines", GOOD.values(), ids=GOOD.keys())
def test_what_is_right_is_let_through(lines: list[Line]) -> None:
    assert check(_history(*lines)) == []


@pytest.mark.parametrize(("kind", "lines"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_seen_and_named(kind: str, lines: list[Line]) -> None:
    found = check(_history(*lines))
    assert kind in [one.kind for one in found], found
    assert all(one.what and kind in str(one) for one in found if one.kind == kind)


def test_a_job_that_is_wrong_does_not_hide_among_others() -> None:
    lines: list[Line] = []
    for number in range(50):
        for process, phase, act, more in (SUBMIT, ACCEPTED, FETCH, _result()):
            lines.append((f"{process}{number}", phase, act, {**more, "job": f"j{number}"}))
    lost = _history(*lines, SUBMIT, ACCEPTED)
    assert [(one.kind, one.job) for one in check(lost)] == [("lost", "j")]


def test_quarantines_are_counted_against_what_was_done() -> None:
    lines: list[Line] = [_harm("kill worker")] * 5
    for job in ("a", "b", "c"):
        for process, phase, act, more in (SUBMIT, _fault("poison", "submit", attempts=2)):
            lines.append((process, phase, act, {**more, "job": job}))
    assert [one.kind for one in check(_history(*lines))] == ["unlawful end"]
    assert check(_history(_harm("stop worker"), *lines)) == []


def test_notes_come_in_order_and_stay_in_the_file(tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    history.note("c", "invoke", "submit", "j", text="hello")
    history.note("c", "ok", "submit", "j", answer="accepted")
    history.close()
    first, second = history.entries
    assert first.at <= second.at
    lines = (tmp_path / "history").read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=Entry) for line in lines] == history.entries


def test_a_digest_knows_where_a_part_ends() -> None:
    assert digest_of(b"ab", b"c") != digest_of(b"a", b"bc")

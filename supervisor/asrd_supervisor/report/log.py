"""Structured logs on stderr: for people, as JSON, or for journald.

Lines are written by a thread of its own from a bounded queue: a full pipe behind stderr must not hold up the loop.
"""

import json
import logging
import sys
import threading
from collections import deque
from typing import Any, TextIO

import msgspec
import structlog

_QUEUE = 10_000
_BATCH = 0.05
"""Seconds for which lines are collected before they are written."""
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


class LogWriter:
    """Takes lines without ever blocking; drops and counts them when the reader of stderr has stopped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque(maxlen=_QUEUE)
        self._dropped = 0
        self._pending = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def msg(self, line: str) -> None:
        """Queue one line; the oldest one goes when there are too many."""
        if len(self._lines) == _QUEUE:
            self._dropped += 1
        self._lines.append(line)
        if not self._pending.is_set():
            self._pending.set()

    log = debug = info = warning = error = critical = msg

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued, but wait no longer than this many seconds for a reader that has stopped."""
        self._closing.set()
        self._pending.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._pending.wait()
            self._closing.wait(_BATCH)  # one write for many lines: each wake-up would cost the loop its turn
            self._pending.clear()
            self._write()
        while self._lines:
            self._write()

    def _write(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if not lines:
            return
        try:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return  # stderr is closed: nobody is there to be told
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            structlog.get_logger("asrd").warning("log lines dropped", lines=dropped)


def configure(form: str, level: str) -> LogWriter:
    """Set structlog up for the whole process.

    Args:
        form: ``auto``, ``console``, ``json`` or ``journal``.
        level: ``debug``, ``info``, ``warning`` or ``error``.
    """
    writer = LogWriter(sys.stderr)
    if form == "auto":
        form = "console" if sys.stderr.isatty() else "json"
    stamp = [] if form == "journal" else [structlog.processors.TimeStamper(fmt="iso", utc=form == "json")]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *stamp,
            structlog.processors.format_exc_info,
            _renderer(form),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)
    return writer


def _renderer(form: str) -> Any:
    if form == "console":
        return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24)
    return _for_journald if form == "journal" else structlog.processors.JSONRenderer(serializer=_json)


def _json(event: Any, **_: Any) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=str).decode()
    except (ValueError, OverflowError, TypeError):  # a file name that is no text, a number that is too long
        return json.dumps(event, default=str, skipkeys=True)


def _for_journald(logger: Any, method: str, event: Any) -> str:
    """``<6>message key=value``: journald takes the priority off, and stamps the time itself."""
    fields = dict(event)
    priority = _PRIORITY.get(fields.pop("level", method), 6)
    words = [str(fields.pop("event", "")), *(f"{key}={value!r}" for key, value in fields.items())]
    return f"<{priority}>" + " ".join(words).replace("\n", "\\n")

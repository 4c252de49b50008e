"""Structured logs on stderr: for people, as JSON, or for journald.

Lines are written by a thread of its own from a bounded queue: a full pipe behind stderr must not hold up the loop.
"""

import logging
import queue
import sys
import threading
from typing import Any, TextIO

import structlog

_QUEUE = 10_000
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


class LogWriter:
    """Takes lines without ever blocking; drops and counts them when the reader of stderr has stopped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(_QUEUE)
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def msg(self, line: str) -> None:
        """Queue one line."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    log = debug = info = warning = error = critical = msg

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued, but wait no longer than this many seconds for a reader that has stopped."""
        try:
            self._lines.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line + "\n")
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                self.dropped += 1  # stderr is closed; nobody is there to be told


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
    return _for_journald if form == "journal" else structlog.processors.JSONRenderer()


def _for_journald(logger: Any, method: str, event: Any) -> str:
    """``<6>message key=value``: journald takes the priority off, and stamps the time itself."""
    fields = dict(event)
    priority = _PRIORITY.get(fields.pop("level", method), 6)
    words = [str(fields.pop("event", "")), *(f"{key}={value!r}" for key, value in fields.items())]
    return f"<{priority}>" + " ".join(words).replace("\n", "\\n")

"""The directory of a run: its plan, a line for each job that has ended, the clips that were made, the reports."""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path

import msgspec

from asrd_lab.errors import LabError
from asrd_lab.plan import Plan, refuse_change
from asrd_lab.rows import Row, jobs, parse
from asrd_protocol.exits import Exit


class Store:
    """Rows are appended as they come and never rewritten. One process at a time has the directory.

    Raises:
        LabError: the directory cannot be used, is in use, or belongs to another plan.
    """

    def __init__(self, directory: Path, plan: Plan) -> None:
        self.directory = directory
        self._new = not directory.exists()
        try:
            _refuse_others(directory)
            (directory / "clips").mkdir(parents=True, exist_ok=True)
            self._file = (directory / "jobs.jsonl").open("ab+")
        except OSError as error:
            raise _unusable(directory, error) from None
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self._begin(plan)
            undo.pop_all()

    def close(self) -> None:
        """Lets go of the directory. A row that a full disk did not take was complained of before."""
        with contextlib.suppress(OSError):
            self._file.close()

    def discard(self) -> None:
        """Takes the directory away, if it was not there before."""
        self.close()
        if self._new:
            shutil.rmtree(self.directory, ignore_errors=True)

    def add(self, row: Row) -> None:
        """One row more, on disk when this returns."""
        self.rows.append(row)
        try:
            self._file.write(msgspec.json.encode(row) + b"\n")
            self._file.flush()
        except OSError as error:
            raise _unusable(self.directory, error) from None

    def missing(self, experiment: str, wanted: int) -> list[int]:
        """The numbers of the jobs that are still to be done."""
        done = {row.number for row in jobs(self.rows, experiment)}
        return [number for number in range(1, wanted + 1) if number not in done]

    def write(self, name: str, content: bytes) -> Path:
        """A file of the directory, which is there whole or as it was before."""
        path = self.directory / name
        draft = path.with_name(f".{path.name}.draft")
        try:
            draft.write_bytes(content)
            draft.rename(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise _unusable(self.directory, error) from None
        return path

    def _begin(self, plan: Plan) -> None:
        self._lock()
        if before := read_plan(self.directory):
            refuse_change(before, plan, self.directory)
        self.rows = self._read()
        self.session = 1 + max((row.session for row in self.rows), default=0)
        self.write("plan.json", msgspec.json.format(msgspec.json.encode(plan), indent=2))

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"another run of the lab is using {self.directory}", Exit.TEMPFAIL) from None

    def _read(self) -> list[Row]:
        """The rows so far. A torn last line is cut off, so that the next one begins at its own start."""
        self._file.seek(0)
        whole = self._file.read()
        kept = whole[: whole.rfind(b"\n") + 1]
        if kept != whole:
            os.truncate(self.directory / "jobs.jsonl", len(kept))
        try:
            return parse(kept.splitlines())
        except msgspec.MsgspecError as error:
            raise LabError(f"{self.directory / 'jobs.jsonl'} is damaged: {error}", Exit.CONFIG) from None


def read_plan(directory: Path) -> Plan | None:
    """The plan of a run that was interrupted or is done; None where there is none.

    Raises:
        LabError: it is none.
    """
    try:
        return msgspec.json.decode((directory / "plan.json").read_bytes(), type=Plan)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(directory, error) from None
    except msgspec.MsgspecError as error:
        raise LabError(f"{directory / 'plan.json'} is damaged: {error}", Exit.CONFIG) from None


def _refuse_others(directory: Path) -> None:
    """What is written must not take the place of what somebody else has there."""
    if directory.exists() and any(directory.iterdir()) and not (directory / "plan.json").exists():
        raise LabError(f"{directory} is not empty and has no run of the lab; name a new directory", Exit.USAGE)


def _unusable(directory: Path, error: OSError) -> LabError:
    return LabError(f"{directory} cannot be written: {error.strerror}", Exit.IO)

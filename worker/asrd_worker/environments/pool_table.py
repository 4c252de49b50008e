"""The table of a pool in the configuration file. What people have written there stays as they wrote it."""

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asrd_worker.environments.faults import InstallFailed, Misasked

NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
"""Of a pool."""

_DEFAULT = "# As without a file: the pool that jobs come to that name none.\n[pools.default]\n\n"


def table(pool: str, keys: Mapping[str, Any]) -> str:
    """A table in TOML; strings, numbers and truth values are written as in JSON."""
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]
    return "\n".join([f"[pools.{pool}]", *lines]) + "\n"


def edited(file: Path, pool: str, keys: Mapping[str, Any]) -> str | None:
    """The text of the file with the pool in it; None when it is there already.

    A pool of that name is changed only if it has the same engine, and only its interpreter.

    Raises:
        Misasked: it has another engine, or the name is none.
        InstallFailed: the file cannot be read or is not valid, or the table cannot be put into it.
    """
    if not NAME.fullmatch(pool):
        raise Misasked(f"--pool {pool}: a pool's name has 1 to 32 letters, digits, '-' or '_'")
    text, before = _read(file)
    pools = before.get("pools", {})
    if not isinstance(pools, dict):
        raise InstallFailed(f"{file}: pools are one table each, as in [pools.default]")
    if pool not in pools:
        head = text + ("\n" if text and not text.endswith("\n") else "") + ("\n" if text else "")
        return _proved(head + ("" if pools else _DEFAULT) + table(pool, keys), before, pool, dict(keys), file)
    there = pools[pool]
    if not isinstance(there, dict) or there.get("engine", "faster-whisper") != keys["engine"]:
        raise Misasked(f"{file} has a pool {pool!r} with another engine; --pool NAME gives this one another name")
    if there.get("python") == keys["python"]:
        return None
    return _proved(_set(text, pool, keys["python"]), before, pool, {**there, "python": keys["python"]}, file)


def write(file: Path, text: str) -> None:
    """All of it or nothing; links are followed, and who may read it stays.

    Raises:
        InstallFailed: it cannot be written.
    """
    target = Path(os.path.realpath(file))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = target.stat().st_mode & 0o7777 if target.exists() else 0o644
        descriptor, name = tempfile.mkstemp(prefix=".asrd-", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as new:
                new.write(text)
                new.flush()
                os.fsync(descriptor)
            Path(name).chmod(mode)
            Path(name).replace(target)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise InstallFailed(f"cannot write {file}: {error.strerror}") from None


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = file.read_bytes().decode("utf-8")
        return text, tomllib.loads(text)
    except FileNotFoundError:
        return "", {}
    except OSError as error:
        raise InstallFailed(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise InstallFailed(f"{file}: {error}") from None


def _set(text: str, pool: str, python: str) -> str:
    """With another interpreter in the table of the pool."""
    header = re.compile(
        rf"^[ \t]*\[[ \t]*pools[ \t]*\.[ \t]*([\"']?){re.escape(pool)}\1[ \t]*\][^\n]*\n?", re.MULTILINE
    )
    found = header.search(text)
    if not found:
        return text
    rest = text[found.end() :]
    after = re.search(r"^[ \t]*\[", rest, re.MULTILINE)
    body, tail = (rest[: after.start()], rest[after.start() :]) if after else (rest, "")
    line = f"python = {json.dumps(python, ensure_ascii=False)}"
    body, replaced = re.subn(r"^[ \t]*python[ \t]*=[^\n#]*", lambda _: f"{line} ", body, count=1, flags=re.MULTILINE)
    head = text[: found.end()] + ("" if found[0].endswith("\n") else "\n")
    return head + (body if replaced else f"{line}\n{body}") + tail


def _proved(text: str, before: dict[str, Any], pool: str, keys: dict[str, Any], file: Path) -> str:
    """The text, if it says what it should and nothing else has changed."""
    wanted = {**before, "pools": {**before.get("pools", {"default": {}}), pool: keys}}
    try:
        if tomllib.loads(text) == wanted:
            return text
    except ValueError:
        pass
    raise InstallFailed(
        f"{file} is written in a way that the pool cannot be put into; put it there yourself: {keys['engine']!r} needs "
        f"python = {json.dumps(keys['python'], ensure_ascii=False)} in [pools.{pool}]"
    )

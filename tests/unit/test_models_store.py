"""The models directory: complete models, and nothing that looks like one."""

import subprocess
import sys
from pathlib import Path

import pytest

from asrd_worker.models import store as store_module
from asrd_worker.models.faults import PullFailed
from asrd_worker.models.store import Store
from support.models import write_model


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def place(store: Store, name: str, content: bytes) -> Path:
    with store.staging() as staging:
        return store.place(write_model(staging / "model", {"model.bin": content, "deep/er.bin": content}), name)


def test_a_model_gets_its_name_when_it_is_complete(store: Store) -> None:
    with store.staging() as staging:
        write_model(staging / "model")
        assert store.names() == []
        store.place(staging / "model", "org/toy")
        assert store.names() == ["org/toy"]
    assert [path.name for path in store.root.iterdir()] == ["org--toy"]


def test_its_files_are_for_reading(store: Store) -> None:
    placed = place(store, "toy", b"x")

    assert (placed / "deep" / "er.bin").stat().st_mode & 0o777 == 0o444
    assert placed.stat().st_mode & 0o777 == 0o755


def test_one_that_is_there_is_exchanged(store: Store) -> None:
    place(store, "toy", b"old")
    inode = store.folder("toy").stat().st_ino
    placed = place(store, "toy", b"new")

    assert (placed / "model.bin").read_bytes() == b"new"
    assert placed.stat().st_ino != inode
    assert [path.name for path in store.root.iterdir()] == ["toy"]


@pytest.mark.parametrize("number", ["EINVAL", "ENOSYS"])
def test_also_where_the_system_cannot_exchange(store: Store, monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    import errno

    monkeypatch.setattr(store_module, "_RENAME_EXCHANGE", 1 << 20)  # a flag that the kernel does not know: EINVAL
    if number == "ENOSYS":
        monkeypatch.setattr(store_module.ctypes, "get_errno", lambda: errno.ENOSYS)
    place(store, "toy", b"old")
    placed = place(store, "toy", b"new")

    assert (placed / "model.bin").read_bytes() == b"new"
    assert [path.name for path in store.root.iterdir()] == ["toy"]


def test_nothing_is_left_of_what_failed(store: Store) -> None:
    place(store, "toy", b"old")
    with pytest.raises(RuntimeError), store.staging() as staging:
        write_model(staging / "model")
        raise RuntimeError

    assert [path.name for path in store.root.iterdir()] == ["toy"]


def test_what_a_killed_process_has_left_is_removed_by_the_next(store: Store) -> None:
    left = write_model(store.root / ".staging-left" / "model")
    left.chmod(0o555)
    with store.staging() as staging:
        assert [path.name for path in store.root.iterdir()] == [staging.name]


def test_what_another_process_is_at_work_in_stays(store: Store) -> None:
    script = (
        "import sys; from pathlib import Path; from asrd_worker.models.store import Store\n"
        "with Store(Path(sys.argv[1])).staging() as staging: print(staging, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-P", "-c", script, str(store.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        theirs = Path(other.stdout.readline().strip())
        place(store, "toy", b"x")
        assert theirs.is_dir()
        other.communicate("")
    assert not theirs.exists()


def test_removing_leaves_nothing_of_it(store: Store) -> None:
    place(store, "toy", b"x")
    place(store, "other", b"x")
    store.remove("toy")

    assert store.names() == ["other"]
    assert [path.name for path in store.root.iterdir()] == ["other"]


def test_no_room_is_told_before_anything_is_downloaded(store: Store) -> None:
    said = r"1000000000000 MB are needed in .*models, and \d+ MB are free"
    with pytest.raises(PullFailed, match=said), store.staging(10**18):
        pytest.fail("there is no such disk")
    assert list(store.root.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(PullFailed, match=r"cannot write to .*/file/models: Not a directory"),
        Store(tmp_path / "file" / "models").staging(),
    ):
        pytest.fail("it cannot be")


def test_a_directory_that_is_not_there_has_no_models(tmp_path: Path) -> None:
    assert Store(tmp_path / "none").names() == []


def test_files_and_hidden_directories_are_no_models(store: Store) -> None:
    place(store, "toy", b"x")
    (store.root / "file").write_text("")
    (store.root / ".hidden").mkdir()

    assert store.names() == ["toy"]

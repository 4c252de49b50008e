"""Files of weights: what they hold, and what they may not do."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd_worker.engines.base import LoadError
from asrd_worker.speakers.torch_file import read_tensors

NUMBERS = np.arange(12, dtype="<f4")


class Call:
    """Pickles as a call of a function of another module."""

    def __init__(self, module: str, name: str, *given: Any) -> None:
        self.module, self.name, self.given = module, name, given


class Storage:
    """Pickles as a reference to a member of the archive."""

    def __init__(self, kind: str = "FloatStorage", member: str = "0", mark: str = "storage") -> None:
        self.kind, self.member, self.mark = kind, member, mark


def tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], storage: Storage | None = None) -> Call:
    """As torch writes one."""
    rest = (False, OrderedDict())
    return Call("torch._utils", "_rebuild_tensor_v2", storage or Storage(), offset, shape, strides, *rest)


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def pickled(value: Any) -> bytes:
    """The value as a pickle that needs no torch to be made."""
    match value:
        case Call(module=module, name=name, given=given):
            return f"c{module}\n{name}\n".encode() + pickled(tuple(given)) + b"R"
        case Storage(kind=kind, member=member, mark=mark):
            kept = b"(" + text(mark) + f"ctorch\n{kind}\n".encode() + text(member) + text("cpu") + b"K\x0ct"
            return kept + b"Q"
        case tuple():
            return b"(" + b"".join(map(pickled, value)) + b"t"
        case dict():
            items = b"".join(pickled(key) + pickled(one) for key, one in value.items())
            return (b"ccollections\nOrderedDict\n)R(" if isinstance(value, OrderedDict) else b"}(") + items + b"u"
        case str():
            return text(value)
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            return b"J" + value.to_bytes(4, "little", signed=True)
    raise AssertionError(value)


def written(path: Path, value: Any, compression: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickled(value) + b".")
        archive.writestr("archive/data/0", NUMBERS.tobytes())
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    return path


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file with a value and twelve numbers in it."""
    return lambda value, *options, **members: written(tmp_path / "weights.pt", value, *options, **members)


def test_tensors_are_views_of_numbers(write: Callable[..., Path]) -> None:
    found = read_tensors(
        write(
            {
                "all": tensor(0, (12,), (1,)),
                "rows": tensor(0, (3, 4), (4, 1)),
                "columns": tensor(0, (4, 3), (1, 4)),
                "part": tensor(5, (2, 2), (4, 1)),
                "one": tensor(7, (), ()),
                "none": tensor(0, (0, 4), (4, 1)),
                "again": tensor(2, (3,), (0,)),
                "counts": tensor(0, (6,), (1,), Storage("LongStorage")),
                "parameter": Call("torch._utils", "_rebuild_parameter", tensor(0, (2,), (1,)), True, OrderedDict()),
            }
        )
    )

    assert found["all"].tolist() == NUMBERS.tolist()
    assert found["rows"].tolist() == NUMBERS.reshape(3, 4).tolist()
    assert found["columns"].tolist() == NUMBERS.reshape(3, 4).T.tolist()
    assert found["part"].tolist() == [[5, 6], [9, 10]]
    assert found["one"].tolist() == 7
    assert found["none"].shape == (0, 4)
    assert found["again"].tolist() == [2, 2, 2]
    assert found["counts"].dtype == np.int64
    assert found["parameter"].tolist() == [0, 1]
    assert all(one.flags.c_contiguous and one.flags.writeable for one in found.values())


def test_an_ordered_one_too(write: Callable[..., Path]) -> None:
    assert list(read_tensors(write(OrderedDict(b=tensor(0, (1,), (1,)), a=tensor(1, (1,), (1,)))))) == ["b", "a"]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("collections", "namedtuple"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_device_tensor_from_numpy"),
        ("torch.hub", "load"),
        ("asrd_worker.engines.base", "LoadError"),
    ],
)
def test_what_calls_anything_else_is_refused_by_name(write: Callable[..., Path], module: str, name: str) -> None:
    with pytest.raises(LoadError, match=rf"is refused: it wants to call {module}\.{name}, which builds no tensor"):
        read_tensors(write({"a": Call(module, name, "touch here")}))


def test_a_malicious_pickle_does_nothing(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "done"),)

    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(bomb, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Bomb()}))
    with pytest.raises(LoadError, match=r"it wants to call posix\.mkdir"):
        read_tensors(bomb)

    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (tensor(0, (13,), (1,)), "larger than its storage"),
        (tensor(1, (12,), (1,)), "larger than its storage"),
        (tensor(0, (2, 2), (100, 1)), "larger than its storage"),
        (tensor(0, (2_000_000_000,), (0,)), "larger than its storage"),
        (tensor(-1, (2,), (1,)), "impossible shape"),
        (tensor(4, (2,), (-1,)), "impossible shape"),
        (tensor(0, (-2,), (1,)), "impossible shape"),
        (tensor(0, (2, 2), (1,)), "impossible shape"),
        (tensor(0, (1,), (1,), Storage(mark="module")), "refers to 'module'"),
        (tensor(0, (1,), (1,), Storage(member="../../secret")), "no file of weights that can be read"),
        ("a word", "something else than tensors"),
    ],
)
def test_numbers_that_are_not_there_are_not_read(write: Callable[..., Path], wrong: Any, said: str) -> None:
    with pytest.raises(LoadError, match=said):
        read_tensors(write({"a": wrong}))


def test_files_that_are_not_from_torch(write: Callable[..., Path], tmp_path: Path) -> None:
    good = {"a": tensor(0, (1,), (1,))}
    with pytest.raises(LoadError, match="compressed"):
        read_tensors(write(good, zipfile.ZIP_DEFLATED))
    with pytest.raises(LoadError, match="not little-endian"):
        read_tensors(write(good, byteorder=b"big"))
    assert read_tensors(write(good, byteorder=b"little"))["a"].tolist() == [0]
    with pytest.raises(LoadError, match="no archive that torch"):
        with zipfile.ZipFile(tmp_path / "empty.pt", "w"):
            pass
        read_tensors(tmp_path / "empty.pt")
    with pytest.raises(LoadError, match="something else than tensors"):
        read_tensors(write("a word"))
    (tmp_path / "text.pt").write_text("weights")
    with pytest.raises(LoadError, match="no file of weights"):
        read_tensors(tmp_path / "text.pt")
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "missing.pt")


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_file_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, place: int, byte: int) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    whole = bytearray(written(folder / "a.pt", {"a": tensor(0, (3, 4), (4, 1))}).read_bytes())
    whole[place % len(whole)] = byte
    (folder / "a.pt").write_bytes(whole)
    try:
        found = read_tensors(folder / "a.pt")
    except LoadError as error:
        assert str(folder) in str(error)
    else:
        assert sum(one.size for one in found.values()) <= 12


def test_half_a_file_is_refused(write: Callable[..., Path]) -> None:
    path = write({"a": tensor(0, (1,), (1,))})
    path.write_bytes(io.BytesIO(path.read_bytes()).read(200))
    with pytest.raises(LoadError, match="no file of weights"):
        read_tensors(path)

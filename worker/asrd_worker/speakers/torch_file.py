"""The tensors of a file that ``torch.save`` has written, read without torch.

Such a file is a zip archive: a pickle of names and shapes, and a member of raw numbers for each storage. A pickle can
call anything; this one may call what puts tensors together, and nothing else.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from asrd_worker.engines.base import LoadError

Tensor = npt.NDArray[Any]

_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
"""Kinds of storages, and how their numbers are stored."""


class _Storage(NamedTuple):
    """Raw numbers that tensors are views of."""

    member: str
    kind: str


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict by their names, each contiguous and of its own.

    Raises:
        LoadError: the file is no state dict, is damaged, or wants to call something that builds no tensor.
        OSError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = _Unpickler(archive).load()
    except LoadError as error:
        raise LoadError(f"{path} is refused: {error}") from None
    except OSError:
        raise
    except Exception as error:  # a pickle of garbage raises whatever it likes
        raise LoadError(f"{path} is no file of weights that can be read ({type(error).__name__}: {error})") from None
    if not isinstance(found, dict) or not all(isinstance(one, np.ndarray) for one in found.values()):
        raise LoadError(f"{path} holds something else than tensors by their names")
    return {str(name): tensor for name, tensor in found.items()}


class _Unpickler(pickle.Unpickler):
    """Unpickles names, numbers and tensors."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        pickles = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise LoadError("it is no archive that torch.save makes")
        self._archive = archive
        self._root = pickles[0].removesuffix("data.pkl")
        self._arrays: dict[_Storage, Tensor] = {}
        if f"{self._root}byteorder" in archive.namelist() and self._bytes("byteorder") != b"little":
            raise LoadError("its numbers are not little-endian")
        super().__init__(io.BytesIO(self._bytes("data.pkl")))

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case "collections", "OrderedDict":
                return OrderedDict
            case "torch._utils", "_rebuild_tensor_v2":
                return self._tensor
            case "torch._utils", "_rebuild_parameter":
                return _parameter
            case "torch", kind if kind in _TYPES:
                return kind
        raise LoadError(f"it wants to call {module}.{name}, which builds no tensor")

    def persistent_load(self, pid: Any) -> _Storage:
        """``("storage", kind, member, device, count)``; the numbers are read when a tensor wants them."""
        mark, kind, member, _, _ = pid
        if mark != "storage" or kind not in _TYPES:
            raise LoadError(f"it refers to {mark!r} of an unknown kind")
        return _Storage(str(member), str(kind))

    def _tensor(
        self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
    ) -> Tensor:
        numbers = self._numbers(storage)
        if len(shape) != len(strides) or min((offset, *shape, *strides)) < 0:
            raise LoadError("it has a tensor of an impossible shape")
        last = offset + sum((count - 1) * stride for count, stride in zip(shape, strides, strict=True))
        size = math.prod(shape, start=1)
        if size > numbers.size or (size and last >= numbers.size):
            raise LoadError("it has a tensor that is larger than its storage")
        steps = [stride * numbers.itemsize for stride in strides]
        return np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps, writeable=False).copy()

    def _numbers(self, storage: _Storage) -> Tensor:
        if storage not in self._arrays:
            self._arrays[storage] = np.frombuffer(self._bytes(f"data/{storage.member}"), _TYPES[storage.kind])
        return self._arrays[storage]

    def _bytes(self, name: str) -> bytes:
        return self._archive.read(self._member(name))

    def _member(self, name: str) -> zipfile.ZipInfo:
        """torch does not compress, so a member that unfolds to more than the file has is not from it."""
        member = self._archive.getinfo(self._root + name)
        if member.compress_type != zipfile.ZIP_STORED:
            raise LoadError("it is compressed, as torch.save never does")
        return member


def _parameter(data: Tensor, *_: object) -> Tensor:
    return data

"""Unpickling a checkpoint's tree with a stub in place of each tensor; runs no code of the file."""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from arc.checkpointing.errors import CorruptedError, HostileError

MAX_TREE_READS = 1_000_000
ITEM_SIZES = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2,
    "LongStorage": 8, "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1,
    "ByteStorage": 1, "BoolStorage": 1,
}  # fmt: skip


@dataclass(frozen=True)
class TensorStub:
    """A tensor in the file: its storage's type and record, and its shape."""

    storage: str
    record: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of bytes of its elements."""
        return math.prod(self.shape) * ITEM_SIZES[self.storage]


def _empty_dict(*arguments: Any) -> OrderedDict[Any, Any]:
    if arguments:
        raise ValueError("a dictionary must be created empty")
    return OrderedDict()


class _CountedBytes(io.BytesIO):
    """Bytes with a limited number of reads: each object of a pickle takes one or more."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = MAX_TREE_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"more than {MAX_TREE_READS} reads")
        return super().read(size)


class StubUnpickler(pickle._Unpickler):
    """The pure-Python unpickler, restricted to containers and tensor stubs.

    ``sizes`` maps the archive's records to their bytes. Raises HostileError or CorruptedError.
    The C implementation is not used: a file could choose the length of its memo array.
    """

    def __init__(self, sizes: Mapping[str, int], data: bytes) -> None:
        super().__init__(_CountedBytes(data), encoding="utf-8")
        self.stack: list[Any] = []
        self._sizes = sizes

    # The opcodes of plain data and tensors; others could allocate memory that they do not fill.
    dispatch: ClassVar[dict[int, Any]] = {
        ord(code): pickle._Unpickler.dispatch[ord(code)]
        for code in (
            *(pickle.PROTO, pickle.STOP, pickle.MARK, pickle.GLOBAL, pickle.REDUCE),
            *(pickle.BINPERSID, pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET),
            *(pickle.LONG_BINGET, pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS),
            *(pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_TUPLE),
            *(pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.NONE),
            *(pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT, pickle.BININT1, pickle.BININT2),
            *(pickle.LONG1, pickle.BINFLOAT, pickle.BINUNICODE, pickle.BUILD),
        )
    }

    def load_build(self) -> None:
        """Ignore the attributes that torch sets on a state dict; refuse all others."""
        self.stack.pop()
        if not isinstance(self.stack[-1], OrderedDict):
            raise HostileError("sets attributes; only plain data is allowed")

    dispatch[ord(pickle.BUILD)] = load_build

    def find_class(self, module: str, name: str) -> Any:
        """Return the substitute for a global; raises HostileError if it is not plain data."""
        known = {
            ("collections", "OrderedDict"): _empty_dict,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        if module == "torch" and name in ITEM_SIZES:
            return name
        if (module, name) not in known:
            raise HostileError(f"refers to {module}.{name}; only plain data is allowed")
        return known[module, name]

    def persistent_load(self, pid: Any) -> tuple[str, str, int]:
        """Return a storage's type, record and number of elements."""
        kind, storage, key, _location, numel = pid
        record = f"data/{key}"
        if kind != "storage" or record not in self._sizes:
            raise CorruptedError(f"no record for storage {key!r}")
        size, item = self._sizes[record], ITEM_SIZES[storage]
        if not isinstance(numel, int) or numel * item != size:
            raise HostileError(
                f"storage {key} declares {numel} elements of {item} bytes but has {size} bytes"
            )
        return storage, record, numel

    def _tensor(self, stored: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> TensorStub:
        storage, record, numel = stored
        shape, stride = tuple(shape), tuple(stride)
        whole = all(isinstance(n, int) and n >= 0 for n in (offset, *shape, *stride))
        if not whole or len(shape) != len(stride) or len(shape) > 16:
            raise HostileError(f"{record}: impossible shape {shape}")
        count = math.prod(shape)
        reach = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) + 1
        if count and (count > numel or reach > numel):
            raise HostileError(
                f"{record}: shape {shape} and strides {stride} exceed {numel} elements"
            )
        return TensorStub(storage, record, shape)

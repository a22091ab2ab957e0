"""Looking into a checkpoint file without torch, and without trusting it.

A checkpoint is a zip archive of uncompressed records under one prefix: ``data.pkl`` (the tree),
``data/N`` (the tensors' bytes) and, last, ``arc.json`` (the metadata). Everything here reads
with bounded memory and runs nothing that the file names: the tree is unpickled with stubs in
place of tensors, and each stub is checked against the bytes that the file really has.
"""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

METADATA_RECORD = "arc.json"
TREE_RECORD = "data.pkl"
# What a file may make a reader hold; far above what a model of ours needs.
MAX_RECORDS = 50_000
DIRECTORY_ATTRIBUTE = 0x10  # of MS-DOS
MAX_DIRECTORY_BYTES = 4 * 2**20
MAX_TREE_BYTES = 16 * 2**20
MAX_TREE_READS = 1_000_000
MAX_METADATA_BYTES = 4 * 2**20
MAX_NODES = 1_000_000
MAX_DEPTH = 64
TAIL_BYTES = 128 * 2**10
ITEM_SIZES = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2,
    "LongStorage": 8, "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1,
    "ByteStorage": 1, "BoolStorage": 1,
}  # fmt: skip


class CheckpointError(ValueError):
    """A checkpoint cannot be written, read or used; the message names the file and why."""


class NotACheckpointError(CheckpointError):
    """The file is no archive of ours: foreign, truncated, or of an unknown format."""


class CorruptedError(CheckpointError):
    """The file is ours, but bytes in it are not what was written."""


class HostileError(CheckpointError):
    """The file asks for what no checkpoint of ours needs: code, or memory it does not fill."""


@dataclass(frozen=True)
class TensorStub:
    """A tensor in the file: its storage's type and record, and its shape."""

    storage: str
    record: str
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return self.numel * ITEM_SIZES[self.storage]


class _BoundedFile(io.BufferedReader):
    """A file that is not read in large parts: zipfile takes an archive's directory in one."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"a directory of over {MAX_DIRECTORY_BYTES} bytes")
        return super().read(size)


class Archive:
    """An opened checkpoint file whose directory was checked; use as a context manager."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        _require_file(self.path)
        try:
            self._file = _BoundedFile(io.FileIO(self.path))
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
        try:
            self._zip = self._open()
            self.records = self._check_directory()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()
        self._file.close()

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self._file)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            fault = f"not a whole checkpoint archive: {error}"
            raise NotACheckpointError(f"{self.path}: {fault}") from None

    def _check_directory(self) -> dict[str, zipfile.ZipInfo]:
        """Return the records by name without the prefix; refuses what we would not write."""
        entries = self._zip.infolist()
        if not entries or len(entries) > MAX_RECORDS:
            raise NotACheckpointError(f"{self.path}: holds {len(entries)} records")
        prefix = entries[0].filename.split("/")[0] + "/"
        records: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            name = entry.filename
            if not name.startswith(prefix):
                raise NotACheckpointError(f"{self.path}: record {name!r} is outside {prefix!r}")
            if name.removeprefix(prefix) in records:
                raise HostileError(f"{self.path}: record {name!r} stands twice")
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise HostileError(f"{self.path}: record {name!r} is compressed or encrypted")
            if entry.external_attr >> 28 == 0xA:
                raise HostileError(f"{self.path}: record {name!r} is a link")
            if entry.external_attr & DIRECTORY_ATTRIBUTE:  # torch would leave its memory as it is
                raise CorruptedError(f"{self.path}: record {name!r} is marked as a directory")
            records[name.removeprefix(prefix)] = entry
        total = sum(entry.file_size for entry in entries)
        size = self.path.stat().st_size
        if total > size or any(e.file_size != e.compress_size for e in entries):
            raise HostileError(f"{self.path}: records of {total} bytes in a file of {size}")
        if TREE_RECORD not in records:
            raise NotACheckpointError(f"{self.path}: holds no {TREE_RECORD}")
        return records

    def verify(self) -> int:
        """Read every byte of every record against its CRC-32; returns how many bytes.

        Raises CorruptedError, naming the record.
        """
        total = 0
        for name in self.records:
            total += sum(len(part) for part in self._parts(name))
        return total

    def read(self, name: str, limit: int) -> bytes:
        """Return a record's bytes, checked against its CRC-32 and ``limit``."""
        size = self.records[name].file_size
        if size > limit:
            raise HostileError(f"{self.path}: {name} has {size} bytes; at most {limit} are read")
        return b"".join(self._parts(name))

    def _parts(self, name: str) -> Any:
        try:
            with self._zip.open(self.records[name]) as record:
                while part := record.read(2**20):
                    yield part
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError) as error:
            raise CorruptedError(f"{self.path}: record {name}: {error}") from None

    def tree(self) -> dict[str, Any]:
        """Return the file's content with a TensorStub for each tensor."""
        data = self.read(TREE_RECORD, MAX_TREE_BYTES)
        try:
            content = _StubUnpickler(self, data).load()
        except CheckpointError:
            raise
        except Exception as error:  # a pickle can fail in any way; none of them is our fault
            fault = f"{type(error).__name__} {str(error)[:200]}"
            raise CorruptedError(f"{self.path}: {TREE_RECORD}: {fault}") from None
        if not isinstance(content, dict):
            raise NotACheckpointError(f"{self.path}: holds a {type(content).__name__}, not a dict")
        _check_extent(self.path, content)
        return content

    def metadata(self) -> dict[str, Any] | None:
        """Return the metadata record; None if there is none (a file written again by hand)."""
        if METADATA_RECORD not in self.records:
            return None
        return _metadata(self.path, self.read(METADATA_RECORD, MAX_METADATA_BYTES))


def quick_metadata(path: str | Path) -> dict[str, Any] | None:
    """Return a file's metadata in three reads of its end; None where it must be read whole.

    The record is the last one in the archive's directory, because it was written last. Raises
    CorruptedError if it is there but its bytes are wrong.
    """
    path = Path(path)
    _require_file(path)
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            start = max(0, size - TAIL_BYTES)
            file.seek(start)
            tail = file.read()
            entry = tail.rfind(b"PK\x01\x02")
            if entry < 0 or len(tail) < entry + 46:
                return None
            crc, length = struct.unpack_from("<L4xL", tail, entry + 16)
            name_length = struct.unpack_from("<H", tail, entry + 28)[0]
            offset = struct.unpack_from("<L", tail, entry + 42)[0]
            name = tail[entry + 46 : entry + 46 + name_length]
            whole = tail[-22:-18] == b"PK\x05\x06"  # the archive's end, and nothing after it
            ours = name.endswith(b"/" + METADATA_RECORD.encode())
            if not whole or not ours or offset == 0xFFFFFFFF:
                return None
            file.seek(offset + 26)
            name_length, extra_length = struct.unpack("<HH", file.read(4))
            file.seek(offset + 30 + name_length + extra_length)
            data = file.read(min(length, MAX_METADATA_BYTES))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, struct.error) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from None
    if len(data) != length or zlib.crc32(data) != crc:
        raise CorruptedError(f"{path}: record {METADATA_RECORD}: bad CRC-32")
    return _metadata(path, data)


def _metadata(path: Path, data: bytes) -> dict[str, Any]:
    try:
        metadata = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorruptedError(f"{path}: {METADATA_RECORD} is not JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise CorruptedError(f"{path}: {METADATA_RECORD} is not an object")
    _check_extent(path, metadata)
    return metadata


def _require_file(path: Path) -> None:
    """Raise CheckpointError for what is no file: opening a pipe would wait for ever."""
    if not path.is_file():
        fault = "is a folder; name a file in it" if path.is_dir() else "no such file"
        raise CheckpointError(f"{path}: {fault}")


def _check_extent(path: Path, content: Any) -> None:
    """Refuse a tree that is deep, endless, or unfolds to far more than its bytes."""
    level, depth, count = [content], 0, 0
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > MAX_DEPTH or count > MAX_NODES:
            raise HostileError(f"{path}: a tree of over {MAX_NODES} nodes or too deep")
        below: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                below += [*node.keys(), *node.values()]
            elif isinstance(node, list | tuple):
                below += node
        level = below


def _empty_dict(*arguments: Any) -> OrderedDict[Any, Any]:
    if arguments:
        raise ValueError("a dictionary is filled item by item")
    return OrderedDict()


class _CountedBytes(io.BytesIO):
    """Bytes that are read so many times at most: each object of a pickle takes a read or more."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = MAX_TREE_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"takes over {MAX_TREE_READS} reads")
        return super().read(size)


class _StubUnpickler(pickle._Unpickler):
    """Python's own unpickler, which can be led to nothing but containers and stubs.

    The one in pure Python: its memo is a dictionary, where the fast one's is an array that a
    file could make as long as it likes.
    """

    def __init__(self, archive: Archive, data: bytes) -> None:
        super().__init__(_CountedBytes(data), encoding="utf-8")
        self.stack: list[Any] = []
        self._archive = archive

    # The opcodes of plain data and tensors; others can ask for memory that they do not fill.
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
        """Leave out what torch hangs on a state dict; nothing else has attributes to set."""
        self.stack.pop()
        if not isinstance(self.stack[-1], OrderedDict):
            raise HostileError(f"{self._archive.path}: sets attributes; plain data only")

    dispatch[ord(pickle.BUILD)] = load_build

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("collections", "OrderedDict"): _empty_dict,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        if module == "torch" and name in ITEM_SIZES:
            return name
        if (module, name) not in known:
            raise HostileError(f"{self._archive.path}: names {module}.{name}; plain data only")
        return known[module, name]

    def persistent_load(self, pid: Any) -> tuple[str, str, int]:
        kind, storage, key, _location, numel = pid
        record = f"data/{key}"
        if kind != "storage" or record not in self._archive.records:
            raise CorruptedError(f"{self._archive.path}: no bytes for storage {key!r}")
        there = self._archive.records[record].file_size
        if not isinstance(numel, int) or numel * ITEM_SIZES[storage] != there:
            raise HostileError(
                f"{self._archive.path}: storage {key} declares {numel} elements of "
                f"{ITEM_SIZES[storage]} bytes, and has {there} bytes"
            )
        return storage, record, numel

    def _tensor(self, stored: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> TensorStub:
        storage, record, numel = stored
        shape, stride = tuple(shape), tuple(stride)
        whole = all(isinstance(n, int) and n >= 0 for n in (offset, *shape, *stride))
        if not whole or len(shape) != len(stride) or len(shape) > 16:
            raise HostileError(f"{self._archive.path}: {record}: impossible shape {shape}")
        count = math.prod(shape)
        reach = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) + 1
        if count and (count > numel or reach > numel):
            raise HostileError(
                f"{self._archive.path}: {record}: a tensor {shape} of strides {stride} over "
                f"{numel} elements"
            )
        return TensorStub(storage, record, shape)

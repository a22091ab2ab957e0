"""Reading a checkpoint file without torch and without trusting it.

A checkpoint is a zip archive of uncompressed records under one prefix: ``data.pkl`` (the tree),
``data/N`` (the tensors' bytes) and, last, ``arc.json`` (the metadata). Memory use is bounded, and
no code that the file names is run: the tree is unpickled with a stub for each tensor, and each
stub is checked against the size of its record.
"""

from __future__ import annotations

import io
import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from arc.checkpointing.errors import CheckpointError as CheckpointError
from arc.checkpointing.errors import CorruptedError, HostileError, NotACheckpointError
from arc.checkpointing.stubs import StubUnpickler, TensorStub

METADATA_RECORD = "arc.json"
TREE_RECORD = "data.pkl"
# Limits on what is read from a file; far above the needs of a real checkpoint.
MAX_RECORDS = 50_000
MAX_DIRECTORY_BYTES = 4 * 2**20
MAX_TREE_BYTES = 16 * 2**20
MAX_METADATA_BYTES = 4 * 2**20
MAX_NODES = 1_000_000
MAX_JSON_NODES = 250_000
MAX_DEPTH = 64
NAME = re.compile(r"[A-Za-z0-9_./-]+")  # of a record, after the prefix
TAIL_BYTES = 128 * 2**10
MSDOS_DIRECTORY = 0x10  # a bit of a record's external attributes
UNREADABLE = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError)  # by zipfile


class _BoundedFile(io.BufferedReader):
    """A file that refuses large reads: zipfile reads an archive's directory at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"the directory exceeds {MAX_DIRECTORY_BYTES} bytes")
        return super().read(size)


class Archive:
    """An open checkpoint file whose directory has been checked; a context manager.

    ``records`` maps names without the prefix to entries. Raises CheckpointError.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        _require_file(self.path)
        try:
            self._file = _BoundedFile(io.FileIO(self.path))
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
        self._size = os.fstat(self._file.fileno()).st_size  # the path may be replaced meanwhile
        try:
            self._zip = zipfile.ZipFile(self._file)
            self.records = self._check_directory()
        except CheckpointError:
            self._file.close()
            raise
        except UNREADABLE as error:
            self._file.close()
            fault = f"not a complete checkpoint archive, perhaps damaged or truncated: {error}"
            raise NotACheckpointError(f"{path}: {fault}") from None

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._file.close()

    def _check_directory(self) -> dict[str, zipfile.ZipInfo]:
        """Return the records; raises CheckpointError for any that torch would not write."""
        entries = self._zip.infolist()
        self._check_end(len(entries))
        if not entries or len(entries) > MAX_RECORDS:
            raise NotACheckpointError(f"{self.path}: {len(entries)} records")
        prefix = entries[0].filename.split("/")[0] + "/"
        records: dict[str, zipfile.ZipInfo] = {}
        folded: set[str] = set()
        for entry in entries:
            name = entry.filename.removeprefix(prefix)
            self._check_record(entry, prefix)
            if name.lower() in folded:  # torch finds records without regard to case
                raise HostileError(f"{self.path}: duplicate record {entry.filename!r}")
            folded.add(name.lower())
            records[name] = entry
        total = sum(entry.file_size for entry in entries)
        if total > self._size or any(e.file_size != e.compress_size for e in entries):
            raise HostileError(f"{self.path}: records of {total} bytes in a file of {self._size}")
        if TREE_RECORD not in records:
            raise NotACheckpointError(f"{self.path}: no {TREE_RECORD}")
        return records

    def _check_end(self, count: int) -> None:
        """Refuse an archive in which torch finds another directory than zipfile does.

        torch takes the directory's offset as it is stored; zipfile takes the bytes before the end.
        """
        end = self._read_at(-22, "<4s6xHLLH")
        place, fields = self._size - 22, end
        locator = self._read_at(-42, "<4s4xQ4x")
        if locator and locator[0] == b"PK\x06\x07":  # Zip64
            place -= 20 + 56
            fields = self._read_at(-98, "<4s28xQQQ")
            if not fields or fields[0] != b"PK\x06\x06" or locator[1] != place:
                raise HostileError(f"{self.path}: an ambiguous end of the archive")
            fields = (*fields, 0)
        if not end or end[0] != b"PK\x05\x06" or end[4] or not fields:
            raise HostileError(f"{self.path}: bytes follow the archive")
        _, total, size, offset, _ = fields
        if total != count or offset + size != place:
            raise HostileError(f"{self.path}: an ambiguous directory of the archive")

    def _read_at(self, place: int, form: str) -> tuple[Any, ...]:
        """Return the structure ``place`` bytes from the end; empty if the file is too short."""
        if self._size < -place:
            return ()
        self._file.seek(place, io.SEEK_END)
        return struct.unpack(form, self._file.read(struct.calcsize(form)))

    def _check_record(self, entry: zipfile.ZipInfo, prefix: str) -> None:
        place = f"{self.path}: record {entry.filename!r}"
        if not entry.filename.startswith(prefix):
            raise NotACheckpointError(f"{place} is outside {prefix!r}")
        name = entry.filename.removeprefix(prefix)
        if entry.filename != entry.orig_filename or not NAME.fullmatch(name):
            raise HostileError(f"{place} has an invalid name")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise HostileError(f"{place} is compressed or encrypted")
        if entry.external_attr >> 28 == 0xA:
            raise HostileError(f"{place} is a link")
        if entry.external_attr & MSDOS_DIRECTORY:  # torch would leave the tensor uninitialized
            raise CorruptedError(f"{place} is marked as a directory")

    def verify(self) -> None:
        """Check every byte of every record against its CRC-32; raises CorruptedError."""
        for name in self.records:
            for _ in self._parts(name):
                pass

    def read(self, name: str, limit: int) -> bytes:
        """Return a record of at most ``limit`` bytes, checked against its CRC-32."""
        size = self.records[name].file_size
        if size > limit:
            raise HostileError(f"{self.path}: {name} has {size} bytes; the limit is {limit}")
        return b"".join(self._parts(name))

    def _parts(self, name: str) -> Iterator[bytes]:
        try:
            with self._zip.open(self.records[name]) as record:
                while part := record.read(2**20):
                    yield part
        except UNREADABLE as error:
            raise CorruptedError(f"{self.path}: record {name}: {error}") from None

    def tree(self) -> dict[str, Any]:
        """Return the file's content with a TensorStub for each tensor."""
        data = self.read(TREE_RECORD, MAX_TREE_BYTES)
        sizes = {name: entry.file_size for name, entry in self.records.items()}
        try:
            content = StubUnpickler(sizes, data).load()
        except CheckpointError as error:
            raise type(error)(f"{self.path}: {error}") from None
        except Exception as error:  # a broken pickle can raise any exception
            fault = f"{type(error).__name__} {str(error)[:200]}"
            raise CorruptedError(f"{self.path}: {TREE_RECORD}: {fault}") from None
        if not isinstance(content, dict):
            raise NotACheckpointError(f"{self.path}: a {type(content).__name__}, not a dict")
        _check_extent(self.path, content, nodes=min(MAX_NODES, 4 * len(data)))
        for key, part in content.items():
            self._check_tensors(key, part)
        return content

    def _check_tensors(self, key: Any, part: Any) -> None:
        """Refuse a part of the tree whose tensors hold more bytes than the file.

        Tensors may share a record, but a model or an optimizer that is built from them may not.
        """
        total = sum(tensor.size for tensor in _nodes(part) if isinstance(tensor, TensorStub))
        if total > self._size:
            raise HostileError(f"{self.path}: {key!r} declares {total} bytes of tensors")

    def metadata(self) -> dict[str, Any] | None:
        """Return the metadata record; None if there is none (a file from plain torch.save)."""
        if METADATA_RECORD not in self.records:
            return None
        return _parse_metadata(self.path, self.read(METADATA_RECORD, MAX_METADATA_BYTES))

    def quick_metadata(self) -> dict[str, Any] | None:
        """Return what the function ``quick_metadata`` returns for this file."""
        return _quick_metadata(self.path, self._file)


def quick_metadata(path: str | Path) -> dict[str, Any] | None:
    """Return a file's metadata from its last kilobytes; None if the whole file must be read.

    The record was written last, so it is the last entry of the archive's directory, which is
    parsed here: zipfile would create an object per tensor, which takes three times as long.
    Raises CorruptedError if the record does not match its CRC-32.
    """
    path = Path(path)
    _require_file(path)
    try:
        with path.open("rb") as file:
            return _quick_metadata(path, file)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from None


def _quick_metadata(path: Path, file: BinaryIO) -> dict[str, Any] | None:
    try:
        file.seek(max(0, file.seek(0, io.SEEK_END) - TAIL_BYTES))
        tail = file.read()
        entry = tail.rfind(b"PK\x01\x02")
        if entry < 0 or len(tail) < entry + 46 or tail[-22:-18] != b"PK\x05\x06":
            return None
        crc, length, name_length, offset = struct.unpack_from("<L4xLH12xL", tail, entry + 16)
        name = tail[entry + 46 : entry + 46 + name_length]
        if not name.endswith(f"/{METADATA_RECORD}".encode()) or offset == 0xFFFFFFFF:
            return None
        file.seek(offset + 26)
        file.seek(offset + 30 + sum(struct.unpack("<HH", file.read(4))))
        data = file.read(min(length, MAX_METADATA_BYTES))
    except (OSError, struct.error) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from None
    if len(data) != length or zlib.crc32(data) != crc:
        raise CorruptedError(f"{path}: record {METADATA_RECORD}: bad CRC-32")
    return _parse_metadata(path, data)


def _parse_metadata(path: Path, data: bytes) -> dict[str, Any]:
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_JSON_NODES:
        raise HostileError(f"{path}: {METADATA_RECORD} has more than {MAX_JSON_NODES} nodes")
    try:
        metadata = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorruptedError(f"{path}: {METADATA_RECORD} is not JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise CorruptedError(f"{path}: {METADATA_RECORD} is not an object")
    _check_extent(path, metadata)
    return metadata


def _require_file(path: Path) -> None:
    """Raise CheckpointError unless ``path`` is a regular file: opening a pipe would block."""
    if not path.is_file():
        fault = "is a folder; name a file in it" if path.is_dir() else "no such file"
        raise CheckpointError(f"{path}: {fault}")


def _check_extent(path: Path, content: Any, nodes: int = MAX_NODES) -> None:
    """Refuse a tree that is deep, cyclic, or unfolds to far more nodes or text than it has bytes.

    ``nodes`` is the largest number of nodes.
    """
    level, depth, count, text = [content], 0, 1, 0
    while level:
        depth += 1
        below: list[Any] = []
        for node in level:
            for part in _parts_of(node):
                count += len(part)
                if depth > MAX_DEPTH or count > nodes:  # before the nodes are copied
                    raise HostileError(
                        f"{path}: a tree of more than {nodes} nodes or {MAX_DEPTH} levels"
                    )
                below += part
            text += len(node) if isinstance(node, str) else 0
        if text > MAX_TREE_BYTES:
            raise HostileError(f"{path}: a tree of more than {MAX_TREE_BYTES} characters")
        level = below


def _parts_of(node: Any) -> tuple[Collection[Any], ...]:
    if isinstance(node, dict):
        return node.keys(), node.values()
    return (node,) if isinstance(node, list | tuple) else ()


def _nodes(tree: Any) -> Iterator[Any]:
    """Yield every node of a tree."""
    yield tree
    for part in _parts_of(tree):
        for node in part:
            yield from _nodes(node)

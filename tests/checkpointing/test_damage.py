"""A real run's file with a bit turned or its end cut off."""

import hashlib
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from arc.checkpointing import CheckpointError, read_checkpoint, read_metadata
from arc.checkpointing.commands import verify


def digest(value: Any) -> str:
    """Hash a tree: types, keys and values; tensors bit for bit."""
    hashed = hashlib.sha256()

    def add(node: Any) -> None:
        hashed.update(type(node).__name__.encode())
        if isinstance(node, torch.Tensor):
            hashed.update(f"{node.dtype} {tuple(node.shape)}".encode())
            hashed.update(node.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(node, dict | list | tuple):
            for part in node.items() if isinstance(node, dict) else node:
                add(part)
        else:
            hashed.update(repr(node).encode())

    add(value)
    return hashed.hexdigest()


def outside_of_tensors(path: Path) -> list[int]:
    """Return the places of all bytes that belong to no tensor."""
    content, place = path.read_bytes(), 0
    rest: list[int] = []
    with zipfile.ZipFile(path) as archive:
        for entry in sorted(archive.infolist(), key=lambda entry: entry.header_offset):
            if "/data/" in entry.filename and entry.file_size:
                begin = content.index(archive.read(entry), entry.header_offset)
                rest += range(place, begin)
                place = begin + entry.file_size
    return [*rest, *range(place, len(content))]


def flip(original: Path, path: Path, flips: int) -> int:
    """Turn a bit at a time, every other one in what describes the tensors; count the reports."""
    whole, rest, noise = original.read_bytes(), outside_of_tensors(original), random.Random(flips)
    expected = digest(read_checkpoint(original)), read_metadata(original)
    reported = 0
    for number in range(flips):
        place = noise.choice(rest) if number % 2 else noise.randrange(len(whole))
        bit = noise.randrange(8)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        readers = (read_checkpoint, verify, read_metadata)
        found = [answer(reader, path) for reader in readers]
        assert isinstance(found[0], str) == isinstance(found[1], str), (place, bit, found)
        if isinstance(found[0], str):
            reported += 1
        else:
            assert (digest(found[0]), found[2]) == expected, (place, bit)
    return reported


def answer(reader: Callable[[Path], Any], path: Path) -> Any:
    """Return what ``reader`` returns, but its error's text; ``verify``'s text is no error."""
    try:
        content = reader(path)
    except CheckpointError as error:
        said = str(error)
    else:
        return content if isinstance(content, dict) else None
    assert said.startswith(f"{path}: ")
    assert len(said.splitlines()) == 1
    return said


def cut(original: Path, path: Path, lengths: int) -> None:
    whole, noise = original.read_bytes(), random.Random(lengths)
    for length in [0, len(whole) - 1, *noise.sample(range(len(whole)), lengths - 2)]:
        path.write_bytes(whole[:length])
        for reader in (read_checkpoint, verify, read_metadata):
            assert isinstance(answer(reader, path), str), length


def test_a_flipped_bit_is_reported_or_changes_nothing(one: Any, tmp_path: Path) -> None:
    assert flip(one.path, tmp_path / "x.pth", 30) > 15


def test_a_tensor_record_marked_as_a_directory_is_reported(one: Any, tmp_path: Path) -> None:
    """One bit, and torch leaves the tensor's memory as it is."""
    damaged, path = bytearray(one.path.read_bytes()), tmp_path / "x.pth"
    entry = damaged.rindex(b"PK\x01\x02", 0, damaged.rindex(b"/data/3"))
    damaged[entry + 38] |= 0x10
    path.write_bytes(damaged)
    assert "marked as a directory" in answer(read_checkpoint, path)
    assert "marked as a directory" in answer(verify, path)


def test_a_truncated_file_is_reported(one: Any, tmp_path: Path) -> None:
    cut(one.path, tmp_path / "x.pth", 10)


@pytest.mark.slow
def test_two_thousand_flipped_bits_are_reported_or_change_nothing(one: Any, tmp_path: Path) -> None:
    assert flip(one.path, tmp_path / "x.pth", 2000) > 1000


@pytest.mark.slow
def test_files_truncated_to_two_hundred_lengths_are_reported(one: Any, tmp_path: Path) -> None:
    cut(one.path, tmp_path / "x.pth", 200)

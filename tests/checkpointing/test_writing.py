"""A file is at every moment the old one or the new one."""

import os
import resource
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from arc.checkpointing import CheckpointError, prepare_folder, write_checkpoint

LARGE = {"weights": torch.zeros(1000, 1000)}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the system refuse to write more than ``size`` bytes to a file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    for number in (1, 2):
        write_checkpoint(path, {"number": number})
        assert torch.load(path) == {"number": number}
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("size", [0, 4096, 1_000_000])
def test_a_failed_write_leaves_the_old_file(size: int, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    write_checkpoint(path, {"number": 1})
    before = path.read_bytes()
    with files_of_at_most(size), pytest.raises(CheckpointError) as refused:
        write_checkpoint(path, LARGE)
    assert str(refused.value) == f"{path}: cannot be written: [Errno 27] File too large"
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


class Label(str):
    """A subclass of str, not a plain string."""


@pytest.mark.parametrize(
    "value",
    [Path("x"), Label("x"), {1, 2}, b"x", 1j, OrderedDict(a=1), torch.nn.Parameter(torch.ones(1))],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_is_not_a_plain_type_is_refused_with_its_path(
    value: Any, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError) as refused:
        write_checkpoint(tmp_path / "x.pth", {"whole": 1, "config": {"data": [0, value]}})
    for part in ("config", "data", "1", type(value).__name__):
        assert part in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_first_write_leaves_nothing(tmp_path: Path) -> None:
    with files_of_at_most(4096), pytest.raises(CheckpointError):
        write_checkpoint(tmp_path / "x.pth", LARGE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, MemoryError, SystemExit])
def test_an_interrupted_write_leaves_the_old_file_alone(
    interruption: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pth"
    write_checkpoint(path, {"number": 1})

    def interrupted(content: Any, file: Any) -> None:
        file.write(b"half of it")
        raise interruption

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises((interruption, CheckpointError)):
        write_checkpoint(path, {"number": 2})
    assert torch.load(path) == {"number": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_synced_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        events.append(f"sync {kind}")
        fsync(descriptor)

    def noted_replace(*places: Any) -> None:
        events.append("replace")
        assert torch.load(places[0]) == {"number": 1}
        rename(*places)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    write_checkpoint(tmp_path / "x.pth", {"number": 1})
    assert events == ["sync file", "replace", "sync folder"]


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "x.pth"
    with pytest.raises(CheckpointError, match=f"^{path}: cannot be written"):
        write_checkpoint(path, {"number": 1})


def test_file_permissions_follow_the_umask(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain", tmp_path / "x.pth"
    plain.touch()
    write_checkpoint(path, {"number": 1})
    assert stat.filemode(path.stat().st_mode) == stat.filemode(plain.stat().st_mode)


def test_a_folder_is_created_empty(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    prepare_folder(folder)
    prepare_folder(folder)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CheckpointError, match=rf"^checkpoint\.dir={folder}: cannot be written"):
            prepare_folder(folder)

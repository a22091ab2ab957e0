"""The metadata of files, and archives and trees that are refused."""

import io
import json
import math
import os
import pickle
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arc.checkpointing import read_checkpoint, read_metadata, write_checkpoint
from arc.checkpointing.archive import Archive, quick_metadata
from arc.checkpointing.errors import CheckpointError
from arc.checkpointing.metadata import FORMAT_VERSION, metadata_of
from arc.checkpointing.stubs import TensorStub

MIB = 2**20
CONTENT: dict[str, Any] = {
    "format_version": FORMAT_VERSION,
    "config": {"seed": 3, "task": {"name": "selection"}},
    "step": 7,
    "val_loss": math.nan,
    "model_state_dict": {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2).bfloat16()},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.pth"


@pytest.fixture
def small(path: Path) -> bytes:
    write_checkpoint(path, CONTENT)
    return path.read_bytes()


@contextmanager
def memory_of_at_most(size: int) -> Iterator[None]:
    """Check that Python allocates at most ``size`` bytes in the context."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


def test_all_readers_return_the_same_metadata(one: Any, small: bytes, path: Path) -> None:
    for file in (one.path, path):
        with Archive(file) as archive:
            recorded, rebuilt = archive.metadata(), metadata_of(archive.tree())
        whole = metadata_of(torch.load(file))
        assert quick_metadata(file) == recorded == json.loads(json.dumps(rebuilt)) == whole
        assert read_metadata(file) == recorded
    assert whole["num_parameters"] == 8
    assert whole["val_loss"] is None


def test_a_file_may_be_replaced_while_it_is_read(
    small: bytes, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = zipfile.ZipFile

    def replaced(file: Any) -> zipfile.ZipFile:
        other = path.with_name("other")
        other.write_bytes(b"")
        os.replace(other, path)
        return directory(file)

    monkeypatch.setattr(zipfile, "ZipFile", replaced)
    with Archive(path) as archive:
        assert archive.tree()["step"] == CONTENT["step"]


def test_a_file_resaved_by_torch_has_metadata(changed: Callable[..., Path], one: Any) -> None:
    path = changed(lambda content: content.update(pair=(1, math.inf), step=3))
    assert quick_metadata(path) is None
    assert read_metadata(path) == {**read_metadata(one.path), "pair": [1, None], "step": 3}
    path = changed(lambda content: content.update(mean=torch.zeros(3)))
    assert json.loads(json.dumps(read_metadata(path)))["step"] == 6


# -- hostility ---------------------------------------------------------------------------


def refused(path: Path, match: str) -> None:
    """Check that a file is refused with one line that names it."""
    with pytest.raises(CheckpointError, match=match) as error:
        read_checkpoint(path)
    assert str(error.value).startswith(f"{path}: ")
    assert len(str(error.value).splitlines()) == 1


def pack(path: Path, records: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, record in records.items():
            archive.writestr(name, record)


class Code:
    """Runs a shell command when it is unpickled without care."""

    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


FOREIGN = {"posix": Code(), "numpy": np.float64(1), "torch.nn": torch.nn.ReLU(), "pathlib": Path()}


@pytest.mark.parametrize("module", FOREIGN)
def test_code_and_classes_are_refused(
    module: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    torch.save({**CONTENT, "note": FOREIGN[module]}, path)
    refused(path, f"refers to {module}")
    assert list(path.parent.iterdir()) == [path]


def test_archives_not_written_by_torch_are_refused(path: Path) -> None:
    tree = {"archive/data.pkl": pickle.dumps({}, 2)}
    pack(path, {"archive/data/0": bytes(8)})
    refused(path, r"no data\.pkl")
    pack(path, {**tree, "elsewhere/x": b""})
    refused(path, "outside")


class Stored(int):
    """Pickles as torch's reference to a storage of so many elements."""


class View(tuple[Any, ...]):
    """Pickles as a tensor: a storage's elements, offset, shape, strides."""

    def __reduce__(self) -> Any:
        tensor = (Stored(self[0]), *self[1:], False, OrderedDict())
        return torch._utils._rebuild_tensor_v2, tensor


class Pickler(pickle._Pickler):
    def persistent_id(self, value: Any) -> Any:
        known = isinstance(value, Stored)
        return ("storage", torch.FloatStorage, "0", "cpu", int(value)) if known else None


def with_tensor(path: Path, *view: Any) -> None:
    """Write a file of one tensor; its storage has bytes of 6 floats."""
    tree = io.BytesIO()
    Pickler(tree, 2).dump({**CONTENT, "model_state_dict": {"w": View(view)}})
    rest = {"x/version": b"3\n", "x/byteorder": b"little", "x/data/0": bytes(24)}
    pack(path, {"x/data.pkl": tree.getvalue(), **rest})


def test_a_valid_tensor_is_read(path: Path) -> None:
    with_tensor(path, 6, 1, (2, 2), (3, 1))
    with Archive(path) as archive:
        (stub,) = archive.tree()["model_state_dict"].values()
    assert stub == TensorStub("FloatStorage", "data/0", (2, 2))
    assert read_checkpoint(path)["model_state_dict"]["w"].stride() == (3, 1)


IMPOSSIBLE = {
    "more than its record has": (10**12, 0, (2,), (1,)),
    "beyond the end": (6, 5, (2,), (1,)),
    "strides beyond the end": (6, 0, (2, 2), (5, 1)),
    "expanded": (6, 0, (10**6, 10**6), (0, 0)),
    "overlapping": (6, 0, (4, 4), (1, 0)),
    "negative shape": (6, 0, (-1, -2), (1, 1)),
    "ranks differ": (6, 0, (2, 2), (1,)),
    "no numbers": (6, 0, ("2",), (1,)),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_tensors_that_exceed_their_storage_are_refused(case: str, path: Path) -> None:
    with_tensor(path, *IMPOSSIBLE[case])
    with memory_of_at_most(4 * MIB):
        refused(path, "elements|impossible")


def test_a_cyclic_or_exponential_tree_is_refused(path: Path) -> None:
    itself: dict[str, Any] = {}
    itself["x"] = itself
    doubled: Any = 1
    for _ in range(20):
        doubled = [doubled, doubled]
    for endless in (itself, doubled):
        torch.save({**CONTENT, "note": endless}, path)
        assert path.stat().st_size < 10_000
        with pytest.raises(CheckpointError, match=str(path)):
            read_metadata(path)

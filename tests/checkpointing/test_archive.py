"""Files that were damaged on the disk, and files that a stranger made."""

import json
import math
import os
import pickle
import random
import resource
import subprocess
import sys
import time
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
from helpers_cli import environment

from arc.archive import Archive, CheckpointError, HostileError, TensorStub, quick_metadata
from arc.checkpointing import load, read_checkpoint, read_metadata, write_checkpoint
from arc.metadata import metadata_of

MIB = 2**20
CONTENT: dict[str, Any] = {
    "format_version": 1,
    "config": {"seed": 3, "task": {"name": "selection"}},
    "step": 7,
    "val_acc": 12.5,
    "val_loss": math.nan,
    "model_state_dict": {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2).bfloat16()},
    "label_map": ["a", "b"],
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
    """Hold what Python allocates inside to ``size`` bytes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


# -- damage ------------------------------------------------------------------------------


def text_of(content: Any) -> str:
    return repr({**content, "model_state_dict": None}) + repr(
        {name: (w.dtype, w.tolist()) for name, w in content["model_state_dict"].items()}
    )


def test_every_flipped_bit_is_reported_or_changes_nothing(path: Path, small: bytes) -> None:
    expected, metadata = text_of(CONTENT), read_metadata(path)
    luck, reported = random.Random(0), 0
    for _ in range(300):
        place = luck.randrange(8 * len(small))
        damaged = bytearray(small)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            content, said = read_checkpoint(path), read_metadata(path)
        except CheckpointError:
            reported += 1
        else:
            assert (text_of(content), said) == (expected, metadata), place
    assert reported > 100


def test_a_file_cut_at_any_length_is_refused(path: Path, small: bytes) -> None:
    luck = random.Random(1)
    for length in [*luck.sample(range(len(small)), 40), 0, len(small) - 1]:
        path.write_bytes(small[:length])
        for reader in (read_checkpoint, read_metadata):
            with pytest.raises(CheckpointError, match=str(path)):
                reader(path)


# -- metadata ----------------------------------------------------------------------------


def test_metadata_is_the_same_by_every_way(one: Any, small: bytes, path: Path) -> None:
    for file in (one.path, path):
        with Archive(file) as archive:
            recorded, rebuilt = archive.metadata(), metadata_of(archive.tree())
        whole = metadata_of(torch.load(file))
        assert quick_metadata(file) == recorded == json.loads(json.dumps(rebuilt)) == whole
        assert read_metadata(file) == recorded
        assert not any(key.endswith("state_dict") for key in recorded)
    assert recorded["num_parameters"] == 8
    assert recorded["val_loss"] is None


def test_a_file_written_again_by_torch_has_metadata(changed: Callable[..., Path], one: Any) -> None:
    path = changed(lambda content: content.update(pair=(1, math.inf), step=3))
    assert quick_metadata(path) is None
    assert read_metadata(path) == {**read_metadata(one.path), "pair": [1, None], "step": 3}
    path = changed(lambda content: content.update(mean=torch.zeros(3)))
    assert json.dumps(read_metadata(path), allow_nan=False)


def test_looking_needs_no_torch() -> None:
    script = "import sys, arc.inspection; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], env=environment(), check=True)


# -- hostility ---------------------------------------------------------------------------


def refused(path: Path, kind: type[CheckpointError], match: str | None = None) -> None:
    """Hold that the tree and the whole file are refused in one line that names the file."""
    for reader in (tree_of, read_checkpoint):
        with pytest.raises(kind, match=match) as error:
            reader(path)
        assert str(error.value).startswith(f"{path}: ")
        assert len(str(error.value).splitlines()) == 1


def tree_of(path: Path) -> dict[str, Any]:
    with Archive(path) as archive:
        return archive.tree()


def pack(path: Path, records: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, record in records.items():
            archive.writestr(f"archive/{name}", record)
    return path


class Code:
    """Runs a shell command when it is unpickled without care."""

    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


FOREIGN = {"posix": Code(), "numpy": np.float64(1), "torch.nn": torch.nn.ReLU(), "pathlib": Path()}


@pytest.mark.parametrize("module", FOREIGN)
def test_code_and_classes_are_refused_by_name(
    module: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    torch.save({**CONTENT, "note": FOREIGN[module]}, path)
    refused(path, HostileError, f"names {module}")
    assert list(path.parent.iterdir()) == [path]


def test_compressed_records_are_refused(path: Path) -> None:
    bomb = {"data.pkl": pickle.dumps({"config": {}}, 2), "data/0": bytes(10 * MIB)}
    refused(pack(path, bomb, zipfile.ZIP_DEFLATED), HostileError, "compressed")
    assert path.stat().st_size < MIB


def test_a_record_that_stands_twice_is_refused(path: Path, small: bytes) -> None:
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
    refused(path, HostileError, "stands twice")


def test_an_archive_without_a_tree_or_with_two_folders_is_refused(path: Path) -> None:
    refused(pack(path, {"data/0": bytes(8)}), CheckpointError, r"no data\.pkl")
    pack(path, {"data.pkl": pickle.dumps({}, 2)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("elsewhere/x", b"")
    refused(path, CheckpointError, "outside")


class Stored:
    """Pickles as torch's reference to a storage."""

    def __init__(self, declared: Any) -> None:
        self.declared = declared


class View:
    """Pickles as a tensor over storage 0 with any geometry."""

    def __init__(self, declared: Any, *geometry: Any) -> None:
        self.arguments = (Stored(declared), *geometry, False, OrderedDict())

    def __reduce__(self) -> Any:
        return torch._utils._rebuild_tensor_v2, self.arguments


class Pickler(pickle._Pickler):
    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Stored):
            return "storage", torch.FloatStorage, "0", "cpu", value.declared
        return None


def with_tensor(path: Path, *view: Any) -> Path:
    """Write a file of one tensor; its storage has bytes of 6 floats."""
    file = path.with_suffix(".pkl")
    with file.open("wb") as stream:
        Pickler(stream, 2).dump({**CONTENT, "model_state_dict": {"w": View(*view)}})
    records = {"data.pkl": file.read_bytes(), "version": b"3\n", "data/0": bytes(24)}
    return pack(path, {**records, "byteorder": b"little"})


def test_a_true_tensor_is_read(path: Path) -> None:
    with_tensor(path, 6, 1, (2, 2), (3, 1))
    assert tree_of(path)["model_state_dict"]["w"] == TensorStub("FloatStorage", "data/0", (2, 2))
    assert read_checkpoint(path)["model_state_dict"]["w"].stride() == (3, 1)


IMPOSSIBLE = {
    "more than its record has": (10**12, 0, (2,), (1,)),
    "beyond the end": (6, 5, (2,), (1,)),
    "strides beyond the end": (6, 0, (2, 2), (5, 1)),
    "expanded": (6, 0, (10**6, 10**6), (0, 0)),
    "overlapping": (6, 0, (4, 4), (1, 0)),
    "negative shape": (6, 0, (-1, -2), (1, 1)),
    "negative offset": (6, -1, (2,), (1,)),
    "ranks differ": (6, 0, (2, 2), (1,)),
    "no numbers": (6, 0, ("2",), (1,)),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_tensors_that_their_bytes_do_not_hold(case: str, path: Path) -> None:
    with_tensor(path, *IMPOSSIBLE[case])
    with memory_of_at_most(4 * MIB):
        refused(path, HostileError)


BOMBS = {
    "a memo of billions": b"\x80\x02}r\xff\xff\xff\x7f.",
    "bytes of half a gigabyte": b"\x80\x05\x96" + (MIB * 512).to_bytes(8, "little") + b".",
    "one list copied 200 times": b"\x80\x02(" + b"N" * 100_000 + b"lq\x00ctorch\nSize\nq\x01("
    b"h\x01h\x00\x85R" * 200 + b"l.",
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_small_tree_takes_little_memory(case: str, path: Path) -> None:
    pack(path, {"data.pkl": BOMBS[case]})
    with memory_of_at_most(32 * MIB), pytest.raises(CheckpointError, match=str(path)):
        read_metadata(path)


def test_a_tree_that_holds_itself_or_is_deep_is_refused(path: Path) -> None:
    loop: dict[str, Any] = {**CONTENT}
    torch.save({**CONTENT, "note": loop.setdefault("note", loop)}, path)
    with pytest.raises(CheckpointError, match=str(path)):
        read_metadata(path)
    pack(path, {"data.pkl": b"\x80\x02" + b"}U\x01x" * 50_000 + b"}" + b"s" * 50_000 + b"."})
    with pytest.raises(CheckpointError, match=str(path)):
        read_metadata(path)


def test_a_tree_that_unfolds_to_millions_is_refused(path: Path) -> None:
    level: Any = [1]
    for _ in range(21):
        level = [level, level]
    torch.save({**CONTENT, "note": level}, path)
    assert path.stat().st_size < 10_000
    with pytest.raises(CheckpointError, match=str(path)):
        read_metadata(path)


def test_a_huge_architecture_takes_no_memory(changed: Callable[..., Path]) -> None:
    def grow(content: dict[str, Any]) -> None:
        content["config"]["model"].update(hidden_dim=4096, num_conv_layers=64)

    path, began = changed(grow), time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="weights do not fit"):
        load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB
    assert time.monotonic() - began < 10

"""Writing past the page cache."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from arc.checkpointing import direct
from arc.checkpointing.direct import BUFFER_BYTES, DirectFile

SIZES = [0, 1, 4096, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 2 * BUFFER_BYTES + 4097]


def write(path: Path, pieces: list[bytes]) -> None:
    with open(path, "xb") as file:
        out = DirectFile(file.fileno())
        for piece in pieces:
            assert out.write(piece) == len(piece)
        out.finish()


@pytest.mark.parametrize("size", SIZES)
def test_bytes_arrive_whole_and_in_order(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    write(tmp_path / "whole", [data])
    write(tmp_path / "parts", [data[start : start + 100_003] for start in range(0, size, 100_003)])
    assert (tmp_path / "whole").read_bytes() == data == (tmp_path / "parts").read_bytes()


def test_what_follows_is_written_after_it(tmp_path: Path) -> None:
    with open(tmp_path / "x", "xb+") as file:
        out = DirectFile(file.fileno())
        out.write(b"a" * (BUFFER_BYTES + 10))
        out.finish()
        file.seek(0, os.SEEK_END)
        file.write(b"end")
    assert (tmp_path / "x").read_bytes() == b"a" * (BUFFER_BYTES + 10) + b"end"


@pytest.fixture
def fussy_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A disk whose first ``refusals`` writes of whole buffers fail, or which writes little."""
    honest, left = os.write, [0]

    def write_some(descriptor: int, data: memoryview) -> int:
        if len(data) == BUFFER_BYTES and left[0] > 0:
            left[0] -= 1
            raise OSError(errno.EINVAL, "no direct writes")
        return honest(descriptor, data[: 4096 * 3 + 5])

    def refuse(refusals: int) -> None:
        left[0] = refusals
        monkeypatch.setattr(direct.os, "write", write_some)

    return refuse


def test_a_disk_that_cannot_is_written_to_in_the_ordinary_way(
    fussy_disk: Callable[[int], None], tmp_path: Path
) -> None:
    fussy_disk(1)
    data = os.urandom(2 * BUFFER_BYTES + 77)
    write(tmp_path / "x", [data])
    assert (tmp_path / "x").read_bytes() == data


def test_a_disk_that_fails_is_an_error(fussy_disk: Callable[[int], None], tmp_path: Path) -> None:
    fussy_disk(2)
    with pytest.raises(OSError, match="no direct writes"):
        write(tmp_path / "x", [bytes(2 * BUFFER_BYTES)])

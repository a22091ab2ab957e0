"""In bf16 the gradients of normalisation layers are those of fp32."""

from pathlib import Path

import pytest
import torch
from conftest import as_puzzle, random_grids, write_folder
from helpers_data import MakeRun


@pytest.fixture(scope="module")
def large_grids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight puzzles of grids with up to 900 cells; a sum over them shows rounding."""
    grids = random_grids(64, sides=(12, 20, 30))
    pairs = list(zip(grids[::2], grids[1::2], strict=True))
    puzzles = {f"p{n}": as_puzzle(pairs[4 * n : 4 * n + 4]) for n in range(8)}
    return write_folder(tmp_path_factory.mktemp("large"), puzzles)


@pytest.mark.parametrize("architecture", ["patch", "cells"])
def test_gradients_of_norms_are_within_5_percent_of_fp32(
    make_run: MakeRun, large_grids: Path, task_overrides: list[str], architecture: str
) -> None:
    """Through a vector: near a boundary, a symbol may rightly differ."""
    gradients = []
    for bf16 in (False, True):
        run = make_run(
            *task_overrides,
            "bottleneck=autoencoder",
            f"model.architecture={architecture}",
            f"data.path={large_grids}",
            "data.validation_fraction=0",
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = run.task.step(run.model, torch.arange(16), torch.Generator()).loss
        loss.backward()
        named = [(name, each.grad) for name, each in run.model.named_parameters() if "norm" in name]
        gradients.append(dict(named))
    full, rounded = gradients
    assert len(full) >= 4
    for name, gradient in full.items():
        assert gradient is not None
        assert rounded[name] is not None
        error = (rounded[name] - gradient).norm() / gradient.norm()  # type: ignore[operator]
        assert float(error) < 0.05, name

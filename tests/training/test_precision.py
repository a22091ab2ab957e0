"""In bf16 the gradients of normalisation layers are those of fp32."""

import numpy as np
import pytest
import torch
from helpers_data import MakeRun, SavePuzzles

from arc.config.files import ConfigError


@pytest.mark.parametrize("architecture", ["patch", "cells"])
def test_gradients_of_norms_are_within_5_percent_of_fp32(
    make_run: MakeRun, save_puzzles: SavePuzzles, task_overrides: list[str], architecture: str
) -> None:
    """Through a vector: near a boundary, a symbol may rightly differ."""
    if (architecture, *task_overrides[:1]) == ("cells", "task=transformation"):
        with pytest.raises(ConfigError, match="cells: the sender of task=transformation"):
            make_run(*task_overrides, "model.architecture=cells")
        return
    rng = np.random.default_rng(0)  # up to 900 cells a grid: a sum over them shows rounding
    grids = [rng.integers(0, 10, rng.choice((12, 20, 30), 2)) for _ in range(64)]
    pairs = list(zip(grids[::2], grids[1::2], strict=True))
    folder = save_puzzles({f"p{n}": (pairs[4 * n : 4 * n + 4], []) for n in range(8)})
    gradients = []
    for bf16 in (False, True):
        run = make_run(
            *task_overrides,
            "bottleneck=autoencoder",
            f"model.architecture={architecture}",
            f"data.path={folder}",
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

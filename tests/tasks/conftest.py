"""Runs of untrained models in eval mode."""

from typing import Any

import pytest
from helpers_data import MakeRun, Run, SavePuzzles


@pytest.fixture
def build(make_run: MakeRun, save_puzzles: SavePuzzles) -> MakeRun:
    """Build a run whose model is in eval mode, on ``puzzles`` instead of the folder if given."""

    def start(*overrides: str, puzzles: Any = None, test: Any = None) -> Run:
        data = []
        if puzzles is not None:
            data += [f"data.path={save_puzzles(puzzles)}", "data.validation_fraction=0"]
        if test is not None:
            data.append(f"data.test={save_puzzles(test, 'test')}")
        run = make_run(*data, *overrides)
        run.model.eval()
        return run

    return start

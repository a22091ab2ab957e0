"""Corpora of small puzzles."""

from typing import Any

import pytest
from helpers_data import MakeCorpus, SavePuzzles

from arc.data import Corpus


@pytest.fixture
def corpus_of(save_puzzles: SavePuzzles, make_corpus: MakeCorpus) -> MakeCorpus:
    """Load puzzles, given as id to (training pairs, test pairs); ``test`` is a test set apart."""

    def load(
        puzzles: Any, *overrides: str, validation: float = 0, test: Any = None, **way: Any
    ) -> Corpus:
        paths = [f"data.path={save_puzzles(puzzles)}"]
        if test is not None:
            paths.append(f"data.test={save_puzzles(test, 'test')}")
        return make_corpus(*paths, f"data.validation_fraction={validation}", *overrides, **way)

    return load

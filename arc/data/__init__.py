"""Grids, puzzles, the three sets, and the order in which examples come."""

from arc.data.augment import Transform
from arc.data.corpus import Corpus, Slicing, Split, load_corpus
from arc.data.grids import MAX_GRID_SIZE, NUM_COLORS, DataError, Grids
from arc.data.sampler import BatchSource
from arc.data.sources import DATASETS, DataConfig

__all__ = [
    "DATASETS",
    "MAX_GRID_SIZE",
    "NUM_COLORS",
    "BatchSource",
    "Corpus",
    "DataConfig",
    "DataError",
    "Grids",
    "Slicing",
    "Split",
    "Transform",
    "load_corpus",
]

"""Grids, data sources, splits, distractors and batches."""

from arc.data.augment import Transform
from arc.data.corpus import Corpus, Split, SplitSpec, load_corpus, with_test
from arc.data.grids import MAX_GRID_SIZE, NUM_COLORS, DataError, GridPairs, Grids
from arc.data.sampler import BatchSampler
from arc.data.sources import DATASETS, DataConfig

__all__ = [
    "DATASETS",
    "MAX_GRID_SIZE",
    "NUM_COLORS",
    "BatchSampler",
    "Corpus",
    "DataConfig",
    "DataError",
    "GridPairs",
    "Grids",
    "Split",
    "SplitSpec",
    "Transform",
    "load_corpus",
    "with_test",
]

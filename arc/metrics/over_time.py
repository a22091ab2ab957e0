"""The measures of ``arc.metrics.language`` as a message metric: their values over training time."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from arc.data import Split
from arc.data.grids import Grids
from arc.metrics.base import METRICS, Messages, MetricConfig
from arc.metrics.concepts import ConceptTable, split_concepts
from arc.metrics.language import MEASURES, Language, measure_language

MAX_EXAMPLES = 1000
FLOORS = ("shuffled", "random")


class LanguageConfig(MetricConfig):
    """Keys of conf/metric/language.yaml."""

    in_report = False

    measures: Annotated[list[Annotated[str, AfterValidator(MEASURES.check)]], Field(min_length=1)]
    max_examples: Annotated[int, Field(ge=2)]


@METRICS.register("language", config=LanguageConfig)
def language(messages: Messages, *, measures: list[str], max_examples: int) -> dict[str, float]:
    """Return registered measures of the language, each with its floors.

    The value of a measure has its name, such as ``topsim_hamming``; ``topsim_hamming_shuffled``
    and ``topsim_hamming_random`` are its floors, as in ``measure_language``. Of more than
    ``max_examples`` examples, the same sample is measured each time. Raises ValueError if the
    messages come without their examples.
    """
    if messages.split is None:
        raise ValueError("metric language: needs the split that the messages were sent for")
    spoken = sampled_language(
        messages.split, messages.symbols, messages.lengths, messages.vocab_size, max_examples
    )
    values: dict[str, float] = {}
    for name, measured in measure_language(spoken, measures).items():
        values[name] = measured.value
        values.update({f"{name}_{floor}": getattr(measured, floor) for floor in FLOORS})
    return values


def sampled_language(
    split: Split,
    symbols: Tensor,
    lengths: Tensor | None,
    vocab_size: int,
    max_examples: int = MAX_EXAMPLES,
) -> Language:
    """Return the language of ``sample(split, max_examples)``, given the messages of all examples.

    ``symbols``: int64 [examples, max_length]. ``lengths``: int64 [examples], or None.
    """
    chosen, concepts, grids = _meanings(split, max_examples)
    sent = None if lengths is None else lengths[chosen]
    return Language(symbols[chosen], sent, vocab_size, concepts, grids)


def sample(split: Split, max_examples: int = MAX_EXAMPLES) -> Tensor:
    """Return examples of ``split``, ascending: int64, at most ``max_examples``, always the same."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    return order[:max_examples].sort().values


@lru_cache(maxsize=2)
def _meanings(split: Split, max_examples: int) -> tuple[Tensor, ConceptTable, Grids]:
    """Return a sample of examples with its concepts and grids; they are the same each time."""
    chosen = sample(split, max_examples)
    return chosen, split_concepts(split, chosen), split.grids[split.sender[chosen]].to("cpu")

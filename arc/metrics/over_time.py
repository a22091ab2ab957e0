"""The measures of ``arc.metrics.language`` as a message metric: their values over training time."""

from __future__ import annotations

from dataclasses import dataclass
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
    chosen = sample(messages.split, max_examples)
    spoken = chosen.language(
        messages.symbols[chosen.examples], messages.lengths[chosen.examples], messages.vocab_size
    )
    values: dict[str, float] = {}
    for name, measured in measure_language(spoken, measures).items():
        values[name] = measured.value
        values.update({f"{name}_{floor}": getattr(measured, floor) for floor in FLOORS})
    return values


@dataclass(frozen=True, eq=False)
class Sample:
    """Some ``examples`` of a split, int64 [N], with what the sender sees and its concepts."""

    examples: Tensor
    concepts: ConceptTable
    grids: Grids

    def language(self, symbols: Tensor, lengths: Tensor | None, vocab_size: int) -> Language:
        """Return the language of the messages sent for these examples.

        ``symbols``: int64 [N, max_length]. ``lengths``: int64 [N], or None.
        """
        return Language(symbols, lengths, vocab_size, self.concepts, self.grids)


@lru_cache(maxsize=2)
def sample(split: Split, max_examples: int) -> Sample:
    """Return at most ``max_examples`` examples of ``split``, in order and always the same."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    examples = order[:max_examples].sort().values
    grids = split.grids[split.sender[examples]].to("cpu")
    return Sample(examples, split_concepts(split, examples), grids)

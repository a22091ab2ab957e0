"""Changed messages: the floors of measures, and the interventions on a receiver's input."""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator, Tensor

from arc.metrics.concepts import Array
from arc.metrics.language.base import Language


def shuffle(language: Language, generator: Generator) -> Array:
    """Draw for each example the one whose message it gets: int64 [N].

    Examples of equal grids get the same message, as from a sender that sees only the grid.
    """
    first = language.different_grids
    order = torch.randperm(len(first), generator=generator).numpy()
    return np.asarray(first[order][language.grid_ids])


def shuffled(language: Language, generator: Generator) -> Language:
    """Return the language with its messages randomly assigned to the grids (see ``shuffle``)."""
    rows = shuffle(language, generator)
    return language.saying(language.messages[rows], language.lengths[rows])


def random_codes(language: Language, generator: Generator) -> Language:
    """Return random messages with the same frequencies of lengths and of symbols per position.

    The frequencies are those among the different grids; examples of equal grids get equal messages.
    Among the messages of each length, the symbols at each position are permuted on their own, so
    that a stop symbol stays at the end.
    """
    messages, first = language.messages.copy(), language.different_grids
    for length in np.unique(language.lengths[first]):
        rows = first[language.lengths[first] == length]
        for position in range(length):
            order = torch.randperm(len(rows), generator=generator).numpy()
            messages[rows, position] = messages[rows[order], position]
    return shuffled(language.saying(messages, language.lengths), generator)


def replaced(messages: Tensor, position: int, generator: Generator) -> Tensor:
    """Return messages whose symbol at ``position`` is that of another message, drawn at random.

    ``messages``: int64 [N, L]. A single message is returned unchanged. If the other message ends
    before ``position``, the symbol is the one stored after its end.
    """
    order = torch.randperm(len(messages), generator=generator).to(messages.device)
    changed = messages.clone()
    changed[order, position] = messages[order.roll(1), position]
    return changed


def truncated(
    messages: Tensor, count: int, generator: Generator, stop: int | None = None
) -> Tensor:
    """Return messages of which only the first ``count`` symbols are kept.

    ``messages``: int64 [N, L]. With ``stop``, this symbol takes the place of the later ones.
    Without it a message cannot end early: the symbol at each later position is that of another
    message, drawn at random for each position as in ``replaced``.
    """
    changed = messages.clone()
    if stop is not None:
        changed[:, count:] = stop
        return changed
    for position in range(count, messages.shape[1]):
        changed = replaced(changed, position, generator)
    return changed


def permuted(messages: Tensor, generator: Generator, lengths: Tensor | None = None) -> Tensor:
    """Return messages whose symbols are in random order, drawn for each message.

    ``messages``: int64 [N, L]. ``lengths``, int64 [N]: the number of symbols to permute, from the
    first; subtract 1 to keep a stop symbol in its place. None: all symbols are permuted.
    """
    keys = torch.rand(messages.shape, generator=generator).to(messages.device)
    if lengths is not None:
        place = torch.arange(messages.shape[1], device=messages.device)
        outside = place >= lengths.to(messages.device)[:, None]
        keys = torch.where(outside, place + 1.0, keys)  # later symbols keep their place
    return messages.gather(1, keys.argsort(1))


def dropped(messages: Tensor, position: int, fill: int = 0) -> Tensor:
    """Return messages without the symbol at ``position``.

    ``messages``: int64 [N, L]. Later symbols move forward by one; ``fill`` becomes the last
    symbol (0 is the stop symbol of bottlenecks that have one).
    """
    last = messages.new_full((len(messages), 1), fill)
    return torch.cat([messages[:, :position], messages[:, position + 1 :], last], 1)

"""Networks that compute each row of a batch on its own, so that processes can share the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class RowWise(nn.Module):
    """Base of networks whose output for a row of the batch depends on no other row.

    The arguments of ``forward`` are batches of equal length that can be indexed by an int64 tensor,
    such as tensors and Grids, or None. It returns a tensor, or a dataclass of tensors, whose rows
    are in the order of the batch; a row of the batch may have any number of them. In training it
    draws random numbers only in ``nn.Dropout``.

    ``split_rows``, if set, is called with ``forward`` and its arguments, and returns the output.
    With several processes, it computes a part of the rows and gathers the others (see
    arc.training.sharing).
    """

    split_rows: Callable[..., Any] | None = None

    def __call__(self, *batches: Any, **named: Any) -> Any:
        """Return ``forward`` of the whole batch."""
        if self.split_rows is None:
            return super().__call__(*batches, **named)
        return self.split_rows(super().__call__, *batches, **named)

"""The receiver of puzzle classification."""

from __future__ import annotations

from torch import Tensor, nn

from arc.models.receivers.base import RECEIVERS, Receiver, ReceiverShape
from arc.models.rows import RowWise


@RECEIVERS.register("puzzle_classification")
class ClassificationReceiver(RowWise, Receiver):
    """Classifies the puzzle, and whether the grid is an input or an output."""

    def __init__(self, shape: ReceiverShape) -> None:
        super().__init__(shape)
        if shape.num_classes is None:
            raise ValueError("the puzzle_classification receiver needs num_classes")
        self.classify = nn.Sequential(
            nn.Linear(shape.signal_width, 4 * shape.hidden_dim),
            nn.GELU(),
            nn.Dropout(shape.dropout),
            nn.Linear(4 * shape.hidden_dim, shape.num_classes),
        )

    def forward(self, signal: Tensor) -> Tensor:
        """Return logits float32 [batch, num_classes]."""
        return self.classify(signal).float()

    def receive(self, signal: Tensor) -> Tensor:
        """Return logits float32 [batch, num_classes]."""
        return self(signal)

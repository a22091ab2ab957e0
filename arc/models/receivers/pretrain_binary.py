"""The receiver of binary pretraining."""

from __future__ import annotations

from torch import Tensor, nn

from arc.models.receivers.base import RECEIVERS, Receiver, ReceiverShape


@RECEIVERS.register("pretrain_binary")
class RealityReceiver(Receiver):
    """Classifies grids as real or fake."""

    def __init__(self, shape: ReceiverShape) -> None:
        super().__init__(shape)
        self.real = nn.Linear(shape.signal_width, 1)

    def forward(self, signal: Tensor) -> Tensor:
        """Return the logit of being real, float32 [batch]."""
        return self.real(signal).float()[:, 0]

    def receive(self, signal: Tensor) -> Tensor:
        """Return the logit of being real, float32 [batch]."""
        return self(signal)

"""The model: sender, bottleneck and receiver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from arc.data.features import color_ranks
from arc.data.grids import MAX_GRID_SIZE, NUM_COLORS, DataError, GridPairs, Grids
from arc.models.bottlenecks import BOTTLENECKS, Bottleneck, Message
from arc.models.bottlenecks.discrete import DiscreteBottleneck
from arc.models.bottlenecks.palette import PaletteBottleneck, palette_length
from arc.models.encoders import ARCEncoder
from arc.models.receivers import RECEIVERS, ReceiverShape

PALETTES = ("none", "rank")


class ARCAutoencoder(nn.Module):
    """Two agents: ``encoder`` and ``bottleneck`` form the sender, ``receiver`` is the second agent.

    ``bottleneck_type`` and ``task_type`` are registered names. ``vocab_size`` and
    ``max_length`` are used by discrete bottlenecks, ``num_classes`` by classification.
    ``score`` is how selection compares candidates with the message: ``distance`` or ``cosine``.
    ``palette`` is ``rank`` if messages begin with the ranks of the colours, else ``none``.
    ``size`` of the output is ``given`` to the receiver of transformation, or ``predicted`` by it.
    With ``shared_encoder`` the receiver of selection has the sender's encoder, with ``shared_init``
    a copy of its initial weights.
    ``bottleneck_options`` are a bottleneck's further settings. Neither they nor ``dropout``
    change the shape of a weight, so stored weights fit without them.
    """

    def __init__(
        self,
        encoder: ARCEncoder,
        vocab_size: int | None,
        max_length: int | None,
        num_colors: int = NUM_COLORS,
        embedding_dim: int = 16,
        hidden_dim: int = 128,
        max_grid_size: int = MAX_GRID_SIZE,
        bottleneck_type: str = "communication",
        task_type: str = "reconstruction",
        num_conv_layers: int = 3,
        num_classes: int | None = None,
        *,
        dropout: float = 0.0,
        score: str = "distance",
        palette: str = "none",
        size: str = "given",
        shared_encoder: bool = False,
        shared_init: bool = False,
        bottleneck_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if max_grid_size != MAX_GRID_SIZE:
            raise ValueError(f"max_grid_size must be {MAX_GRID_SIZE}, got {max_grid_size}")
        if palette not in PALETTES:
            raise ValueError(f"unknown palette {palette!r}; choose one of: {', '.join(PALETTES)}")
        self.encoder = encoder
        self.by_rank = palette == "rank"
        lengths, options = (vocab_size, max_length), dict(bottleneck_options or {})
        self.bottleneck = _build_bottleneck(
            bottleneck_type, encoder, *lengths, options, self.by_rank
        )
        self.receiver = RECEIVERS[task_type](
            ReceiverShape(
                signal_width=self.bottleneck.signal_width,
                signal_unit=self.bottleneck.signal_unit,
                num_colors=num_colors,
                embedding_dim=embedding_dim,
                hidden_dim=hidden_dim,
                latent_dim=encoder.latent_dim,
                num_conv_layers=num_conv_layers,
                num_classes=num_classes,
                dropout=dropout,
                architecture=encoder.architecture["architecture"],
                mixer=encoder.architecture["mixer"],
                head=encoder.architecture["head"],
                score=score,
                palette=self.by_rank,
                size=size,
            )
        )
        if shared_init:
            self.copy_encoder_to_receiver()
        if shared_encoder:
            self._share_encoder()
        self._frozen: tuple[nn.Module, ...] = ()

    def copy_encoder_to_receiver(self) -> None:
        """Give the receiver's encoder the weights of the sender's.

        Raises ValueError if the receiver has no encoder.
        """
        self._receivers_encoder("shared_init").load_state_dict(self.encoder.state_dict())

    def _share_encoder(self) -> None:
        """Give the receiver the sender's encoder, and raise ValueError if it takes none.

        It is not a child module of the receiver, so that the state dict has each weight once.
        """
        self._receivers_encoder("shared_encoder")
        del self.receiver.encoder
        object.__setattr__(self.receiver, "encoder", self.encoder)

    def _receivers_encoder(self, key: str) -> ARCEncoder:
        own = getattr(self.receiver, "encoder", None)
        if not isinstance(own, ARCEncoder):
            fault = "requires task=selection: other receivers have no encoder"
            raise ValueError(f"model.{key}=true {fault}")
        return own

    def freeze_encoder(self) -> None:
        """Freeze the sender's encoder: no gradients, and evaluation mode during training."""
        self._freeze(self.encoder)

    def freeze_sender(self) -> None:
        """Freeze encoder and bottleneck, so that messages are those of the evaluation."""
        self._freeze(self.encoder, self.bottleneck)

    def _freeze(self, *modules: nn.Module) -> None:
        self._frozen = modules
        for module in modules:
            module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> ARCAutoencoder:
        """Set the training mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def is_static(self) -> bool:
        """Whether no shape in training depends on the data, so that a step can be captured."""
        return self.encoder.architecture["architecture"] == "patch" and self.bottleneck.is_static

    def forward(self, grids: Grids) -> Message:
        """Send ``grids`` [batch]; the task passes the message's signal to ``receiver``."""
        if not self.by_rank:
            return self.bottleneck(self.encoder(grids))
        ranks = color_ranks(grids)
        return self.bottleneck(self.encoder(grids.recolored(ranks)), ranks)

    def latent(self, grids: Grids) -> Tensor:
        """Return the encoder's latent vectors of ``grids`` [batch]: float32 [batch, latent_dim]."""
        return self.encoder(grids.recolored(color_ranks(grids)) if self.by_rank else grids)

    @torch.no_grad()
    def send(self, grids: Grids | Sequence[Any]) -> Tensor:
        """Return the messages for ``grids``: Grids, or 2-D integer arrays, tensors or lists.

        For transformation ``grids`` are GridPairs, or (input, output) pairs of arrays. Returns
        int64 [batch, max_length] from a discrete bottleneck, float32 [batch, latent_dim] from a
        continuous one. Raises DataError if an array is not an ARC grid.
        """
        wanted = GridPairs if self.encoder.pairs else Grids
        if not isinstance(grids, Grids):
            grids = wanted.from_arrays(grids)
        if type(grids) is not wanted:
            raise DataError(f"the sender takes {wanted.__name__}, got {type(grids).__name__}")
        return self(grids.to(self.device)).content

    @torch.no_grad()
    def receive(self, message: Tensor | Sequence[Sequence[float]], **context: Any) -> Any:
        """Return the receiver's output for messages, as its own ``receive`` describes.

        ``message`` is a tensor as ``send`` returns it, or nested lists. ``candidates=`` is
        required for selection, ``sizes=`` for reconstruction, ``inputs=`` for transformation.
        Raises ValueError if ``message`` or the context has the wrong shape or values, TypeError if
        the context is missing.
        """
        content = torch.as_tensor(message, device=self.device)
        return self.receiver.receive(self.bottleneck.read(content), **context)


def _build_bottleneck(
    name: str,
    encoder: ARCEncoder,
    vocab_size: int | None,
    max_length: int | None,
    options: dict[str, Any],
    by_rank: bool,
) -> Bottleneck:
    """Return the bottleneck; with ``by_rank`` its messages include the palette."""
    latent_dim = encoder.latent_dim
    if encoder.is_direct and issubclass(BOTTLENECKS[name], DiscreteBottleneck):
        options = {**options, "by_patch": True}
    if by_rank:
        latent_dim, max_length = _without_palette(vocab_size, max_length, latent_dim)
    bottleneck = BOTTLENECKS[name](
        latent_dim=latent_dim, vocab_size=vocab_size, max_length=max_length, **options
    )
    return PaletteBottleneck(bottleneck) if by_rank else bottleneck


def _without_palette(
    vocab_size: int | None, max_length: int | None, latent_dim: int
) -> tuple[int, int | None]:
    """Return the lengths of the vector and of the message without the palette.

    Raises ValueError if nothing is left.
    """
    length = palette_length(vocab_size)
    if max_length is None:
        if latent_dim <= length:
            raise ValueError(f"palette=rank: latent_dim must be above {length}, got {latent_dim}")
        return latent_dim - length, None
    if max_length <= length:
        raise ValueError(
            f"palette=rank: the palette takes {length} symbols; max_message_length must be above "
            f"{length}, got {max_length}"
        )
    return latent_dim, max_length - length

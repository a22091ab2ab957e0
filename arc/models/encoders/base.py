"""The interface of encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import Tensor

from arc.data.grids import NUM_COLORS, Grids
from arc.models.rows import RowWise
from arc.registry import Registry

ENCODERS: Registry[type[ARCEncoder]] = Registry("architecture")
PAIR_ENCODERS: Registry[type[ARCEncoder]] = Registry("architecture for pairs")


@dataclass(frozen=True, kw_only=True)
class EncoderShape:
    """The sizes that an encoder is built from."""

    num_colors: int
    embedding_dim: int
    hidden_dim: int
    latent_dim: int
    num_conv_layers: int
    mixer: str
    head: str


class ARCEncoder(RowWise):
    """Encodes grids of any sizes; a grid's encoding does not depend on the rest of the batch.

    ``ARCEncoder(architecture=NAME)`` builds the registered subclass. ``embedding_dim`` is the
    width of a colour's embedding, ``num_conv_layers`` the number of layers, ``mixer`` how the
    patch architecture combines patches (``attention`` or ``conv``), ``head`` how it maps them to
    the latent vector: all in one layer (``joint``), each to a share of it (``patch``), or as
    ``patch``, plus a linear map of the patch's cells (``direct``). With ``pairs`` it encodes
    GridPairs in place of Grids, and ``joint`` is the same as ``patch``.
    """

    unused: ClassVar[Mapping[str, str]] = {}  # settings without effect, and their only value

    def __new__(
        cls, *args: Any, architecture: str = "patch", pairs: bool = False, **options: Any
    ) -> ARCEncoder:
        """Return an instance of the subclass that ``architecture`` names."""
        registry = PAIR_ENCODERS if pairs else ENCODERS
        return super().__new__(registry[architecture] if cls is ARCEncoder else cls)

    def __init__(
        self,
        num_colors: int = NUM_COLORS,
        embedding_dim: int = 16,
        hidden_dim: int = 128,
        latent_dim: int = 128,
        num_conv_layers: int = 3,
        *,
        dropout: float = 0.0,
        architecture: str = "patch",
        mixer: str = "attention",
        head: str = "joint",
        pairs: bool = False,
    ) -> None:
        super().__init__()
        shape = EncoderShape(
            num_colors=num_colors,
            embedding_dim=embedding_dim,
            hidden_dim=hidden_dim,
            latent_dim=latent_dim,
            num_conv_layers=num_conv_layers,
            mixer=mixer,
            head=head,
        )
        self.latent_dim, self.pairs = latent_dim, pairs
        self.architecture = {"architecture": architecture, "pairs": pairs, **asdict(shape)}
        self.build(shape, dropout)

    @property
    def is_direct(self) -> bool:
        """Whether each patch has its own symbols, and a linear map of its cells in its share."""
        return (
            self.architecture["architecture"] == "patch" and self.architecture["head"] == "direct"
        )

    def build(self, shape: EncoderShape, dropout: float) -> None:
        """Create the layers."""
        raise NotImplementedError

    def forward(self, grids: Grids) -> Tensor:
        """Encode ``grids`` [batch]: float32 [batch, latent_dim]."""
        raise NotImplementedError

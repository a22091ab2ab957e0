"""The architectures of the encoder, one file each."""

from arc.models.encoders.base import ENCODERS, PAIR_ENCODERS, ARCEncoder
from arc.registry import import_members

import_members(__name__)

__all__ = ["ENCODERS", "PAIR_ENCODERS", "ARCEncoder"]

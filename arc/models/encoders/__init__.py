"""The architectures of the encoder, one file each."""

from arc.models.encoders.base import ENCODERS, ARCEncoder
from arc.registry import import_members

import_members(__name__)

__all__ = ["ENCODERS", "ARCEncoder"]

"""The bottlenecks, one file each."""

from arc.models.bottlenecks.base import BOTTLENECKS, Bottleneck, Message, straight_through
from arc.registry import import_members

import_members(__name__)

__all__ = ["BOTTLENECKS", "Bottleneck", "Message", "straight_through"]

"""The receivers, one file each.

They are part of ``arc.models`` so that a model can be rebuilt without importing its task. A task
that is added in one file may register its receiver there.
"""

from arc.models.receivers.base import RECEIVERS, Receiver, ReceiverShape
from arc.registry import import_members

import_members(__name__)

__all__ = ["RECEIVERS", "Receiver", "ReceiverShape"]

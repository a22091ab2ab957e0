"""Encoder, bottlenecks, receivers and the model built from them."""

from arc.models.autoencoder import ARCAutoencoder
from arc.models.bottlenecks import BOTTLENECKS, Bottleneck, Message
from arc.models.encoders import ENCODERS, PAIR_ENCODERS, ARCEncoder
from arc.models.receivers import RECEIVERS, Receiver, ReceiverShape
from arc.models.rows import RowWise

__all__ = [
    "BOTTLENECKS",
    "ENCODERS",
    "PAIR_ENCODERS",
    "RECEIVERS",
    "ARCAutoencoder",
    "ARCEncoder",
    "Bottleneck",
    "Message",
    "Receiver",
    "ReceiverShape",
    "RowWise",
]

"""Encoder, channels and receivers, and the model that joins them."""

from arc.models.autoencoder import ARCAutoencoder
from arc.models.bottlenecks import BOTTLENECKS, Bottleneck, Message
from arc.models.encoder import ARCEncoder
from arc.models.receivers import RECEIVERS, Receiver, ReceiverShape

__all__ = [
    "BOTTLENECKS",
    "RECEIVERS",
    "ARCAutoencoder",
    "ARCEncoder",
    "Bottleneck",
    "Message",
    "Receiver",
    "ReceiverShape",
]

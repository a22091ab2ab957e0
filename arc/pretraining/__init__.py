"""Tasks that pretrain the encoder alone, one file each."""

from arc.pretraining.base import PRETRAINING, PretrainConfig
from arc.registry import import_members

import_members(__name__)

__all__ = ["PRETRAINING", "PretrainConfig"]

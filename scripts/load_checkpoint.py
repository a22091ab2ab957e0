"""Show a checkpoint, rebuild its model, or continue its training."""

import os
import sys

# Not this folder: its inspect.py would hide the standard library's.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from arc.checkpointing.commands import load_checkpoint  # noqa: E402
from arc.terminal import run_and_exit  # noqa: E402

run_and_exit(load_checkpoint)

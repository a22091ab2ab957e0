"""Compare runs: what varied, and the mean of each setting over its seeds."""

import os
import sys

# Not this folder: its inspect.py would hide the standard library's.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from arc.server.compare import main  # noqa: E402
from arc.terminal import run_and_exit  # noqa: E402

run_and_exit(main)

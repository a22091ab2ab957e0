"""Write a checkpoint's model as safetensors, with its configuration and a model card."""

# ruff: noqa: E402
import os
import sys

# The folder of this file holds an inspect.py that must not hide the standard library's.
_HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:] = [p for p in sys.path if os.path.realpath(p or os.getcwd()) != _HERE]
sys.path.insert(0, os.path.dirname(_HERE))

import argparse
from pathlib import Path

from arc.checkpointing.archive import CheckpointError
from arc.runs.export import export


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="a checkpoint")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER", help="default: PATH with _export for .pth"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    arguments = parser.parse_args()
    path = arguments.path
    folder = arguments.output or path.with_name(f"{path.stem}_export")
    try:
        files = export(path, folder, overwrite=arguments.overwrite)
    except CheckpointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(*files, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Look at a checkpoint, rebuild its model, or train it on for some epochs."""

# ruff: noqa: E402
import os
import sys

# The folder of this file holds an inspect.py that must not hide the standard library's.
_HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:] = [p for p in sys.path if os.path.realpath(p or os.getcwd()) != _HERE]
sys.path.insert(0, os.path.dirname(_HERE))

import argparse
import subprocess
from pathlib import Path

from arc.checkpointing.archive import CheckpointError
from arc.checkpointing.metadata import read_metadata
from arc.checkpointing.tables import sections


def train_on(path: Path, epoch: int, epochs: int) -> int:
    """Finish the epoch under way and train ``epochs`` more; returns the exit status."""
    quoted = str(path).replace("\\", "\\\\").replace("'", "\\'")
    command = [
        *(sys.executable, "-m", "arc.train", f"resume='{quoted}'"),
        *("training.max_steps=null", "training.max_minutes=null"),
        f"training.epochs={epoch + epochs}",
    ]
    root = os.path.dirname(_HERE)
    path_list = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path_list}) as run:
        while True:
            try:
                return run.wait()
            except KeyboardInterrupt:  # it stops by itself, and saves
                continue


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--info-only", action="store_true", help="do not rebuild the model")
    parser.add_argument("--resume", action="store_true", help="train on")
    parser.add_argument("--epochs", type=int, default=10, help="how many more, with --resume")
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error(f"--epochs {arguments.epochs}: at least 1")
    try:
        metadata = read_metadata(arguments.path)
        print(sections(metadata))
        if arguments.info_only:
            return 0
        from arc.checkpointing import load  # needs torch, which looking alone does not

        loaded = load(arguments.path)
    except CheckpointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    count = sum(parameter.numel() for parameter in loaded.model.parameters())
    print(f"\nmodel rebuilt: {count:,} parameters, epoch {metadata['epoch']}")
    if arguments.resume:
        return train_on(arguments.path, metadata["epoch"], arguments.epochs)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Show what checkpoints hold: PATH… [--verify] [--wide] [--diff A B] [--json]."""

# ruff: noqa: E402
import os
import sys

# This file bears the name of a standard-library module that torch and others import: as long
# as its folder is on the path, they would find this one.
_HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:] = [p for p in sys.path if os.path.realpath(p or os.getcwd()) != _HERE]
sys.path.insert(0, os.path.dirname(_HERE))

import argparse
import json
from pathlib import Path
from typing import Any

from arc.checkpointing.archive import CheckpointError
from arc.checkpointing.metadata import read_metadata
from arc.checkpointing.tables import changes, difference, list_folder, row, sections, table


def verify(path: Path) -> str:
    """Check every byte of a file and rebuild its model; raises CheckpointError."""
    from arc.checkpointing import load, load_encoder  # need torch, which looking alone does not

    if "encoder_architecture" in read_metadata(path):
        what, model = "encoder", load_encoder(path).encoder
    else:
        what, model = "model", load(path).model
    count = sum(parameter.numel() for parameter in model.parameters())
    return f"{path}: every record's CRC-32 is right; the {what} rebuilds, {count:,} parameters"


def show(paths: list[Path], wide: bool) -> tuple[Any, str]:
    """Return what the paths hold, for programs and for people."""
    if len(paths) == 1 and paths[0].is_file():
        metadata = read_metadata(paths[0])
        return metadata, sections(metadata)
    rows: list[dict[str, Any]] = []
    for path in paths:
        if not path.exists():
            raise CheckpointError(f"{path}: no such file or folder")
        rows += list_folder(path) if path.is_dir() else [row(path)]
    return rows, table(rows, wide=wide) if rows else "no checkpoints here"


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="checkpoints, or folders of them")
    parser.add_argument("--verify", action="store_true", help="check every byte, rebuild models")
    parser.add_argument("--diff", nargs=2, type=Path, metavar=("A", "B"), help="compare configs")
    parser.add_argument("--wide", action="store_true", help="every column of a folder's table")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--info-only", action="store_true", help="the default; accepted")
    arguments = parser.parse_args()
    if not arguments.paths and not arguments.diff:
        parser.error("name a checkpoint, a folder, or --diff A B")
    status = 0
    try:
        if arguments.diff:
            first, second = map(read_metadata, arguments.diff)
            if arguments.json:
                print(json.dumps(changes(first["config"], second["config"]), indent=2))
            else:
                print(difference(first, second, tuple(str(path) for path in arguments.diff)))
        if arguments.paths:
            content, text = show(arguments.paths, arguments.wide)
            print(json.dumps(content, indent=2) if arguments.json else text)
    except CheckpointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in arguments.paths if arguments.verify else ():
        for file in sorted(path.glob("*.pth")) if path.is_dir() else [path]:
            try:
                print(verify(file), file=sys.stderr if arguments.json else sys.stdout)
            except CheckpointError as error:
                print(f"error: {error}", file=sys.stderr)
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())

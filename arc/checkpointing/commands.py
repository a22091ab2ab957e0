"""The command lines of scripts/inspect.py and scripts/load_checkpoint.py.

Neither imports torch unless a model has to be rebuilt.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import arc
from arc.checkpointing.errors import CheckpointError
from arc.checkpointing.metadata import read_metadata
from arc.checkpointing.tables import (
    changes,
    difference,
    is_encoder,
    list_folder,
    row,
    sections,
    table,
)
from arc.terminal import escaped, show, show_error
from arc.terminal.signals import signals_handled


def inspect(arguments: Sequence[str] | None = None) -> int:
    """Show what checkpoints contain; returns the exit status."""
    parser = argparse.ArgumentParser(description="Show what checkpoints contain.")
    parser.add_argument("paths", nargs="*", type=Path, help="checkpoints, or folders of them")
    parser.add_argument("--verify", action="store_true", help="check every byte, rebuild models")
    parser.add_argument(
        "--diff",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="show A and B and the differences of their configurations",
    )
    parser.add_argument("--wide", action="store_true", help="show every column of a folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--info-only", action="store_true", help="no effect: this is the default")
    options = parser.parse_args(arguments)
    if not options.paths and not options.diff:
        parser.error("name a checkpoint, a folder, or --diff A B")
    try:
        if options.diff:
            show(_compare(*options.diff, as_json=options.json))
        if options.paths:
            content, text = _contents(options.paths, wide=options.wide)
            show(json.dumps(content, indent=2) if options.json else text)
    except CheckpointError as error:
        return _fail(error)
    status = 0
    for path in [*(options.diff or ()), *options.paths] if options.verify else ():
        for file in sorted(path.glob("*.pth")) if path.is_dir() else [path]:
            try:
                show(escaped(verify(file)), sys.stderr if options.json else sys.stdout)
            except CheckpointError as error:
                status = _fail(error)
    return status


def load_checkpoint(arguments: Sequence[str] | None = None) -> int:
    """Show a checkpoint, rebuild its model, or continue its training; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Show a checkpoint, rebuild its model, or continue its training."
    )
    parser.add_argument("path", type=Path, help="a checkpoint")
    more = parser.add_mutually_exclusive_group()
    more.add_argument("--info-only", action="store_true", help="do not rebuild the model")
    more.add_argument("--resume", action="store_true", help="continue training")
    parser.add_argument("--epochs", type=int, help="additional epochs of --resume (default: 10)")
    parser.add_argument(
        "overrides", nargs="*", help="changes for --resume, such as data.path=my_puzzles"
    )
    options = parser.parse_intermixed_args(arguments)
    if not options.resume and (options.overrides or options.epochs is not None):
        parser.error("overrides and --epochs need --resume")
    epochs = 10 if options.epochs is None else options.epochs
    if epochs < 1:
        parser.error(f"--epochs {epochs}: at least 1")
    try:
        metadata = read_metadata(options.path)
        show(sections(metadata))
        if options.info_only:
            return 0
        from arc.checkpointing import load

        count = _count_parameters(load(options.path).model)
    except CheckpointError as error:
        return _fail(error)
    show(f"\nmodel rebuilt: {count:,} parameters, epoch {metadata['epoch']}")
    if options.resume:
        return _train(options.path, metadata["epoch"] + epochs, options.overrides)
    return 0


def verify(path: Path) -> str:
    """Check every byte of a file and rebuild its model; raises CheckpointError."""
    from arc.checkpointing import load, load_encoder

    if is_encoder(read_metadata(path)):
        kind, count = "encoder", _count_parameters(load_encoder(path).encoder)
    else:
        kind, count = "model", _count_parameters(load(path).model)
    return f"{path}: every record's CRC-32 is correct; {kind} rebuilt, {count:,} parameters"


def _compare(first: Path, second: Path, *, as_json: bool) -> str:
    left, right = read_metadata(first), read_metadata(second)
    if as_json:
        return json.dumps(changes(left["config"], right["config"]), indent=2)
    return difference(left, right, (str(first), str(second)))


def _contents(paths: list[Path], *, wide: bool) -> tuple[Any, str]:
    """Return what the paths contain, for ``--json`` and as text."""
    if len(paths) == 1 and paths[0].is_file():
        metadata = read_metadata(paths[0])
        return metadata, sections(metadata)
    rows: list[dict[str, Any]] = []
    for path in paths:
        if not path.exists():
            raise CheckpointError(f"{path}: no such file or folder")
        rows += list_folder(path) if path.is_dir() else [row(path)]
    return rows, table(rows, wide=wide) if rows else "no checkpoints"


def _train(path: Path, epochs: int, overrides: Sequence[str]) -> int:
    """Resume ``path`` until the end of epoch ``epochs``; returns the exit status."""
    from arc.config.hydra_main import quoted

    limits = ["training.max_steps=null", "training.max_minutes=null", f"training.epochs={epochs}"]
    typed = [f"resume={quoted(str(path))}", *limits, *overrides]
    command = [sys.executable, "-m", "arc.train", *typed]
    root = str(Path(arc.__file__).parents[1])
    search = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": search}
    with _passed_on() as receivers:
        # in a session of its own, so that Ctrl-C reaches it once
        run = subprocess.Popen(command, env=environment, start_new_session=True)
        receivers.append(run)
        status = run.wait()
    return status if status >= 0 else 128 - status


@contextlib.contextmanager
def _passed_on() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Pass signals that end a process on to those in the list that is yielded."""
    receivers: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: object) -> None:
        for process in receivers:
            process.send_signal(number)

    with signals_handled(pass_on):
        yield receivers


def _count_parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _fail(error: CheckpointError) -> int:
    return show_error(escaped(str(error)))

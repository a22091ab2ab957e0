"""The checkpoint file: what stands in it, and how it is written.

A checkpoint is a ``torch.save`` archive of built-in types and tensors, which a plain
``torch.load(path)`` opens; docs/checkpoint-format.md describes it. ``config`` is the resolved
configuration as plain containers and the one source of truth; the flat keys beside it are
derived from it when the file is made.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
import zipfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, cast

import torch

import arc
from arc.checkpointing.archive import METADATA_RECORD, CheckpointError
from arc.checkpointing.direct import DirectFile
from arc.checkpointing.metadata import FORMAT_VERSION, metadata_of
from arc.config.flat_keys import flat_view
from arc.config.schema import RunConfig, to_tree
from arc.data import MAX_GRID_SIZE, NUM_COLORS
from arc.training import Trainer

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PREFIX = "archive"  # what torch.save calls the archive in a file that it is handed open
TEMPORARY = ".arc-tmp"
UNLOCKED_SECONDS = 60  # a writer locks its file much sooner


def flat_keys(config: RunConfig) -> dict[str, Any]:
    """Return the flat keys, derived from ``config``; what a task or channel lacks is None."""
    return {
        **flat_view(config),
        "num_classes": getattr(config.task, "num_classes", None),
        "num_colors": NUM_COLORS,
        "max_grid_size": MAX_GRID_SIZE,
        "embedding_dim": config.model.embedding_dim,
    }


def portable_tree(config: RunConfig) -> dict[str, Any]:
    """Return the configuration without what belongs to the machine or to this process alone.

    ``training.stop_at_step`` is such a word to the process, like a signal.
    """
    tree = to_tree(config)
    del tree["device"], tree["checkpoint"]["dir"]
    tree["training"]["stop_at_step"] = None
    return tree


def make_checkpoint(
    config: RunConfig, trainer: Trainer, started_from: Sequence[str] = ()
) -> dict[str, Any]:
    """Gather everything that a file holds; ``val_acc`` is in percent, ``epoch`` 1-based."""
    state = trainer.state_dict()
    model_state = dict(state.pop("model"))
    return {
        **_heading(config, trainer),
        "model_state_dict": model_state,
        "encoder_state_dict": _encoder_state(model_state),
        "optimizer_state_dict": state.pop("optimizer"),
        "trainer_state": state,
        **_provenance(trainer, started_from),
    }


def make_encoder_checkpoint(
    config: RunConfig, trainer: Trainer, started_from: Sequence[str] = ()
) -> dict[str, Any]:
    """Gather what a pretrained encoder's file holds: it, and how it came to be."""
    return {
        **_heading(config, trainer),
        "encoder_state_dict": _encoder_state(trainer.model.state_dict()),
        "encoder_architecture": dict(trainer.model.encoder.architecture),
        **_provenance(trainer, started_from),
    }


def _heading(config: RunConfig, trainer: Trainer) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "config": portable_tree(config),
        **flat_keys(config),
        "epoch": trainer.sampler.epoch,
        "batch": trainer.sampler.batch,
        "step": trainer.step,
        "seconds": trainer.seconds,
        "val_loss": trainer.val_loss,
        "val_acc": trainer.val_acc,
    }


def _encoder_state(model_state: dict[str, Any]) -> dict[str, Any]:
    prefix = "encoder."
    return {
        key.removeprefix(prefix): value
        for key, value in model_state.items()
        if key.startswith(prefix)
    }


def _provenance(trainer: Trainer, started_from: Sequence[str]) -> dict[str, Any]:
    corpus = trainer.task.corpus
    return {
        "started_from": list(started_from),
        "arc_version": arc.__version__,
        "torch_version": str(torch.__version__),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "data_fingerprint": corpus.fingerprint,
        "label_map": list(corpus.training.puzzle_ids),
    }


def check_plain(value: Any, place: str = "checkpoint") -> None:
    """Raise CheckpointError unless ``value`` is built-in types and tensors all the way down.

    Exactly those types: ``torch.load`` refuses NumPy scalars, paths, enums and their like,
    and would do so only when somebody needs the file.
    """
    if type(value) is dict:
        for key, item in value.items():
            check_plain(key, f"{place} key {key!r}")
            check_plain(item, f"{place}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            check_plain(item, f"{place}[{index}]")
    elif type(value) not in (type(None), bool, int, float, str, torch.Tensor):
        raise CheckpointError(f"{place}: {type(value).__name__} is no plain type")


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` so that ``path`` is at every moment the old file or the new one.

    A temporary file beside it is filled, synced to the disk and renamed. Raises
    CheckpointError if that fails; then nothing is left behind.
    """
    check_plain(content)
    temporary = _temporary(path.parent, path.stem)
    try:
        with open(temporary, "xb+") as file:
            _lock(file)
            direct = DirectFile(file.fileno())
            torch.save(content, cast(IO[bytes], direct))
            direct.finish()
            with zipfile.ZipFile(file, "a") as archive:
                record = zipfile.ZipInfo(f"{PREFIX}/{METADATA_RECORD}")
                archive.writestr(record, json.dumps(metadata_of(content)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be written: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _temporary(folder: Path, stem: str) -> Path:
    """Return a name that nobody else has, and that says which process chose it."""
    return folder / f".{stem}.{os.getpid()}.{secrets.token_hex(4)}{TEMPORARY}"


def sweep_temporaries(folder: Path) -> Iterator[Path]:
    """Delete temporary files whose writer is dead; yields each."""
    for path in folder.glob(f".*{TEMPORARY}"):
        with contextlib.suppress(OSError):
            if _is_abandoned(path):
                path.unlink()
                yield path


def _lock(file: IO[bytes]) -> None:
    """Hold a file for as long as it is open, where the system and the disk can."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_abandoned(path: Path) -> bool:
    """Tell a dead writer's file from a living one's; raises OSError where that cannot be told.

    A process number says little: another process may have it by now, or the writer may be in
    another container. The lock says it, but for the instant before a new file is locked.
    """
    *_, writer, _ = ["", *path.name.removesuffix(TEMPORARY).split(".")]
    if not writer.isdecimal():
        return False
    if fcntl is None:  # and so on Windows, where what is open cannot be deleted
        return True
    if _is_alive(int(writer)) and time.time() - path.stat().st_mtime < UNLOCKED_SECONDS:
        return False
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # a folder cannot be opened on Windows
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prepare_folder(folder: Path) -> None:
    """Make sure that files can be written to ``folder``; raises CheckpointError if not."""
    probe = _temporary(folder, "probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"checkpoint.dir={folder}: cannot be written to: {error.strerror}"
        ) from None

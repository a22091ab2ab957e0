"""The content of a checkpoint file, and how it is written.

A checkpoint is a ``torch.save`` archive of built-in types and tensors, which a plain
``torch.load(path)`` opens; docs/reference/checkpoint-format.md describes it. ``config`` is the
resolved configuration as plain containers and the single source of truth; the flat keys beside it
are derived from it when the file is made.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import zipfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

import torch

import arc
from arc.checkpointing.archive import METADATA_RECORD
from arc.checkpointing.errors import CheckpointError
from arc.checkpointing.metadata import FORMAT_VERSION, metadata_of
from arc.config.flat_keys import flat_view
from arc.config.schema import RunConfig, to_tree
from arc.data import MAX_GRID_SIZE, NUM_COLORS
from arc.training import Trainer

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PREFIX = "archive"  # of the records that torch.save writes to an open file
TEMPORARY = ".arc-tmp"


def flat_keys(config: RunConfig) -> dict[str, Any]:
    """Return the flat keys of ``config``; None where the task or bottleneck has no such key."""
    return {
        **flat_view(config),
        "num_classes": getattr(config.task, "num_classes", None),
        "num_colors": NUM_COLORS,
        "max_grid_size": MAX_GRID_SIZE,
        "embedding_dim": config.model.embedding_dim,
        "architecture": config.model.architecture,
        "mixer": config.model.mixer,
        "head": config.model.head,
        "shared_encoder": config.model.shared_encoder,
        "shared_init": config.model.shared_init,
        "score": getattr(config.task, "score", None),
        "palette": getattr(config.task, "palette", None),
    }


def portable_tree(config: RunConfig) -> dict[str, Any]:
    """Return the configuration without the settings of this machine and this process.

    ``device`` and ``checkpoint.dir`` are left out, and ``training.stop_at_step`` is None.
    """
    tree = to_tree(config)
    del tree["device"], tree["checkpoint"]["dir"]
    tree["training"]["stop_at_step"] = None
    return tree


def make_checkpoint(
    config: RunConfig, trainer: Trainer, started_from: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the content of a run's checkpoint; ``val_acc`` in percent, ``epoch`` 1-based."""
    state = trainer.state_dict()
    model_state = dict(state.pop("model"))
    return {
        **_header(config, trainer),
        "model_state_dict": model_state,
        "encoder_state_dict": _encoder_state(model_state),
        "optimizer_state_dict": state.pop("optimizer"),
        "trainer_state": state,
        **_provenance(trainer, started_from),
    }


def make_encoder_checkpoint(
    config: RunConfig, trainer: Trainer, started_from: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the content of a pretrained encoder's file."""
    return {
        **_header(config, trainer),
        "encoder_state_dict": _encoder_state(trainer.model.state_dict()),
        "encoder_architecture": dict(trainer.model.encoder.architecture),
        **_provenance(trainer, started_from),
    }


def _header(config: RunConfig, trainer: Trainer) -> dict[str, Any]:
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
    corpus, num_classes = trainer.task.corpus, trainer.task.num_classes
    return {
        "started_from": list(started_from),
        "arc_version": arc.__version__,
        "torch_version": str(torch.__version__),
        "created": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "data_fingerprint": corpus.fingerprint,
        "label_map": [] if num_classes is None else list(corpus.training.puzzle_ids),
    }


def check_plain(value: Any, place: str = "checkpoint") -> None:
    """Raise CheckpointError unless ``value`` consists of built-in types and tensors alone.

    Subclasses, such as NumPy scalars and enums, are refused because ``torch.load`` would reject
    them when the file is read.
    """
    if type(value) is dict:
        for key, item in value.items():
            check_plain(key, f"{place} key {key!r}")
            check_plain(item, f"{place}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            check_plain(item, f"{place}[{index}]")
    elif type(value) not in (type(None), bool, int, float, str, torch.Tensor):
        raise CheckpointError(f"{place}: {type(value).__name__} is not a built-in type or tensor")


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` to ``path`` atomically: to a temporary file, synced and renamed.

    Raises CheckpointError if that fails; the old file, if there is one, is then unchanged and no
    temporary file is left.
    """
    check_plain(content)
    try:
        with _locked_temporary(path.parent, path.stem) as temporary:
            with open(temporary, "wb+") as file:
                torch.save(content, file)
                with zipfile.ZipFile(file, "a") as archive:
                    record = zipfile.ZipInfo(f"{PREFIX}/{METADATA_RECORD}")
                    archive.writestr(record, json.dumps(metadata_of(content)))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
    except (OSError, RuntimeError, ValueError) as error:
        cause = error.__context__  # torch hides the error of the file behind one of its own
        reason = error if isinstance(error, OSError) or not isinstance(cause, OSError) else cause
        raise CheckpointError(f"{path}: cannot be written: {reason}") from error


@contextlib.contextmanager
def _locked_temporary(folder: Path, stem: str) -> Iterator[Path]:
    """Create a temporary file that ``sweep_temporaries`` leaves alone; delete it at the end."""
    path = temporary_path(folder, stem)
    with create_locked(path):
        try:
            yield path
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of the same name; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def temporary_path(folder: Path, stem: str) -> Path:
    """Return a new name that ``sweep_temporaries`` finds."""
    return folder / f".{stem}.{os.getpid()}.{secrets.token_hex(4)}{TEMPORARY}"


def create_locked(path: Path) -> IO[bytes]:
    """Create a file with a lock that lasts until it is closed or the process dies.

    On a file system without locks, the file is not locked. On Windows the file is returned
    closed: an open one can be neither renamed nor deleted there.
    """
    while True:
        file = open(path, "xb")  # noqa: SIM115 (the caller closes it)
        if fcntl is None:
            file.close()
            return file
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # swept before it was locked


def sweep_temporaries(folder: Path) -> Iterator[Path]:
    """Delete the temporary files of processes that died; yields the path of each."""
    for path in folder.glob(f".*.*.*{TEMPORARY}"):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if fcntl is not None:
                file = stack.enter_context(path.open("rb+"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            yield path


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prepare_folder(folder: Path) -> None:
    """Create ``folder`` and check that it is writable; raises CheckpointError if it is not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked_temporary(folder, "probe"):
            pass
    except OSError as error:
        raise CheckpointError(
            f"checkpoint.dir={folder}: cannot be written to: {error.strerror}"
        ) from None

"""A checkpoint's model for others: weights as safetensors, configuration, and a model card."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
from omegaconf import OmegaConf
from tabulate import tabulate

from arc.checkpointing import Loaded, load
from arc.checkpointing.archive import CheckpointError
from arc.checkpointing.tables import SECTIONS, shown
from arc.models import BOTTLENECKS
from arc.runs.results import format_results
from arc.tasks import TASKS

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"

LOADING = f"""\
import json

from safetensors.torch import load_file

from arc.config import parse_config
from arc.config.builders import build_model

with open("{CONFIG}", encoding="utf-8") as file:
    config = json.load(file)
config["device"], config["checkpoint"]["dir"] = "cpu", "checkpoints"  # the machine's own
model = build_model(parse_config(config)).eval()
model.load_state_dict(load_file("{WEIGHTS}"))
"""


def export(path: Path, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the model of the checkpoint ``path`` to ``folder``; returns the files.

    Raises CheckpointError if the checkpoint cannot be loaded, if a file is there already and
    ``overwrite`` is not set, or if the folder cannot be written to; then all is as it was.
    """
    files = {name: folder / name for name in (WEIGHTS, CONFIG, CARD)}
    there = [name for name, file in files.items() if file.exists()]
    if there and not overwrite:
        raise CheckpointError(f"{folder}: holds {', '.join(there)} already; --overwrite replaces")
    loaded = load(path)
    weights = {name: tensor.contiguous() for name, tensor in loaded.model.state_dict().items()}
    contents = {
        WEIGHTS: safetensors.torch.save(weights, metadata={"format": "pt"}),
        CONFIG: f"{json.dumps(loaded.metadata['config'], indent=2)}\n".encode(),
        CARD: card(path, loaded).encode(),
    }
    _write(folder, contents)
    return list(files.values())


def card(path: Path, loaded: Loaded) -> str:
    """Return the model card of a checkpoint: what it plays, how well, how to load it, its origin.

    Figures are those of ``<run_name>_results.json`` beside the file. Raises CheckpointError if
    that cannot be read.
    """
    config, metadata = loaded.config, loaded.metadata
    count = sum(parameter.numel() for parameter in loaded.model.parameters())
    described = {**metadata, "num_parameters": count, "file": path.name}
    parts = [
        "---\ntags:\n- emergent-communication\n- arc-agi\n---",
        f"# {config.run_name or path.stem}",
        "Two agents that learned to talk about ARC-AGI grids: a sender sees a grid, a receiver "
        "gets its message.",
        f"- Task: {_described(TASKS[config.task.name])}\n"
        f"- Channel: {_described(BOTTLENECKS[config.bottleneck.name])}",
        "\n\n".join(_section(title, described) for title in ("Task", "Architecture", "Training")),
        f"## Figures\n\n{_figures(path, loaded)}",
        f"## Loading\n\nWith this folder as the working directory:\n\n```python\n{LOADING}```",
        _section("Data", described),
        _section("Provenance", described, "file", "epoch", "step", "seconds"),
        f"## Configuration\n\n```yaml\n{OmegaConf.to_yaml(metadata['config'])}```",
    ]
    return "\n\n".join(parts) + "\n"


def _described(component: type) -> str:
    """Return what the module of a task or a channel says of it, in one sentence."""
    module = inspect.getmodule(component)
    return (inspect.getdoc(module) or component.__name__).split("\n\n")[0].replace("\n", " ")


def _section(title: str, metadata: dict[str, Any], *more: str) -> str:
    rows = [(key, _cell(metadata.get(key))) for key in (*more, *SECTIONS[title])]
    laid_out = tabulate(rows, headers=("key", "value"), tablefmt="github", disable_numparse=True)
    return f"## {title}\n\n{laid_out}"


def _cell(value: Any) -> str:
    return " ".join(shown(value).split()).replace("|", "\\|")


def _figures(path: Path, loaded: Loaded) -> str:
    """Return the figures with what they must be read against, or say where to get them."""
    run_name, metadata = loaded.config.run_name, loaded.metadata
    source = path.with_name(f"{run_name}_results.json")
    held_out = (
        f"Last validation: accuracy {_cell(metadata.get('val_acc'))} %, loss "
        f"{_cell(metadata.get('val_loss'))}."
    )
    if not source.exists():
        return (
            f"{held_out} This stands without the baselines that it must be read against; "
            f"`python -m arc.evaluate path={path.name}` measures both."
        )
    results, laid_out = _results(source)
    if _is_older(results, metadata):
        return f"{held_out} `{source.name}` was left out: it was written before this file."
    best = f"{run_name}_best.pth"
    whose = "" if path.name == best else f" They were measured with `{best}`, not with this file."
    return (
        "Accuracies in percent, each beside its baselines; `test` is held out from training and "
        f"choice.{whose} {held_out}\n\n```\n{laid_out}\n```"
    )


def _results(source: Path) -> tuple[dict[str, Any], str]:
    """Return a run's results and their table; raises CheckpointError if they are none."""
    try:
        results = json.loads(source.read_text(encoding="utf-8"))
        return results, format_results(results)
    except OSError as error:
        raise CheckpointError(f"{source}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{source}: not the results of a run: {error!r}") from None


def _is_older(results: dict[str, Any], metadata: dict[str, Any]) -> bool:
    steps = results.get("steps")
    return isinstance(steps, int) and steps < (metadata.get("step") or 0)


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    """Write every file beside its place, and only then give each its name."""
    temporary = {name: folder / f".{name}.{os.getpid()}.tmp" for name in contents}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            temporary[name].write_bytes(content)
        for name in contents:
            os.replace(temporary[name], folder / name)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written to: {error.strerror}") from None
    finally:
        for left in temporary.values():
            with contextlib.suppress(OSError):
                left.unlink()

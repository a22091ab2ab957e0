"""Export a checkpoint's model: weights as safetensors, configuration, and a model card."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from omegaconf import OmegaConf
from tabulate import tabulate

from arc.checkpointing import Loaded, load
from arc.checkpointing.errors import CheckpointError
from arc.checkpointing.policy import is_preserved
from arc.checkpointing.tables import SECTIONS, described, shown
from arc.models import BOTTLENECKS
from arc.runs.tables import format_results
from arc.tasks import TASKS
from arc.terminal import escaped, show, show_error

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"

LOADING = f"""\
import json

from safetensors.torch import load_file

from arc.config.schema import parse_config
from arc.config.builders import build_model

with open("{CONFIG}", encoding="utf-8") as file:
    config = json.load(file)
config["device"], config["checkpoint"]["dir"] = "cpu", "checkpoints"  # not stored
model = build_model(parse_config(config)).eval()
model.load_state_dict(load_file("{WEIGHTS}"))
"""


def export(path: Path, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the model of the checkpoint ``path`` to ``folder``; returns the files.

    Raises CheckpointError, before anything is changed, if the checkpoint cannot be loaded, if a
    file exists and ``overwrite`` is not set, or if the folder is not writable.
    """
    files = {name: folder / name for name in (WEIGHTS, CONFIG, CARD)}
    existing = [name for name, file in files.items() if file.exists()]
    if existing and not overwrite:
        is_one = len(existing) == 1
        advice = "exists; --overwrite replaces it" if is_one else "exist; --overwrite replaces them"
        raise CheckpointError(f"{folder}: {', '.join(existing)} {advice}")
    loaded = load(path)
    weights = {name: tensor.contiguous() for name, tensor in loaded.model.state_dict().items()}
    contents = {
        WEIGHTS: safetensors.torch.save(weights, metadata={"format": "pt"}),
        CONFIG: f"{json.dumps(loaded.metadata['config'], indent=2)}\n".encode(),
        CARD: escaped(card(path, loaded), keep="\n").encode(),
    }
    _write(folder, contents)
    return list(files.values())


def card(path: Path, loaded: Loaded) -> str:
    """Return the model card of a checkpoint: task, results, how to load it, provenance.

    The results come from ``<run_name>_results.json`` in the checkpoint's folder. Raises
    CheckpointError if that file cannot be read.
    """
    config, metadata = loaded.config, loaded.metadata
    count = sum(parameter.numel() for parameter in loaded.model.parameters())
    facts = {**described(metadata), "num_parameters": count, "file": path.name}
    parts = [
        "---\ntags:\n- emergent-communication\n- arc-agi\n---",
        f"# {config.run_name or path.stem}",
        "Two agents trained to communicate about ARC-AGI grids: a sender sees a grid, a receiver "
        "gets its message.",
        f"- Task: {_described(TASKS[config.task.name])}\n"
        f"- Bottleneck: {_described(BOTTLENECKS[config.bottleneck.name])}",
        "\n\n".join(_section(title, facts) for title in ("Task", "Architecture", "Training")),
        f"## Results\n\n{_results_section(path, loaded)}",
        f"## Loading\n\nWith this folder as the working directory:\n\n```python\n{LOADING}```",
        _section("Data", facts),
        _section("Provenance", facts, "file", "epoch", "step", "seconds"),
        f"## Configuration\n\n```yaml\n{OmegaConf.to_yaml(metadata['config'])}```",
    ]
    return "\n\n".join(parts) + "\n"


def _described(component: type) -> str:
    """Return the first paragraph of the docstring of a component's module."""
    module = inspect.getmodule(component)
    return (inspect.getdoc(module) or component.__name__).split("\n\n")[0].replace("\n", " ")


def _section(title: str, metadata: dict[str, Any], *more: str) -> str:
    rows = [(key, _cell(metadata.get(key))) for key in (*more, *SECTIONS[title])]
    lines = tabulate(rows, headers=("key", "value"), tablefmt="github", disable_numparse=True)
    return f"## {title}\n\n{lines}"


def _cell(value: Any) -> str:
    return " ".join(shown(value).split()).replace("|", "\\|")


def _results_section(path: Path, loaded: Loaded) -> str:
    """Return the results next to their baselines, or the command that measures them."""
    run_name, metadata = loaded.config.run_name, loaded.metadata
    source = path.with_name(f"{run_name}_results.json")
    accuracy, loss = (metadata.get(key) for key in ("val_acc", "val_loss"))
    validation = f"Last validation: accuracy {_cell(accuracy)} %, loss {_cell(loss)}."
    if accuracy is None or math.isnan(accuracy):
        validation = "This checkpoint has no validation results."
    if is_preserved(path.stem, run_name):
        return (
            f"{validation} This file was preserved when its run was resumed from an earlier save, "
            "so the later results of that run are not those of this file."
        )
    if not source.exists():
        return (
            f"{validation} For test results and baselines, run "
            f"`python -m arc.evaluate path={path.name}`."
        )
    results, text = _read_results(source)
    if _is_older(results, metadata):
        return f"{validation} `{source.name}` is omitted: it is older than this checkpoint."
    best = f"{run_name}_best.pth"
    origin = "" if path.name == best else f" They were measured with `{best}`, not with this file."
    return (
        "Accuracies in percent, next to their baselines; the test set was used neither for "
        f"training nor for choosing the checkpoint.{origin} {validation}\n\n```\n{text}\n```"
    )


def _read_results(source: Path) -> tuple[dict[str, Any], str]:
    """Return a run's results and their table; raises CheckpointError if they are not valid."""
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
    """Write every file under a temporary name, then rename them all."""
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
        for path in temporary.values():
            with contextlib.suppress(OSError):
                path.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line of scripts/export.py; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="a checkpoint")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="output folder; default: PATH with _export in place of .pth",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    options = parser.parse_args(arguments)
    folder = options.output or options.path.with_name(f"{options.path.stem}_export")
    try:
        files = export(options.path, folder, overwrite=options.overwrite)
    except CheckpointError as error:
        return show_error(escaped(str(error)))
    for file in files:
        show(escaped(str(file)))
    return 0

"""Learning curves, and what differs from the default configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from arc.config.hydra_main import compose_tree
from arc.io.trees import leaves
from arc.report import figures
from arc.report.base import Block, ReportedRun, Row, Section, of_run, shown, table, words
from arc.report.drawing import Line
from arc.runs.plan import group_choices


def training(runs: Sequence[ReportedRun]) -> Section:
    """Return the learning curves of the runs whose metrics were found."""
    section = Section("training", "Learning curves")
    found = [run for run in runs if run.curves is not None]
    missing = [run.label for run in runs if run.curves is None]
    kinds = {
        "accuracy": ("accuracy", "val_acc", "accuracy, %"),
        "loss": ("loss", "val_loss", "loss"),
        "message_entropy": (None, "message_entropy_bits", "entropy of messages, bits"),
    }
    items, rows = [], []
    for name, (step_key, validation_key, unit) in kinds.items():
        lines = []
        for run in found:
            assert run.curves is not None
            if step_key is not None and len(runs) == 1:
                lines.append(Line("training", *run.curves.training(step_key)))
            label = run.label if len(runs) > 1 else "validation"
            lines.append(Line(label, *run.curves.validation(validation_key)))
        lines = [line for line in lines if len(line.x)]
        if lines:
            svg = figures.curves(lines, unit, is_log=name == "loss")
            title = words(name) if len(runs) == 1 else f"validation {words(name)}"
            items.append(section.draw(f"curves_{name}", svg, title.capitalize()))
    for run in found:
        assert run.curves is not None
        for row in run.curves.validations:
            keys = ("step", "epoch", "seconds", "train_loss", "train_accuracy")
            plain = {key: row.get(key) for key in (*keys, "val_loss", "val_acc")}
            rows.append(of_run(runs, run, plain | (row.get("language") or {})))
    section.add_figures(items)
    if rows:
        section.add_rows("learning_curves", rows)
    if missing:
        names = "" if len(runs) == 1 else f" for {', '.join(missing)}"
        text = f"No metrics.jsonl with the validation of the checkpoint was found{names}."
        section.blocks.append(Block("note", note=text))
    return section


def configuration(runs: Sequence[ReportedRun]) -> Section:
    """Return the keys that differ from the default configuration."""
    section = Section(
        "configuration",
        "Configuration",
        "Keys that differ from the default of the chosen task, bottleneck and other groups.",
    )
    default = _defaults(())
    changed = {run.label: _changed(run.results["config"], default) for run in runs}
    keys = list(dict.fromkeys(key for found in changed.values() for key in found))
    rows = []
    for key in keys:
        row: Row = {"key": key}
        if len(runs) == 1:
            before, after = changed[runs[0].label][key]
            row |= {"default": before, "value": after}
        else:
            row |= {run.label: leaves(run.results["config"]).get(key) for run in runs}
        rows.append(row)
    if rows:
        text = [{key: _setting(value) for key, value in row.items()} for row in rows]
        section.blocks.append(table(text))
        section.add_rows("configuration", rows)
    else:
        section.blocks.append(Block("note", note="None: this is the default configuration."))
    return section


def _setting(value: Any) -> str:
    """Return a value of a configuration, unrounded."""
    return shown(value) if value is None or isinstance(value, bool | list) else str(value)


def _defaults(choices: Sequence[str]) -> dict[str, Any]:
    tree = OmegaConf.to_container(compose_tree(choices), resolve=True)
    assert isinstance(tree, dict)
    return leaves({str(key): value for key, value in tree.items()})


def _changed(config: dict[str, Any], default: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the keys of a stored configuration that differ, with the default and the value.

    The default of a key is that of the chosen options; a choice differs from that of conf/.
    """
    chosen = _defaults(group_choices(config, ()))
    found = {}
    for key, value in leaves(config).items():
        before = default.get(key) if key.endswith(".name") else chosen.get(key)
        if key != "run_name" and before != value and not (before is None and not value):
            found[key] = (before, value)
    return found

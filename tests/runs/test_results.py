"""The final results: their table, their file, and the baseline of the untrained sender."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Make

from arc.runs.results import evaluate_run, write_results
from arc.runs.seeds import seed_groups
from arc.runs.tables import format_language, format_results, format_seeds, over_seeds

LANGUAGE = {"message_entropy_bits": 5.25, "unique_messages": 40, "symbols_used": 23.2193}


def metric(value: float | None, targets: int, **baselines: float) -> dict[str, Any]:
    interval = None if value is None or targets < 50 else [value - 1, value + 1]
    intervals = {"accuracy": interval}
    return {"accuracy": value, "targets": targets, "intervals": intervals, "baselines": baselines}


def content(language: dict[str, float]) -> dict[str, Any]:
    return {
        "test": {
            "random_99": metric(87.654, 400, chance=1.0, random_codes=99.9),
            "same_size_49": metric(None, 0, chance=2.0),
        },
        "validation": {"random_99": metric(90.0, 40, chance=1.0)},
        "controls": {"shuffled_messages": {"random_99": metric(1.25, 400, chance=1.0)}},
        "language": language,
    }


def rows(text: str) -> dict[tuple[str, str], list[str]]:
    """Return the cells of a printed table by the first two columns."""
    lines = [line.split("  ") for line in text.splitlines() if line.strip()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    return {(line[0], line[1]): line[2:] for line in cells if len(line) > 2}


def test_the_table_has_a_row_for_each_metric_that_covers_examples() -> None:
    text = format_results(content({}))
    found = rows(text)
    assert found["set", "metric"] == ["targets", "accuracy", "95 %", "chance", "random codes"]
    assert found["test", "random 99"] == ["400", "87.7", "86.7–88.7", "1.0", "99.9"]
    assert found["validation", "random 99"] == ["40", "90.0", "–", "1.0", "–"]
    assert found["shuffled messages", "random 99"][:4] == ["400", "1.2", "0.2–2.2", "1.0"]
    assert ("test", "same size 49") not in found
    assert "skipped (too few distractors): test same size 49" in text
    assert "language" not in text


def test_a_metric_with_several_values_has_a_row_for_each() -> None:
    values = {"grids": 90.0, "cells": 80.0, "exact": 10.0, "targets": 400}
    baselines = {"codec": 82.0, "codec_cells": 72.0, "codec_exact": 46.0, "majority_color": 65.0}
    both = {"test": {"reconstruction": {**values, "baselines": baselines}}}
    found = rows(format_results({**content({}), **both, "validation": {}, "controls": {}}))
    assert found["set", "metric"] == ["targets", "accuracy", "codec", "majority color"]
    assert found["test", "grids"] == ["400", "90.0", "82.0", "65.0"]
    assert found["test", "cells"] == ["400", "80.0", "72.0", "–"]
    assert found["test", "exact"] == ["400", "10.0", "46.0", "–"]


def test_results_without_intervals_have_no_column_for_them() -> None:
    older = content({})
    for metrics in (older["test"], older["validation"], older["controls"]["shuffled_messages"]):
        for each in metrics.values():
            del each["intervals"]
    assert rows(format_results(older))["test", "random 99"] == ["400", "87.7", "1.0", "99.9"]


def run_of(value: float, **config: Any) -> dict[str, Any]:
    """The results of a run, by ``config``."""
    start = {"seed": 0, "run_name": "x", "encoder": {"pretrained": None}, "training": {"steps": 9}}
    config = {**start, "pretrain": {"init_from": None}, **config}
    test = {"random_99": metric(value, 400, chance=1.0), "random_9": metric(None, 0)}
    language = {"unique_messages": value}
    return {**content(language), "test": test, "config": config}


def test_runs_of_several_seeds_are_one_table() -> None:
    results = [run_of(value, seed=seed) for seed, value in enumerate((97, 98, 99))]
    text = format_seeds(results)
    found = rows(text)
    seeds = ["seed 0", "seed 1", "seed 2"]
    assert found["set", "metric"] == ["targets", *seeds, "mean", "95 %", "chance"]
    line = ["400", "97.0", "98.0", "99.0", "98.0", "95.5–100.0", "1.0"]
    assert found["test", "random 99"] == line
    assert ("test", "random 9") not in found
    assert text.splitlines()[-1].split() == [
        "unique",
        "messages",
        "97",
        "98",
        "99",
        "98",
        "95.52–100.5",
    ]
    (first, *_) = over_seeds(results)
    assert (first["set"], first["values"], first["mean"]) == ("test", [97, 98, 99], 98)
    assert first["interval"] == pytest.approx((98 - 2.4841, 100), abs=1e-3)  # not above 100


def test_the_measures_of_several_seeds_have_floors_and_no_duplicates() -> None:
    results = [run_of(97, seed=seed) for seed in (0, 1)]
    for seed, each in enumerate(results):
        each["language"] = {"message_entropy_bits": 5.0, "unique_messages": 40}
        floors = {"shuffled": 3.0 + 2 * seed, "random": 1.0, "untrained_sender": 2.0}
        each["measures"] = {"message_entropy": {"value": 5.0, **floors}}
    lines = format_seeds(results).splitlines()
    assert lines[-4].split()[-5:] == ["%", "shuffled", "random", "untrained", "sender"]
    assert lines[-2].split() == ["unique", "messages", "40", "40", "40", "40–40", "–", "–", "–"]
    assert lines[-1].split()[:3] == ["message", "entropy", "5"]
    assert lines[-1].split()[-4:] == ["5–5", "4", "1", "2"]


def test_only_runs_that_differ_in_their_seed_are_a_group() -> None:
    runs = {
        "a": run_of(1.0),
        "b": run_of(1.0, seed=1, run_name="y"),
        "again": run_of(1.0, seed=1),  # its last file, for example
        "longer": run_of(1.0, seed=2, training={"steps": 10}),
        "pretrained": run_of(1.0, seed=3, encoder={"pretrained": "p.pth"}),
        "pretrained too": run_of(1.0, seed=4, encoder={"pretrained": "q.pth"}),
    }
    groups = [["a", "b"], ["again"], ["longer"], ["pretrained", "pretrained too"]]
    assert seed_groups(runs) == groups


def test_runs_that_began_with_other_weights_are_not_seeds_of_one_setting() -> None:
    starts: dict[str, list[str] | None] = {
        "old": None,  # a results file without the key
        "scratch": [],
        "resumed": ["resume x_last.pth step 3"],
        "tuned": ["finetune a.pth step 4"],
        "tuned longer": ["finetune a.pth step 9", "resume x_last.pth step 3"],
        "from b": ["finetune b.pth step 4"],
        "own seed": ["finetune seed=6_best.pth step 4"],
        "own seed too": ["finetune seed=7_best.pth step 8"],
        "encoder": ["encoder.pretrained a.pth step 4"],
    }
    runs = {name: run_of(1.0, seed=seed) for seed, name in enumerate(starts)}
    for name, started_from in starts.items():
        if started_from is not None:
            runs[name]["started_from"] = started_from
    assert seed_groups(runs) == [
        ["old", "scratch", "resumed"],
        ["tuned", "tuned longer"],
        ["from b"],
        ["own seed", "own seed too"],
        ["encoder"],
    ]


def test_the_language_metrics_are_below_the_table() -> None:
    line = format_results(content(LANGUAGE)).splitlines()[-1]
    assert line == format_language(LANGUAGE)
    assert line == "language: message entropy bits 5.25, unique messages 40, symbols used 23.22"


def test_the_table_of_a_stopped_test_says_so() -> None:
    stopped = {**content({}), "validation": {}, "controls": {}, "stopped": True}
    assert format_results(stopped).splitlines()[-1].startswith("the evaluation was stopped")


def test_the_untrained_sender_has_the_initial_weights_of_the_seed(
    make_run: Make, task_overrides: list[str]
) -> None:
    run = make_run(*task_overrides)  # not trained
    state = torch.get_rng_state()
    results = evaluate_run(run.config, run.model, run.task, minutes=1.23456, steps=7)
    assert torch.get_rng_state().equal(state)
    headline = next(iter(results["test"]))
    control, test = results["controls"]["untrained_sender"][headline], results["test"][headline]
    assert control == {**test, "baselines": control["baselines"]}
    assert control["baselines"].items() <= test["baselines"].items()
    assert (results["minutes"], results["steps"]) == (1.235, 7)
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_results_are_written_atomically(tmp_path: Path) -> None:
    path = tmp_path / "x_results.json"
    for number in (1, 2):
        write_results(path, {"number": number, "missing": None})
        assert json.loads(path.read_text(encoding="utf-8")) == {"number": number, "missing": None}
    with pytest.raises(TypeError):
        write_results(path, {"number": object()})
    assert json.loads(path.read_text(encoding="utf-8"))["number"] == 2
    assert list(tmp_path.iterdir()) == [path]

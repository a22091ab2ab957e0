"""Runs from their configuration to their results."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import differences, finish, place, placed, run, run_here, start, tiny

from arc.api import TrainedRun, evaluate
from arc.config.schema import RunConfig
from arc.runs import build_run
from arc.runs.plan import plan_from

CONTROLS = {"shuffled_messages", "constant_message", "untrained_sender"}
VALUES = {
    "selection": ["accuracy"],
    "reconstruction": ["grids", "cells", "exact"],
    "puzzle_classification": ["top1", "top5"],
    "transformation": ["exact", "grids", "cells", "sizes"],  # with task.size=predicted
}
SELECTION = ["task=selection", "task.num_distractors=3"]
Train = Callable[..., TrainedRun]


def strict_json(text: str) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def logged(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "out" / "metrics.jsonl").read_text(encoding="utf-8")
    return [strict_json(line) for line in text.splitlines()]


def results_of(checkpoints: Path) -> dict[str, Any]:
    (path,) = checkpoints.glob("*_results.json")
    content = strict_json(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def comparable(results: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in results.items() if key not in ("minutes", "config")}


def controls(config: dict[str, Any]) -> set[str]:
    task, is_discrete = config["task"], "vocab_size" in config["bottleneck"]
    has_candidates = task["name"] == "selection" and not task["use_input_output_pairs"]
    return CONTROLS | ({"messages_matched_exactly"} if has_candidates and is_discrete else set())


def check_metrics(metrics: dict[str, Any], task: str) -> None:
    assert next(iter(metrics.values()))["targets"] > 0
    for metric in metrics.values():
        assert list(metric) == [*VALUES[task], "targets", "intervals", "baselines"]
        assert list(metric["intervals"]) == VALUES[task]
        for interval in metric["intervals"].values():
            low, high = (0, 0) if metric["targets"] == 0 else interval
            assert 0 <= low <= high <= 100
        values = [metric[name] for name in VALUES[task]]
        if metric["targets"] == 0:
            assert values == [None] * len(values)
        else:
            assert all(0 <= value <= 100 for value in (*values, *metric["baselines"].values()))
            assert metric["baselines"]


def check_results(content: dict[str, Any], task: str, *, discrete: bool = True) -> None:
    expected = {"test", "validation", "controls", "language", "minutes", "steps", "started_from"}
    assert set(content) == expected | {"config"}
    assert set(content["controls"]) == controls(content["config"])
    for metrics in (content["test"], content["validation"], *content["controls"].values()):
        check_metrics(metrics, task)
    assert bool(content["language"]) == discrete
    assert 0 <= content["minutes"] < 5


def check_files(checkpoints: Path, task: str, steps: int) -> None:
    """Check the files of a finished run against its results."""
    content = results_of(checkpoints)
    assert content["steps"] == steps
    headline = next(iter(content["validation"].values()))[VALUES[task][0]]
    for which in ("last", "best"):
        (path,) = checkpoints.glob(f"*_{which}.pth")
        stored = torch.load(path)
        assert stored["config"] == content["config"]
        assert stored["step"] == steps
        assert stored["val_acc"] == pytest.approx(headline, abs=1e-3)
        for machine in (stored["config"], content["config"]):
            assert "device" not in machine
            assert "dir" not in machine["checkpoint"]
    assert sorted(path.suffix for path in checkpoints.iterdir()) == [".json", ".pth", ".pth"]


def test_every_task_and_bottleneck(
    train_small: Train, task_and_bottleneck: list[str], tmp_path: Path
) -> None:
    """Train, save and evaluate; the evaluation of the file alone gives the same results."""
    trained = train_small(tmp_path, *task_and_bottleneck, "training.max_steps=2")
    assert trained.outcome.kind == "finished"
    checkpoints, task = tmp_path / "checkpoints", task_and_bottleneck[0].removeprefix("task=")
    assert trained.results == results_of(checkpoints)
    check_results(
        trained.results, task, discrete="bottleneck=autoencoder" not in task_and_bottleneck
    )
    check_files(checkpoints, task, steps=2)
    assert comparable(evaluate(trained, measures="none")) == comparable(trained.results)


def test_arc_with_the_default_task_in_a_new_process(tmp_path: Path) -> None:
    few = ["model=tiny", "training.max_steps=3", "training.batch_size=16", "device=cpu"]
    data = ["data.filter_grid_size=[10,10]", "data.max_grids=150", "task.num_distractors=9"]
    outcome = run(tmp_path, *few, *data, "run_name=mine")
    assert outcome.status == 0, outcome.err
    assert "Traceback" not in outcome.err
    assert "max_grids: the first 150 of" in outcome.err
    checkpoints = tmp_path / "checkpoints"
    check_files(checkpoints, "selection", steps=3)
    names = {path.name for path in checkpoints.iterdir()}
    assert names == {"mine_last.pth", "mine_best.pth", "mine_results.json"}
    results = results_of(checkpoints)
    check_results(results, "selection")
    metrics = results["test"]
    kinds = ("random", "same_size", "same_colors", "same_puzzle")
    assert set(metrics) == {f"{kind}_{count}" for kind in kinds for count in (9, 49, 99, 999)}
    assert next(iter(metrics)) == "random_9"
    assert metrics["random_9"]["targets"] > 50
    baselines = metrics["random_9"]["baselines"]
    assert baselines["chance"] == baselines["size"] == 10  # all grids have one size
    rows = [line for line in outcome.out.splitlines() if line.startswith("test ")]
    assert len(rows) == sum(metric["targets"] > 0 for metric in metrics.values())
    assert "random 9" in rows[0]
    assert "language: " in outcome.out


def test_two_runs_of_one_seed_in_one_process_are_equal(train_small: Train, tmp_path: Path) -> None:
    noisy = [*SELECTION, "bottleneck=categorical", "bottleneck.noise=gumbel", "data.augment=true"]
    typed = [*noisy, "training.max_steps=3"]
    first, again = (train_small(tmp_path / name, *typed) for name in ("first", "again"))
    assert first.results is not None
    assert again.results is not None
    assert comparable(first.results) == comparable(again.results)
    assert differences(first.model.state_dict(), again.model.state_dict()) == []
    other = train_small(tmp_path / "other", *typed, "seed=1", "training.stop_at_step=3")
    assert differences(first.model.state_dict(), other.model.state_dict())


def test_the_logger_writes_each_step_and_validation(train_small: Train, tmp_path: Path) -> None:
    length = ["training.epochs=2", "training.max_steps=null", "training.batch_size=32"]
    train_small(tmp_path, "task=reconstruction", *length)
    lines = logged(tmp_path)
    steps = [line for line in lines if line["kind"] == "step"]
    validations = [line for line in lines if line["kind"] == "validation"]
    assert [line["step"] for line in steps] == list(range(1, len(steps) + 1))
    assert len(steps) == 2 * steps[0]["batches"]
    assert [line["epoch"] for line in validations] == [1, 2]
    assert all(math.isfinite(line["loss"]) and 0 <= line["accuracy"] <= 100 for line in steps)
    for line in validations:
        assert line["val_acc"] == line["metrics"]["grids"]
        assert line["baselines"]
        assert line["language"]["unique_messages"] >= 1
    assert validations[-1]["step"] == len(steps)


without_a_set = pytest.mark.parametrize(
    "task",
    [SELECTION, pytest.param(["task=reconstruction"], marks=pytest.mark.slow)],
    ids=lambda task: task[0],
)


@without_a_set
def test_a_run_without_a_validation_set(
    task: list[str], train_small: Train, tmp_path: Path
) -> None:
    content = train_small(
        tmp_path, *task, "data.validation_fraction=0", "training.max_steps=2"
    ).results
    assert content is not None
    name = task[0].removeprefix("task=")
    check_metrics(content["test"], name)
    (metric,) = content["validation"].values()
    assert metric["targets"] == 0
    assert all(metric[value] is None for value in VALUES[name])
    assert [path.name for path in (tmp_path / "checkpoints").glob("*.pth")] == ["mine_last.pth"]
    assert [line["kind"] for line in logged(tmp_path)] == ["step"] * 2 + ["validation"]


@without_a_set
def test_a_run_without_a_test_set(
    task: list[str], train_small: Train, arc_folder: Path, tmp_path: Path
) -> None:
    data = f"data.path={arc_folder / 'training'}"
    content = train_small(tmp_path, *task, data, "training.max_steps=2").results
    assert content is not None
    check_metrics(content["validation"], task[0].removeprefix("task="))
    assert all(metric["targets"] == 0 for metric in content["test"].values())
    assert set(content["controls"]) == controls(content["config"])


def test_settings_that_may_be_mistakes_are_logged(
    train_small: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    warmup, random = "during its warm-up", "keeps its random initial weights"
    preset = "see experiment=puzzle_classification or experiment=puzzle_classification_vector"
    task = ["task=puzzle_classification", "training.max_steps=4"]
    with caplog.at_level("INFO"):
        train_small(tmp_path / "a", *task, "encoder.freeze=true", "training.warmup_steps=100")
        assert warmup in caplog.text
        assert random in caplog.text
        assert preset in caplog.text
        caplog.clear()
        train_small(tmp_path / "b", *task, "training.warmup_steps=4", "data.augment=true")
    assert warmup not in caplog.text
    assert preset not in caplog.text
    assert random not in caplog.text


def test_stop_at_step_saves_and_does_not_test(tmp_path: Path, arc_folder: Path) -> None:
    stop = ["task.num_distractors=3", "training.stop_at_step=2", "run_name=mine"]
    outcome = run_here(tmp_path, *tiny(arc_folder, steps=4), *stop)
    assert outcome.status == 0, outcome.err
    last = tmp_path / "checkpoints" / "mine_last.pth"
    assert list(last.parent.iterdir()) == [last]
    assert torch.load(last)["step"] == 2
    assert f"stopped at step 2 (training.stop_at_step). The last state is in {last}" in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize(("key", "value"), [("mixer", "conv"), ("head", "direct")])
def test_a_setting_without_effect_on_the_architecture_is_refused(
    key: str, value: str, train_small: Train, tmp_path: Path
) -> None:
    """But a run that was stored with it can be continued, and its encoder used."""
    typed = ["task=reconstruction", "model.architecture=cells", "training.max_steps=2"]
    with pytest.raises(ValueError, match=rf"^model\.{key}={value}: has no effect "):
        train_small(tmp_path, *typed, f"model.{key}={value}")
    last = train_small(tmp_path, *typed, "training.stop_at_step=1").checkpoints.last
    assert last is not None
    content = torch.load(last)
    content["config"]["model"][key] = value
    torch.save(content, last)
    train_small(tmp_path, *typed, f"encoder.pretrained={last}", "run_name=other")
    for way in ("finetune", "resume"):
        outcome = run_here(tmp_path, f"{way}={last}", "device=cpu", "server.enabled=false")
        assert outcome.status == 0, outcome.err


@pytest.mark.parametrize(
    "name", ["mine_last.pth", "mine_best.pth", "mine_results.json", "mine_epoch_0003.pth"]
)
def test_a_run_does_not_overwrite_another_run(
    name: str, make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    path = tmp_path / "checkpoints" / name
    path.parent.mkdir()
    path.write_text("another run's", encoding="utf-8")
    config = placed(make_config(*SELECTION, "run_name=mine"), tmp_path)
    with pytest.raises(ValueError, match=r"^run_name=mine: .* contains a run of that name"):
        plan_from(config)
    unnamed = build_run(plan_from(config.model_copy(update={"run_name": None})), tmp_path / "out")
    assert str(unnamed.config.run_name).startswith("selection_communication_2")
    assert path.read_text(encoding="utf-8") == "another run's"


@pytest.mark.slow  # a fresh process
def test_training_and_loading_do_not_import_the_compiler(tmp_path: Path, arc_folder: Path) -> None:
    script = (
        "import sys, arc.api, arc.train\n"
        "try:\n"
        "    arc.train.main()\n"
        "finally:\n"
        "    arc.api.load('checkpoints/mine_best.pth')\n"
        "    print('imported:', *{'torch._dynamo', 'sympy'} & set(sys.modules))\n"
    )
    command = [*tiny(arc_folder, 2), *SELECTION, *place(tmp_path), "run_name=mine"]
    outcome = finish(start(tmp_path, *command, script=script, is_fresh=True))
    assert outcome.status == 0, outcome.err
    assert outcome.out.splitlines()[-1].strip() == "imported:"

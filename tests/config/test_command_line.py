"""Error messages and help of the command line."""

import json
from pathlib import Path

import pytest
from helpers_cli import CHECKOUT, run, run_here, tiny
from hydra.errors import ConfigCompositionException

from arc.api import compose
from arc.config.errors import explain
from arc.config.files import ConfigError
from arc.config.hydra_main import gathered

# Each: an override, and what the one line of the error message must contain.
REFUSED = {
    "mistyped section": ("trainig.epochs=1", "trainig", "'training'"),
    "mistyped top key": ("sede=1", "sede:", "'seed'"),
    "forced key": ("++bottleneck.temprature=1", "bottleneck.temprature:", "'temperature'"),
    "short name": ("lr=3", "lr: no such key", "pretrain.learning_rate or training.learning_rate"),
    "short name in a section": ("training.lr=3", "training.lr:", "mean 'learning_rate'"),
    "added nested": ("+training.foo.bar=1", "training.foo:", "epochs"),
    "unknown group": ("modell=tiny", "modell:", "'model'"),
    "unknown task": ("task=selektion", "task=selektion:", "'selection'", "reconstruction"),
    "unknown bottleneck": ("bottleneck=foo", "bottleneck=foo:", "autoencoder, categorical"),
    "unknown size": ("model=huge", "model=huge:", "base, large, small, tiny"),
    "unknown data": ("data=arc3", "data=arc3:", "arc1"),
    "unknown optimizer": ("optimizer=adamm", "optimizer=adamm:", "adam, adamw, sgd", "'adam"),
    "unknown schedule": ("schedule=cosin", "schedule=cosin:", "'cosine'"),
    "unknown logger": ("logger=[jsonl,tensorbord]", "logger=tensorbord:", "jsonl"),
    "unknown metric": ("metric=[entropi]", "metric=entropi:", "'entropy'"),
    "unknown experiment": ("experiment=foo", "experiment=foo:", "one of hard, "),
    "no group": ("task=null", "task", "selection"),
    "not an override": ("foo", "foo"),
    "unknown variable": ("seed=${oc.env:ARC_NO_SUCH}", "seed", "ARC_NO_SUCH"),
    "missing value": ("seed=???", "seed: required; set seed="),
    "several values": ("seed=1,2", "seed=1,2: add -m"),
    "whole section": ("encoder=x.pth", "one of its keys: encoder.pretrained, encoder.freeze"),
    "name with a space": ("run_name='a b'", "run_name=a b: use 1 to 100 letters"),
}
SLOW = {  # like a case that is not slow
    *("mistyped top key", "added nested", "unknown bottleneck", "unknown size", "unknown data"),
    *("unknown optimizer", "unknown schedule", "unknown metric"),
}
REFUSED_BY_A_RUN = {
    "mistyped key": ("task.num_distractor=3", "task.num_distractor:", "'num_distractors'"),
    "added key": ("+foo=1", "foo:", "training"),
    "broken grammar": ("seed=[", "seed=["),
    "name of an option": ("bottleneck.name=autoencoder", "bottleneck=autoencoder"),
    "unknown device": ("device=foo", "device", "foo", "auto, cpu, cuda or cuda:N"),
    "unknown best metric": ("training.best_metric=exact", "training.best_metric=exact:", "loss"),
}


@pytest.mark.parametrize(
    "case", [pytest.param(each, marks=[pytest.mark.slow] * (each in SLOW)) for each in REFUSED]
)
def test_an_invalid_override_is_refused_in_one_readable_line(case: str) -> None:
    typed, *parts = REFUSED[case]
    with pytest.raises(ConfigError) as refused:
        compose(typed)
    assert len(str(refused.value).splitlines()) == 1
    for part in parts:
        assert part in str(refused.value)


@pytest.mark.parametrize("case", REFUSED_BY_A_RUN)
def test_a_run_is_refused_in_one_readable_line(case: str, tmp_path: Path, arc_folder: Path) -> None:
    typed, *parts = REFUSED_BY_A_RUN[case]
    complaint = run_here(
        tmp_path, *tiny(arc_folder, steps=1)[:-3], "task.num_distractors=3", typed
    ).complaint
    for part in parts:
        assert part in complaint
    assert not list(tmp_path.rglob("*.pth"))


def test_a_key_of_another_option_names_that_option() -> None:
    with pytest.raises(ConfigError) as refused:
        compose("data=arc1", "data.path=here")
    assert "data.path" in str(refused.value)
    assert "data=folder" in str(refused.value)
    assert "Did you mean 'path'" not in str(refused.value)


def test_invalid_data_are_refused_by_their_place(tmp_path: Path) -> None:
    path, absent = tmp_path / "mine" / "a.json", tmp_path / "absent"
    path.parent.mkdir()
    assert run_here(tmp_path, *tiny(path.parent)).complaint.startswith(
        f"{path.parent}: no .json files"
    )
    puzzle = {"train": [{"input": [[1]], "output": [[2]]}, {"input": [[1]], "output": [[10]]}]}
    path.write_text(json.dumps(puzzle), encoding="utf-8")
    complaint = run_here(tmp_path, *tiny(path.parent)).complaint
    assert complaint.startswith(f"{path}, train[1].output: colour 10 is not one of 0 to 9")
    path.write_text("{", encoding="utf-8")
    assert run_here(tmp_path, *tiny(path.parent)).complaint.startswith(f"{path}: not JSON")
    assert run_here(tmp_path, *tiny(absent)).complaint.startswith(f"{absent}: no such")
    assert "data.path" in run_here(tmp_path, "data=folder").complaint


def test_too_many_distractors_are_refused_with_the_possible_number(
    tmp_path: Path, arc_folder: Path
) -> None:
    many = ["data.max_grids=20", "task.num_distractors=999"]
    complaint = run_here(tmp_path, *tiny(arc_folder), *many).complaint
    assert complaint.startswith("task.num_distractors=999: ")
    assert "at most" in complaint


@pytest.mark.parametrize("below", [pytest.param("", marks=pytest.mark.slow), "below"])
def test_a_folder_that_cannot_be_written_is_refused(
    below: str, tmp_path: Path, arc_folder: Path
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    folder = tmp_path / "file" / below
    complaint = run_here(tmp_path, *tiny(arc_folder), f"checkpoint.dir={folder}").complaint
    assert complaint.startswith(f"checkpoint.dir={folder}: cannot be written to")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_an_invalid_override_in_a_new_process(tmp_path: Path) -> None:
    assert run(tmp_path, "task=selektion").complaint.startswith("task=selektion: choose one of")
    assert not list(tmp_path.rglob("*.pth"))


def test_help_lists_the_groups_and_at_least_five_valid_commands(tmp_path: Path) -> None:
    outcome = run(tmp_path, "--help")
    assert (outcome.status, outcome.err) == (0, "")
    groups = [path for path in (CHECKOUT / "conf").iterdir() if path.is_dir()]
    for folder in (path for path in groups if path.name != "hydra"):
        options = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        assert f"{folder.name}: {options}\n" in outcome.out
    lines = [line for line in outcome.out.splitlines() if "    python -m arc.train " in line]
    assert len(lines) >= 5
    assert list(tmp_path.iterdir()) == []
    jobs = [{word.split(",")[0] for word in line.split()[3:] if word != "-m"} for line in lines]
    for job in jobs:
        if not any(job < other for other in jobs):
            assert compose(*job) is not None


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["path=a", "device=cpu"], ["path=a", "device=cpu"]),
        (["path=a", "device=cpu", "path=b"], ["device=cpu", "path=[a,b]"]),
        (["path=[a,b]", "path='c d'"], ["path=[a,b,'c d']"]),
        ([r"path='it\'s'", "path=b"], [r"path=['it\'s',b]"]),
        (["path=a,b", "path=c"], ["path=a,b", "path=c"]),  # a sweep
        (["path=[a", "path=b"], ["path=[a", "path=b"]),  # for Hydra to explain
        (["paths=a", "path=b"], ["paths=a", "path=b"]),
    ],
)
def test_a_key_that_is_typed_several_times_is_one_list(
    typed: list[str], expected: list[str]
) -> None:
    assert gathered("path", typed) == expected


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("launcher/ray", "launcher=ray: is not installed; pip install -e '.[ray]'"),
        (
            "launcher/submitit_slurm",  # of hydra/launcher=slurm
            "launcher=submitit_slurm: is not installed; pip install -e '.[submitit]'",
        ),
        ("sweeper/optuma", "sweeper=optuma: no such option. Did you mean 'optuna'?"),
    ],
)
def test_a_plugin_that_is_not_installed_is_named_with_its_extra(option: str, message: str) -> None:
    error = ConfigCompositionException(f"In 'hydra/config': Could not find 'hydra/{option}'")
    assert explain(error, "config", []) == f"hydra/{message}"

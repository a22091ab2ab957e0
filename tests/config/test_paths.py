"""``~`` and relative paths mean what they mean in the shell, for every key that is a path."""

import json
import shutil
from pathlib import Path

import pytest
from helpers_cli import call, tiny

import arc.evaluate
import arc.train
from arc.api import compose
from arc.config.hydra_main import as_path
from arc.config.schema import EvaluateConfig, ProcessConfig, parse


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "expanded"),
    [
        ("data.path=~/x y", "data.path='{home}/x y'"),
        ("path=~", "path='{home}'"),
        ("+a.b=~/it's", "+a.b='{home}/it\\'s'"),
        ("data.path=x/~", "data.path=x/~"),
        ("~data.path", "~data.path"),
        ("data.path=~/x,~/y", "data.path=~/x,~/y"),
        ("resume=seed=1_last", "resume='seed=1_last'"),
        ("path=jobs/seed=1/x.pth", "path='jobs/seed=1/x.pth'"),
        ("path=~/seed=1,x=2", "path='{home}/seed=1,x=2'"),
        ("path=~/seed=1,x=3", "path=~/seed=1,x=3"),
        ("seed=1,2", "seed=1,2"),
        ("checkpoint.dir=größe", "checkpoint.dir='größe'"),
        ("resume=größe/u_last.pth", "resume='größe/u_last.pth'"),
    ],
)
def test_a_typed_path_is_quoted_for_hydra(home: Path, typed: str, expanded: str) -> None:
    (home / "seed=1,x=2").mkdir()
    assert as_path(typed) == expanded.format(home=home)


@pytest.mark.parametrize("value", ["~/x", "'~/x'"])
def test_every_key_that_is_a_path_has_a_home_folder(home: Path, value: str) -> None:
    keys = ("data.path", "data.test", "checkpoint.dir", "encoder.pretrained", "pretrain.init_from")
    config = compose("data=folder", *(f"{key}={value}" for key in keys))
    path = f"{home}/x"
    assert config.data.model_dump()["path"] == config.data.test == path
    assert config.checkpoint.dir == config.encoder.pretrained == config.pretrain.init_from == path
    server = config.model_dump() | {"strict": True, "finetune": None, "resume": "~/x"}
    server["server"] = {"enabled": False, "host": "::1", "port": 0, "token": None}
    server["server"] |= {"autostart": True, "required": False}
    server["torchrun"] = {"gather": True, "timeout": 120.0}
    assert parse(ProcessConfig, server).resume == path
    places = {"path": "~/x", "test": "~/x", "also": ["~/x"]}
    evaluation = {
        "path": "~/x",
        "output": "~/x",
        "device": "cpu",
        "measures": "fast",
        "messages": False,
        "learning": 0,
        "learning_steps": 500,
        "crossplay": False,
        "report": "~/x.html",
    }
    parsed = parse(EvaluateConfig, evaluation | {"data": places})
    assert parsed.output == parsed.data.path == parsed.data.test == path
    assert parsed.report == f"{path}.html"
    assert parsed.path == parsed.data.also == [path]


def test_a_run_and_its_evaluation_in_the_home_folder(
    home: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with Hydra's change of the folder, and relative to the shell's."""
    shutil.copytree(arc_folder, home / "puzzles")
    shell = home / "shell"
    shell.mkdir()
    monkeypatch.chdir(shell)
    chdir = "hydra.job.chdir=true"
    typed = [*tiny(Path("../puzzles")), "run_name=r", "task.num_distractors=3"]
    outcome = call(
        arc.train.main,
        *typed,
        "checkpoint.dir='~/ck'",
        "hydra.run.dir=a",
        chdir,
        "training.stop_at_step=1",
    )
    assert outcome.status == 0, outcome.err
    outcome = call(
        arc.train.main,
        "resume=../ck/r_last.pth",
        "training.stop_at_step=2",
        "server.enabled=false",
        "hydra.run.dir=b",
        chdir,
    )
    assert outcome.status == 0, outcome.err
    outcome = call(
        arc.evaluate.main,
        "path=~/ck/r_last.pth",
        "data.path=~/puzzles",
        "device=cpu",
        "output=out.json",
        "hydra.run.dir=c",
        chdir,
    )
    assert outcome.status == 0, outcome.err
    assert json.loads((shell / "out.json").read_text(encoding="utf-8"))["steps"] == 2
    assert {path.name for path in home.iterdir()} == {"puzzles", "shell", "ck"}
    assert not list(shell.rglob("*.pth"))

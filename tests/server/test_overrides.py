"""Settings and overrides of requests: literal values of allowed keys."""

from pathlib import Path
from typing import Any

import pytest
from helpers_station import Station

from arc.server.overrides import check_overrides

REFUSED = [
    *(
        "checkpoint.dir=/tmp/x",
        "checkpoint={dir: /tmp/x}",
        "logger.jsonl.filename=x",
        "logger={a: b}",
    ),
    *(
        "hydra.run.dir=x",
        " hydra.run.dir=x",
        "server.token=null",
        "resume=x",
        "finetune=/x",
        "mode=train",
    ),
    *(
        "run_name=${oc.env:HOME}",
        "run_name='${oc.env:HOME}'",
        'run_name="a${seed}"',
        "seed=${seed}",
    ),
    *("data.filter_grid_size=[3,'${seed}']", r"run_name=$\{oc.env:HOME\}", "device=[[${seed}]]"),
    *("task=../../x", "task='../x'", "experiment=[hard,../x]", "model=~/x", "task@model=selection"),
    *("encoder.pretrained=/etc/passwd", "encoder.pretrained=x.pth", "pretrain.init_from=../x.pth"),
    *(
        "+seed=1",
        "++seed=1",
        "~seed",
        "seed",
        "seed=[",
        "data/x=1",
        "encoder={pretrained: /etc/passwd}",
    ),
]
ACCEPTED = [
    *(
        "task=selection",
        "experiment=hard",
        "metric=[entropy]",
        "logger=[]",
        "run_name=mine",
        "seed=3",
    ),
    *(
        "data.path=/any/folder",
        "data.test=arc2",
        "data.also=[arc2,/any/folder]",
        "data.filter_grid_size=[3,3]",
        "training.epochs=null",
    ),
    *(
        "training.learning_rate=1e-4",
        "task.use_input_output_pairs=true",
        "run_name='a b'",
        "device=cpu",
    ),
]


@pytest.mark.parametrize("override", REFUSED)
def test_a_request_sets_no_file_and_reads_no_environment(trained: Station, override: str) -> None:
    error = trained.post("/start_train", {"overrides": ["seed=1", override]}, 400)["error"]
    assert len(error.splitlines()) == 1
    assert str(Path.home()) not in error.replace(override, "")


def test_options_and_literal_values_are_accepted(tmp_path: Path) -> None:
    encoder = tmp_path / "pretrained_encoder_binary.pth"
    check_overrides([*ACCEPTED, f"encoder.pretrained={encoder}"], tmp_path)
    check_overrides([f"pretrain.init_from='{tmp_path}/x/../a.pth'"], tmp_path)


@pytest.mark.parametrize("value", ["${oc.env:HOME}", ["${seed}", 3], [[["a${seed}"]]], {"a": 1}])
def test_a_setting_is_a_literal_value(trained: Station, value: Any) -> None:
    for key in ("filter_grid_size", "task_type", "batch_size"):
        assert key in trained.post("/task_config", {key: value}, 400)["error"]

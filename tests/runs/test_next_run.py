"""The flat keys: a view of the configuration, and changes to that of the next run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir

from arc.checkpointing.format import flat_keys
from arc.config.files import ConfigError, config_folder
from arc.config.flat_keys import EXTRA_SETTINGS, GROUPS, KEY_PATHS, SETTINGS, flat_view
from arc.runs.next_run import NextRun

CHANGES: dict[str, Any] = {
    "task_type": "reconstruction",
    "num_distractors": 7,
    "bottleneck_type": "categorical",
    "use_input_output_pairs": True,
    "max_grids": 500,
    "filter_grid_size": [3, 3],
    "hidden_dim": 48,
    "latent_dim": 24,
    "num_conv_layers": 2,
    "vocab_size": 10,
    "max_message_length": 4,
    "temperature": 0.5,
    "batch_size": 16,
    "learning_rate": 1e-4,
    "pretrain_learning_rate": 1e-3,
    "num_epochs": 3,
    "pretrain_epochs": 2,
    "pretrain_task_type": "binary",
    "freeze_encoder": True,
}
EXTRA_CHANGES = {
    "distractors": "same_size",
    "stop_token": True,
    "augment": True,
    "seed": 5,
    "max_steps": 40,
}
FILES = ("use_pretrained", "load_pretrained_before_pretrain")
INVALID: dict[str, Any] = {
    "vocab_size": 1,
    "num_distractors": 0,
    "batch_size": "many",
    "learning_rate": -1.0,
    "filter_grid_size": [3],
    "task_type": "selektion",
    "bottleneck_type": None,
    "use_input_output_pairs": 3,
    "freeze_encoder": "yes",
    "use_pretrained": "file.pth",
    "hidden_dim": 2.5,
    "hidden": 3,
    "distractors": "same_shape",
    "stop_token": 1,
    "augment": "yes",
    "seed": -1,
    "max_steps": 0,
}
KINDS = {  # one key of each kind of value
    *("vocab_size", "batch_size", "filter_grid_size", "task_type", "freeze_encoder"),
    *("use_pretrained", "hidden"),
}


@pytest.fixture(autouse=True, scope="module")
def _hydra() -> Iterator[None]:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield


def test_there_are_21_flat_keys() -> None:
    assert len(KEY_PATHS) == 21
    assert set(KEY_PATHS) == {*CHANGES, *FILES}


def test_the_next_run_has_the_changed_settings() -> None:
    """Also a pretraining, of those that only a training uses."""
    settings = NextRun(["server.autostart=false"])
    before = flat_view(settings.config())
    changes = {key: value for key, value in CHANGES.items() if key not in GROUPS}
    assert flat_view(settings.change({"pretrain_task_type": "binary"}))["num_distractors"] == 99
    assert all(before[key] != value for key, value in changes.items())
    view = flat_view(settings.change(changes))
    assert view == {**before, **changes, "pretrain_task_type": "binary"}
    for mode in ("train", "pretrain"):
        config = settings.plan(mode, ["run_name=next"]).config
        assert flat_view(config) == view
        stored = flat_keys(config)
        assert {key: stored[key] for key in changes} == changes
    assert flat_view(settings.change({"task_type": "reconstruction"}))["num_distractors"] is None


@pytest.mark.parametrize(
    "keys", [KINDS, pytest.param(INVALID.keys() - KINDS, marks=pytest.mark.slow)]
)
def test_an_invalid_value_is_named_and_nothing_changes(keys: set[str]) -> None:
    settings = NextRun(["seed=3"])
    before = flat_view(settings.config())
    for key in keys:
        value = INVALID[key]
        with pytest.raises(ConfigError) as error:
            settings.change({"batch_size": 8, "latent_dim": 8, key: value})
        message = str(error.value)
        assert SETTINGS.get(key, key).split(".")[0] in message or key in message
        assert flat_view(settings.config()) == before
        assert settings.overrides == ["seed=3"]


def test_the_next_run_has_the_changed_extra_settings() -> None:
    settings = NextRun([])
    before = flat_view(settings.config(), EXTRA_SETTINGS)
    assert all(before[key] != value for key, value in EXTRA_CHANGES.items())
    settings.change(EXTRA_CHANGES)
    config = settings.plan("train", ["run_name=next"]).config
    assert flat_view(config, EXTRA_SETTINGS) == EXTRA_CHANGES
    settings.change({"task_type": "reconstruction", "bottleneck_type": "autoencoder"})
    view = flat_view(settings.config(), EXTRA_SETTINGS)
    assert (view["distractors"], view["stop_token"]) == (None, None)


def test_keys_that_the_task_or_bottleneck_lacks_are_null() -> None:
    settings = NextRun(["task=reconstruction", "bottleneck=autoencoder"])
    view = flat_view(settings.config())
    lacking = ("num_distractors", "vocab_size", "max_message_length", "temperature")
    assert [view[key] for key in lacking] == [None] * 4


def test_a_view_can_be_sent_back_unchanged() -> None:
    settings = NextRun(["bottleneck=autoencoder"])
    view = flat_view(settings.config())
    assert flat_view(settings.change(view)) == view


def test_a_new_option_drops_the_overrides_of_keys_that_it_lacks() -> None:
    settings = NextRun(["task.num_distractors=7", "seed=5"])
    settings.change({"task_type": "reconstruction"})
    assert "task.num_distractors=7" not in settings.overrides
    assert "seed=5" in settings.overrides
    settings.change({"task_type": "selection", "num_distractors": 9})
    assert flat_view(settings.config())["num_distractors"] == 9


def test_a_new_option_drops_the_values_that_it_refuses() -> None:
    settings = NextRun(["bottleneck=categorical", "bottleneck.noise=gumbel", "seed=5"])
    config: Any = settings.change({"bottleneck_type": "autoencoder"})
    assert config.bottleneck.noise == 0  # a number there
    assert settings.overrides == ["bottleneck=autoencoder", "seed=5"]


def test_a_new_option_keeps_what_an_experiment_sets_elsewhere() -> None:
    settings = NextRun(["experiment=reconstruction_20", "seed=5"])
    config: Any = settings.change({"task_type": "selection"})
    assert (config.task.name, config.bottleneck.max_message_length) == ("selection", 20)
    assert (config.data.also, config.training.max_steps, config.seed) == (["arc2"], 4000, 5)
    plan = NextRun(["experiment=reconstruction_20"]).plan("train", ["task=selection"])
    assert (plan.config.task.name, plan.config.data.crop) == ("selection", 0.5)


def test_an_option_and_one_of_its_keys_can_change_together() -> None:
    settings = NextRun(["bottleneck=autoencoder"])
    view = flat_view(settings.change({"vocab_size": 12, "bottleneck_type": "communication"}))
    assert (view["bottleneck_type"], view["vocab_size"]) == ("communication", 12)


def test_the_learning_rate_follows_the_bottleneck_unless_it_is_set() -> None:
    settings = NextRun([])
    for bottleneck, rate in (("categorical", 2e-3), ("communication", 6e-3)):
        view = flat_view(settings.change({"bottleneck_type": bottleneck}))
        assert view["learning_rate"] == rate
    settings.change({"learning_rate": 1e-3})
    view = flat_view(settings.change({"bottleneck_type": "categorical"}))
    assert view["learning_rate"] == 1e-3


def test_changes_are_laid_over_the_typed_overrides() -> None:
    settings = NextRun(["training.batch_size=64", "data=arc2"])
    settings.change({"batch_size": 8})
    config = settings.config()
    assert (config.training.batch_size, config.data.name) == (8, "arc2")


def test_true_is_refused_if_there_is_no_encoder(tmp_path: Path) -> None:
    settings = NextRun([f"checkpoint.dir={tmp_path}"])
    for key in FILES:
        with pytest.raises(ConfigError, match="no encoder pretrained by selection"):
            settings.change({key: True})


def test_false_removes_the_encoder() -> None:
    settings = NextRun(["encoder.pretrained=somewhere.pth"])
    assert flat_view(settings.config())["use_pretrained"] is True
    assert settings.change({"use_pretrained": True}).encoder.pretrained == "somewhere.pth"
    assert settings.change({"use_pretrained": False}).encoder.pretrained is None


@pytest.mark.parametrize(
    "override",
    [
        *("resume=x", "finetune=x", "server.port=1", "++server.port=1", "~server", "strict=false"),
        *("mode=pretrain", "hydra.run.dir=x", "hydra/launcher=x", "foo", "seed=[", "seed=1,2"),
        *("training=null", "~task", "seed=${seed}", "model@x=tiny", "\0", "data.path=\ud800", "-m"),
    ],
)
def test_only_overrides_of_the_run_are_accepted(override: str) -> None:
    with pytest.raises(ConfigError):
        NextRun([]).plan("train", [override])


def test_overrides_of_a_start_apply_to_that_run_only() -> None:
    settings = NextRun([])
    assert settings.plan("train", ["task=reconstruction"]).config.task.name == "reconstruction"
    assert settings.config().task.name == "selection"


def test_a_start_with_another_option_drops_the_keys_that_it_lacks() -> None:
    settings = NextRun(["data=folder", "data.path=x", "optimizer=sgd", "optimizer.momentum=0.5"])
    config = settings.plan("train", ["data=arc1", "optimizer=adam"]).config
    assert (config.data.name, config.optimizer.name) == ("arc1", "adam")


def test_the_command_of_a_pretraining_is_without_what_it_replaces() -> None:
    typed = ["training.epochs=3", "training.learning_rate=0.1", "training.batch_size=8"]
    settings = NextRun(["server.autostart=false", *typed])
    plan = settings.plan("pretrain", ["pretrain=binary"])
    assert plan.overrides == ["training.batch_size=8", "pretrain=binary", "mode=pretrain"]


def test_a_start_keeps_interpolations_and_takes_a_quoted_option() -> None:
    settings = NextRun(["data.split_seed=${seed}", "seed=5", "optimizer.weight_decay=0.1"])
    config = settings.plan("train", ["data=arc2", "optimizer='adam'"]).config
    assert (config.data.split_seed, config.optimizer.name) == (5, "adam")


def test_reading_the_settings_does_not_compose_again(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = NextRun([])
    config = settings.change({"batch_size": 8})
    monkeypatch.setattr("arc.runs.next_run.compose_tree", None)
    assert settings.config() is config
    assert settings.preview({}) is config

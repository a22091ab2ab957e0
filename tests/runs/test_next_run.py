"""The 21 flat names: a view of the Hydra configuration, and what the next run is composed from."""

import pytest
from hydra import initialize_config_dir

from arc.checkpointing.format import flat_keys
from arc.config.flat_keys import EXTRA_SETTINGS, KEY_PATHS, SETTINGS, flat_view
from arc.config.schema import ConfigError, config_folder
from arc.runs.next_run import NextRun

CHANGES = {
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
BAD = {
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


@pytest.fixture(autouse=True, scope="module")
def _hydra():
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield


def test_the_contract_s_keys_are_there():
    assert len(KEY_PATHS) == 21
    assert set(KEY_PATHS) == {*CHANGES, *FILES}


@pytest.mark.parametrize("key", CHANGES)
def test_a_change_is_what_the_next_run_has(key):
    settings = NextRun([])
    assert flat_view(settings.config())[key] != CHANGES[key]
    told = flat_view(settings.change({key: CHANGES[key]}))
    assert told[key] == CHANGES[key]
    mode = "pretrain" if key.startswith("pretrain") else "train"
    config = settings.plan(mode, ["run_name=next"]).config
    assert flat_view(config)[key] == CHANGES[key]
    assert flat_keys(config)[key] == CHANGES[key]  # as its checkpoints will say


@pytest.mark.parametrize("key", BAD)
def test_a_bad_value_is_named_and_nothing_changes(key):
    settings = NextRun(["seed=3"])
    before = flat_view(settings.config())
    with pytest.raises(ConfigError) as error:
        settings.change({"batch_size": 8, "latent_dim": 8, key: BAD[key]})
    assert SETTINGS.get(key, key).split(".")[0] in str(error.value) or key in str(error.value)
    assert flat_view(settings.config()) == before
    assert settings.overrides == ["seed=3"]


@pytest.mark.parametrize("key", EXTRA_SETTINGS)
def test_an_extra_setting_applies_to_the_next_run(key):
    settings = NextRun([])
    before = flat_view(settings.config(), EXTRA_SETTINGS)
    assert before[key] != EXTRA_CHANGES[key]
    settings.change({key: EXTRA_CHANGES[key]})
    config = settings.plan("train", ["run_name=next"]).config
    assert flat_view(config, EXTRA_SETTINGS) == {**before, key: EXTRA_CHANGES[key]}


def test_an_extra_setting_that_does_not_apply_is_null():
    settings = NextRun(["task=reconstruction", "bottleneck=autoencoder"])
    view = flat_view(settings.config(), EXTRA_SETTINGS)
    assert (view["distractors"], view["stop_token"]) == (None, None)


def test_what_a_task_or_channel_lacks_is_null():
    settings = NextRun(["task=reconstruction", "bottleneck=autoencoder"])
    view = flat_view(settings.config())
    lacking = ("num_distractors", "vocab_size", "max_message_length", "temperature")
    assert [view[key] for key in lacking] == [None] * 4


def test_all_keys_as_they_were_told_can_be_sent_back():
    settings = NextRun(["bottleneck=autoencoder"])
    told = flat_view(settings.config())
    assert flat_view(settings.change(told)) == told


def test_another_option_drops_the_settings_that_it_lacks():
    settings = NextRun(["task.num_distractors=7", "seed=5"])
    settings.change({"task_type": "reconstruction"})
    assert "task.num_distractors=7" not in settings.overrides
    assert "seed=5" in settings.overrides
    settings.change({"task_type": "selection", "num_distractors": 9})
    assert settings.config().task.num_distractors == 9


def test_a_key_that_the_new_option_brings_can_come_with_it():
    settings = NextRun(["bottleneck=autoencoder"])
    view = flat_view(settings.change({"vocab_size": 12, "bottleneck_type": "communication"}))
    assert (view["bottleneck_type"], view["vocab_size"]) == ("communication", 12)


def test_what_was_typed_stays_below_what_is_changed():
    settings = NextRun(["training.batch_size=64", "data=arc2"])
    settings.change({"batch_size": 8})
    config = settings.config()
    assert (config.training.batch_size, config.data.name) == (8, "arc2")


def test_true_without_an_encoder_is_refused(tmp_path):
    settings = NextRun([f"checkpoint.dir={tmp_path}"])
    for key in FILES:
        with pytest.raises(ConfigError, match="no encoder pretrained by selection"):
            settings.change({key: True})


def test_false_takes_the_encoder_away():
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
def test_only_overrides_of_the_run_can_be_sent(override):
    with pytest.raises(ConfigError):
        NextRun([]).plan("train", [override])


def test_overrides_of_a_start_are_for_that_run_alone():
    settings = NextRun([])
    assert settings.plan("train", ["task=reconstruction"]).config.task.name == "reconstruction"
    assert settings.config().task.name == "selection"


def test_a_poll_composes_nothing_anew(monkeypatch):
    settings = NextRun([])
    config = settings.change({"batch_size": 8})
    monkeypatch.setattr("arc.runs.next_run.compose", None)
    assert settings.config() is config
    assert settings.preview({}) is config

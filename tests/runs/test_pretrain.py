"""Pretraining of an encoder, and runs that start from it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Make, placed, run_here, tiny

from arc.api import TrainedRun, compose, train
from arc.checkpointing import CheckpointError, load, load_encoder
from arc.checkpointing.policy import EncoderCheckpointPolicy

SELECTION = ["task=selection", "task.num_distractors=3", "pretrain.num_distractors=3"]
FILES = {"binary": "binary", "selection": "selection", "puzzle_classification": "puzzle"}
SHORT = "training.max_steps=4"
State = dict[str, torch.Tensor]
Train = Callable[..., TrainedRun]


@pytest.fixture(scope="module")
def pretrain(train_small: Train) -> Train:
    """Pretrain an encoder, its files below a folder."""

    def run(folder: Path, kind: str, *overrides: str) -> TrainedRun:
        distractors = ["pretrain.num_distractors=3"] if kind == "selection" else []
        mode = ["mode=pretrain", f"pretrain={kind}", *distractors]
        return train_small(folder, *mode, "run_name=pretraining", SHORT, *overrides)

    return run


@pytest.fixture(scope="module")
def play(train_small: Train) -> Callable[..., dict[str, Any]]:
    """Train a selection run; returns the content of its last checkpoint."""

    def run(folder: Path, *overrides: str, **options: Any) -> dict[str, Any]:
        trained = train_small(folder, *SELECTION[:2], SHORT, *overrides, **options)
        assert trained.checkpoints.last is not None
        return dict(torch.load(trained.checkpoints.last))

    return run


def file(folder: Path, kind: str = "binary") -> Path:
    return folder / "checkpoints" / f"pretrained_encoder_{FILES[kind]}.pth"


def encoders(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").glob("*.pth"))


def equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def close(one: State, other: State) -> bool:
    return all(torch.allclose(one[name], other[name], atol=1e-6) for name in other)


@pytest.fixture(scope="module")
def source(pretrain: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an encoder."""
    folder = tmp_path_factory.mktemp("source")
    pretrain(folder, "binary")
    return file(folder)


# -- pretraining -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FILES)
def test_a_pretraining_leaves_an_encoder_that_a_run_can_start_from(
    kind: str, pretrain: Train, play: Make, tmp_path: Path
) -> None:
    trained = pretrain(tmp_path, kind)
    assert trained.outcome.kind == "finished"
    path = file(tmp_path, kind)
    left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert left == sorted([path.name, "pretraining_results.json"])

    content = torch.load(path)
    assert content["pretrain_task_type"] == kind
    assert content["config"]["mode"] == "pretrain"
    assert content["encoder_architecture"]["hidden_dim"] == content["config"]["model"]["hidden_dim"]
    assert content["epoch"] >= 1
    assert 0 <= content["val_acc"] <= 100
    assert "model_state_dict" not in content

    loaded = load_encoder(path)
    assert equal(loaded.encoder.state_dict(), content["encoder_state_dict"])
    assert not loaded.encoder.training
    assert loaded.config.pretrain.name == kind
    with pytest.raises(CheckpointError, match="encoder"):
        load(path)

    results = json.loads((path.parent / "pretraining_results.json").read_text(encoding="utf-8"))
    for split in ("test", "validation"):
        assert results[split]
        assert all(metric["baselines"] for metric in results[split].values())

    begun = play(tmp_path, f"encoder.pretrained={path}", "training.learning_rate=1e-9")
    assert close(begun["encoder_state_dict"], content["encoder_state_dict"])
    assert begun["started_from"] == [f"encoder.pretrained {path.name} step {content['step']}"]


def test_a_pretraining_can_start_from_an_earlier_encoder(
    source: Path, pretrain: Train, tmp_path: Path
) -> None:
    start = [f"pretrain.init_from={source}", "pretrain.learning_rate=1e-9"]
    pretrain(tmp_path, "selection", *start)
    content = torch.load(file(tmp_path, "selection"))
    assert close(content["encoder_state_dict"], torch.load(source)["encoder_state_dict"])
    assert content["started_from"][0].startswith(f"pretrain.init_from {source.name}")


def test_with_shared_init_both_agents_start_from_a_pretrained_encoder(
    source: Path, play: Make, tmp_path: Path
) -> None:
    start = [f"encoder.pretrained={source}", "training.learning_rate=1e-9"]
    content = play(tmp_path, *start, "model.shared_init=true")
    prefix = "receiver.encoder."
    own = {
        name.removeprefix(prefix): weight
        for name, weight in content["model_state_dict"].items()
        if name.startswith(prefix)
    }
    assert own
    assert close(own, torch.load(source)["encoder_state_dict"])


def test_an_earlier_encoder_is_kept_under_its_date(pretrain: Train, tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        pretrain(tmp_path, "binary", f"seed={seed}", f"run_name=pretraining{seed}")
    assert len(encoders(tmp_path)) == 3
    seeds = {torch.load(path)["config"]["seed"] for path in file(tmp_path).parent.glob("*.pth")}
    assert seeds == {0, 1, 2}
    assert torch.load(file(tmp_path))["config"]["seed"] == 2


def test_an_earlier_encoder_that_cannot_be_kept_is_not_overwritten(
    source: Path, pretrain: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file(tmp_path).parent.mkdir()
    shutil.copy(source, file(tmp_path))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "hardlink_to", full)
    monkeypatch.setattr(shutil, "copy2", full)
    outcome = pretrain(tmp_path, "binary", "seed=1").outcome
    assert outcome.kind == "failed"
    assert outcome.error is not None
    assert "No space left" in outcome.error
    assert file(tmp_path).read_bytes() == source.read_bytes()
    assert encoders(tmp_path) == [file(tmp_path).name]


def test_a_pretraining_whose_encoder_is_not_written_has_failed(
    tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, content: Any) -> None:
        raise CheckpointError(f"{path}: cannot be written: no space left")

    monkeypatch.setattr("arc.checkpointing.writer.write_checkpoint", broken)
    outcome = run_here(tmp_path, *tiny(arc_folder), "mode=pretrain", "pretrain=binary")
    assert outcome.status == 1
    assert "no space left" in outcome.err.splitlines()[-1]


def test_without_a_validation_set_the_last_encoder_is_kept(
    pretrain: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[State] = []
    finish = EncoderCheckpointPolicy.finish

    def recorded(policy: EncoderCheckpointPolicy) -> Any:
        state = policy.trainer.model.encoder.state_dict()
        ended.append({name: weight.clone() for name, weight in state.items()})
        return finish(policy)

    monkeypatch.setattr(EncoderCheckpointPolicy, "finish", recorded)
    pretrain(tmp_path, "binary", "data.validation_fraction=0")
    assert equal(torch.load(file(tmp_path))["encoder_state_dict"], ended[0])


def test_the_encoder_of_an_earlier_pretraining_is_not_reported_as_its_own(
    source: Path, pretrain: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file(tmp_path).parent.mkdir()
    shutil.copy(source, file(tmp_path))
    caplog.set_level("INFO")
    trained = pretrain(tmp_path, "binary", "training.stop_at_step=1")
    assert trained.checkpoints.best is None
    assert "(training.stop_at_step). Nothing was saved" in caplog.text


@pytest.mark.parametrize(
    ("typed", "fault"),
    [
        ("encoder.freeze=true", "have no effect in mode=pretrain; pretrain.init_from="),
        ("encoder.pretrained=x.pth", "have no effect in mode=pretrain; pretrain.init_from="),
        ("task=transformation", "the sender of task=transformation sees pairs"),
    ],
)
def test_settings_without_effect_in_a_pretraining_are_refused(
    typed: str, fault: str, pretrain: Train, tmp_path: Path
) -> None:
    assert fault in run_here(tmp_path, "mode=pretrain", typed).complaint
    with pytest.raises(ValueError, match="mode=pretrain") as refused:
        pretrain(tmp_path, "binary", typed)
    assert fault in str(refused.value)


@pytest.mark.parametrize("key", ["epochs", "learning_rate"])
def test_the_length_and_rate_of_a_training_are_refused_in_a_pretraining(
    key: str, tmp_path: Path, arc_folder: Path
) -> None:
    """Unless an option of the command line sets them."""
    typed = [*tiny(arc_folder, steps=1), "mode=pretrain", "pretrain=binary"]
    fault = f"training.{key}: has no effect in mode=pretrain; set pretrain.{key}"
    assert run_here(tmp_path, *typed, f"training.{key}=1").complaint == fault
    outcome = run_here(tmp_path, *typed, "experiment=puzzle_classification", f"pretrain.{key}=1")
    assert outcome.status == 0, outcome.err


# -- runs from an encoder ----------------------------------------------------------------


def test_the_encoder_of_a_checkpoint_can_be_frozen_in_another_run(
    play: Make, tmp_path: Path
) -> None:
    first = play(tmp_path)
    path = tmp_path / "checkpoints" / "mine_last.pth"
    again = play(tmp_path / "again", f"encoder.pretrained={path}", "encoder.freeze=true")
    assert equal(again["encoder_state_dict"], first["encoder_state_dict"])


def test_a_frozen_encoder_does_not_change_and_has_no_optimizer_state(
    source: Path, play: Make, tmp_path: Path
) -> None:
    """One parameter group in the order of the model; states of the trained parameters only."""
    start = [f"encoder.pretrained={source}", "training.learning_rate=1e-2", "model.dropout=0.3"]
    frozen = play(tmp_path, *start, "encoder.freeze=true")
    assert equal(frozen["encoder_state_dict"], torch.load(source)["encoder_state_dict"])
    model = load(tmp_path / "checkpoints" / "mine_last.pth").model
    encoder = {id(weight) for weight in model.encoder.parameters()}
    trained = {n for n, weight in enumerate(model.parameters()) if id(weight) not in encoder}
    assert set(frozen["optimizer_state_dict"]["state"]) == trained
    free = play(tmp_path / "free", *start)
    assert not equal(free["encoder_state_dict"], torch.load(source)["encoder_state_dict"])


def test_dropout_is_off_in_a_frozen_encoder(make_run: Make) -> None:
    run = make_run(*SELECTION, "encoder.freeze=true", "model.dropout=0.5")
    model, grids = run.model.train(), run.corpus.training.grids[torch.arange(8)]
    assert model.encoder(grids).equal(model.encoder(grids))
    assert any(module.training for module in model.receiver.modules())


def test_an_encoder_of_single_grids_is_refused_for_pairs(
    source: Path, train_small: Train, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="pairs is False in the file, True in this run"):
        train_small(tmp_path, f"encoder.pretrained={source}", "task=transformation")


def test_another_architecture_is_refused_with_both_values(
    source: Path, play: Make, tmp_path: Path
) -> None:
    there = load_encoder(source).config.model.latent_dim
    fault = f"latent_dim is {there} in the file, 48 in this run"
    with pytest.raises(CheckpointError, match=fault) as refused:
        play(tmp_path, f"encoder.pretrained={source}", "model.latent_dim=48")
    assert str(source) in str(refused.value)
    assert encoders(tmp_path) == []


@pytest.mark.parametrize(
    ("other", "warned"),
    [
        ("task=reconstruction", False),
        ("task=reconstruction data.augment=true", False),
        ("task=puzzle_classification", True),
        ("task=reconstruction data.split_seed=5", True),
    ],
)
def test_an_encoder_that_may_have_seen_held_out_data_is_logged(
    other: str,
    warned: bool,
    source: Path,
    train_small: Train,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    start = [f"encoder.pretrained={source}", "training.stop_at_step=1"]
    train_small(tmp_path, *other.split(), *start)
    assert ("may have seen the validation or test data" in caplog.text) == warned


def test_a_file_without_an_encoder_is_refused(play: Make, tmp_path: Path) -> None:
    path = tmp_path / "nothing.pth"
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=f"^{path}: "):
        play(tmp_path, f"encoder.pretrained={path}")
    assert encoders(tmp_path) == []


def test_a_pretraining_cannot_resume_or_finetune(source: Path, tmp_path: Path) -> None:
    for start in ("resume", "finetune"):
        outcome = run_here(tmp_path, f"{start}={source}")
        assert "pretrain.init_from" in outcome.complaint


def test_the_same_command_starts_a_run_from_an_encoder_and_continues_it(
    source: Path, tmp_path: Path, arc_folder: Path
) -> None:
    """An encoder's file of the same run name is not a checkpoint to resume."""
    shutil.copytree(source.parent, tmp_path / "checkpoints")
    (tmp_path / "checkpoints" / "pretraining_results.json").unlink()
    path = tmp_path / "checkpoints" / source.name
    same = [*SELECTION[:2], f"encoder.pretrained={path}", "resume=auto", "run_name=pretraining"]
    same.append("model.latent_dim=16")
    for length in ("training.stop_at_step=2", "training.stop_at_step=4"):
        outcome = run_here(tmp_path, *tiny(arc_folder), *same, length)
        assert outcome.status == 0, outcome.err
    content = torch.load(tmp_path / "checkpoints" / "pretraining_last.pth")
    assert content["config"]["mode"] == "train"
    assert content["step"] == 4
    origins = [origin.split()[0] for origin in content["started_from"]]
    assert origins == ["encoder.pretrained", "resume"]


def test_a_resumed_run_cannot_change_its_encoder(source: Path, play: Make, tmp_path: Path) -> None:
    play(tmp_path, "training.stop_at_step=2")
    path = tmp_path / "checkpoints" / "mine_last.pth"
    with pytest.raises(ValueError, match="use finetune"):
        play(tmp_path, f"encoder.pretrained={source}", resume=path)


def test_the_encoder_of_a_fine_tuned_run_is_that_of_its_file(
    source: Path, play: Make, tmp_path: Path
) -> None:
    first = play(tmp_path, f"encoder.pretrained={source}", "training.learning_rate=1e-2")
    path = tmp_path / "checkpoints" / "mine_last.pth"
    typed = ("training.stop_at_step=1", "training.learning_rate=1e-9", "device=cpu")
    config = placed(compose(*typed, base=path), tmp_path)
    tuned = train(config, finetune=path, output=tmp_path / "tuned")
    assert tuned.checkpoints.last is not None
    content = torch.load(tuned.checkpoints.last)
    assert close(content["encoder_state_dict"], first["encoder_state_dict"])
    assert content["config"]["encoder"]["pretrained"] is None


def test_pretrain_train_resume_and_finetune(tmp_path: Path, arc_folder: Path) -> None:
    """The steps of the guide in one folder."""
    encoder, last = file(tmp_path), tmp_path / "checkpoints" / "mine_last.pth"
    process = ["server.enabled=false", "device=cpu"]

    def command(*arguments: str) -> None:
        outcome = run_here(tmp_path, *arguments)
        assert outcome.status == 0, outcome.err

    command(*tiny(arc_folder), "mode=pretrain", "pretrain=binary")
    start = [f"encoder.pretrained={encoder}", "encoder.freeze=true", "training.stop_at_step=2"]
    command(*tiny(arc_folder), *SELECTION[:2], "run_name=mine", *start)
    command(f"resume={last}", *process, "training.max_steps=6")
    resumed = torch.load(last)
    tune = ["encoder.freeze=false", "run_name=tuned", "training.learning_rate=1e-3"]
    command(f"finetune={last}", *process, *tune)
    tuned = torch.load(last.with_name("tuned_last.pth"))
    pretrained = torch.load(encoder)["encoder_state_dict"]
    assert resumed["step"] == 6
    assert equal(resumed["encoder_state_dict"], pretrained)
    assert not equal(tuned["encoder_state_dict"], pretrained)
    origins = [origin.split()[:2] for origin in tuned["started_from"]]
    assert origins == [
        ["encoder.pretrained", encoder.name],
        ["resume", last.name],
        ["finetune", last.name],
    ]

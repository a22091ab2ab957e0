"""Pretraining through the command line, and what a game makes of its encoder."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import Outcome, run, run_here, tiny

import arc.runs.run
from arc.checkpointing import CheckpointError, load, load_encoder

GAME = ["task=selection", "task.num_distractors=3", "pretrain.num_distractors=3"]
FILES = {"binary": "binary", "selection": "selection", "puzzle_classification": "puzzle"}
State = dict[str, torch.Tensor]


def settings(kind: str) -> list[str]:
    distractors = ["pretrain.num_distractors=3"] if kind == "selection" else []
    return ["mode=pretrain", f"pretrain={kind}", *distractors]


def pretrain(folder: Path, corpus: Path, kind: str = "binary", *overrides: str) -> Outcome:
    outcome = run_here(folder, *tiny(corpus), *settings(kind), *overrides)
    assert outcome.status == 0, outcome.err
    return outcome


def play(folder: Path, corpus: Path, *overrides: str) -> dict[str, Any]:
    outcome = run_here(folder, *tiny(corpus), *GAME[:2], "run_name=game", *overrides)
    assert outcome.status == 0, outcome.err
    return torch.load(folder / "checkpoints" / "game_last.pth")


def file(folder: Path, kind: str = "binary") -> Path:
    return folder / "checkpoints" / f"pretrained_encoder_{FILES[kind]}.pth"


def encoders(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").glob("*.pth"))


def equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


@pytest.fixture(scope="module", params=FILES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(kind: str, arc_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a pretraining of each kind has left its files."""
    folder = tmp_path_factory.mktemp(kind)
    pretrain(folder, arc_folder, kind, "run_name=before")
    return folder


@pytest.fixture(scope="module")
def source(arc_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder's file."""
    folder = tmp_path_factory.mktemp("source")
    pretrain(folder, arc_folder)
    return file(folder)


def test_the_encoder_and_the_results_are_all_that_is_left(folder: Path, kind: str) -> None:
    left = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert left == ["before_results.json", file(folder, kind).name]


def test_the_file_says_what_it_is(folder: Path, kind: str) -> None:
    content = torch.load(file(folder, kind))
    assert content["pretrain_task_type"] == kind
    assert content["config"]["mode"] == "pretrain"
    assert content["encoder_architecture"]["hidden_dim"] == content["config"]["model"]["hidden_dim"]
    assert content["epoch"] >= 1
    assert 0 <= content["val_acc"] <= 100
    assert "model_state_dict" not in content


def test_the_file_alone_rebuilds_the_encoder(folder: Path, kind: str) -> None:
    loaded = load_encoder(file(folder, kind))
    assert equal(loaded.encoder.state_dict(), torch.load(file(folder, kind))["encoder_state_dict"])
    assert not loaded.encoder.training
    assert loaded.config.pretrain.name == kind


def test_the_results_stand_beside_their_baselines(folder: Path, kind: str) -> None:
    results = json.loads((folder / "checkpoints" / "before_results.json").read_text())
    for of in ("test", "validation"):
        assert all(figure["baselines"] for figure in results[of].values())


def test_the_game_begins_with_the_encoder(folder: Path, kind: str, arc_folder: Path) -> None:
    path = file(folder, kind)
    begun = play(folder, arc_folder, f"encoder.pretrained={path}", "training.learning_rate=1e-9")
    wanted = torch.load(path)["encoder_state_dict"]
    got = begun["encoder_state_dict"]
    assert all(torch.allclose(got[name], wanted[name], atol=1e-6) for name in wanted)
    assert begun["started_from"] == [
        f"encoder.pretrained {path.name} step {torch.load(path)['step']}"
    ]
    for left in (folder / "checkpoints").glob("game_*"):
        left.unlink()


def test_a_game_s_own_file_lends_its_encoder_too(tmp_path: Path, arc_folder: Path) -> None:
    played = play(tmp_path, arc_folder)
    again = play(
        tmp_path / "again",
        arc_folder,
        f"encoder.pretrained={tmp_path}/checkpoints/game_last.pth",
        "encoder.freeze=true",
    )
    assert equal(again["encoder_state_dict"], played["encoder_state_dict"])


def test_a_frozen_encoder_stays_bit_for_bit(source: Path, tmp_path: Path, arc_folder: Path) -> None:
    rates = ["training.learning_rate=1e-2", "model.dropout=0.3"]
    frozen = play(
        tmp_path, arc_folder, f"encoder.pretrained={source}", "encoder.freeze=true", *rates
    )
    assert equal(frozen["encoder_state_dict"], torch.load(source)["encoder_state_dict"])
    free = play(tmp_path / "free", arc_folder, f"encoder.pretrained={source}", *rates)
    assert not equal(free["encoder_state_dict"], torch.load(source)["encoder_state_dict"])


def test_the_optimizer_keeps_nothing_of_a_frozen_encoder(
    source: Path, tmp_path: Path, arc_folder: Path
) -> None:
    """One group in the model's order, as the guide has it; a state for what is trained only."""
    content = play(tmp_path, arc_folder, f"encoder.pretrained={source}", "encoder.freeze=true")
    model = load(tmp_path / "checkpoints" / "game_last.pth").model
    encoder = {id(weight) for weight in model.encoder.parameters()}
    trained = {n for n, weight in enumerate(model.parameters()) if id(weight) not in encoder}
    assert set(content["optimizer_state_dict"]["state"]) == trained


def test_dropout_is_off_in_a_frozen_encoder(make_run: Any) -> None:
    model = make_run(*GAME, "encoder.freeze=true", "model.dropout=0.5").model.train()
    grids = make_run(*GAME).corpus.training.grids[torch.arange(8)]
    assert model.encoder(grids).equal(model.encoder(grids))
    assert any(module.training for module in model.receiver.modules())


def refused(folder: Path, corpus: Path, *overrides: str) -> str:
    """Return the last line that a game says which does not begin."""
    outcome = run_here(folder, *tiny(corpus), *GAME, *overrides)
    assert outcome.status == 1, outcome.err
    assert encoders(folder) == []
    return outcome.err.splitlines()[-1]


def test_another_architecture_is_refused_naming_both_sides(
    source: Path, tmp_path: Path, arc_folder: Path
) -> None:
    there = load_encoder(source).config.model.latent_dim
    said = refused(tmp_path, arc_folder, f"encoder.pretrained={source}", "model.latent_dim=48")
    assert f"latent_dim is {there} there, 48 here" in said
    assert str(source) in said


@pytest.mark.parametrize(
    ("other", "warned"),
    [
        ("task=reconstruction", False),
        ("task=reconstruction data.augment=true", False),
        ("task=puzzle_classification", True),
        ("task=reconstruction data.split_seed=5", True),
    ],
)
def test_an_encoder_that_may_have_seen_what_is_held_out_is_said(
    other: str, warned: bool, source: Path, tmp_path: Path, arc_folder: Path
) -> None:
    outcome = run_here(tmp_path, *tiny(arc_folder), *other.split(), f"encoder.pretrained={source}")
    assert outcome.status == 0, outcome.err
    assert ("may have seen what is held out" in outcome.err) == warned


def test_a_file_that_holds_no_encoder_is_refused(tmp_path: Path, arc_folder: Path) -> None:
    path = tmp_path / "nothing.pth"
    path.write_bytes(b"nothing")
    assert f"error: {path}: " in refused(tmp_path, arc_folder, f"encoder.pretrained={path}")


def test_an_encoder_alone_is_no_model(source: Path) -> None:
    with pytest.raises(CheckpointError, match="encoder alone"):
        load(source)


def test_pretraining_goes_on_from_an_earlier_encoder(
    source: Path, tmp_path: Path, arc_folder: Path
) -> None:
    rate = "pretrain.learning_rate=1e-9"
    pretrain(tmp_path, arc_folder, "selection", f"pretrain.init_from={source}", rate)
    content = torch.load(file(tmp_path, "selection"))
    wanted = torch.load(source)["encoder_state_dict"]
    got = content["encoder_state_dict"]
    assert all(torch.allclose(got[name], wanted[name], atol=1e-6) for name in wanted)
    assert content["started_from"][0].startswith(f"pretrain.init_from {source.name}")


def test_an_earlier_encoder_is_kept_under_its_date(tmp_path: Path, arc_folder: Path) -> None:
    for seed in (0, 1, 2):
        pretrain(tmp_path, arc_folder, "binary", f"seed={seed}")
    assert len(encoders(tmp_path)) == 3
    seeds = {torch.load(path)["config"]["seed"] for path in file(tmp_path).parent.glob("*.pth")}
    assert seeds == {0, 1, 2}
    assert torch.load(file(tmp_path))["config"]["seed"] == 2


def test_an_earlier_encoder_that_cannot_be_kept_is_not_written_over(
    source: Path, tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file(tmp_path).parent.mkdir()
    shutil.copy(source, file(tmp_path))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "hardlink_to", full)
    monkeypatch.setattr(shutil, "copy2", full)
    outcome = run_here(tmp_path, *tiny(arc_folder), *settings("binary"), "seed=1")
    assert outcome.status == 1
    assert "No space left" in outcome.err
    assert file(tmp_path).read_bytes() == source.read_bytes()
    assert encoders(tmp_path) == [file(tmp_path).name]


def test_a_pretraining_whose_encoder_is_not_on_the_disk_has_failed(
    tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, content: Any) -> None:
        raise CheckpointError(f"{path}: cannot be written: no space left")

    monkeypatch.setattr("arc.checkpointing.writer.write_checkpoint", broken)
    outcome = run_here(tmp_path, *tiny(arc_folder), *settings("binary"))
    assert outcome.status == 1
    assert "no space left" in outcome.err.splitlines()[-1]


def test_without_anything_held_out_the_last_encoder_is_kept(
    tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[State] = []
    finish = arc.runs.run.EncoderCheckpointPolicy.finish

    def noted(saving: arc.runs.run.EncoderCheckpointPolicy) -> Any:
        state = saving.trainer.model.encoder.state_dict()
        ended.append({name: weight.clone() for name, weight in state.items()})
        return finish(saving)

    monkeypatch.setattr(arc.runs.run.EncoderCheckpointPolicy, "finish", noted)
    pretrain(tmp_path, arc_folder, "binary", "data.validation_fraction=0")
    assert equal(torch.load(file(tmp_path))["encoder_state_dict"], ended[0])


def test_nothing_resumes_or_fine_tunes_as_a_pretraining(source: Path, tmp_path: Path) -> None:
    for way in ("resume", "finetune"):
        outcome = run_here(tmp_path, f"{way}={source}")
        assert "pretrain.init_from" in outcome.complaint


def test_resume_auto_passes_over_an_encoder_of_that_name(tmp_path: Path, arc_folder: Path) -> None:
    pretrain(tmp_path, arc_folder, "binary", "run_name=game")
    content = play(tmp_path, arc_folder, "resume=auto")
    assert content["config"]["mode"] == "train"


def test_the_same_command_starts_a_run_from_an_encoder_and_continues_it(
    source: Path, tmp_path: Path, arc_folder: Path
) -> None:
    same = [f"encoder.pretrained={source}", "resume=auto"]
    play(tmp_path, arc_folder, *same, "training.stop_at_step=2")
    content = play(tmp_path, arc_folder, *same)
    assert content["step"] == 4
    assert [origin.split()[0] for origin in content["started_from"]] == [
        "encoder.pretrained",
        "resume",
    ]


def test_a_resumed_run_takes_no_other_encoder(
    source: Path, tmp_path: Path, arc_folder: Path
) -> None:
    play(tmp_path, arc_folder, "training.stop_at_step=2")
    path = tmp_path / "checkpoints" / "game_last.pth"
    outcome = run_here(tmp_path, f"resume={path}", f"encoder.pretrained={source}")
    assert "use finetune" in outcome.complaint


def test_pretrain_play_resume_and_fine_tune(tmp_path: Path, arc_folder: Path) -> None:
    """The guide's whole way, each step in a process of its own, in one folder."""
    small = [each for each in tiny(arc_folder) if not each.startswith("training.max_steps")]
    where, short = [*small, "training.max_steps=4"], f"hydra.run.dir={tmp_path}/out"
    encoder, last = file(tmp_path), tmp_path / "checkpoints" / "game_last.pth"

    def command(*arguments: str) -> None:
        outcome = run(tmp_path, short, *arguments)
        assert outcome.status == 0, outcome.err

    command(*where, *settings("binary"))
    command(
        *where,
        *GAME[:2],
        "run_name=game",
        f"encoder.pretrained={encoder}",
        "encoder.freeze=true",
        "training.stop_at_step=2",
    )
    command(f"resume={last}", "server.enabled=false", "device=cpu", "training.max_steps=6")
    resumed = torch.load(last)
    command(
        f"finetune={last}",
        "server.enabled=false",
        "device=cpu",
        "encoder.freeze=false",
        "run_name=tuned",
        "training.learning_rate=1e-3",
    )
    tuned = torch.load(last.with_name("tuned_last.pth"))
    pretrained = torch.load(encoder)["encoder_state_dict"]
    assert resumed["step"] == 6
    assert equal(resumed["encoder_state_dict"], pretrained)
    assert not equal(tuned["encoder_state_dict"], pretrained)
    ways = [origin.split()[:2] for origin in tuned["started_from"]]
    assert ways == [
        ["encoder.pretrained", encoder.name],
        ["resume", last.name],
        ["finetune", last.name],
    ]

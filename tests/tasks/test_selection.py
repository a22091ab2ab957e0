"""The referential game: exact figures, what stands beside them, and what is refused."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers_data import MakeRun, Run, SavePuzzles, evaluate, grid
from pydantic import TypeAdapter, ValidationError

from arc.data import DataError
from arc.data.distractors import DISTRACTORS, DistractorKind, sample_candidates
from arc.metrics import random_code_accuracy


@pytest.fixture
def play(make_run: MakeRun) -> MakeRun:
    def start(*overrides: str) -> Run:
        run = make_run("task=selection", *overrides)
        run.model.eval()
        return run

    return start


@pytest.fixture
def two_colored(save_puzzles: SavePuzzles) -> Path:
    """Small grids of two colours: some stand twice, and every kind has enough of its own."""
    rng = np.random.default_rng(0)
    shapes = [(1, 3), (2, 2)]
    grids = [rng.integers(1, 3, shapes[n % 2]) for n in range(48)]
    pairs = list(zip(grids[::2], grids[1::2], strict=True))
    return save_puzzles({f"p{n}": (pairs[6 * n : 6 * n + 6], []) for n in range(4)})


def test_distractor_kinds_are_the_registered_ones() -> None:
    kind = TypeAdapter(DistractorKind)
    assert kind.json_schema()["enum"] == list(DISTRACTORS)  # what GET /task_schema lists
    assert [kind.validate_python(name) for name in DISTRACTORS] == list(DISTRACTORS)
    with pytest.raises(ValidationError, match=r"one of: random, .*Did you mean 'same_size'\?"):
        kind.validate_python("same_sise")


@pytest.mark.parametrize("kind", list(DISTRACTORS))
@pytest.mark.parametrize("pairs", ["true", "false"])
@torch.no_grad()
def test_the_exact_figure_is_what_many_draws_come_to(
    play: MakeRun, two_colored: Path, kind: str, pairs: str
) -> None:
    count = 2
    run = play(
        f"data.path={two_colored}",
        f"task.distractors={kind}",
        f"task.num_distractors={count}",
        f"task.use_input_output_pairs={pairs}",
    )
    split, groups = run.corpus.training, run.task.groups(kind, run.corpus.training)
    signal = run.task.send_all(run.model, split)[1]
    task_metrics = run.task.evaluate(run.model, split, signal)
    covered = (groups.available >= count).nonzero()[:, 0]
    scores, generator = run.model.receiver(signal, split.grids), torch.Generator().manual_seed(1)
    won, losses = [], []
    for _ in range(300):
        candidate_set = sample_candidates(split, groups, covered, count, generator)
        logits = scores[covered].gather(1, candidate_set.pool[candidate_set.choices])
        won.append((logits.argmax(1) == candidate_set.answer).double().mean())
        losses.append(F.cross_entropy(logits, candidate_set.answer))
    assert list(task_metrics.metrics) == [f"{kind}_{count}"]
    assert task_metrics.headline.targets == len(covered) >= 4
    assert task_metrics.accuracy == pytest.approx(100 * float(torch.stack(won).mean()), abs=1.5)
    assert task_metrics.loss == pytest.approx(float(torch.stack(losses).mean()), rel=0.25)


@torch.no_grad()
def test_a_receiver_that_knows_nothing_wins_by_lot(play: MakeRun, two_colored: Path) -> None:
    run = play(f"data.path={two_colored}", "task.num_distractors=2")
    for parameter in run.model.receiver.get_submodule("message").parameters():
        parameter.zero_()
    task_metrics = evaluate(run, run.corpus.training, full=True)
    given = {name: figure for name, figure in task_metrics.metrics.items() if figure.targets > 0}
    assert len(given) > 1
    for name, figure in given.items():
        count = int(name.rsplit("_", 1)[1])
        assert figure.values["accuracy"] == pytest.approx(100 / (count + 1))
        assert figure.baselines["chance"] == pytest.approx(100 / (count + 1))
    assert task_metrics.loss == pytest.approx(math.log(3), rel=1e-4)


def test_scores_that_are_no_numbers_never_win(play: MakeRun, two_colored: Path) -> None:
    run = play(f"data.path={two_colored}", "task.num_distractors=2")
    split = run.corpus.training
    signal = torch.full((len(split), run.model.bottleneck.signal_width), math.nan)
    with torch.no_grad():
        accuracy = run.task.evaluate(run.model, split, signal).accuracy
    assert not accuracy > 0


def test_the_final_report_covers_every_kind_and_number(play: MakeRun) -> None:
    run = play("task.num_distractors=3")
    task_metrics = evaluate(run, run.corpus.training, full=True)
    reported = [f"{kind}_{count}" for kind in DISTRACTORS for count in (9, 49, 99, 999)]
    assert list(task_metrics.metrics) == ["random_3", *reported]
    for name, figure in task_metrics.metrics.items():
        kind, count = name.rsplit("_", 1)
        available = run.task.groups(kind, run.corpus.training).available
        assert figure.targets == int((available >= int(count)).sum())
        assert math.isnan(figure.values["accuracy"]) == (figure.targets == 0)


def test_baselines_of_a_corpus_made_by_hand(play: MakeRun, save_puzzles: SavePuzzles) -> None:
    pairs = [(grid(1), grid(2)), (np.array([[1, 2]]), np.array([[2, 1]]))]
    path = save_puzzles({"p": (pairs, [])})
    run = play(f"data.path={path}", "data.validation_fraction=0", "task.num_distractors=1")
    baselines = evaluate(run, run.corpus.training).headline.baselines
    one_twin_of_three = 100 * (2 / 3 + 1 / 3 / 2)
    assert baselines == pytest.approx(
        {
            "chance": 50.0,
            "size": one_twin_of_three,
            "colors": (100 + one_twin_of_three) / 2,
            "histogram": (100 + one_twin_of_three) / 2,
            "random_codes": 100 * random_code_accuracy(25**5, 1),
        }
    )


def test_in_pair_mode_baselines_look_for_the_inputs_features(
    play: MakeRun, save_puzzles: SavePuzzles
) -> None:
    pairs = [(grid(1), grid(2)), (grid(1, 1, 3), grid(2, 1, 2)), (grid(1, 5, 5), grid(2, 1, 3))]
    run = play(
        f"data.path={save_puzzles({'p': (pairs, [])})}",
        "data.validation_fraction=0",
        "task.num_distractors=1",
        "task.use_input_output_pairs=true",
    )
    # right; misled by the third output, else a tie; a tie
    expected = 100 * (1 + (0 + 1 / 2) / 2 + 1 / 2) / 3
    assert evaluate(run, run.corpus.training).headline.baselines["size"] == pytest.approx(expected)


def test_a_vector_has_no_random_code_reference(play: MakeRun) -> None:
    run = play("task.num_distractors=3", "bottleneck=autoencoder")
    baselines = evaluate(run, run.corpus.validation).headline.baselines
    assert set(baselines) == {"chance", "size", "colors", "histogram"}


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["task.num_distractors=999"], "training set has at most"),
        (["task.num_distractors=8", "task.distractors=same_puzzle"], "7 same_puzzle distractors"),
        (["task.num_distractors=30", "data.validation_fraction=0.25"], "validation set"),
    ],
)
def test_more_distractors_than_there_are_is_an_error_before_training(
    play: MakeRun, overrides: list[str], named: str
) -> None:
    with pytest.raises(DataError, match=rf"task\.num_distractors=\d+: .*{named}"):
        play(*overrides)


def test_targets_with_too_few_of_their_kind_are_left_out_and_counted(
    play: MakeRun, save_puzzles: SavePuzzles
) -> None:
    few, many = [(grid(1), grid(2))], [(grid(n, 2), grid(n, 3)) for n in range(4)]
    run = play(
        f"data.path={save_puzzles({'few': (few, []), 'many': (many, [])})}",
        "data.validation_fraction=0",
        "task.distractors=same_puzzle",
        "task.num_distractors=5",
    )
    assert [note for note in run.task.notes if note.startswith("training: 2 of 10 targets")]
    examples, groups, together = run.task.training_order()
    assert {run.corpus.training.example_ids[index].split()[0] for index in examples} == {"many"}
    assert groups.unique().numel() == 1
    assert together == 6
    figure = evaluate(run, run.corpus.training).headline
    assert figure.targets == 8
    for events in run.trainer().sampler.next().split(2):
        assert {run.corpus.training.example_ids[index].split()[0] for index in events} == {"many"}


def test_a_set_that_can_give_no_line_up_has_no_figure(
    play: MakeRun, save_puzzles: SavePuzzles
) -> None:
    learning: dict[str, Any] = {
        f"p{n}": ([(grid(n, 2, m), grid(n, 3, m)) for m in (1, 2)], []) for n in range(4)
    }
    test: dict[str, Any] = {"x": ([(grid(8), grid(9))], [])}
    run = play(
        f"data.path={save_puzzles(learning)}",
        f"data.test={save_puzzles(test, 'test')}",
        "task.distractors=same_puzzle",
        "task.num_distractors=3",
    )
    task_metrics = evaluate(run, run.corpus.test, full=True)
    assert task_metrics.headline.targets == 0
    assert math.isnan(task_metrics.accuracy)
    assert math.isnan(task_metrics.loss)

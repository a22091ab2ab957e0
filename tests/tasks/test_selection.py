"""The referential game: exact metrics, their baselines, and settings that are refused."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers_data import MakeRun, evaluate, grid
from pydantic import TypeAdapter, ValidationError

from arc.config.files import ConfigError
from arc.data import DataError
from arc.data.distractors import DISTRACTORS, DistractorKind, sample_candidates
from arc.metrics import random_code_accuracy

TASK, PAIRS = "task=selection", "task.use_input_output_pairs=true"
GAME = ["task.negatives=game", "task.near_copies=false"]


def two_colored() -> dict[str, Any]:
    """Small grids of two colours: some are duplicates, and every kind has distractors."""
    rng = np.random.default_rng(0)
    shapes = [(1, 3), (2, 2)]
    grids = [rng.integers(1, 3, shapes[n % 2]) for n in range(48)]
    pairs = list(zip(grids[::2], grids[1::2], strict=True))
    return {f"p{n}": (pairs[6 * n : 6 * n + 6], []) for n in range(4)}


def test_distractor_kinds_are_the_registered_ones() -> None:
    kind = TypeAdapter(DistractorKind)
    assert kind.json_schema()["enum"] == list(DISTRACTORS)  # what GET /task_schema lists
    assert [kind.validate_python(name) for name in DISTRACTORS] == list(DISTRACTORS)
    with pytest.raises(ValidationError, match=r"one of: random, .*Did you mean 'same_size'\?"):
        kind.validate_python("same_sise")


@pytest.mark.parametrize(
    ("kind", "pairs"),
    [
        *((kind, []) for kind in DISTRACTORS),
        ("same_puzzle", [PAIRS]),
        *(
            pytest.param(kind, [PAIRS], marks=pytest.mark.slow)
            for kind in DISTRACTORS
            if kind != "same_puzzle"
        ),
    ],
)
@torch.no_grad()
def test_metrics_agree_with_many_draws(build: MakeRun, kind: str, pairs: list[str]) -> None:
    count = 2
    settings = (f"task.distractors={kind}", f"task.num_distractors={count}", *pairs)
    run = build(TASK, *settings, puzzles=two_colored())
    split, groups = run.corpus.training, run.task.groups(kind, run.corpus.training)
    signal = run.task.send_all(run.model, split)[1]
    measured = run.task.evaluate(run.model, split, signal)
    covered = (groups.available >= count).nonzero()[:, 0]
    scores, generator = run.model.receiver(signal, split.grids), torch.Generator().manual_seed(1)
    won, losses = [], []
    for _ in range(300):
        candidate_set = sample_candidates(split, groups, covered, count, generator)
        logits = scores[covered].gather(1, candidate_set.pool[candidate_set.choices])
        won.append((logits.argmax(1) == candidate_set.answer).double().mean())
        losses.append(F.cross_entropy(logits, candidate_set.answer))
    assert list(measured.metrics) == [f"{kind}_{count}"]
    assert measured.headline.targets == len(covered) >= 4
    assert measured.accuracy == pytest.approx(100 * float(torch.stack(won).mean()), abs=1.5)
    assert measured.loss == pytest.approx(float(torch.stack(losses).mean()), rel=0.25)


@pytest.mark.parametrize("score", ["distance", "cosine"])
@torch.no_grad()
def test_an_uninformed_receiver_is_at_chance(build: MakeRun, score: str) -> None:
    settings = ("task.num_distractors=2", f"task.score={score}")
    run = build(TASK, *settings, puzzles=two_colored())
    blind = {"distance": "signal", "cosine": "message"}[score]
    for parameter in run.model.receiver.get_submodule(blind).parameters():
        parameter.zero_()
    measured = evaluate(run, run.corpus.training, full=True)
    covered = {name: metric for name, metric in measured.metrics.items() if metric.targets > 0}
    assert len(covered) > 1
    for name, metric in covered.items():
        count = int(name.rsplit("_", 1)[1])
        assert metric.values["accuracy"] == pytest.approx(100 / (count + 1))
        assert metric.baselines["chance"] == pytest.approx(100 / (count + 1))
    assert measured.loss == pytest.approx(math.log(3), rel=1e-4)


@torch.no_grad()
def test_scores_that_are_nan_never_win(build: MakeRun) -> None:
    run = build(TASK, "task.num_distractors=2", puzzles=two_colored())
    split = run.corpus.training
    signal = torch.full((len(split), run.model.bottleneck.signal_width), math.nan)
    assert not run.task.evaluate(run.model, split, signal).accuracy > 0


def test_the_final_report_covers_every_kind_and_number(build: MakeRun) -> None:
    run = build(TASK, "task.num_distractors=3")
    measured = evaluate(run, run.corpus.training, full=True)
    reported = [f"{kind}_{count}" for kind in DISTRACTORS for count in (9, 49, 99, 999)]
    assert list(measured.metrics) == ["random_3", *reported]
    for name, metric in measured.metrics.items():
        kind, count = name.rsplit("_", 1)
        available = run.task.groups(kind, run.corpus.training).available
        assert metric.targets == int((available >= int(count)).sum())
        assert math.isnan(metric.values["accuracy"]) == (metric.targets == 0)


def test_baselines_of_two_pairs(build: MakeRun) -> None:
    pairs = [(grid(1), grid(2)), (np.array([[1, 2]]), np.array([[2, 1]]))]
    run = build(TASK, "task.num_distractors=1", puzzles={"p": (pairs, [])})
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


def test_the_longest_messages_have_a_baseline(build: MakeRun) -> None:
    longest = "bottleneck.max_message_length=1000"
    run = build(TASK, "task.num_distractors=1", longest, puzzles=two_colored())
    assert evaluate(run, run.corpus.training).headline.baselines["random_codes"] == pytest.approx(
        100
    )


def test_in_pair_mode_baselines_compare_with_the_input(build: MakeRun) -> None:
    pairs = [(grid(1), grid(2)), (grid(1, 1, 3), grid(2, 1, 2)), (grid(1, 5, 5), grid(2, 1, 3))]
    run = build(TASK, "task.num_distractors=1", PAIRS, puzzles={"p": (pairs, [])})
    # right; misled by the third output, else a tie; a tie
    expected = 100 * (1 + (0 + 1 / 2) / 2 + 1 / 2) / 3
    assert evaluate(run, run.corpus.training).headline.baselines["size"] == pytest.approx(expected)


def test_in_pair_mode_candidates_are_compared_with_the_input(build: MakeRun) -> None:
    """The second output resembles its input most; the third output resembles the first input."""
    pairs = [
        (np.array([[1, 1, 2]]), np.array([[1, 1, 1]])),
        (np.array([[3, 4, 4]]), np.array([[3, 4, 4, 4]])),
        (np.array([[5, 5, 6]]), np.array([[1, 2, 2]])),
    ]
    run = build(TASK, "task.num_distractors=2", PAIRS, puzzles={"p": (pairs, [])})
    baselines = evaluate(run, run.corpus.training).headline.baselines
    # equal cells: the first input has 2/3 with both outputs, and one colour less than its own
    assert baselines["similarity_to_input"] == pytest.approx(100 / 3)


def test_a_vector_has_no_random_code_baseline(build: MakeRun) -> None:
    run = build(TASK, "task.num_distractors=3", "bottleneck=autoencoder")
    baselines = evaluate(run, run.corpus.validation).headline.baselines
    assert set(baselines) == {"chance", "size", "colors", "histogram"}


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ([*GAME, "task.num_distractors=999"], "training set has at most"),
        (["task.num_distractors=8", "task.distractors=same_puzzle"], "7 same_puzzle distractors"),
        (["task.num_distractors=30", "data.validation_fraction=0.25"], "validation set"),
    ],
)
def test_too_many_distractors_are_an_error(
    build: MakeRun, overrides: list[str], named: str
) -> None:
    with pytest.raises(DataError, match=rf"task\.num_distractors=\d+: .*{named}"):
        build(TASK, *overrides)


def test_a_single_target_is_an_error(build: MakeRun) -> None:
    with pytest.raises(DataError, match="the training set has only one target"):
        build(TASK, "task.num_distractors=1", puzzles={"p": ([(grid(1), grid(1))], [])})


def test_targets_with_too_few_distractors_are_left_out(build: MakeRun) -> None:
    few, many = [(grid(1), grid(2))], [(grid(n, 2), grid(n, 3)) for n in range(4)]
    settings = (TASK, "task.distractors=same_puzzle", "task.num_distractors=5")
    puzzles: dict[str, Any] = {"few": (few, []), "many": (many, [])}
    in_batch = build(*settings, puzzles=puzzles)
    assert len(in_batch.task.training_order()[0]) == 10  # of any kind
    run = build(*settings, *GAME, puzzles=puzzles)
    assert [note for note in run.task.notes if note.startswith("training: 2 of 10 targets")]
    examples, groups, together = run.task.training_order()
    assert {run.corpus.training.example_ids[index].split()[0] for index in examples} == {"many"}
    assert groups.unique().numel() == 1
    assert together == 6
    assert evaluate(run, run.corpus.training).headline.targets == 8
    for events in run.trainer().sampler.next().split(2):
        assert {run.corpus.training.example_ids[index].split()[0] for index in events} == {"many"}


@pytest.mark.parametrize("pairs", [[], [PAIRS]])
@pytest.mark.parametrize("copies", ["true", "false"])
def test_equal_targets_of_a_batch_are_no_distractors(
    build: MakeRun, pairs: list[str], copies: str
) -> None:
    """A repeated example has the loss of the example alone."""
    run = build(TASK, "task.num_distractors=2", f"task.near_copies={copies}", *pairs)
    once, twice = (
        run.task.step(run.model, torch.tensor(examples), torch.Generator())
        for examples in ([5], [5, 5])
    )
    if copies == "false":  # nothing else to choose
        assert float(once.loss.detach()) == float(twice.loss.detach()) == 0
    assert twice.loss.isfinite()
    assert (copies == "true") or float(twice.accuracy) == 100
    twice.loss.backward()
    assert all(
        each.grad.isfinite().all() for each in run.model.parameters() if each.grad is not None
    )


@torch.no_grad()
def test_negatives_are_the_batch_in_both_directions(build: MakeRun) -> None:
    smoothing = 0.2
    options = ["task.near_copies=false", PAIRS, f"task.label_smoothing={smoothing}"]
    run = build(TASK, "task.num_distractors=2", *options)
    split, examples = run.corpus.training, torch.arange(5)
    targets = split.grids[split.target[examples]]
    scores = run.model.receiver(run.model(split.grids[split.sender[examples]]).signal, targets)
    assert len({array.tobytes() for array in targets.arrays()}) == 5
    rows, columns = (
        (1 - smoothing) * each.log_softmax(1).diagonal() + smoothing * each.log_softmax(1).mean(1)
        for each in (scores, scores.t())
    )
    loss = run.task.step(run.model, examples, torch.Generator()).loss
    torch.testing.assert_close(loss, -(rows.mean() + columns.mean()) / 2)


def test_near_copies_need_the_batch(build: MakeRun) -> None:
    with pytest.raises(
        ConfigError, match=r"^task: near_copies=true requires negatives=batch; .*$"
    ) as refused:
        build(TASK, "task.negatives=game", "task.near_copies=true")
    assert "\n" not in str(refused.value)


@torch.no_grad()
def test_messages_matched_exactly_agree_with_many_draws(build: MakeRun) -> None:
    """A receiver that knows the code chooses among the candidates with the same message."""
    settings = ("task.num_distractors=3", "bottleneck.max_message_length=1")
    run = build(TASK, *settings, "bottleneck.vocab_size=3", puzzles=two_colored())
    split, groups = run.corpus.training, run.task.groups("random", run.corpus.training)
    content = run.task.send_all(run.model, split)[0]
    matched = run.task.match_messages(run.model, split, content)
    sent = {grid: content[row].tolist() for row, grid in enumerate(split.target.tolist())}
    generator, every = torch.Generator().manual_seed(1), torch.arange(len(split))
    won = []
    for _ in range(200):
        drawn = sample_candidates(split, groups, every, 3, generator)
        for row, choices in enumerate(drawn.pool[drawn.choices].tolist()):
            same = [sent[choice] == content[row].tolist() for choice in choices]
            won.append(1 / sum(same))
    assert list(matched.metrics) == ["random_3"]
    assert 30 < matched.accuracy < 100
    assert matched.accuracy == pytest.approx(100 * float(np.mean(won)), abs=1.5)
    paired = build(TASK, *settings, PAIRS, puzzles=two_colored())
    assert paired.task.match_messages(paired.model, paired.corpus.training, content) is None


def test_a_split_without_enough_distractors_has_no_metrics(build: MakeRun) -> None:
    learned: Any = {
        f"p{n}": ([(grid(n, 2, m), grid(n, 3, m)) for m in (1, 2)], []) for n in range(4)
    }
    settings = (TASK, "task.distractors=same_puzzle", "task.num_distractors=3")
    run = build(*settings, puzzles=learned, test={"x": ([(grid(8), grid(9))], [])})
    measured = evaluate(run, run.corpus.test, full=True)
    assert measured.headline.targets == 0
    assert math.isnan(measured.accuracy)
    assert math.isnan(measured.loss)

"""Validation examples and statistics of the language."""

import json

import pytest
import torch
from helpers_data import MakeCorpus, MakeRun, SavePuzzles

from arc.metrics.concepts import split_concepts
from arc.metrics.language import Language, measure_language, random_codes, shuffled
from arc.metrics.language.dictionary import best_match
from arc.metrics.language.information import position_concepts
from arc.server.samples import SAMPLES, SampleViewer, language_table

KEYS = {"example", "puzzle", "grid", "target", "message", "sent", "vector", "length", "edited"}


@pytest.fixture
def viewer(make_run: MakeRun, task_and_bottleneck: list[str]) -> SampleViewer:
    """A viewer of each task with each bottleneck."""
    run = make_run(*task_and_bottleneck)
    return SampleViewer(run.model, run.task)


@pytest.fixture(scope="module")
def discrete_viewer(make_run: MakeRun) -> SampleViewer:
    run = make_run("task=selection", "task.num_distractors=3", "bottleneck.vocab_size=8")
    return SampleViewer(run.model, run.task)


def test_samples_are_held_out_and_json_and_change_nothing(viewer: SampleViewer) -> None:
    weights = {name: value.clone() for name, value in viewer.model.state_dict().items()}
    held_out = viewer.task.corpus.validation.example_ids
    drawn = torch.get_rng_state()
    samples = viewer.samples()["samples"]
    assert torch.equal(torch.get_rng_state(), drawn)
    for name, value in viewer.model.state_dict().items():
        assert torch.equal(value, weights[name])
    assert 1 <= len(samples) <= SAMPLES
    assert json.loads(json.dumps(samples)) == samples
    for sample in samples:
        assert set(sample) > KEYS
        assert isinstance(sample["correct"], bool)
        assert (sample["message"] is None) != (sample["vector"] is None)
        assert sample["example"] in held_out
    again = viewer.samples()["samples"]
    assert [sample["example"] for sample in again] == [sample["example"] for sample in samples]


def test_an_edited_message_changes_the_output(discrete_viewer: SampleViewer) -> None:
    (name, *_) = discrete_viewer.examples()
    own = discrete_viewer.sample(name)
    again = discrete_viewer.sample(name, own["message"])
    assert (own["edited"], again["edited"]) == (False, True)
    assert [each["probability"] for each in again["candidates"]] == pytest.approx(
        [each["probability"] for each in own["candidates"]]
    )
    other = [(symbol + 1) % 8 for symbol in own["message"]]
    edited = discrete_viewer.sample(name, other)
    assert (edited["message"], edited["sent"]) == (other, own["message"])
    assert edited["candidates"] != own["candidates"]


@pytest.mark.parametrize("message", [[], [0], [0] * 50, [8, 0, 0, 0, 0], [-1, 0, 0, 0, 0]])
def test_an_invalid_message_is_refused(discrete_viewer: SampleViewer, message: list[int]) -> None:
    with pytest.raises(ValueError, match=r"message|symbol"):
        discrete_viewer.sample(discrete_viewer.examples()[0], message)


def test_an_example_that_is_not_held_out_is_refused(discrete_viewer: SampleViewer) -> None:
    with pytest.raises(ValueError, match="example=nothing"):
        discrete_viewer.sample("nothing")


def test_a_vector_cannot_be_edited(make_run: MakeRun) -> None:
    run = make_run("task=reconstruction", "bottleneck=autoencoder")
    viewer = SampleViewer(run.model, run.task)
    with pytest.raises(ValueError, match="symbol by symbol"):
        viewer.sample(viewer.examples()[0], [1, 2])


def test_the_training_set_is_shown_without_a_validation_set(make_run: MakeRun) -> None:
    run = make_run("task=reconstruction", "data.validation_fraction=0.0")
    assert len(run.corpus.validation) == 0
    viewer = SampleViewer(run.model, run.task)
    assert viewer.examples() == list(run.corpus.training.example_ids)
    assert viewer.samples()["split"] == "training"


def test_the_name_of_a_puzzle_may_have_spaces(make_run: MakeRun, save_puzzles: SavePuzzles) -> None:
    path = save_puzzles({f"my puzzle {n}": ([([[n, 1]], [[n, 2]])], []) for n in range(6)})
    run = make_run("task=reconstruction", f"data.path={path}", "data.test=null")
    samples = SampleViewer(run.model, run.task).samples()["samples"]
    assert {sample["puzzle"] for sample in samples} == {*run.corpus.validation.puzzle_ids}
    for sample in samples:
        assert sample["example"].startswith(f"{sample['puzzle']} train 0 ")


def test_messages_are_listed_by_frequency(make_corpus: MakeCorpus) -> None:
    split = make_corpus().validation
    messages = [[1, 2]] * 3 + [[0, 2]] * (len(split) - 3)
    table = language_table(split, messages, vocab_size=4)
    assert (table["distinct"], table["total"]) == (2, len(split))
    assert [(row["message"], row["count"]) for row in table["messages"]] == [
        ([0, 2], len(split) - 3),
        ([1, 2], 3),
    ]
    assert table["messages"][1]["examples"][0]["example"] == split.example_ids[0]
    assert table["positions"] == [[len(split) - 3, 3, 0, 0], [0, 0, len(split), 0]]


def test_the_language_counts_validation_messages(discrete_viewer: SampleViewer) -> None:
    assert discrete_viewer.language(None) == {"messages": [], "positions": []}
    count = len(discrete_viewer.task.corpus.validation)
    language = discrete_viewer.language(torch.zeros(count, 5, dtype=torch.int64))
    assert (language["vocab_size"], language["total"], language["distinct"]) == (8, count, 1)


@pytest.mark.parametrize("shortest", [None, 2])
def test_the_concepts_are_those_of_the_library(
    discrete_viewer: SampleViewer, shortest: int | None
) -> None:
    split, generator = discrete_viewer.task.corpus.validation, torch.Generator().manual_seed(1)
    messages = torch.randint(8, (len(split), 5), generator=generator)
    messages[:, 1] = split.sender % 2
    lengths = torch.randint(2, 6, (len(split),), generator=generator) if shortest else None
    tables = discrete_viewer.concepts(messages, lengths)
    assert json.loads(json.dumps(tables)) == tables
    language = Language(messages, lengths, 8, split_concepts(split), split.grids[split.sender])
    entries = best_match(language)[1]
    measured = measure_language(language, ["concept_best_match"])["concept_best_match_positions"]
    assert tables["score"] == pytest.approx(vars(measured))
    assert (tables["examples"], tables["entries"]) == (len(split), len(entries))
    known = {(entry.symbol, entry.position, entry.concept, entry.value): entry for entry in entries}
    gains = []
    for row in tables["dictionary"]:
        entry = known[row["symbol"], row["position"] - 1, row["concept"], row["value"]]
        assert {key: row[key] for key in ("count", "precision", "recall")} == {
            **{"count": entry.count, "precision": entry.precision, "recall": entry.recall}
        }
        of_value = split_concepts(split).select(entry.concept).values[:, 0] == entry.value
        assert row["chance"] == pytest.approx(of_value.mean())
        gains.append(row["count"] * (1 - row["chance"] / row["precision"]))
        for example in row["examples"]:
            index = split.example_ids.index(example["example"])
            assert of_value[index]
            assert language.symbols[index, entry.position] == entry.symbol
            assert example["grid"] == split.grids[split.sender[[index]]].arrays()[0].tolist()
    assert gains == sorted(gains, reverse=True)
    generator = torch.Generator().manual_seed(0)
    for change in (shuffled, random_codes):  # the draws before those of the table
        change(language, generator)
    table, found = position_concepts(language, generator), tables["information"]
    assert found["concepts"] == list(table.concepts)
    for name, values in (
        ("bits", table.information),
        ("shuffled", table.chance),
        ("entropy", table.concept_entropy),
    ):
        assert found[name] == pytest.approx(values), name


def test_concepts_need_symbols_and_a_validation_set(make_run: MakeRun) -> None:
    for overrides, words in [
        (["bottleneck=autoencoder"], "messages are vectors"),
        (["data.validation_fraction=0.0"], "no validation set"),
    ]:
        run = make_run("task=reconstruction", *overrides)
        with pytest.raises(ValueError, match=words):
            SampleViewer(run.model, run.task).concepts(None, None)


def test_there_are_no_concepts_before_the_first_validation(discrete_viewer: SampleViewer) -> None:
    assert discrete_viewer.concepts(None, None) == {"dictionary": [], "information": None}

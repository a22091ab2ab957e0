"""Validation examples and statistics of the language."""

import json

import pytest
import torch
from helpers_data import MakeCorpus, MakeRun

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


def test_samples_are_json_with_the_outputs(viewer: SampleViewer) -> None:
    samples = viewer.samples()["samples"]
    assert 1 <= len(samples) <= SAMPLES
    assert json.loads(json.dumps(samples)) == samples
    for sample in samples:
        assert set(sample) > KEYS
        assert isinstance(sample["correct"], bool)
        assert (sample["message"] is None) != (sample["vector"] is None)


def test_samples_are_held_out_and_the_same_each_time(viewer: SampleViewer) -> None:
    held_out = viewer.task.corpus.validation.example_ids
    first, second = viewer.samples()["samples"], viewer.samples()["samples"]
    assert [sample["example"] for sample in first] == [sample["example"] for sample in second]
    assert all(sample["example"] in held_out for sample in first)


def test_viewing_changes_no_weight_and_draws_no_random_numbers(viewer: SampleViewer) -> None:
    weights = {name: value.clone() for name, value in viewer.model.state_dict().items()}
    drawn = torch.get_rng_state()
    viewer.samples()
    assert torch.equal(torch.get_rng_state(), drawn)
    for name, value in viewer.model.state_dict().items():
        assert torch.equal(value, weights[name])


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


def test_the_test_set_is_shown_without_a_validation_set(make_run: MakeRun) -> None:
    run = make_run("task=reconstruction", "data.validation_fraction=0.0")
    assert len(run.corpus.validation) == 0
    assert SampleViewer(run.model, run.task).examples() == list(run.corpus.test.example_ids)


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

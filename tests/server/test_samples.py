"""What is shown of held-out examples, and of how a language is used."""

import json

import pytest
import torch

from arc.server.samples import SAMPLES, SampleViewer, language_table

KEYS = {"example", "puzzle", "grid", "target", "message", "sent", "vector", "length", "edited"}


@pytest.fixture
def looker(make_run, game):
    """A look at each game through each channel."""
    run = make_run(*game)
    return SampleViewer(run.model, run.task)


@pytest.fixture(scope="module")
def speaker(make_run):
    run = make_run("task=selection", "task.num_distractors=3", "bottleneck.vocab_size=8")
    return SampleViewer(run.model, run.task)


def test_samples_are_plain_and_tell_what_was_made_of_them(looker):
    samples = looker.samples()
    assert 1 <= len(samples) <= SAMPLES
    assert json.loads(json.dumps(samples)) == samples
    for sample in samples:
        assert set(sample) > KEYS
        assert isinstance(sample["correct"], bool)
        assert (sample["message"] is None) != (sample["vector"] is None)


def test_samples_are_held_out_and_the_same_each_time(looker):
    held_out = looker.task.corpus.validation.example_ids
    first, second = looker.samples(), looker.samples()
    assert [sample["example"] for sample in first] == [sample["example"] for sample in second]
    assert all(sample["example"] in held_out for sample in first)


def test_looking_changes_no_weight_and_draws_nothing(looker):
    weights = {name: value.clone() for name, value in looker.model.state_dict().items()}
    drawn = torch.get_rng_state()
    looker.samples()
    assert torch.equal(torch.get_rng_state(), drawn)
    for name, value in looker.model.state_dict().items():
        assert torch.equal(value, weights[name])


def test_an_example_heard_as_it_was_said_is_not_changed(speaker):
    (name, *_) = speaker.examples()
    said = speaker.sample(name)
    again = speaker.sample(name, said["message"])
    assert (said["edited"], again["edited"]) == (False, True)
    assert [each["probability"] for each in again["candidates"]] == pytest.approx(
        [each["probability"] for each in said["candidates"]]
    )


def test_another_message_is_what_the_receiver_hears(speaker):
    (name, *_) = speaker.examples()
    said = speaker.sample(name)
    other = [(symbol + 1) % 8 for symbol in said["message"]]
    heard = speaker.sample(name, other)
    assert (heard["message"], heard["sent"]) == (other, said["message"])
    assert heard["candidates"] != said["candidates"]


@pytest.mark.parametrize("message", [[], [0], [0] * 50, [8, 0, 0, 0, 0], [-1, 0, 0, 0, 0]])
def test_what_is_no_message_of_the_channel_is_refused(speaker, message):
    with pytest.raises(ValueError, match=r"message|symbol"):
        speaker.sample(speaker.examples()[0], message)


def test_an_example_that_is_not_held_out_is_refused(speaker):
    with pytest.raises(ValueError, match="example=nothing"):
        speaker.sample("nothing")


def test_a_vector_cannot_be_changed_symbol_by_symbol(make_run):
    run = make_run("task=reconstruction", "bottleneck=autoencoder")
    looker = SampleViewer(run.model, run.task)
    with pytest.raises(ValueError, match="symbol by symbol"):
        looker.sample(looker.examples()[0], [1, 2])


def test_the_test_set_is_shown_where_nothing_is_held_out(make_run):
    run = make_run("task=reconstruction", "data.validation_fraction=0.0")
    assert len(run.corpus.validation) == 0
    assert SampleViewer(run.model, run.task).examples() == list(run.corpus.test.example_ids)


def test_messages_are_told_by_how_often_they_were_sent(make_corpus):
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

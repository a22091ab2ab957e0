"""Measures of messages made by hand."""

import math

import pytest
import torch

from arc.metrics import language_measures


def test_one_message_said_again_and_again():
    measures = language_measures(torch.full((8, 2), 3), vocab_size=4)
    assert measures == {
        "unique_messages": 1,
        "message_entropy_bits": 0.0,
        "entropy_limit_bits": 3.0,
        "capacity_bits": 4.0,
        "symbol_entropy_bits": 0.0,
        "symbols_used": 25.0,
        "mean_length": 2,
    }


def test_every_message_said_once():
    messages = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    measures = language_measures(messages, vocab_size=4)
    assert measures["unique_messages"] == 16
    assert measures["message_entropy_bits"] == measures["capacity_bits"] == pytest.approx(4)
    assert measures["symbol_entropy_bits"] == pytest.approx(2)
    assert measures["symbols_used"] == 100


def test_positions_may_depend_on_each_other():
    """Two positions that repeat each other: each symbol is used alike, few messages are."""
    messages = torch.arange(4).repeat(2)[:, None].expand(8, 2)
    measures = language_measures(messages, vocab_size=4)
    assert measures["unique_messages"] == 4
    assert measures["message_entropy_bits"] == pytest.approx(2)
    assert measures["symbol_entropy_bits"] == pytest.approx(2)
    assert measures["entropy_limit_bits"] == 3


def test_uneven_use_has_its_entropy():
    messages = torch.tensor([[0], [0], [0], [1]])
    entropy = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    measures = language_measures(messages, vocab_size=8)
    assert measures["symbol_entropy_bits"] == pytest.approx(entropy)
    assert measures["message_entropy_bits"] == pytest.approx(entropy)
    assert measures["symbols_used"] == 25


def test_symbols_used_counts_each_position_by_itself():
    messages = torch.tensor([[0, 0], [1, 0], [2, 0], [3, 0]])
    measures = language_measures(messages, vocab_size=4)
    assert measures["symbols_used"] == pytest.approx(100 * (4 + 1) / 8)
    assert measures["symbol_entropy_bits"] == pytest.approx((2 + 0) / 2)


def test_mean_length_is_that_of_the_messages():
    messages, lengths = torch.zeros(4, 3, dtype=torch.int64), torch.tensor([1, 1, 2, 3])
    assert language_measures(messages, 2, lengths)["mean_length"] == 1.75

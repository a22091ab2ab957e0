"""Message metrics on messages made by hand, and their selection by name."""

import math
from typing import Any

import pytest
import torch
from helpers_data import MakeCorpus
from omegaconf import OmegaConf
from pydantic import ValidationError
from torch import Tensor

from arc.config.files import config_folder
from arc.metrics import METRICS, Messages, MetricConfig, language_metrics
from arc.metrics.concepts import split_concepts
from arc.metrics.language import Language, measure_language
from arc.metrics.over_time import LanguageConfig, sample

UNEVEN = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
SELECTED = {"entropy": MetricConfig(), "usage": MetricConfig()}


def measure(symbols: Tensor, vocab_size: int, lengths: Tensor | None = None) -> dict[str, float]:
    return language_metrics(SELECTED, symbols, vocab_size, lengths)


def test_a_constant_message() -> None:
    assert measure(torch.full((8, 2), 3), vocab_size=4) == {
        "unique_messages": 1,
        "message_entropy_bits": 0.0,
        "entropy_limit_bits": 3.0,
        "capacity_bits": 4.0,
        "symbol_entropy_bits": 0.0,
        "symbols_used": 25.0,
        "mean_length": 2,
    }


@pytest.mark.parametrize(
    ("symbols", "vocab_size", "expected"),
    [
        (
            torch.cartesian_prod(torch.arange(4), torch.arange(4)),
            4,
            {"unique_messages": 16, "message_entropy_bits": 4, "capacity_bits": 4}
            | {"symbol_entropy_bits": 2, "symbols_used": 100},
        ),
        (
            torch.arange(4).repeat(2)[:, None].expand(8, 2),
            4,
            {"unique_messages": 4, "message_entropy_bits": 2, "symbol_entropy_bits": 2}
            | {"entropy_limit_bits": 3},
        ),
        (
            torch.tensor([[0], [0], [0], [1]]),
            8,
            {"symbol_entropy_bits": UNEVEN, "message_entropy_bits": UNEVEN, "symbols_used": 25},
        ),
    ],
    ids=["all messages once", "dependent positions", "uneven frequencies"],
)
def test_metrics_of_messages(symbols: Tensor, vocab_size: int, expected: dict[str, float]) -> None:
    values = measure(symbols, vocab_size)
    assert {key: values[key] for key in expected} == pytest.approx(expected)


def test_symbols_used_counts_each_position_separately() -> None:
    values = measure(torch.tensor([[0, 0], [1, 0], [2, 0], [3, 0]]), vocab_size=4)
    assert values["symbols_used"] == pytest.approx(100 * (4 + 1) / 8)
    assert values["symbol_entropy_bits"] == pytest.approx((2 + 0) / 2)


def test_mean_length() -> None:
    messages, lengths = torch.zeros(4, 3, dtype=torch.int64), torch.tensor([1, 1, 2, 3])
    assert measure(messages, 2, lengths)["mean_length"] == 1.75


def test_symbols_after_the_end_of_a_message_are_not_used() -> None:
    """Symbol 0 is the stop symbol: 0, 1 0, 1 1 and 0."""
    messages = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1]])
    measured = measure(messages, 2, torch.tensor([1, 2, 2, 1]))
    assert measured["symbols_used"] == pytest.approx(100 * 4 / 6)
    # half of the first symbols are 0; half of the second are missing, and the others differ
    assert measured["symbol_entropy_bits"] == pytest.approx((1 + 1.5 + 0) / 3)
    assert measured["unique_messages"] == 3
    assert measured["message_entropy_bits"] == 1.5


def test_only_selected_metrics_are_computed() -> None:
    symbols = torch.zeros(2, 2, dtype=torch.int64)
    assert "capacity_bits" not in language_metrics({"usage": MetricConfig()}, symbols, 2)
    assert language_metrics({}, symbols, 2) == {}
    with pytest.raises(ValueError, match=r"unknown metric 'entropi'.*Did you mean 'entropy'"):
        language_metrics({"entropi": MetricConfig()}, symbols, 2)


def test_keys_are_arguments_of_a_registered_function(monkeypatch: pytest.MonkeyPatch) -> None:
    class PrefixConfig(MetricConfig):
        length: int

    def prefixes(messages: Messages, *, length: int) -> dict[str, float]:
        return {"unique_prefixes": len(messages.symbols[:, :length].unique(dim=0))}

    monkeypatch.setattr(METRICS, "_components", dict(METRICS._components))
    monkeypatch.setattr(METRICS, "_configs", dict(METRICS._configs))
    METRICS.register("prefix", config=PrefixConfig)(prefixes)
    symbols = torch.tensor([[0, 0], [0, 1], [1, 1]])
    assert language_metrics({"prefix": PrefixConfig(length=1)}, symbols, 2) == {
        "unique_prefixes": 2
    }


def test_conf_has_one_valid_file_for_each_metric() -> None:
    folder = config_folder() / "metric"
    assert {path.stem for path in folder.glob("*.yaml")} == set(METRICS)
    for name in METRICS:
        content: Any = OmegaConf.to_container(OmegaConf.load(folder / f"{name}.yaml"))
        assert list(content) == [name]
        METRICS.config(name).model_validate(content[name])


def test_language_measures_come_with_their_floors(make_corpus: MakeCorpus) -> None:
    split, names = make_corpus().training, ["topographic_similarity", "variety"]
    symbols = torch.randint(4, (len(split), 3), generator=torch.Generator().manual_seed(0))
    selected = {"language": LanguageConfig(measures=names, max_examples=10_000)}
    values = language_metrics(selected, symbols, 4, split=split)
    grids = split.grids[split.sender]
    measured = measure_language(Language(symbols, None, 4, split_concepts(split), grids), names)
    assert list(values)[:3] == [f"topsim_hamming{end}" for end in ("", "_shuffled", "_random")]
    assert len(values) == 3 * len(measured)
    for name, each in measured.items():
        floors = (values[f"{name}_shuffled"], values[f"{name}_random"])
        assert (values[name], *floors) == (each.value, each.shuffled, each.random)


def test_a_large_set_is_sampled(make_corpus: MakeCorpus) -> None:
    split = make_corpus().training
    chosen = sample(split, 7)
    assert sample(split, 7).examples.equal(chosen.examples)
    assert len(chosen.examples.unique()) == len(chosen.concepts) == len(chosen.grids) == 7
    assert (chosen.concepts.values == split_concepts(split).values[chosen.examples]).all()
    symbols = torch.arange(len(split))[:, None]
    selected = {"language": LanguageConfig(measures=["variety"], max_examples=7)}
    assert language_metrics(selected, symbols, len(split), split=split)["unique_ratio"] == 1
    symbols[chosen.examples] = 0
    values = language_metrics(selected, symbols, len(split), split=split)
    assert values["unique_ratio"] == 1 / 7


def test_language_measures_need_their_examples_and_known_names() -> None:
    selected = {"language": LanguageConfig(measures=["variety"], max_examples=10)}
    with pytest.raises(ValueError, match="metric language: needs the split"):
        language_metrics(selected, torch.zeros(2, 2, dtype=torch.int64), 2)
    with pytest.raises(ValidationError, match=r"unknown measure 'varety'.*Did you mean 'variety'"):
        LanguageConfig(measures=["varety"], max_examples=10)

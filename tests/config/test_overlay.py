"""Overrides that are applied to a stored configuration."""

import pytest

from arc.api import compose
from arc.config.hydra_main import quoted
from arc.config.overrides import value_of
from arc.config.schema import to_tree
from arc.runs.plan import with_overrides


@pytest.mark.parametrize(
    ("stored", "typed", "rate"),
    [
        ("optimizer=sgd", "optimizer=adamw", 6e-3),
        ("bottleneck=categorical", "bottleneck=communication", 6e-3),
        ("model=base", "model=small", 6e-3),
        ("optimizer=sgd", "experiment=puzzle_classification optimizer=adamw", None),
        ("optimizer=sgd", "optimizer=adamw training.learning_rate=3e-3", 3e-3),
        ("optimizer=sgd training.learning_rate=0.01", "optimizer=adamw", 0.01),
        ("model=base optimizer=sgd", "optimizer=adamw", 2e-3),
        ("model=base bottleneck=categorical", "bottleneck=communication", 2e-3),
        ("optimizer=sgd", "model=tiny", 0.05),
        ("optimizer=sgd", "optimizer=sgd", 0.05),
    ],
)
def test_a_rate_that_an_option_has_set_goes_with_it(
    stored: str, typed: str, rate: float | None
) -> None:
    config = with_overrides(to_tree(compose(*stored.split())), typed.split())
    if rate is None:  # that of a new run
        rate = compose(*typed.split()).training.learning_rate
    assert config.training.learning_rate == rate


@pytest.mark.parametrize("value", ["größe/x", "a/b.pth", "ünd", "null", "it's", "x y"])
def test_a_quoted_text_is_itself_in_the_grammar_of_hydra(value: str) -> None:
    assert value_of(f"key={quoted(value)}") == value


@pytest.mark.parametrize("path", ["größe", "größe/x_y.pth", "~/größe", "é=1"])
def test_a_path_may_have_letters_of_any_alphabet(path: str) -> None:
    config = compose("data=folder", f"checkpoint.dir={path}")
    assert config.checkpoint.dir.endswith(path.removeprefix("~"))

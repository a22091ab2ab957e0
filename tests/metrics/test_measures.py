"""Measures of languages: known values, degenerate languages, floors and changed messages."""

import doctest
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from helpers_data import random_grids

from arc.data import Grids
from arc.metrics.concepts import Array, ConceptTable
from arc.metrics.language import (
    MEASURES,
    Language,
    dropped,
    measure_language,
    permuted,
    random_codes,
    replaced,
    shuffled,
    suite,
)
from arc.metrics.language.dictionary import best_match, context_independence
from arc.metrics.language.information import position_concepts
from arc.metrics.language.topographic import cells, edit, similarity_test
from arc.metrics.language.variety import boundaries

CUBE = np.array(list(itertools.product(range(5), repeat=3)))
LARGE_CUBE = np.array(list(itertools.product(range(6), repeat=3)))
SQUARE = np.array(list(itertools.product(range(4), repeat=2)))
ZIPF = np.repeat([0, 1, 2], [6, 3, 2])[:, None]
# The 16 messages of appendix 8.2 of Chaabouni et al. (2020): a bag of symbols names both concepts.
BAG = np.array(
    [
        *([0, 0, 4], [0, 0, 5], [0, 0, 6], [0, 0, 7]),
        *([1, 4, 1], [1, 5, 1], [1, 6, 1], [1, 7, 1]),
        *([2, 4, 2], [2, 5, 2], [2, 6, 2], [2, 7, 2]),
        *([3, 4, 3], [3, 3, 5], [3, 3, 6], [3, 3, 7]),
    ]
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table(values: Any) -> ConceptTable:
    values = np.asarray(values)
    return ConceptTable(tuple(f"c{number}" for number in range(values.shape[1])), values)


def language(
    messages: Any, concepts: Any, vocab_size: int | None = None, lengths: Any = None, **more: Any
) -> Language:
    messages = np.asarray(messages)
    lengths = None if lengths is None else np.asarray(lengths)
    return Language(
        messages, lengths, vocab_size or int(messages.max()) + 1, table(concepts), **more
    )


def values(of: Language) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in MEASURES:
        found.update(MEASURES[name].compute(of, seeded()))
    return found


def egg_attributes() -> Array:
    """The 1,000 examples of two attributes in the documentation of EGG's ``Disent``."""
    torch.manual_seed(0)
    return torch.cat([torch.randint(0, 10, (1000, 1)) for _ in range(2)], 1).numpy()


@pytest.mark.parametrize(
    ("messages", "concepts", "expected"),
    [
        (CUBE, CUBE, {"topsim_hamming": 1, "topsim_edit": 0.942149}),
        (LARGE_CUBE, LARGE_CUBE, {"topsim_edit": 0.948490, "topsim_edit_length": 0.948490}),
        (CUBE, CUBE, {"posdis": 1, "tre": 0, "context_independence_positions": 1}),
        (CUBE, CUBE, {"message_entropy": math.log2(125), "capacity_used": 1, "redundancy": 0}),
        (CUBE, CUBE, {"synonymy": 0, "homonymy": 0, "concept_best_match_positions": 1}),
        (CUBE, CUBE, {"ami_positions": 1, "semantic_consistency": 1, "unique_ratio": 1}),
        (egg_attributes(), egg_attributes(), {"posdis": 0.978656}),
        (BAG, SQUARE, {"bosdis": 1, "context_independence": 1, "concept_best_match": 1}),
        (BAG, SQUARE[:, :1], {"homonymy": 0, "synonymy": 0.5}),
        (BAG[:, :1], SQUARE, {"homonymy": 0.5, "synonymy": 0}),
        (SQUARE[:, :1], SQUARE[:, :1], {"posdis": 1, "bosdis": 1}),  # one concept
        (ZIPF, np.arange(11)[:, None], {"zipf_slope": -1, "zipf_slope_messages": -1}),
    ],
)
def test_known_values(messages: Array, concepts: Array, expected: dict[str, float]) -> None:
    found = values(language(messages, concepts))
    known = {name: found[name] for name in expected}
    assert known == pytest.approx(expected, abs=5e-7)


def test_the_position_of_a_constant_symbol_does_not_count() -> None:
    attributes = egg_attributes()
    padded = np.concatenate([attributes, np.zeros_like(attributes)], 1)
    assert values(language(padded, attributes))["posdis"] == pytest.approx(0.978656, abs=5e-7)


DEGENERATE = {
    "one example": language([[1, 0]], [[3]], 2),
    "two examples": language([[1], [0]], [[3, 1], [3, 2]], 2),
    "one message": language([[1, 2]] * 6, np.arange(6)[:, None], 3),
    "one meaning": language(np.arange(6)[:, None], [[1, 1]] * 6),
    "a constant position": language([[number, 1] for number in range(6)], np.eye(6, dtype=int)),
    "one symbol": language([[0, 0]] * 4, [[0], [0], [1], [1]], 1),
    "one symbol, two lengths": language([[0, 0]] * 4, [[0], [0], [1], [1]], 1, [1, 2, 1, 2]),
    "one symbol a message": language([[0], [1], [1], [0]], [[0], [0], [1], [1]], 2),
    "only puzzle": Language(
        np.array([[0], [1]]), None, 2, ConceptTable(("puzzle",), np.array([[0], [1]]))
    ),
    "one grid, zero vectors": language(
        [[0], [1]],
        [[0], [1]],
        grids=Grids.from_arrays([[[1]], [[1]]]),
        embeddings=np.zeros((2, 3)),
    ),
}
ZERO = {
    "one example": ("message_entropy", "topsim_hamming", "topsim_edit", "posdis", "tre"),
    "two examples": ("topsim_hamming", "topsim_edit", "zipf_slope", "abbreviation"),
    "one message": ("posdis", "bosdis", "tre", "ami_messages", "semantic_consistency", "synonymy"),
    "one meaning": ("topsim_hamming", "semantic_consistency", "concept_information", "homonymy"),
    "one symbol": ("capacity_used", "zipf_slope", "harris_boundaries"),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_languages_have_defined_values(name: str) -> None:
    measured = measure_language(DEGENERATE[name])
    for each in measured.values():
        assert all(map(math.isfinite, (each.value, each.shuffled, each.random)))
    assert {key: measured[key].value for key in ZERO.get(name, ())} == dict.fromkeys(
        ZERO.get(name, ()), 0.0
    )


def test_a_test_of_similarity_of_a_single_example_is_defined() -> None:
    found = similarity_test(DEGENERATE["one example"], seeded(), resamples=5, permutations=5)
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_symbols_after_the_end_change_nothing() -> None:
    rng = np.random.default_rng(3)
    lengths, concepts = rng.integers(1, 5, 40), rng.integers(0, 3, (40, 2))
    messages = rng.integers(0, 3, (40, 4))
    ended = np.arange(4) >= lengths[:, None]
    other = np.where(ended, rng.integers(0, 3, (40, 4)), messages)
    junk = np.where(ended, -7, messages)
    first, *others = (language(each, concepts, 3, lengths) for each in (messages, other, junk))
    for each in others:
        assert values(each) == values(first)
        assert measure_language(each) == measure_language(first)


def test_the_selection_of_measures() -> None:
    everything, fast = (measure_language(language(CUBE, CUBE), each) for each in ("all", "fast"))
    assert set(fast) < set(everything)
    assert {"topsim_hamming", "posdis", "message_entropy"} <= set(fast)
    assert {"topsim_edit", "tre", "concept_best_match"} <= set(everything) - set(fast)
    assert measure_language(language(CUBE, CUBE), "none") == {}
    with pytest.raises(ValueError, match="measures=fsat: choose one of all, fast, none"):
        measure_language(language(CUBE, CUBE), "fsat")  # type: ignore[arg-type]


def test_the_floors_of_a_compositional_language() -> None:
    measured = measure_language(language(CUBE, CUBE))
    for name in ("topsim_hamming", "topsim_edit", "concept_information", "ami_positions"):
        assert measured[name].value > 0.9
        assert abs(measured[name].shuffled) < 0.1
        assert abs(measured[name].random) < 0.1
    assert measured["message_entropy"].shuffled == measured["message_entropy"].value
    assert measured["message_entropy"].random < measured["message_entropy"].value
    assert measured["tre"].shuffled > 0.8
    assert measure_language(language(CUBE, CUBE)) == measured


def test_shuffled_and_random_messages_keep_their_distribution() -> None:
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 5, 200)
    messages = 1 + rng.integers(0, 3, (200, 1)) + np.zeros((1, 4), int)
    messages[np.arange(200), lengths - 1] = 0  # the stop symbol
    first = language(messages, rng.integers(0, 3, (200, 2)), 4, lengths)
    mixed, drawn = shuffled(first, seeded()), random_codes(first, seeded())
    assert sorted(map(tuple, mixed.symbols)) == sorted(map(tuple, first.symbols))
    assert not np.array_equal(mixed.symbols, first.symbols)
    assert len(np.unique(drawn.message_ids)) > len(np.unique(first.message_ids))
    for each in (mixed, drawn):
        assert np.array_equal(np.sort(each.symbols, 0), np.sort(first.symbols, 0))
        stopped = each.messages[np.arange(200), each.lengths - 1]
        assert not stopped.any()
        assert each.concepts is first.concepts


def test_interventions_on_messages() -> None:
    messages = torch.tensor(CUBE)
    changed = replaced(messages, 1, seeded())
    assert changed[:, [0, 2]].equal(messages[:, [0, 2]])
    assert changed[:, 1].sort().values.equal(messages[:, 1].sort().values)
    assert changed[:, 1].ne(messages[:, 1]).float().mean() > 0.6
    assert replaced(messages[:1], 1, seeded()).equal(messages[:1])
    mixed = permuted(messages, seeded())
    assert mixed.sort(1).values.equal(messages.sort(1).values)
    assert not mixed.equal(messages)
    kept = permuted(messages, seeded(), torch.full((125,), 2))
    assert kept[:, 2].equal(messages[:, 2])
    assert kept.sort(1).values.equal(messages.sort(1).values)
    assert not kept.equal(messages)
    assert dropped(messages, 1).equal(
        torch.stack([messages[:, 0], messages[:, 2], 0 * messages[:, 0]], 1)
    )
    assert messages.equal(torch.tensor(CUBE))


def test_the_dictionary_names_words_and_values() -> None:
    score, entries = best_match(language(CUBE + 1, CUBE * 10))
    assert score == 1
    assert {(entry.position, entry.symbol, entry.concept, entry.value) for entry in entries} == {
        (place, symbol + 1, f"c{place}", symbol * 10) for place in range(3) for symbol in range(5)
    }
    assert {(entry.count, entry.precision, entry.recall) for entry in entries} == {(25, 1.0, 1.0)}
    (first, *_) = best_match(language(CUBE + 1, CUBE * 10), by_position=False)[1]
    assert first.position is None


def test_the_information_of_positions_on_concepts() -> None:
    found = position_concepts(language(CUBE, CUBE), seeded())
    assert found.concepts == ("c0", "c1", "c2")
    assert found.information == pytest.approx(math.log2(5) * np.eye(3), abs=1e-9)
    assert found.chance is not None
    assert found.chance == pytest.approx(np.full((3, 3), 0.1), abs=0.1)
    assert found.corrected == pytest.approx(found.information - found.chance, abs=0.2)


def test_boundaries_follow_sequences_with_many_successors() -> None:
    words = [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    messages = np.array([a + b for a in words for b in words])
    found = boundaries(language(messages, messages))
    assert found.tolist() == [[False, False, False, True, False, False]] * 9
    measured = values(language(messages, messages))
    assert measured["harris_segments"] == 3
    assert measured["harris_boundaries"] == 1


def test_the_interval_and_the_p_value_of_a_similarity() -> None:
    cube = language(CUBE, CUBE)
    exact = similarity_test(cube, seeded(), resamples=20, permutations=99)
    assert (exact.value, exact.low, exact.high, exact.p_value) == (1, 1, 1, 0.01)
    edits = similarity_test(cube, seeded(), message=edit(cube), resamples=20, permutations=20)
    assert edits.low < edits.value < edits.high
    assert edits.high - edits.low < 0.1
    mixed = shuffled(cube, seeded(1))
    none = similarity_test(mixed, seeded(), resamples=20, permutations=99)
    assert none.p_value > 0.05
    assert none.low < none.value < none.high
    wider = similarity_test(mixed, seeded(), groups=CUBE[:, 0], resamples=100, permutations=1)
    assert wider.high - wider.low > 0.02


def test_only_grids_of_equal_size_are_compared_by_cells() -> None:
    grids = Grids.from_arrays(random_grids(40, sides=(2, 3)))
    rng = np.random.default_rng(0)
    small = language(rng.integers(0, 2, (40, 3)), rng.integers(0, 2, (40, 2)), grids=grids)
    found = similarity_test(small, seeded(), meaning=cells(small), resamples=5, permutations=9)
    assert found.low < found.high
    assert 0 < found.p_value <= 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"messages": np.zeros(3, int)}, r"messages: integers \[examples, symbols\] are needed"),
        ({"messages": np.zeros((3, 2))}, r"messages: .* got float64 \[3, 2\]"),
        ({"messages": np.full((3, 2), 2)}, "messages: symbol 2 is not one of 0 to 1"),
        ({"messages": np.full((3, 2), -1)}, "messages: symbol -1 is not one of 0 to 1"),
        ({"lengths": np.ones(2, int)}, r"lengths: integers \[3\] are needed, got int64 \[2\]"),
        ({"lengths": np.array([1, 2, 3])}, "lengths: 1 to 2 symbols, got 1 to 3"),
        ({"lengths": np.array([0, 2, 2])}, "lengths: 1 to 2 symbols, got 0 to 2"),
        ({"concepts": table([[1]])}, "concepts: 1 rows for 3 messages"),
        ({"grids": Grids.from_arrays([[[1]]])}, "grids: 1 rows for 3 messages"),
        ({"embeddings": np.zeros((2, 1))}, "embeddings: 2 rows for 3 messages"),
        ({"embeddings": np.full((3, 1), np.nan)}, "embeddings: finite numbers"),
    ],
)
def test_a_language_that_does_not_fit_is_rejected(change: dict[str, Any], error: str) -> None:
    fits: dict[str, Any] = {
        "messages": np.zeros((3, 2), int),
        "lengths": None,
        "vocab_size": 2,
        "concepts": table([[1], [2], [3]]),
    }
    with pytest.raises(ValueError, match=error):
        Language(**{**fits, **change})


def test_tensors_are_accepted() -> None:
    messages = torch.tensor(BAG)
    whole = Language(messages, torch.full((16,), 3), 8, table(SQUARE))
    assert values(whole) == values(language(BAG, SQUARE))


def test_the_example_of_the_documentation() -> None:
    assert doctest.testmod(suite) == (0, 7)


def test_the_floors_give_equal_grids_equal_messages() -> None:
    """A code that numbers the grids is not consistent, although equal grids have one number."""
    arrays, repeated = random_grids(40), np.repeat(np.arange(40), 2)
    grids = Grids.from_arrays([arrays[number] for number in repeated])
    concepts = np.random.default_rng(0).integers(0, 3, (40, 4))[repeated]
    codes = np.random.default_rng(1).permutation(64)[:40, None] // np.array([16, 4, 1]) % 4
    hashed = language(codes[repeated], concepts, 4, grids=grids)
    for floor in (shuffled, random_codes):
        changed = floor(hashed, seeded())
        assert not (changed.messages == hashed.messages).all()
        assert (changed.messages[::2] == changed.messages[1::2]).all()
        assert (np.sort(changed.messages, 0) == np.sort(hashed.messages, 0)).all()
    measured = measure_language(hashed)["semantic_consistency_adjusted"]
    assert (measured.value, measured.shuffled) == (0, 0)
    assert hashed.messages.tolist() == codes[repeated].tolist()


def test_a_symbol_in_every_message_names_nothing() -> None:
    plain = np.concatenate([CUBE + np.array([1, 6, 11]), np.zeros((125, 1), int)], 1)
    ended = language(plain, CUBE, 16, lengths=np.full(125, 4))
    for by_position in (False, True):
        assert context_independence(ended, by_position=by_position) == 1


def test_the_information_of_positions_and_concepts_is_corrected_for_chance() -> None:
    """The first position names the first concept of two; the second position is random."""
    rng = np.random.default_rng(0)
    concepts = np.stack([np.arange(60) % 3, rng.integers(0, 20, 60)], 1)
    of = language(np.stack([concepts[:, 0], rng.integers(0, 3, 60)], 1), concepts, 3)
    found = position_concepts(of, seeded())
    assert found.chance is not None
    best = np.maximum(0, found.information - found.chance).max(1)
    assert best[1] < 0.3 < 1.4 < best[0]
    measured = MEASURES["information"].compute(of, seeded())
    assert measured["position_information"] == pytest.approx(best.mean())
    shares = np.maximum(0, found.information - found.chance).max(0) / found.concept_entropy
    assert measured["concept_information"] == pytest.approx(shares.mean())
    assert shares.mean() < 0.52 < (found.information.max(0) / found.concept_entropy).mean()

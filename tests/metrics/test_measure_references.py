"""Measures of random small languages, against slow references written from the definitions."""

import functools
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_mutual_info_score

from arc.data import Grids
from arc.metrics.concepts import Array, ConceptTable
from arc.metrics.language import MEASURES, Language, measure_language
from arc.metrics.language.topographic import COSINE_STEP, edit, similarity_test
from arc.metrics.language.variety import boundaries

Message = tuple[int, ...]
Row = tuple[int, ...]


@st.composite
def languages(draw: st.DrawFn) -> Language:
    """Up to 10 messages of up to 5 symbols, also constant, with one concept or more."""
    number, longest, vocab_size = draw(st.tuples(*(st.integers(1, most) for most in (10, 5, 4))))
    concepts, embedded = draw(st.integers(1, 3)), draw(st.booleans())
    return small(draw(st.integers(0, 2**32)), number, longest, vocab_size, concepts, embedded)


def small(
    seed: int, number: int, longest: int, vocab_size: int, concepts: int, embedded: bool
) -> Language:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, rng.integers(1, 4), (number, concepts))
    messages = rng.integers(0, rng.integers(1, vocab_size + 1), (number, longest))
    if rng.random() < 0.5:  # related to the concepts
        messages[:, 0] = values[:, 0] % vocab_size
    lengths = rng.integers(1, longest + 1, number) if rng.random() < 0.5 else None
    sides = rng.integers(1, 3, (number, 2))
    grids = Grids.from_arrays([rng.integers(0, 3, side) for side in sides]) if embedded else None
    vectors = rng.integers(-1, 2, (number, 2)) if embedded else None
    names = (*(f"c{index}" for index in range(concepts)), "puzzle")
    table = ConceptTable(names, np.concatenate([values, np.arange(number)[:, None]], 1))
    return Language(messages, lengths, vocab_size, table, grids, vectors)


def texts(language: Language) -> list[Message]:
    rows = zip(language.messages.tolist(), language.lengths.tolist(), strict=True)
    return [tuple(row[:length]) for row, length in rows]


def rows_of(language: Language) -> list[Row]:
    return [tuple(row[:-1]) for row in language.concepts.values.tolist()]  # without puzzle


@functools.cache
def levenshtein(a: Message, b: Message) -> int:
    if not a or not b:
        return len(a) + len(b)
    changed = levenshtein(a[1:], b[1:]) + (a[0] != b[0])
    return min(changed, 1 + levenshtein(a[1:], b), 1 + levenshtein(a, b[1:]))


def correlation(first: Sequence[float], second: Sequence[float]) -> float:
    if len(set(first)) < 2 or len(set(second)) < 2:
        return 0.0
    return float(spearmanr(first, second).statistic)


def entropy(values: Sequence[Any]) -> float:
    counts = Counter(values).values()
    return -sum(count / len(values) * math.log2(count / len(values)) for count in counts)


def shared(first: Sequence[Any], second: Sequence[Any]) -> float:
    pairs = list(zip(first, second, strict=True))
    return entropy(first) + entropy(second) - entropy(pairs)


def padded(language: Language) -> list[list[int | None]]:
    return [[*text, *[None] * (language.max_length - len(text))] for text in texts(language)]


def topographic(language: Language) -> dict[str, float]:
    messages, meanings = texts(language), rows_of(language)
    pairs = list(itertools.combinations(range(len(messages)), 2))
    edits = [levenshtein(messages[a], messages[b]) for a, b in pairs]
    mean = [(len(messages[a]) + len(messages[b])) / 2 for a, b in pairs]
    symbols = padded(language)
    different = [sum(x != y for x, y in zip(symbols[a], symbols[b], strict=True)) for a, b in pairs]
    concepts = [
        sum(x != y for x, y in zip(meanings[a], meanings[b], strict=True)) for a, b in pairs
    ]
    result = {
        "topsim_hamming": correlation(different, concepts),
        "topsim_edit": correlation(edits, concepts),
        "topsim_edit_length": correlation(
            [count / length for count, length in zip(edits, mean, strict=True)], concepts
        ),
    }
    if language.grids is not None:
        arrays = language.grids.arrays()
        counts = [np.bincount(grid.ravel(), minlength=10) for grid in arrays]
        colors = [int(abs(counts[a] - counts[b]).sum()) for a, b in pairs]
        result["topsim_edit_colors"] = correlation(edits, colors)
        same = [
            (count, int((arrays[a] != arrays[b]).sum()))
            for count, (a, b) in zip(edits, pairs, strict=True)
            if arrays[a].shape == arrays[b].shape
        ]
        result["topsim_edit_cells"] = correlation([x for x, _ in same], [y for _, y in same])
    if language.embeddings is not None:
        result["topsim_edit_embeddings"] = correlation(
            edits, [cosine(language.embeddings[a], language.embeddings[b]) for a, b in pairs]
        )
    return result


def cosine(a: Array, b: Array) -> int:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return round((1 - float(a @ b) / norms if norms else 1.0) / COSINE_STEP)


def gap(columns: Sequence[Sequence[Any]], language: Language) -> float:
    concepts = list(zip(*rows_of(language), strict=True))
    gaps = []
    for column in columns:
        found = sorted((shared(column, concept) for concept in concepts), reverse=True)
        if entropy(column) > 0:
            gaps.append((found[0] - (found[1] if len(found) > 1 else 0)) / entropy(column))
    return sum(gaps) / len(gaps) if gaps else 0.0


def disentanglement(language: Language) -> dict[str, float]:
    bags = [
        [text.count(symbol) for text in texts(language)] for symbol in range(language.vocab_size)
    ]
    return {
        "posdis": gap(list(zip(*padded(language), strict=True)), language),
        "bosdis": gap(bags, language),
    }


def dictionaries(language: Language) -> dict[str, float]:
    values: list[set[tuple[int, int]]] = [set(enumerate(row)) for row in rows_of(language)]
    result = {}
    for ending in ("", "_positions"):
        words: list[set[Any]] = [
            set(enumerate(text) if ending else text) for text in texts(language)
        ]
        every_word, every_value = sorted(set().union(*words)), sorted(set().union(*values))
        count = {
            (word, value): sum(
                word in said and value in true for said, true in zip(words, values, strict=True)
            )
            for word in every_word
            for value in every_value
        }
        products = []
        for value in every_value:
            having = sum(value in true for true in values)
            products.append(
                max(
                    count[word, value] ** 2 / (having * sum(word in said for said in words))
                    for word in every_word
                )
            )
        result["context_independence" + ending] = sum(products) / len(products)
        most = sum(max(len(s), len(t)) for s, t in zip(words, values, strict=True))
        matrix = [[count[word, value] for value in every_value] for word in every_word]
        result["concept_best_match" + ending] = best_assignment(matrix) / most
    return result


def best_assignment(matrix: list[list[int]]) -> int:
    """Return the largest sum of an assignment, by dynamic programming over sets of columns."""
    best = {0: 0}
    for row in matrix:
        grown = dict(best)
        for used, total in best.items():
            for column, value in enumerate(row):
                if value and not used >> column & 1:
                    key = used | 1 << column
                    grown[key] = max(grown.get(key, 0), total + value)
        best = grown
    return max(best.values())


def information(language: Language) -> dict[str, float]:
    messages = texts(language)
    grids: list[Any] = list(range(len(messages)))
    if language.grids is not None:
        grids = [(grid.shape, grid.tobytes()) for grid in language.grids.arrays()]
    number, distinct = len(messages), len(set(messages))
    capacity = language.max_length * math.log2(language.vocab_size)
    positions = [entropy(column) for column in zip(*padded(language), strict=True)]
    told = shared(messages, grids)
    return {
        "message_entropy": entropy(messages),
        "message_entropy_corrected": entropy(messages) + (distinct - 1) / 2 / number / math.log(2),
        "position_entropy": sum(positions) / len(positions),
        "grid_information": told,
        "capacity_used": told / capacity if capacity else 0.0,
    }


def adjusted(language: Language) -> dict[str, float]:
    def score(x: Sequence[Any], y: Sequence[Any]) -> float:
        if len(set(x)) == 1 or len(set(y)) == 1 or len(set(x)) == len(set(y)) == len(x):
            return 0.0
        first, second = ([list(dict.fromkeys(z)).index(each) for each in z] for z in (x, y))
        return float(np.clip(adjusted_mutual_info_score(first, second), -1, 1))

    concepts = list(zip(*rows_of(language), strict=True))
    messages = [score(texts(language), concept) for concept in concepts]
    columns = zip(*padded(language), strict=True)
    positions = [max(score(column, concept) for concept in concepts) for column in columns]
    return {
        "ami_messages": sum(messages) / len(messages),
        "ami_positions": sum(positions) / len(positions),
    }


def one_hot(rows: Sequence[Sequence[Any]]) -> Array:
    columns = list(zip(*rows, strict=True))
    parts = [[[value == each for each in set(column)] for value in column] for column in columns]
    return np.concatenate([np.array(part, float) for part in parts], 1)


def structure(language: Language) -> dict[str, float]:
    meanings, messages = one_hot(rows_of(language)), one_hot(padded(language))
    centered = messages - messages.mean(0)
    fitted = meanings @ np.linalg.lstsq(meanings, centered, rcond=1e-10)[0]
    total = (centered**2).sum()
    arrays = range(len(meanings)) if language.grids is None else language.grids.arrays()
    grids = [str(np.asarray(array).tolist()) for array in arrays]
    first = sorted(map(grids.index, set(grids)))
    meanings, every_text = meanings[first], texts(language)
    variance = ((meanings - meanings.mean(0)) ** 2).sum()
    groups: dict[Message, list[int]] = defaultdict(list)
    for index, example in enumerate(first):
        groups[every_text[example]].append(index)
    within = sum(((meanings[g] - meanings[g].mean(0)) ** 2).sum() for g in groups.values())
    value = 1 - within / variance if variance > 0 else 0.0
    number, distinct = len(meanings), len(groups)
    expected = (distinct - 1) / (number - 1) if number > 1 else 0.0
    adjusts = expected < 1 and variance > 0
    return {
        "tre": ((centered - fitted) ** 2).sum() / total if total > 1e-9 else 0.0,
        "semantic_consistency": value,
        "semantic_consistency_adjusted": (value - expected) / (1 - expected) if adjusts else 0.0,
    }


def slope(counts: Sequence[int]) -> float:
    if len(counts) < 2:
        return 0.0
    ordered = np.log(sorted(counts, reverse=True))
    return float(np.polyfit(np.log(np.arange(len(counts)) + 1), ordered, 1)[0])


def variety(language: Language) -> dict[str, float]:
    messages, meanings = texts(language), rows_of(language)
    symbols = [symbol for text in messages for symbol in text]
    limit = math.log2(language.vocab_size)
    both = entropy(list(zip(messages, meanings, strict=True)))

    def share(of: Sequence[Any], given: Sequence[Any]) -> float:
        return (both - entropy(given)) / entropy(of) if entropy(of) > 0 else 0.0

    sizes = [len(text) for text in messages]
    frequency = Counter(messages)
    return {
        "unique_ratio": len(frequency) / len(messages),
        "redundancy": 1 - entropy(symbols) / limit if limit else 1.0,
        "zipf_slope": slope(list(Counter(symbols).values())),
        "zipf_slope_messages": slope(list(frequency.values())),
        "synonymy": share(messages, meanings),
        "homonymy": share(meanings, messages),
        "length_mean": float(np.mean(sizes)),
        "length_std": float(np.std(sizes)),
        "length_min": min(sizes),
        "length_max": max(sizes),
        "abbreviation": correlation(list(frequency.values()), [len(text) for text in frequency]),
    }


def segments(language: Language) -> dict[str, float]:
    messages = texts(language)
    following: dict[Message, list[int]] = defaultdict(list)
    for text in messages:
        for start, end in itertools.combinations(range(len(text)), 2):
            following[text[start:end]].append(text[end])
    found, words = 0, []
    for number, text in enumerate(messages):
        cuts = {
            end
            for start, end in itertools.combinations(range(len(text)), 2)
            if end - start > 1
            and entropy(following[text[start:end]])
            > entropy(following[text[start : end - 1]]) + 1e-9
        }
        found += len(cuts)
        assert set(np.flatnonzero(boundaries(language)[number])) == cuts
        edges = [0, *sorted(cuts), len(text)]
        words += [text[start:end] for start, end in itertools.pairwise(edges)]
    counts = Counter(words)
    return {
        "harris_boundaries": found / len(messages),
        "harris_segments": len(counts),
        "harris_zipf_slope": slope(list(counts.values())),
    }


REFERENCES: list[Callable[[Language], dict[str, float]]] = [
    *(topographic, disentanglement, dictionaries, information, adjusted, structure),
    *(variety, segments),
]
WITHOUT = {"position_information", "concept_information"}  # they subtract random shuffles


def agree(language: Language) -> None:
    found: dict[str, float] = {}
    for name in MEASURES:
        found.update(MEASURES[name].compute(language, torch.Generator().manual_seed(0)))
    expected: dict[str, float] = {}
    for reference in REFERENCES:
        expected.update(reference(language))
    assert set(found) == set(expected) | WITHOUT
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)


RANDOM = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@settings(RANDOM, max_examples=50)
@given(languages())
def test_measures_agree_with_their_definitions(language: Language) -> None:
    agree(language)


@pytest.mark.slow
@settings(RANDOM, max_examples=1000)
@given(languages())
def test_measures_of_1000_languages_agree_with_their_definitions(language: Language) -> None:
    agree(language)


UNIT = {  # measures in [0, 1]
    *("posdis", "bosdis", "context_independence", "context_independence_positions"),
    *("concept_best_match", "concept_best_match_positions", "concept_information"),
    *("unique_ratio", "redundancy", "synonymy", "homonymy", "tre", "semantic_consistency"),
}
SIGNED = {  # measures in [-1, 1]
    *("topsim_hamming", "topsim_edit", "topsim_edit_length", "topsim_edit_colors"),
    *("topsim_edit_cells", "topsim_edit_embeddings", "ami_messages", "ami_positions"),
    "abbreviation",
}


def check_values(numbers: range) -> None:
    for seed in numbers:
        rng = np.random.default_rng([seed, 1])
        number, longest, vocab_size, concepts = rng.integers(1, (20, 7, 6, 5)).tolist()
        language = small(seed, number, longest, vocab_size, concepts, bool(seed % 2))
        for name, each in measure_language(language).items():
            values = (each.value, each.shuffled, each.random)
            assert all(map(math.isfinite, values)), (seed, name, values)
            if name in UNIT | SIGNED:
                assert -(name in SIGNED) <= min(values) <= max(values) <= 1, (seed, name, values)
        if seed % 10 == 0:
            test = similarity_test(
                language,
                torch.Generator(),
                message=edit(language),
                resamples=3,
                permutations=3,
            )
            assert all(map(math.isfinite, (test.value, test.low, test.high, test.p_value)))


def test_every_value_is_finite_and_in_its_range() -> None:
    check_values(range(50))


@pytest.mark.slow
def test_every_value_of_10000_languages_is_finite_and_in_its_range() -> None:
    check_values(range(10_000))

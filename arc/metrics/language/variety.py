"""How many messages, symbols and lengths are used, and how often; segments of long messages."""

from __future__ import annotations

import math

import numpy as np
from torch import Generator

from arc.metrics.concepts import Array
from arc.metrics.entropy import entropy_bits
from arc.metrics.language.base import Language, register
from arc.metrics.language.information import conditional_bits
from arc.metrics.language.topographic import spearman


@register("variety", "fast")
def variety(language: Language, generator: Generator) -> dict[str, float]:
    """Return the variety of messages and symbols.

    - ``unique_ratio``: distinct messages / N, in (0, 1].
    - ``redundancy``: 1 - H(symbol) / log2 V over all symbols sent (Shannon, 1948), in [0, 1]: 0 if
      all symbols are equally frequent, 1 if V is 1.
    - ``zipf_slope``, ``zipf_slope_messages``: the slope of log frequency by log rank (least
      squares) of symbols and of whole messages (Zipf, 1949); about -1 for words of natural
      languages, 0 if all are equally frequent or there is only one.
    - ``synonymy``: H(message | meaning) / H(message), in [0, 1]; 0 if a meaning has one message.
    - ``homonymy``: H(meaning | message) / H(meaning), in [0, 1]; 0 if a message has one meaning.
      A meaning is a combination of all concepts but ``puzzle``. Both are 0 if the divisor is 0.
    """
    used = np.bincount(language.messages[language.sent])
    ids, meanings = language.message_ids, language.meaning_ids
    messages = np.bincount(ids)
    limit = math.log2(language.vocab_size)
    return {
        "unique_ratio": len(messages) / len(ids),
        "redundancy": max(0.0, 1 - entropy_bits(used) / limit) if limit else 1.0,
        "zipf_slope": _zipf_slope(used),
        "zipf_slope_messages": _zipf_slope(messages),
        "synonymy": _share(ids, meanings),
        "homonymy": _share(meanings, ids),
    }


@register("lengths", "fast")
def lengths(language: Language, generator: Generator) -> dict[str, float]:
    """Return statistics of the lengths of messages, in symbols, the stop symbol included.

    - ``length_mean``, ``length_std``: mean and standard deviation.
    - ``length_min``, ``length_max``: the shortest and the longest message.
    - ``abbreviation``: Spearman's correlation of frequency and length over distinct messages, in
      [-1, 1]; negative if frequent messages are shorter (Zipf's law of abbreviation), 0 if either
      is constant.
    """
    sent = language.lengths
    _, first, counts = np.unique(language.message_ids, return_index=True, return_counts=True)
    joint = np.zeros((int(counts.max()) + 1, int(sent.max()) + 1))
    np.add.at(joint, (counts, sent[first]), 1)
    return {
        "length_mean": float(sent.mean()),
        "length_std": float(sent.std()),
        "length_min": float(sent.min()),
        "length_max": float(sent.max()),
        "abbreviation": float(spearman(joint)),
    }


def boundaries(language: Language, threshold: float = 0.0) -> Array:
    """Return where Harris's articulation scheme puts boundaries in messages: bool [N, L].

    True at position t: there is a boundary between the symbols t - 1 and t. The branching entropy
    of a sequence is the entropy of the symbol that follows it, over all its occurrences. A boundary
    follows a sequence of two symbols or more if its branching entropy exceeds that of the sequence
    without its last symbol by more than ``threshold`` bits. Harris (1955); Tanaka-Ishii (2005);
    Ueda et al. (ICLR 2023). Messages of fewer than 3 symbols have no boundaries.
    """
    symbols, found = language.symbols, np.zeros(language.symbols.shape, bool)
    sent, base = language.sent, language.vocab_size + 1
    row, start = np.nonzero(sent)
    key, before = symbols[row, start], np.zeros(0)
    for size in range(1, language.max_length):  # of sequences that start at (row, start)
        inside = start + size < language.lengths[row]  # a symbol follows
        row, start, key = row[inside], start[inside], key[inside]
        before = before[inside] if size > 1 else before
        if not len(row):
            break
        key = np.unique(key, return_inverse=True)[1].reshape(-1)
        grown = key * base + symbols[row, start + size]
        pairs, counts = np.unique(grown, return_counts=True)
        terms, whole = counts * np.log2(counts), np.bincount(key)
        entropy = (np.log2(whole) - np.bincount(pairs // base, terms) / whole)[key]
        if size > 1:
            rising = entropy - before > threshold + 1e-9
            found[row[rising], start[rising] + size] = True
        key, before = grown, entropy
        if len(pairs) == len(grown) and not entropy.any():
            break  # every sequence occurs once
    return found


@register("segments", "slow")
def segments(language: Language, generator: Generator) -> dict[str, float]:
    """Return statistics of the segments between ``boundaries``.

    - ``harris_boundaries``: boundaries per message, in [0, L - 2]; 0 for messages of fewer than 3
      symbols.
    - ``harris_segments``: number of different segments, from 1.
    - ``harris_zipf_slope``: the slope of log frequency by log rank of segments.
    """
    found = boundaries(language)
    number = (found.cumsum(1) + np.arange(len(language))[:, None] * language.max_length).ravel()
    keys = number[language.sent.ravel()]
    text, ends = language.messages[language.sent], np.flatnonzero(np.diff(keys)) + 1
    words = [part.tobytes() for part in np.split(text, ends)]
    counts = np.unique(np.array(words, object), return_counts=True)[1]
    return {
        "harris_boundaries": float(found.sum() / len(language)),
        "harris_segments": float(len(counts)),
        "harris_zipf_slope": _zipf_slope(counts),
    }


def _share(of: Array, given: Array) -> float:
    whole = entropy_bits(np.bincount(of))
    return min(1.0, conditional_bits(of, given) / whole) if whole else 0.0


def _zipf_slope(counts: Array) -> float:
    frequencies = np.sort(counts[counts > 0])[::-1]
    if len(frequencies) < 2:
        return 0.0
    x, y = np.log(np.arange(1, len(frequencies) + 1)), np.log(frequencies)
    x = x - x.mean()
    return float((x * (y - y.mean())).sum() / (x**2).sum()) + 0.0

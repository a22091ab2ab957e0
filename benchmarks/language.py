"""The study of docs/results/language.md: what the agents talk about.

Trains the runs of ``benchmarks/ablation.py language``, evaluates the best checkpoint of each with
all language measures, and prints tables in Markdown: means over seeds with 95 % t-intervals.
Results are kept in ``--folder``, so an interrupted study can be continued.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ablation import LANGUAGE, cell_of, cores, run_cell
from tabulate import tabulate

if TYPE_CHECKING:
    from arc.metrics.language import Language

GAMES = ("random_99", "random_999", "same_size_49", "same_colors_9", "same_puzzle_9")
MEASURES = {
    "topographic similarity": "topsim_hamming",
    "posdis": "posdis",
    "position information, bits": "position_information",
    "concept best match, positions": "concept_best_match_positions",
    "context independence, positions": "context_independence_positions",
    "topographic similarity, embeddings": "topsim_edit_embeddings",
    "semantic consistency, adjusted": "semantic_consistency_adjusted",
    "unique ratio": "unique_ratio",
    "message entropy, bits": "message_entropy",
}
FLOORS = ("value", "shuffled", "random", "untrained_sender")


def analyse(checkpoint: Path) -> dict[str, Any]:
    """Return the results of a checkpoint with all measures, and bits of positions on concepts.

    The bits are those of the trained and of an untrained sender, as in the measures.
    """
    import torch

    from arc.api import corpus, load
    from arc.config.builders import build_model
    from arc.metrics.concepts import split_concepts
    from arc.metrics.language import Language
    from arc.metrics.language.information import position_concepts
    from arc.runs.results import EvaluationOptions
    from arc.runs.saved import evaluate_checkpoint

    loaded = load(checkpoint)
    options = EvaluationOptions(measures="all")
    results = evaluate_checkpoint(checkpoint, loaded.model.device, options)
    split = corpus(loaded.config).test
    grids, concepts = split.grids[split.sender], split_concepts(split)
    vocab_size = loaded.model.bottleneck.vocab_size
    assert vocab_size is not None
    torch.manual_seed(loaded.config.seed)
    untrained = build_model(loaded.config).eval()
    for kind, model in (("trained", loaded.model), ("untrained", untrained)):
        with torch.no_grad():
            message = model(grids)
        language = Language(message.content, message.lengths, vocab_size, concepts, grids)
        table = position_concepts(language, torch.Generator().manual_seed(0))
        bits = zip(table.concepts, table.corrected.T.tolist(), strict=True)
        results[f"position_concepts_{kind}"] = dict(bits)
        results[f"messages_{kind}"] = _shared(language)
    entropy = dict(zip(table.concepts, table.concept_entropy.tolist(), strict=True))
    return results | {"concept_entropy": entropy}


def _shared(language: Language) -> dict[str, int]:
    """Return the number of different grids, of messages that several send, and of these grids."""
    ids = language.message_ids[language.different_grids]
    counts = np.bincount(ids)
    return {
        "grids": len(ids),
        "shared": int((counts > 1).sum()),
        "sharing": int(counts[counts > 1].sum()),
    }


def analyse_cell(folder: Path, name: str, seed: int, threads: int) -> dict[str, Any]:
    """Train and analyse one cell in processes of their own, unless that was done before."""
    run_cell(folder, name, LANGUAGE[name], seed, None, threads)
    cell = cell_of(folder, name, seed)
    path = cell / "language.json"
    if not path.exists():
        command = [sys.executable, __file__, "--analyse", str(cell / f"{cell.name}_best.pth")]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
        path.write_bytes(done.stdout)
    return json.loads(path.read_text())


def mean(values: Sequence[float], digits: int = 3) -> str:
    """Return 'mean ± half of the 95 % t-interval'."""
    from arc.runs.seeds import t_interval

    interval = t_interval(values)
    center = statistics.fmean(values)
    spread = "" if interval is None else f" ± {interval[1] - center:.{digits}f}"
    return f"{center:.{digits}f}{spread}"


def accuracies(runs: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, str]]:
    """Yield the accuracies of each row on the test set, in percent."""
    for name, results in runs.items():
        found = {game: [each["test"][game]["accuracy"] for each in results] for game in GAMES}
        yield {"run": name, **{game: mean(values, 1) for game, values in found.items()}}


def measures(runs: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, str]]:
    """Yield each measure of each row with its floors."""
    for label, measure in MEASURES.items():
        for name, results in runs.items():
            found = [each["measures"][measure] for each in results]
            values = {floor: mean([each[floor] for each in found]) for floor in FLOORS}
            yield {"measure": label, "run": name, **values}


def interventions(runs: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, str]]:
    """Yield the accuracy after changes of the message, in percent: mean over the positions."""
    for name, results in runs.items():
        row = {"run": name}
        for change in ("replaced", "dropped", "permuted"):
            found = [
                statistics.fmean(v for k, v in each["interventions"].items() if change in k)
                for each in results
            ]
            row[change] = mean(found, 1)
        yield row


def positions(runs: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, str]]:
    """Yield, for each concept, the largest information of a position, as a share of its entropy."""
    first = next(iter(runs.values()))[0]
    for concept, entropy in first["concept_entropy"].items():
        row = {"concept": concept, "entropy": f"{entropy:.2f}"}
        for name, results in runs.items():
            for kind in ("trained", "untrained"):
                bits = [max(each[f"position_concepts_{kind}"][concept]) for each in results]
                shares = [most / max(entropy, 1e-9) for most in bits]
                row[name if kind == "trained" else f"{name}, untrained"] = mean(shares, 3)
        yield row


def shared(runs: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, str]]:
    """Yield how many different grids share a message with another one, per run."""
    for name, results in runs.items():
        found = [each["messages_trained"] for each in results]
        counts = {key: ", ".join(str(each[key]) for each in found) for key in found[0]}
        yield {"run": name, **counts}


def generalisation(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Return Spearman's correlation, over all runs, of topographic similarity and accuracy."""
    from scipy.stats import spearmanr

    every = [each for results in runs.values() for each in results]
    similarity = [each["measures"]["topsim_hamming"]["value"] for each in every]
    found = []
    for game in GAMES:
        test = spearmanr(similarity, [each["test"][game]["accuracy"] for each in every])
        found.append(f"{game} {test.statistic:.2f} (p = {test.pvalue:.2f})")
    return f"Spearman's correlation with the accuracy, {len(every)} runs: " + ", ".join(found)


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, sharing the cores")
    parser.add_argument("--folder", type=Path, default=Path("outputs/language"))
    parser.add_argument("--analyse", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.analyse:
        print(json.dumps(analyse(arguments.analyse)))
        return
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    threads = max(1, cores() // arguments.jobs)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        cells = {
            (name, seed): pool.submit(analyse_cell, folder, name, seed, threads)
            for seed in range(arguments.seeds)
            for name in LANGUAGE
        }
        runs = {
            name: [cells[name, seed].result() for seed in range(arguments.seeds)]
            for name in LANGUAGE
        }
    for table in (accuracies, measures, interventions, positions, shared):
        print(tabulate(list(table(runs)), headers="keys", tablefmt="github"), end="\n\n")
    print(generalisation(runs))


if __name__ == "__main__":
    main()

"""Cross-play: the receiver of each run reads the messages of the sender of every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from arc.checkpointing import load
from arc.checkpointing.loader import Loaded
from arc.config.builders import BATCHES
from arc.config.files import ConfigError
from arc.io.trees import leaves
from arc.runs.results import EvaluationOptions, EvaluationProgress, stoppable
from arc.runs.saved import config_of, different_files, task_of
from arc.tasks import Task


def load_players(
    paths: Sequence[str], device: torch.device, overrides: Sequence[str] = ()
) -> dict[str, Loaded]:
    """Load the runs of ``paths`` for ``cross_play``, by path.

    ``overrides`` replace keys of the section ``data``. Raises CheckpointError if a file cannot be
    read, ConfigError unless there are several files whose runs have equal task, bottleneck and
    data.
    """
    players = {path: load(path, device) for path in different_files(paths)}
    if len(players) < 2:
        raise ConfigError("crossplay=true: needs several files, path=A path=B")
    (first, wanted), *others = (
        (path, _rules(player, overrides)) for path, player in players.items()
    )
    for path, found in others:
        differing = [key for key in wanted | found if wanted.get(key) != found.get(key)]
        if differing:
            values = f"{wanted.get(differing[0])} and {found.get(differing[0])}"
            raise ConfigError(
                f"crossplay=true: {first} and {path} differ in {differing[0]} ({values}); task, "
                "bottleneck and data must be equal"
            )
    return players


def _rules(player: Loaded, overrides: Sequence[str]) -> dict[str, Any]:
    """Return what must be equal in two runs, by dotted key; for vectors also their length."""
    config = config_of(player, overrides)
    rules = {
        "task": config.task.model_dump(),
        "bottleneck": config.bottleneck.model_dump(),
        "data": config.data.model_dump(exclude=BATCHES),
    }
    if player.model.bottleneck.vocab_size is None:
        rules["model"] = {"latent_dim": config.model.latent_dim}
    return leaves(rules)


@torch.no_grad()
def cross_play(
    players: Mapping[str, Loaded],
    device: torch.device,
    *,
    options: EvaluationOptions | None = None,
    overrides: Sequence[str] = (),
    tasks: dict[str, Task] | None = None,
) -> dict[str, Any]:
    """Evaluate each receiver of ``players`` with the messages of each sender, on the test set.

    Without a test set, on validation. ``matrix[i][j]`` is the headline accuracy, in percent, of
    receiver j with the messages of sender i, in the order of ``runs``. ``diagonal`` is the mean
    over pairs within a run, ``off_diagonal`` that over pairs of different runs. ``baselines`` are
    those of the headline. After a stop, accuracies that were not computed are None and
    ``"stopped"`` is true. Of ``options`` only ``report`` and ``should_stop`` are used. ``tasks``:
    as in evaluate_checkpoint.
    """
    options = options or EvaluationOptions()
    first, models = next(iter(players)), [player.model for player in players.values()]
    task = task_of(first, players[first], overrides, device, {} if tasks is None else tasks)
    corpus = task.corpus
    split = corpus.test if len(corpus.test) > 0 else corpus.validation
    matrix: list[list[float | None]] = [[None] * len(models) for _ in models]
    results: dict[str, Any] = {"runs": list(players), "set": split.name}
    results |= {"metric": None, "targets": 0, "baselines": {}, "matrix": matrix}
    results |= {"diagonal": None, "off_diagonal": None}

    def fill(progress: EvaluationProgress) -> None:
        progress.begin("cross-play")
        contents = [task.send_all(model, split)[0] for model in models]
        for row, content in zip(matrix, contents, strict=True):
            for number, model in enumerate(models):
                metrics = task.evaluate(model, split, model.bottleneck.read(content))
                row[number] = metrics.accuracy
        name, headline = next(iter(metrics.metrics.items()))
        value = next(iter(headline.values))
        results["metric"] = value if len(headline.values) > 1 else name
        results["targets"], results["baselines"] = headline.targets, headline.baselines
        accuracies, is_same = torch.tensor(matrix), torch.eye(len(models), dtype=torch.bool)
        results["diagonal"] = float(accuracies[is_same].mean())
        results["off_diagonal"] = float(accuracies[~is_same].mean())

    chunks = (2 * len(models) + len(models) ** 2) * task.chunk_count(split)
    progress = EvaluationProgress({"cross-play": chunks}, options.report, options.should_stop)
    return stoppable(task, progress, fill, results)

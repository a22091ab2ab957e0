"""Selection: the receiver picks the target out of candidates (the referential game)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from arc.data import Corpus, DataError, Grids, Split, Transform
from arc.data.distractors import (
    DISTRACTORS,
    DistractorGroups,
    DistractorKind,
    sample_candidates,
)
from arc.data.features import (
    FEATURES,
    color_counts,
    equal_cells,
    equal_contents,
    feature_ids,
)
from arc.data.near_copies import near_copies
from arc.metrics import expected_accuracy, random_code_accuracy, share, share_percent
from arc.models import ARCAutoencoder
from arc.models.receivers.selection import SelectionReceiver
from arc.tasks.base import (
    TASKS,
    Metric,
    StepOutput,
    Task,
    TaskConfig,
    TaskMetrics,
    percent,
    ranked,
    transformed,
)

REPORTED_DISTRACTORS = (9, 49, 99, 999)
SHOWN_DISTRACTORS = 9
MOST_SCORES = 2**25  # computed at a time in an evaluation
Scores = Callable[[Tensor], Tensor]  # examples [part] to scores of all candidates, on the CPU


class SelectionConfig(TaskConfig):
    """Keys of conf/task/selection.yaml."""

    num_distractors: Annotated[int, Field(ge=1, le=999)]
    distractors: DistractorKind
    negatives: Literal["batch", "game"]
    near_copies: bool
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    score: Literal["distance", "cosine"]

    @model_validator(mode="after")
    def _copies_are_negatives(self) -> SelectionConfig:
        if self.near_copies and self.negatives == "game":
            raise ValueError(
                "near_copies=true requires negatives=batch; with negatives=game, set "
                "task.near_copies=false"
            )
        return self


@TASKS.register("selection", config=SelectionConfig)
class SelectionTask(Task):
    """Every target has exactly ``num_distractors`` distractors of the configured kind."""

    config: SelectionConfig
    shared_transform = True  # different candidates must stay different
    section: ClassVar[str] = "task"  # of its configuration

    def __init__(self, config: SelectionConfig, corpus: Corpus) -> None:
        super().__init__(config, corpus)
        self._groups: dict[tuple[str, str], DistractorGroups] = {}
        self._baselines: dict[str, dict[tuple[str, int], dict[str, float]]] = {}
        for split in (corpus.training, corpus.validation):
            if len(split) == 0:
                continue
            if split is corpus.validation or config.negatives == "game":
                self._check(split)
            elif len(split.candidates) == 1:
                raise DataError(
                    "selection: the training set has only one target; use more data "
                    "(data.max_grids, data.validation_fraction)"
                )
        if config.use_input_output_pairs and config.near_copies:
            self.notes.append(
                "the sender sees only the input, so no message tells an output from its near copy; "
                "set task.near_copies=false, as experiment=selection_pairs does"
            )

    @property
    def uses_training_grids(self) -> bool:
        """True without input-output pairs, if the distractors come from the batch."""
        return not self.config.use_input_output_pairs and self.config.negatives == "batch"

    @property
    def step_is_static(self) -> bool:
        """True if the distractors come from the batch and no grid is synthetic."""
        return self.config.negatives == "batch" and self.corpus.synthetic == 0

    def _check(self, split: Split) -> None:
        available = self.groups(self.config.distractors, split).available
        wanted = self.config.num_distractors
        enough = int((available >= wanted).sum())
        kind = self.config.distractors
        if enough == 0:
            raise DataError(
                f"{self.section}.num_distractors={wanted}: the {split.name} set has at most "
                f"{int(available.max())} {kind} distractors for a target; "
                "lower it, or use more data (data.max_grids, data.validation_fraction)"
            )
        if enough < len(split):
            self.notes.append(
                f"{split.name}: {len(split) - enough} of {len(split)} targets have fewer than "
                f"{wanted} {kind} distractors and are skipped"
            )

    def groups(self, kind: str, split: Split) -> DistractorGroups:
        """Return the groups of ``split`` for one distractor kind, from a cache."""
        key = (kind, split.name)
        if key not in self._groups:
            self._groups[key] = DistractorGroups.of(kind, split)
        return self._groups[key]

    def training_order(self) -> tuple[Tensor, Tensor | None, int]:
        """Keep examples of one distractor group together, if training plays the game."""
        if self.config.negatives == "batch":
            return super().training_order()
        groups = self.groups(self.config.distractors, self.corpus.training)
        wanted = self.config.num_distractors
        examples = (groups.available >= wanted).nonzero()[:, 0]
        if self.config.distractors == "random":
            return examples, None, 1
        return examples, groups.of_example[examples], wanted + 1

    def embed(self, model: ARCAutoencoder, candidates: Grids) -> Tensor:
        """Embed candidates for the receiver, float32 [pool, width]."""
        assert isinstance(model.receiver, SelectionReceiver)
        return model.receiver.embed(candidates)

    def score(self, model: ARCAutoencoder, signal: Tensor, embedded: Tensor) -> Tensor:
        """Return the logit of each embedded candidate for each message, float32 [batch, pool]."""
        assert isinstance(model.receiver, SelectionReceiver)
        return model.receiver.score(signal, embedded)

    def step(
        self,
        model: ARCAutoencoder,
        examples: Tensor,
        generator: torch.Generator,
        transform: Transform | None = None,
    ) -> StepOutput:
        """Compute the cross-entropy; each grid of the shared pool is encoded once."""
        if self.config.negatives == "batch":
            return self._step_in_batch(model, examples, generator, transform)
        split = self.corpus.training
        groups = self.groups(self.config.distractors, split)
        candidate_set = sample_candidates(
            split, groups, examples, self.config.num_distractors, generator
        )
        message = model(self.sender_input(split, examples, generator, transform))
        pool = self.embed(model, transformed(split.grids[candidate_set.pool], transform))
        scores = self.score(model, message.signal, pool)
        logits = scores.gather(1, candidate_set.choices.to(scores.device))
        answer = candidate_set.answer.to(scores.device)
        return StepOutput(
            loss=self._training_loss(logits, answer) + message.aux_loss,
            accuracy=percent(logits.detach().argmax(1) == answer),
            message=message,
        )

    def _step_in_batch(
        self,
        model: ARCAutoencoder,
        examples: Tensor,
        generator: torch.Generator,
        transform: Transform | None,
    ) -> StepOutput:
        """Compute the cross-entropy over the batch, of the target and of the message.

        Every other target of the batch is a distractor, and with ``near_copies`` a changed copy
        of each target as well. The sender also sends the copies, unless it sees an input.
        """
        candidates = self.training_grids(examples, generator, transform)
        if self.config.near_copies:
            candidates = candidates.joined(near_copies(candidates, generator))
        sent = candidates
        if self.config.use_input_output_pairs:
            sent = self.sender_input(self.corpus.training, examples, generator, transform)
        message = model(sent)
        scores = self.score(model, message.signal, self.embed(model, candidates))
        answer = torch.arange(len(sent), device=scores.device)
        equal = equal_contents(candidates).fill_diagonal_(False)[: len(sent)]
        scores = scores.masked_fill(equal, -math.inf)
        loss = self._training_loss(scores, answer)
        loss = (loss + self._training_loss(scores[:, : len(sent)].t(), answer)) / 2
        return StepOutput(
            loss=loss + message.aux_loss,
            accuracy=percent(scores.detach().argmax(1) == answer),
            message=message,
        )

    def _training_loss(self, scores: Tensor, answer: Tensor) -> Tensor:
        """Return the mean cross-entropy of ``answer``, int64 [batch], with label smoothing.

        ``scores`` is [batch, pool]; candidates at minus infinity take no part.
        """
        log_probabilities = scores.log_softmax(1)
        loss = F.nll_loss(log_probabilities, answer)
        smoothing = self.config.label_smoothing
        if smoothing == 0:
            return loss
        allowed = scores.isfinite()
        spread = -log_probabilities.masked_fill(~allowed, 0).sum(1) / allowed.sum(1)
        return (1 - smoothing) * loss + smoothing * spread.mean()

    def evaluate(
        self, model: ARCAutoencoder, split: Split, signal: Tensor, *, full: bool = False
    ) -> TaskMetrics:
        """Score every candidate; accuracies are exact over all draws of distractors."""
        if len(split) == 0:
            headline = f"{self.config.distractors}_{self.config.num_distractors}"
            return TaskMetrics(math.nan, {headline: Metric({"accuracy": math.nan}, 0, {})})
        embedded = self._embedded_candidates(model, split)

        def scores(part: Tensor) -> Tensor:
            return self.score(model, signal[part], embedded).cpu()

        wanted: list[tuple[str, int]] = [(self.config.distractors, self.config.num_distractors)]
        if full:
            pairs = [(kind, count) for kind in DISTRACTORS for count in REPORTED_DISTRACTORS]
            wanted += [pair for pair in pairs if pair not in wanted]
        loss = self._loss(model, split, signal, embedded)
        return TaskMetrics(loss, self._metrics(model, split, wanted, scores))

    def match_messages(
        self, model: ARCAutoencoder, split: Split, content: Tensor
    ) -> TaskMetrics | None:
        """Choose the candidates for which the sender sends exactly the same message."""
        if self.config.use_input_output_pairs:  # the sender never sees a candidate
            return None
        own = content.unique(dim=0, return_inverse=True)[1].cpu()
        candidates = torch.empty(len(split.candidates), dtype=own.dtype)
        candidates[torch.searchsorted(split.candidates, split.target)] = own
        wanted = [(self.config.distractors, self.config.num_distractors)]
        metrics = self._metrics(model, split, wanted, _equal(own, candidates))
        return TaskMetrics(math.nan, metrics)

    def _embedded_candidates(self, model: ARCAutoencoder, split: Split) -> Tensor:
        """Embed the candidates of ``split``, float32 [candidates, width]."""
        cache = {} if self._embeddings is None else self._embeddings
        key = (model, split.name)
        if key not in cache:
            grids = split.candidates
            parts = [
                self.embed(model, split.grids[grids[part]]) for part in self.chunks(len(grids))
            ]
            cache[key] = torch.cat(parts)
        return cache[key]

    def predict(
        self, model: ARCAutoencoder, split: Split, examples: Tensor, signal: Tensor
    ) -> list[dict[str, Any]]:
        """Return up to ten ``candidates`` with their probabilities, drawn deterministically."""
        groups = self.groups(self.config.distractors, split)
        generator = torch.Generator().manual_seed(0)
        predictions: list[dict[str, Any]] = []
        for row, example in enumerate(examples):
            available = int(groups.available[example])
            count = min(self.config.num_distractors, SHOWN_DISTRACTORS, available)
            if count == 0:
                predictions.append({"candidates": [], "correct": None})
                continue
            candidate_set = sample_candidates(split, groups, example[None], count, generator)
            candidates = split.grids[candidate_set.pool[candidate_set.choices[0]]]
            scores = self.score(model, signal[row, None], self.embed(model, candidates))[0]
            predictions.append(
                _candidate_prediction(candidates, scores.softmax(0), int(candidate_set.answer))
            )
        return predictions

    def outcomes(
        self, model: ARCAutoencoder, split: Split, signal: Tensor
    ) -> Iterator[dict[str, Any]]:
        """Yield the chosen target, as an example that has it, and the rank of the correct one.

        The candidates are all targets of the distractor group, not those of one game.
        """
        groups, universe = self.groups(self.config.distractors, split), split.candidates
        names: dict[int, str] = {}
        for grid, example in zip(split.target.tolist(), split.example_ids, strict=True):
            names.setdefault(grid, example)
        embedded = self._embedded_candidates(model, split)
        for part in self.chunks(len(split)):
            is_candidate = groups.is_member(part, universe)
            scores = self.score(model, signal[part], embedded).cpu()
            scores = scores.masked_fill(~is_candidate, -math.inf)
            found = ranked(scores, torch.searchsorted(universe, split.target[part]))
            rank, probability, choice = (each.tolist() for each in found)
            for place, chosen in enumerate(universe[choice].tolist()):
                yield {
                    "prediction": names[chosen],
                    "correct": rank[place] == 1,
                    "rank": rank[place],
                    "probability": probability[place],
                    "candidates": int(is_candidate[place].sum()),
                }

    def _metrics(
        self,
        model: ARCAutoencoder,
        split: Split,
        wanted: list[tuple[str, int]],
        scores: Scores,
    ) -> dict[str, Metric]:
        """Return the accuracy for each distractor kind and number, with its baselines."""
        metrics = {}
        for (kind, count), accuracy in self._accuracies(split, wanted, scores).items():
            baselines = self._baselines_of(model, split, wanted)[kind, count]
            metrics[f"{kind}_{count}"] = Metric.of(
                {"accuracy": accuracy}, int(accuracy[1].sum()), baselines
            )
        return metrics

    def _accuracies(
        self, split: Split, wanted: list[tuple[str, int]], scores: Scores
    ) -> dict[tuple[str, int], Tensor]:
        """Return the share of games that each target wins on average; skipped targets count 0.

        A chunk of the scores is computed at a time, so that memory does not grow with the square
        of the split.
        """
        universe = split.candidates
        kinds = dict.fromkeys(kind for kind, _ in wanted)
        standings: dict[str, list[Tensor]] = {kind: [] for kind in kinds}
        for part in self.chunks(len(split), max(1, min(1024, MOST_SCORES // len(universe)))):
            of_part = scores(part)
            own = torch.searchsorted(universe, split.target[part])[:, None]
            mine = of_part.gather(1, own)
            better = ~(of_part <= mine)  # NaN counts as better
            tied = (of_part == mine).scatter_(1, own, False)
            for kind in kinds:
                allowed = self.groups(kind, split).is_member(part, universe)
                standing = [(better & allowed).sum(1), (tied & allowed).sum(1), mine[:, 0].isnan()]
                standings[kind].append(torch.stack(standing, 1))
        found = {kind: torch.cat(parts) for kind, parts in standings.items()}
        return {(kind, count): self._won(split, kind, count, found[kind]) for kind, count in wanted}

    def _won(self, split: Split, kind: str, num_distractors: int, standings: Tensor) -> Tensor:
        available = self.groups(kind, split).available
        is_covered = available >= num_distractors
        better, tied, is_nan = standings[is_covered].unbind(1)
        won = torch.zeros(len(split), dtype=torch.float64)
        wins = expected_accuracy(better, tied, available[is_covered], num_distractors)
        won[is_covered] = wins.masked_fill(is_nan.bool(), 0.0)
        return share(won, is_covered)

    def _baselines_of(
        self, model: ARCAutoencoder, split: Split, wanted: list[tuple[str, int]]
    ) -> dict[tuple[str, int], dict[str, float]]:
        """Return the baselines: chance, simple features, and random codes of the bottleneck.

        With pairs, also the similarity of a candidate to the input.
        """
        known = self._baselines.setdefault(split.name, {})
        missing = [game for game in wanted if game not in known]
        if not missing:
            return known
        for game in missing:
            known[game] = {"chance": 100 / (game[1] + 1)}
        for feature in FEATURES:
            ids = feature_ids(feature, split.grids)
            matches = self._accuracies(
                split, missing, _equal(ids[split.sender], ids[split.candidates])
            )
            for game, accuracy in matches.items():
                known[game][feature] = share_percent(accuracy)
        if self.config.use_input_output_pairs:
            for game, accuracy in self._accuracies(split, missing, _similarity(split)).items():
                known[game]["similarity_to_input"] = share_percent(accuracy)
        codes = model.bottleneck.num_messages
        if codes is not None:
            for game in missing:
                known[game]["random_codes"] = 100 * random_code_accuracy(codes, game[1])
        return known

    def _loss(self, model: ARCAutoencoder, split: Split, signal: Tensor, embedded: Tensor) -> float:
        """Return the cross-entropy for one fixed draw of distractors for each target."""
        groups, universe = self.groups(self.config.distractors, split), split.candidates
        examples = (groups.available >= self.config.num_distractors).nonzero()[:, 0]
        if len(examples) == 0:
            return math.nan
        generator = torch.Generator().manual_seed(0)
        examples = examples[torch.randperm(len(examples), generator=generator)]
        count = self.config.num_distractors
        total = 0.0
        for chunk in self.chunks(len(examples), 1024):
            part = examples[chunk]
            candidate_set = sample_candidates(split, groups, part, count, generator)
            pool = embedded[torch.searchsorted(universe, candidate_set.pool).to(embedded.device)]
            scores = self.score(model, signal[part.to(signal.device)], pool).cpu()
            logits = scores.gather(1, candidate_set.choices)
            total += float(F.cross_entropy(logits, candidate_set.answer, reduction="sum"))
        return total / len(examples)


def _equal(own: Tensor, candidates: Tensor) -> Scores:
    """Score the candidates by whether they equal each example's ``own``, [examples]."""
    return lambda part: own[part, None] == candidates


def _similarity(split: Split) -> Scores:
    """Score the candidates by their similarity to each example's input.

    It is three times the number of equal cells at the same places, divided by the number of cells
    of the larger grid, less the number of colours that only one of the two grids has.
    """
    grids = split.grids.to("cpu")
    candidates, cells = grids[split.candidates], grids.sizes.prod(1)
    colors = (color_counts(grids) > 0).float()

    def scores(part: Tensor) -> Tensor:
        own = split.sender[part]
        largest = torch.maximum(cells[own, None], cells[split.candidates])
        differing = torch.cdist(colors[own], colors[split.candidates], p=1)
        return 3 * equal_cells(grids[own], candidates) / largest - differing

    return scores


def _candidate_prediction(candidates: Grids, probabilities: Tensor, answer: int) -> dict[str, Any]:
    """Return candidates in plain types, with float32 [candidates] probabilities."""
    shown = [
        {"grid": grid.tolist(), "probability": probability, "is_target": number == answer}
        for number, (grid, probability) in enumerate(
            zip(candidates.arrays(), probabilities.tolist(), strict=True)
        )
    ]
    return {"candidates": shown, "correct": int(probabilities.argmax()) == answer}

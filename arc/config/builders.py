"""Builds tasks, models and encoders from a run configuration."""

from __future__ import annotations

from typing import Any

import torch

from arc.config.files import ConfigError
from arc.config.schema import RunConfig
from arc.data import NUM_COLORS, DataError, SplitSpec, load_corpus, with_test
from arc.models import ARCAutoencoder, ARCEncoder
from arc.pretraining import PRETRAINING
from arc.tasks import TASKS, Task
from arc.training import ProcessGroup, Trainer, TrainingConfig, autocast_dtype

BATCHES = {
    "augment",
    "augment_colors",
    "synthetic",
    "crop",
}  # keys of data that change batches, not the examples


def with_data(config: RunConfig, num_classes: int | None) -> RunConfig:
    """Return the configuration with ``num_classes`` set, so that it can rebuild the model."""
    if num_classes is None:
        return config
    if "num_classes" not in type(config.task).model_fields:
        raise ConfigError(
            f"task={config.task.name}: has {num_classes} classes but no num_classes key"
        )
    task = config.task.model_copy(update={"num_classes": num_classes})
    return config.model_copy(update={"task": task})


def build_task(
    config: RunConfig, device: torch.device | str = "cpu", *, test: RunConfig | None = None
) -> Task:
    """Load the data that a configuration names, onto ``device``, and make its task.

    ``test``: a configuration whose test set, without leaked examples, replaces the other.
    """
    task_class = TASKS[config.task.name]
    corpus = load_corpus(config.data, _slicing(config), device=device)
    if test is not None:
        corpus = with_test(corpus, test.data, _slicing(test))
    return task_class(config.task, corpus)


def build_pretraining(config: RunConfig, device: torch.device | str = "cpu") -> Task:
    """Load the data, onto ``device``, and make the task that pretrains the encoder.

    Pretraining excludes the held-out data of the configured task.
    """
    task_class: type[Any] = PRETRAINING[config.pretrain.name]
    own = SplitSpec(config.pretrain.task_config().use_input_output_pairs, task_class.held_out)
    corpus = load_corpus(config.data, own, before=_slicing(config), device=device)
    task: Task = task_class(config.pretrain, corpus)
    return task


def _slicing(config: RunConfig) -> SplitSpec:
    """Return the split specification of the configured task."""
    return SplitSpec(config.task.use_input_output_pairs, TASKS[config.task.name].held_out)


def holds_out_alike(one: RunConfig, other: RunConfig, fingerprint: str | None = None) -> bool:
    """Return whether two runs hold out the same examples.

    ``fingerprint`` is that of the data of ``one``, which may be somewhere else by now.
    """
    if _slicing(one) != _slicing(other):
        return False
    left, right = (each.data.model_dump(exclude=BATCHES) for each in (one, other))
    if left == right:
        return True
    build = build_task if one.mode == "train" else build_pretraining
    try:
        data = other.data.model_copy(update={key: getattr(one.data, key) for key in BATCHES})
        task = build(one.model_copy(update={"data": data}))
    except DataError:  # too little for the task of ``one``
        return False
    return task.corpus.fingerprint == fingerprint


def build_encoder(config: RunConfig) -> ARCEncoder:
    """Build the sender's encoder, weights drawn from torch's generator.

    In pretraining the encoder takes single grids, whatever the task.
    """
    return ARCEncoder(
        **_sizes(config),
        latent_dim=config.model.latent_dim,
        dropout=config.model.dropout,
        architecture=config.model.architecture,
        mixer=config.model.mixer,
        head=config.model.head,
        pairs=config.mode == "train" and TASKS[config.task.name].sends_pairs,
    )


def build_model(config: RunConfig) -> ARCAutoencoder:
    """Build the model that a configuration describes, weights drawn from torch's generator."""
    options = config.bottleneck.model_dump(exclude={"name", "vocab_size", "max_message_length"})
    model = ARCAutoencoder(
        encoder=build_encoder(config),
        vocab_size=getattr(config.bottleneck, "vocab_size", None),
        max_length=getattr(config.bottleneck, "max_message_length", None),
        bottleneck_type=config.bottleneck.name,
        task_type=config.task.name,
        num_classes=getattr(config.task, "num_classes", None),
        score=getattr(config.task, "score", "distance"),
        palette=getattr(config.task, "palette", "none"),
        shared_encoder=config.model.shared_encoder,
        shared_init=config.model.shared_init,
        size=getattr(config.task, "size", "given"),
        dropout=config.model.dropout,
        bottleneck_options=options,
        **_sizes(config),
    )
    if config.encoder.freeze:
        model.freeze_encoder()
    return model


def build_pretraining_model(config: RunConfig, num_classes: int | None) -> ARCAutoencoder:
    """Build the encoder with the bottleneck and receiver of its pretraining."""
    return ARCAutoencoder(
        encoder=build_encoder(config),
        vocab_size=None,
        max_length=None,
        bottleneck_type="autoencoder",
        task_type=config.pretrain.receiver,
        num_classes=num_classes,
        dropout=config.model.dropout,
        **_sizes(config),
    )


def _sizes(config: RunConfig) -> dict[str, Any]:
    """Return the sizes that the encoder and the rest of the model share."""
    return {
        "num_colors": NUM_COLORS,
        "embedding_dim": config.model.embedding_dim,
        "hidden_dim": config.model.hidden_dim,
        "num_conv_layers": config.model.num_conv_layers,
    }


def build_trainer(
    config: RunConfig,
    task: Task,
    model: ARCAutoencoder,
    *,
    training: TrainingConfig | None = None,
    ranks: ProcessGroup | None = None,
    validate_every: int | None = None,
) -> Trainer:
    """Build the trainer of ``model`` on ``task``.

    ``training`` replaces the configuration's (pretraining has its own length and learning rate).
    ``validate_every``: steps between validations, None for one after each epoch.
    """
    training = training or config.training
    return Trainer(
        training,
        model,
        task,
        optimizer=config.optimizer,
        schedule=config.schedule,
        seed=config.seed,
        augment=config.data.augment,
        augment_colors=config.data.augment_colors,
        autocast=autocast_dtype(training.precision, model.device),
        ranks=ranks,
        metrics=config.metric.selected,
        validate_every=validate_every,
    )

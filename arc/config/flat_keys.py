"""The configuration under the flat names that scripts and the control endpoint know."""

from __future__ import annotations

from typing import Any

from arc.config.schema import RunConfig

KEY_PATHS = {
    "task_type": "task.name",
    "num_distractors": "task.num_distractors",
    "bottleneck_type": "bottleneck.name",
    "use_input_output_pairs": "task.use_input_output_pairs",
    "max_grids": "data.max_grids",
    "filter_grid_size": "data.filter_grid_size",
    "hidden_dim": "model.hidden_dim",
    "latent_dim": "model.latent_dim",
    "num_conv_layers": "model.num_conv_layers",
    "vocab_size": "bottleneck.vocab_size",
    "max_message_length": "bottleneck.max_message_length",
    "temperature": "bottleneck.temperature",
    "batch_size": "training.batch_size",
    "learning_rate": "training.learning_rate",
    "pretrain_learning_rate": "pretrain.learning_rate",
    "num_epochs": "training.epochs",
    "pretrain_epochs": "pretrain.epochs",
    "pretrain_task_type": "pretrain.name",
    "use_pretrained": "encoder.pretrained",
    "freeze_encoder": "encoder.freeze",
    "load_pretrained_before_pretrain": "pretrain.init_from",
}
GROUPS = {"task_type": "task", "bottleneck_type": "bottleneck", "pretrain_task_type": "pretrain"}
PRESENCE_KEYS = ("use_pretrained", "load_pretrained_before_pretrain")  # a file is set


def flat_view(config: RunConfig) -> dict[str, Any]:
    """Return the configuration under flat names; what a task or channel lacks is None."""
    values = {}
    for key, place in KEY_PATHS.items():
        section, field = place.split(".")
        value = getattr(getattr(config, section), field, None)
        values[key] = value is not None if key in PRESENCE_KEYS else value
    return values

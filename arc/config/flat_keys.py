"""The configuration under the flat names that scripts and the control endpoint use."""

from __future__ import annotations

from collections.abc import Mapping
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
EXTRA_SETTINGS = {  # settings of the page and POST /task_config beyond those keys
    "distractors": "task.distractors",
    "stop_token": "bottleneck.stop_token",
    "augment": "data.augment",
    "seed": "seed",
    "max_steps": "training.max_steps",
}
SETTINGS = KEY_PATHS | EXTRA_SETTINGS
GROUPS = {"task_type": "task", "bottleneck_type": "bottleneck", "pretrain_task_type": "pretrain"}
PRESENCE_KEYS = ("use_pretrained", "load_pretrained_before_pretrain")  # a file is set


def flat_view(config: RunConfig, places: Mapping[str, str] = KEY_PATHS) -> dict[str, Any]:
    """Return the configuration under flat names; keys that do not apply to it are None."""
    values = {}
    for key, place in places.items():
        value: Any = config
        for name in place.split("."):
            value = getattr(value, name, None)
        values[key] = value is not None if key in PRESENCE_KEYS else value
    return values

"""Checks that a stored training state has the structure that the trainer expects."""

from __future__ import annotations

import math
from typing import Any

import torch

from arc.checkpointing.errors import CorruptedError
from arc.training import Trainer

OPTIONAL = ("complete",)  # keys that files of earlier versions lack
NUMPY_KEYS = 624


def check_state(content: dict[str, Any], trainer: Trainer, *, same_optimizer: bool) -> None:
    """Raise CorruptedError, which names the place, unless ``trainer`` can load the state."""
    fresh = trainer.state_dict()
    state = content["trainer_state"]
    like = {key: value for key, value in fresh.items() if key not in ("model", "optimizer")}
    _check(state, like, "trainer_state")
    source = state["source"]
    for place, holds in {
        "step": state["step"] == content["step"],
        "seconds": 0 <= state["seconds"] < math.inf,
        "source.epoch": source["epoch"] >= 1,
        "source.order": source["order"].sort().values.equal(torch.arange(len(source["order"]))),
        "random.numpy": state["random"]["numpy"][2] <= NUMPY_KEYS,
    }.items():
        if not holds:
            raise CorruptedError(f"trainer_state.{place}: not a valid value")
    if same_optimizer:
        _check_optimizer(content["optimizer_state_dict"], fresh["optimizer"], trainer)


def _check_optimizer(state: Any, like: dict[str, Any], trainer: Trainer) -> None:
    place = "optimizer_state_dict"
    _check(state, {"param_groups": like["param_groups"]}, place)
    parameters = dict(enumerate(trainer.model.parameters()))
    group = state["param_groups"][0]
    for key, usual in like["param_groups"][0].items():
        if key in trainer.optimizer_options:  # replaced by those of the configuration
            continue
        if (isinstance(usual, bool) and group[key] != usual) or (
            type(usual) is float and not 0 <= group[key] <= 1
        ):
            raise CorruptedError(f"{place}.param_groups.0.{key}: not a valid value")
    if state["param_groups"][0]["params"] != like["param_groups"][0]["params"]:
        raise CorruptedError(f"{place}.param_groups.0.params: not the weights in their order")
    entries = state.get("state")
    if not isinstance(entries, dict) or not entries.keys() <= parameters.keys():
        raise CorruptedError(f"{place}.state: not a state for each of {len(parameters)} weights")
    for index, entry in entries.items():
        if not isinstance(entry, dict) or entry.keys() != next(iter(entries.values())).keys():
            raise CorruptedError(f"{place}.state.{index}: not the entries of the other weights")
        for name, value in entry.items():
            fits = (value is None and name == "momentum_buffer") or (
                isinstance(value, torch.Tensor)
                and value.is_floating_point()
                and value.shape in (parameters[index].shape, torch.Size())
                and (value.dim() == 0) == (name == "step" or parameters[index].dim() == 0)
                and bool(value.isfinite().all())
                and (name in ("exp_avg", "momentum_buffer") or bool((value >= 0).all()))
            )
            if not fits:
                raise CorruptedError(f"{place}.state.{index}.{name}: does not fit the weight")


def _check(value: Any, like: Any, place: str) -> None:
    """Compare types, keys and shapes; a number may stand where a fresh state has None."""
    if isinstance(like, dict):
        if not isinstance(value, dict):
            raise _unlike(value, like, place)
        for key, item in like.items():
            if key in value:
                _check(value[key], item, f"{place}.{key}")
            elif key not in OPTIONAL:
                raise CorruptedError(f"has no {place}.{key}")
    elif isinstance(like, torch.Tensor):
        same = isinstance(value, torch.Tensor) and value.dtype == like.dtype
        varies = place.endswith(".order")  # the training set may have changed
        if not same or value.dim() != like.dim() or not (varies or value.shape == like.shape):
            raise _unlike(value, like, place)
    elif place.endswith(".cuda"):  # of the run's device; in older files, of each one
        if not isinstance(value, list) or not all(isinstance(each, torch.Tensor) for each in value):
            raise _unlike(value, like, place)
    elif isinstance(like, list | tuple):
        if not isinstance(value, list | tuple) or len(value) != len(like):
            raise _unlike(value, like, place)
        for index, (own, other) in enumerate(zip(value, like, strict=True)):
            _check(own, other, f"{place}.{index}")
    elif not _is_like(value, like):
        raise _unlike(value, like, place)


def _is_like(value: Any, like: Any) -> bool:
    if like is None or type(like) is float:
        return (like is None and value is None) or type(value) in (int, float)
    if type(like) is int:
        return type(value) is int and 0 <= value < 2**63
    return type(value) is type(like)


def _unlike(value: Any, like: Any, place: str) -> CorruptedError:
    found, wanted = (
        f"a tensor of {each.dtype} {list(each.shape)}"
        if isinstance(each, torch.Tensor)
        else type(each).__name__
        for each in (value, like)
    )
    return CorruptedError(f"{place}: {found}, not {wanted}")

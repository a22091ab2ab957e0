"""Routes that start, stop and save runs, and the settings of the next run."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, request

from arc.config.flat_keys import EXTRA_SETTINGS, GROUPS, SETTINGS, flat_view
from arc.server.overrides import check_literal, check_overrides
from arc.server.queries import InvalidStateError
from arc.server.requests import body, checkpoint_path, optional, session
from arc.server.schema import task_schema

blueprint = Blueprint("control", __name__)


@blueprint.post("/start_train")
def start_train() -> dict[str, Any]:
    """Start training; the body may hold ``overrides``, and ``resume`` or ``finetune``."""
    return _start("train", body("overrides", "resume", "finetune"))


@blueprint.post("/start_pretrain")
def start_pretrain() -> dict[str, Any]:
    """Start pretraining; the body may hold ``overrides``."""
    return _start("pretrain", body("overrides"))


def _start(mode: str, content: dict[str, Any]) -> dict[str, Any]:
    overrides = optional(content, "overrides", list) or []
    if not all(isinstance(override, str) for override in overrides):
        abort(400, "overrides: must be a list of strings such as task=selection")
    check_overrides(overrides, session().folder)
    starts = {}
    for key in ("resume", "finetune"):
        if (name := optional(content, key, str)) is not None:
            starts[key] = str(checkpoint_path(name, session().folder))
    if len(starts) == 2:
        abort(400, "resume and finetune are mutually exclusive; set only one")
    session().start(mode, overrides, **starts)
    return {"status": "started", "mode": mode}


@blueprint.post("/stop")
def stop() -> dict[str, Any]:
    """Stop after the current step, or end the final evaluation."""
    session().stop()
    return {"status": "stopped"}


@blueprint.post("/save_checkpoint")
def save_checkpoint() -> dict[str, Any]:
    """Request a checkpoint; the body may hold ``name`` and ``overwrite``."""
    content = body("name", "overwrite")
    name, overwrite = optional(content, "name", str), optional(content, "overwrite", bool)
    saved = session().save(name, overwrite=bool(overwrite))
    return {
        "status": "requested",
        "checkpoint_name": saved,
        "message": f"Checkpoint save requested: {saved}",
    }


@blueprint.get("/task_config")
def task_config() -> dict[str, Any]:
    """Return the settings of the next run under their flat names."""
    return flat_view(session().next_config())


@blueprint.post("/task_config")
def change_task_config() -> Any:
    """Change any of the settings, all or none; returns the 21 keys and what was changed."""
    content = body()
    for key, value in content.items():
        check_literal(key, value)
    try:
        view = session().change(content)
    except InvalidStateError as error:
        return {"error": str(error)}, 409
    extra = flat_view(session().settings.config(), EXTRA_SETTINGS)
    return {"status": "success", **view, **{key: extra[key] for key in extra if key in content}}


@blueprint.get("/task_schema")
def schema() -> dict[str, Any]:
    """Return type, range, help and value of each setting, for the options in the query."""
    options = request.args.to_dict()
    if unknown := sorted(set(options) - set(GROUPS)):
        abort(400, f"{unknown[0]}: choose among the options of {', '.join(GROUPS)}")
    config = session().next_config(options)
    return {"keys": task_schema(config), "values": flat_view(config, SETTINGS)}


@blueprint.get("/config")
def config() -> dict[str, Any]:
    """Return configuration and overrides of the run; before the first run, of the next."""
    return {"config": session().tree(), "overrides": session().overrides}

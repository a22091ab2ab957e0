"""Routes for checkpoint files: list, inspect, download."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request, send_file

from arc.checkpointing import read_metadata
from arc.checkpointing.tables import list_encoders, list_folder
from arc.server.requests import checkpoint_path, session

blueprint = Blueprint("checkpoints", __name__)


@blueprint.get("/list_checkpoints")
def list_checkpoints() -> dict[str, Any]:
    """Return a row for each checkpoint, newest first."""
    folder = session().folder
    if not folder.is_dir():
        return {"checkpoints": []}
    encoders = {row["path"] for row in list_encoders(folder)}
    rows = [row for row in list_folder(folder) if row["path"] not in encoders]
    return {"checkpoints": rows}


@blueprint.get("/pretrained_encoders")
def pretrained_encoders() -> dict[str, Any]:
    """Return a row for each pretrained encoder, newest first."""
    return {"encoders": list_encoders(session().folder)}


@blueprint.get("/checkpoint")
def checkpoint() -> dict[str, Any]:
    """Return the metadata of the checkpoint ``?name=``."""
    path = checkpoint_path(request.args.get("name", ""), session().folder)
    return {"metadata": read_metadata(path)}


@blueprint.get("/download/<name>")
def download(name: str) -> Response:
    """Return a checkpoint file, whole: ranges would occupy a thread until they are read."""
    path = checkpoint_path(name, session().folder)
    return send_file(path.resolve(), as_attachment=True, download_name=path.name, conditional=False)

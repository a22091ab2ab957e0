"""Reads the comments beside the keys of the files in conf/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from arc.config.files import config_folder

LINE = re.compile(r"^(?P<indent> *)(?P<key>\w+):[^#]*(?:#\s*(?P<comment>.*))?$")


def load_tree(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file as plain containers."""
    tree = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


def heading(file: str) -> str:
    """Return the first comment line of a file in conf/, which describes it."""
    lines = (config_folder() / file).read_text(encoding="utf-8").splitlines()
    comments = (line.lstrip("# ") for line in lines if line.startswith("#"))
    return next(line for line in comments if not line.startswith("@package"))


def comments_of(file: str) -> dict[str, str]:
    """Return the comment beside each key of a file in conf/, and of the files that it extends.

    Keys of a section are dotted.
    """
    path = config_folder() / file
    found: dict[str, str] = {}
    for base in load_tree(path).get("defaults", []):
        if isinstance(base, str) and base != "_self_":
            base_file = f"{base.partition('@')[0]}.yaml"
            found |= comments_of(str(Path(file).with_name(base_file)))
    section: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := LINE.match(line):
            section[len(match["indent"]) // 2 :] = [match["key"]]
            if match["comment"]:
                found[".".join(section)] = match["comment"].strip()
    return found

"""Generates the configuration reference from the schemas and the comments in conf/.

A line ``<!-- configuration -->`` in a page is replaced by a table for each section: key, type,
range and default come from the pydantic schemas and the composed configuration, the meaning is
the comment beside the key in conf/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args

from conf_comments import comments_of, heading, load_tree
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pydantic import BaseModel

from arc.config import schema as schemas
from arc.config.files import config_folder
from arc.config.schema import (
    EvaluateConfig,
    EvaluateDataConfig,
    ProcessConfig,
    RunConfig,
    options_of,
)

MARKER = "<!-- configuration -->"
PAGE = "reference/configuration"
KINDS = {
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "array": "list",
    "object": "mapping",
    "null": "`null`",
}
SCHEMA_FIELDS = {**RunConfig.model_fields, **ProcessConfig.model_fields}


@dataclass(frozen=True)
class Key:
    """One row of the reference."""

    name: str
    type: str
    range: str
    default: str
    meaning: str

    def row(self) -> str:
        """Return the row in Markdown."""
        meaning = re.sub(r"([<_*])", r"\\\1", self.meaning)
        cells = (f"`{self.name}`", self.type, self.range, self.default, meaning)
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def generate() -> str:
    """Return the reference in Markdown."""
    return "\n\n".join(_sections()) + "\n"


def _sections() -> Iterator[str]:
    defaults = _composed("config")
    comments = comments_of("config.yaml")
    scalars = [name for name in SCHEMA_FIELDS if not _is_section(defaults, name)]
    rows = [row for owner in (RunConfig, ProcessConfig) for row in _rows(owner, defaults, comments)]
    yield _part("Top level", "", [row for row in rows if row.name in scalars])
    for name, field in SCHEMA_FIELDS.items():
        schema = field.annotation
        if name in groups() or not (isinstance(schema, type) and issubclass(schema, BaseModel)):
            continue
        yield _part(f"`{name}`", _about(schema), _rows(schema, defaults[name], comments, name))
    sections = _option_sections()
    for group in groups():
        yield from _group(group, sections)
    yield _experiments()
    content = _composed("evaluate")
    about = "Keys of `python -m arc.evaluate`."
    comments = comments_of("evaluate.yaml")
    rows = [row for row in _rows(EvaluateConfig, content, comments) if row.name != "data"]
    rows += _rows(EvaluateDataConfig, content["data"], comments, "data")
    yield _part("Evaluation", about, rows)


def groups() -> list[str]:
    """Return the configuration groups whose sections have a schema, in the order of the run."""
    return [name for name in SCHEMA_FIELDS if (config_folder() / name).is_dir()]


def _group(group: str, sections: dict[tuple[str, str], Any]) -> Iterator[str]:
    """Yield a section for a group: its options, then one table of the keys that they have."""
    yield f"## Group `{group}`"
    options = _options(group)
    yield "\n".join(f"- `{name}`: {heading(f'{group}/{name}.yaml')}" for name in options)
    alike: dict[tuple[str, ...], dict[str, Key]] = {}
    for option in options:
        for key in _option_rows(group, option, sections[group, option]):
            alike.setdefault((key.name, key.type, key.range, key.meaning), {})[option] = key
    if alike:
        names = list(dict.fromkeys(name for name, *_ in alike))
        rows = [_merged(keys, len(options)) for keys in alike.values()]
        yield _table(sorted(rows, key=lambda row: names.index(row.name)))


def _option_rows(group: str, option: str, content: dict[str, Any]) -> list[Key]:
    section = group
    if group in _list_groups():
        content, section = content[option], f"{group}.{option}"
    comments = comments_of(f"{group}/{option}.yaml")
    return _rows(_schema_of(group, option), content, comments, section)


def _merged(keys: dict[str, Key], options: int) -> Key:
    """Return one row for the options that share a key; they are named unless all share it."""
    (first, *_), defaults = keys.values(), {key.default for key in keys.values()}
    if len(defaults) > 1:
        first = replace(first, default=", ".join(f"{key.default} {n}" for n, key in keys.items()))
    elif len(keys) < options:
        first = replace(first, default=f"{first.default} ({', '.join(keys)})")
    return first


def _experiments() -> str:
    """Return the section of conf/experiment: what each file changes."""
    parts = ["## Group `experiment`", "Presets: each sets several keys at once."]
    for option in _files("experiment"):
        file = f"experiment/{option}.yaml"
        tree = load_tree(config_folder() / file)
        entries = tree.get("defaults", [])
        bases = [each for each in entries if isinstance(each, str) and each != "_self_"]
        chosen = [
            f"{str(key).removeprefix('override /')}={value}"
            for entry in tree.pop("defaults", [])
            if isinstance(entry, dict)
            for key, value in entry.items()
        ]
        typed = chosen + [f"{key}={_plain(value)}" for key, value in _leaves(tree)]
        listed = " ".join(f"`{each}`" for each in typed)
        start = "".join(f"All of `experiment={base}`, then: " for base in bases)
        parts.append(f"### `experiment={option}`\n\n{heading(file)}\n\n{start}{listed}")
    return "\n\n".join(parts)


def _files(group: str) -> list[str]:
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))


def _options(group: str) -> list[str]:
    return options_of(group) or _files(group)


def _option_sections() -> dict[tuple[str, str], Any]:
    """Return the section of each (group, option); an option of every group is composed at once."""
    options, lists = {group: _options(group) for group in groups()}, _list_groups()
    sections: dict[tuple[str, str], Any] = {}
    for number in range(max(map(len, options.values()))):
        chosen = {group: names[min(number, len(names) - 1)] for group, names in options.items()}
        typed = (f"{g}=[{name}]" if g in lists else f"{g}={name}" for g, name in chosen.items())
        tree = _composed("config", *typed)
        sections |= {(group, name): tree[group] for group, name in chosen.items()}
    return sections


def _list_groups() -> list[str]:
    """Return the groups that take a list of options."""
    entries = load_tree(config_folder() / "config.yaml")["defaults"]
    return [
        str(name)
        for entry in entries
        if isinstance(entry, dict)
        for name, value in entry.items()
        if isinstance(value, list)
    ]


def _composed(config_name: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        tree = OmegaConf.to_container(compose(config_name, list(overrides)))
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


def _schema_of(group: str, option: str) -> type[BaseModel]:
    """Return the schema of an option."""
    if options_of(group):
        return schemas._REGISTRIES[group].config(option)
    section = SCHEMA_FIELDS[group].annotation
    assert isinstance(section, type)
    assert issubclass(section, BaseModel)
    if group not in _list_groups():
        return section
    chosen = get_args(section.model_fields[option].annotation)[0]  # the other one is None
    assert issubclass(chosen, BaseModel)
    return chosen


def _is_section(tree: dict[str, Any], name: str) -> bool:
    return isinstance(tree.get(name), dict) or name in groups()


# -- one table ----------------------------------------------------------------------------


def _part(title: str, about: str, rows: list[Key]) -> str:
    return "\n\n".join(part for part in (f"## {title}", about, _table(rows)) if part)


def _table(rows: list[Key]) -> str:
    head = "| key | type | range | default | meaning |\n| --- | --- | --- | --- | --- |\n"
    return head + "\n".join(row.row() for row in rows)


def _rows(
    schema: type[BaseModel], values: dict[str, Any], comments: dict[str, str], section: str = ""
) -> list[Key]:
    """Return a row for each field of ``schema`` but the option's own name."""
    rows = []
    properties = schema.model_json_schema()["properties"]
    for field in schema.model_fields:
        if field == "name":
            continue
        key = f"{section}.{field}" if section else field
        kind, allowed = describe(properties[field])
        default = "required" if values.get(field) == "???" else f"`{_plain(values.get(field))}`"
        comment = comments.get(key) or comments.get(key.partition(".")[2], "")
        rows.append(Key(key, kind, allowed, default, comment))
    return rows


def describe(field: dict[str, Any]) -> tuple[str, str]:
    """Return type and range of a field of a JSON schema, in words."""
    parts = field.get("anyOf", [field])
    kinds = [KINDS.get(part.get("type"), "string") for part in parts]
    return " or ".join(kinds), ", ".join(filter(None, map(_limits, parts)))


def _limits(part: dict[str, Any]) -> str:
    allowed = part.get("enum", part.get("items", {}).get("enum", []))
    if allowed or "const" in part:
        return ", ".join(f"`{option}`" for option in allowed or [part["const"]])
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    if "minimum" in part and "maximum" in part:
        return f"{_number(part['minimum'])} to {_number(part['maximum'])}"
    limits = [f"{sign} {_number(part[key])}" for key, sign in signs.items() if key in part]
    if "minLength" in part and part["minLength"] > 1:
        limits.append(f"at least {part['minLength']} characters")
    return ", ".join(limits)


def _number(value: float) -> str:
    exponent = int(value).bit_length() - 1
    if value == 2**exponent and value > 1e6:
        return f"2^{exponent}"
    return f"{value:g}" if value < 1e6 else f"{value:,.0f}"


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _leaves(tree: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _about(schema: type[BaseModel]) -> str:
    return (schema.__doc__ or "").strip().splitlines()[0].replace("``", "`")


# -- Sphinx -------------------------------------------------------------------------------


def _insert(app: Any, docname: str, source: list[str]) -> None:
    if docname == PAGE:
        source[0] = source[0].replace(MARKER, generate())


def setup(app: Any) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("source-read", _insert)
    app.connect("env-get-outdated", lambda *_: [PAGE])
    return {"parallel_read_safe": True}

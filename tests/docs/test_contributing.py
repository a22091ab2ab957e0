"""The worked examples of CONTRIBUTING.md run as they stand, in a copy of the project."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

from helpers_cli import CHECKOUT, run, tiny
from helpers_docs import blocks
from test_packages import PACKAGES


def test_the_packages_are_listed_in_the_order_of_their_imports() -> None:
    text = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith(("| `arc/", "| `conf/"))]
    cells = " ".join(row.split(" | ")[0] for row in rows)
    named = re.findall(r"`(?:arc/)?(\w+)(?:/|\.py)`", cells)
    assert named == ["conf", *PACKAGES]


def test_the_task_the_bottleneck_the_metric_and_the_logger_work(
    tmp_path: Path, arc_folder: Path
) -> None:
    project = tmp_path / "project"
    for name in ("arc", "conf"):
        shutil.copytree(
            CHECKOUT / name, project / name, ignore=shutil.ignore_patterns("__pycache__", "static")
        )
    written = []
    for block in blocks("yaml", "python"):
        if block.page == "CONTRIBUTING.md" and (named := re.search(r"`(\S+)`:$", block.before)):
            assert not (project / named[1]).exists()
            (project / named[1]).write_text(block.text, encoding="utf-8")
            written.append(named[1])
    assert len(written) == 8
    outcome = run(
        tmp_path,
        *tiny(arc_folder),
        *(
            "task=count_colors",
            "bottleneck=random_points",
            "metric=[entropy,coverage]",
            "logger=[jsonl,scores]",
        ),
        *("run_name=x", f"hydra.run.dir={tmp_path / 'out'}"),
        package=project,
    )
    assert outcome.status == 0, outcome.err
    assert "most frequent" in outcome.out
    results = json.loads((tmp_path / "checkpoints" / "x_results.json").read_text())
    assert results["test"]["count"]["targets"] > 0
    assert len(results["test"]["count"]["intervals"]["accuracy"]) == 2
    assert 0 < results["language"]["top_share"] <= 100
    with (tmp_path / "out" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows][-1] == "4"
    assert (tmp_path / "out" / "metrics.jsonl").stat().st_size > 0

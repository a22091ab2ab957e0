"""scripts/compare.py: runs of folders, their states, their groups and the files that it writes."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_cli import CHECKOUT, finish, start_python
from helpers_runs import step_line, validation_line, write_run

from arc import api
from arc.loggers.jsonl import JsonlConfig, JsonlLogger
from arc.runs.comparison import compare_folders, curve_of, format_comparison, group_band
from arc.runs.metrics_file import POINTS, Metrics, MetricsFile, band
from arc.runs.records import STALE_SECONDS, RunFinder
from arc.server.compare import main
from arc.training import StepEvent

LARGEST_PID = 2**22
ELSEWHERE = {"host": "another machine", "pid": 1}
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two settings: the first with three seeds, the second with one finished and one failed job."""
    folder = tmp_path / "sweep"
    for seed, accuracy in enumerate((10.0, 20.0, 30.0)):
        write_run(folder / str(seed), accuracy, seed=seed, curve=(accuracy, 2 * accuracy))
    other: dict[str, Any] = {"task__num_distractors": 99}
    write_run(folder / "3", 50.0, curve=(5.0, 7.0), steps=20, **other)
    fault = {"error": "out of memory", "step": 7}
    write_run(folder / "10", state="failed", status=fault, seed=1, **other)
    return folder


def lines(capsys: Capture) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_seeds_are_grouped_with_mean_and_interval(sweep: Path, capsys: Capture) -> None:
    content = compare_folders([sweep])
    assert content["varied"] == ["task.num_distractors"]
    first, second = content["groups"]
    assert first["setting"] == {"task.num_distractors": 9}
    assert (first["n"], first["mean"], first["states"]) == (3, 20.0, {"finished": 3})
    half = 4.302653 * 10 / 3**0.5  # Student's t of two degrees of freedom
    assert first["interval"] == pytest.approx([max(20 - half, 0), 20 + half], abs=1e-4)
    assert first["best"] == str(sweep / "2" / "checkpoints" / "x_best.pth")
    assert (second["n"], second["mean"], second["interval"]) == (1, 50.0, None)
    assert second["states"] == {"finished": 1, "failed": 1}
    assert [run["seed"] for run in content["runs"]] == [0, 1, 2, 0, 1]  # job 10 is the last
    assert main([str(sweep)]) == 0
    shown = lines(capsys)
    assert shown[0] == "test.random_9, mean over the finished runs:"
    assert shown[3].split()[:6] == ["9", "3", "finished", "3", "20", "0–44.84"]
    assert shown[-1] == f"failed: {sweep / '10'} (x, step 7): out of memory"


def test_a_seed_is_in_a_group_once(sweep: Path) -> None:
    write_run(sweep / "again", 90.0, seed=0)
    groups = compare_folders([sweep])["groups"]
    assert sorted(group["n"] for group in groups) == [1, 1, 3]
    assert len({group["id"] for group in groups}) == 3


def test_runs_that_began_with_other_weights_are_other_groups(tmp_path: Path) -> None:
    starts = ([], ["resume x_last.pth step 3"], *(2 * [["finetune a.pth step 4"]]))
    for seed, start in enumerate(starts):
        write_run(tmp_path / str(seed), float(seed), seed=seed, started_from=start)
    write_run(tmp_path / "4", 9.0, seed=4)  # an older file
    job = write_run(tmp_path / "5", state="running", seed=5)  # has saved nothing yet
    with (job / ".hydra" / "config.yaml").open("a") as file:
        file.write("finetune: checkpoints/a.pth\n")
    content = compare_folders([tmp_path])
    assert content["varied"] == ["started_from"]
    found = {group["setting"]["started_from"]: group["values"] for group in content["groups"]}
    assert found == {None: [0.0, 1.0, 9.0], "finetune a.pth": [2.0, 3.0]}
    assert content["groups"][1]["states"] == {"finished": 2, "running": 1}


def test_runs_are_grouped_by_keys(sweep: Path) -> None:
    content = compare_folders([sweep], ["seed"])
    assert [group["setting"] for group in content["groups"]] == [{"seed": n} for n in range(3)]
    assert [group["values"] for group in content["groups"]] == [[10.0, 50.0], [20.0], [30.0]]
    assert len(compare_folders([sweep], ["task"])["groups"]) == 1


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("validation.random_9", [5.0, 10.0, 15.0]),
        ("language.posdis", [0.5, 0.5, 0.5]),
        ("val_acc", [20.0, 40.0, 60.0]),
        ("val_loss", [1 / 20] * 3),
        ("val.posdis", [0.2, 0.4, 0.6]),
    ],
)
def test_any_value_can_be_compared(sweep: Path, metric: str, values: list[float]) -> None:
    group = compare_folders([sweep], metric=metric)["groups"][0]
    assert (group["metric"], group["values"]) == (metric, pytest.approx(values))


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (
            ["--metric", "nonsense"],
            "metric=nonsense: these runs do not have it; known: test.random",
        ),
        (["--by", "task,nonsense"], "by=nonsense: these runs do not have it; known: task, "),
        (["--plot", "x.gif"], "plot=x.gif: the name must end in .png"),
        (["--csv", "no/such/x.csv"], "no/such/x.csv: cannot be written"),
        (["--plot", "no/such/x.png"], "no/such/x.png: cannot be written"),
        (["--serve", "--metric", "val_acc"], "--serve and --metric are mutually exclusive"),
        (["--port", "5003"], "--port needs --serve"),
        (["nonsense"], "nonsense: no such folder"),
    ],
)
def test_a_wrong_argument_is_one_line(
    sweep: Path, arguments: list[str], fault: str, capsys: Capture, monkeypatch: Any
) -> None:
    monkeypatch.chdir(sweep)
    assert main([str(sweep), *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {fault}")


def test_a_folder_without_runs_is_an_error(tmp_path: Path, capsys: Capture) -> None:
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: no runs below {tmp_path}\n"


def test_a_comparison_of_no_runs_is_shown(tmp_path: Path) -> None:
    assert format_comparison(compare_folders([tmp_path])) == "no runs"


def test_the_table_is_written_as_csv_and_json(sweep: Path, tmp_path: Path, capsys: Capture) -> None:
    table, content = tmp_path / "t.csv", tmp_path / "t.json"
    assert main([str(sweep), "--csv", str(table), "--json", str(content)]) == 0
    assert capsys.readouterr().err == f"written to {table}\nwritten to {content}\n"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["mean"] for row in rows] == ["20.0", "50.0"]
    assert [(row["finished"], row["failed"], row["n"]) for row in rows] == [
        ("3", "0", "3"),
        ("1", "1", "1"),
    ]
    assert json.loads(content.read_text()) == api.compare([sweep])


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_curves_are_plotted(sweep: Path, tmp_path: Path, kind: str, capsys: Capture) -> None:
    path = tmp_path / f"curves.{kind}"
    assert main([str(sweep), "--plot", str(path)]) == 0
    assert capsys.readouterr().err.endswith(f"written to {path}\n")
    content = path.read_bytes()
    if kind == "png":
        assert content.startswith(b"\x89PNG")
    else:
        assert b"num_distractors=99" in content
        assert b"val_acc" in content


# -- states ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracy", "state", "status", "expected", "reason"),
    [
        (1.0, "finished", {}, "finished", None),
        (1.0, None, {}, "finished", None),
        (None, None, {}, "interrupted", None),
        (None, "running", {}, "running", None),
        (1.0, "running", {}, "running", None),  # resumed with a higher limit
        (None, "failed", {"error": "why"}, "failed", "why"),
        (None, "interrupted", {"error": "SIGTERM"}, "interrupted", "SIGTERM"),
        (None, "running", {"pid": LARGEST_PID}, "interrupted", "its process"),
        (None, "running", {"updated": 1.0}, "interrupted", "its process"),  # pid of a later process
        (None, "running", ELSEWHERE, "running", None),
        (None, "running", ELSEWHERE | {"updated": 1.0}, "interrupted", "no update from"),
    ],
)
def test_the_state_of_a_run(
    tmp_path: Path,
    accuracy: float | None,
    state: str | None,
    status: dict[str, Any],
    expected: str,
    reason: str | None,
) -> None:
    write_run(tmp_path / "job", accuracy, state=state, status=status)
    ((run,), warnings) = RunFinder().find([tmp_path])
    assert (run.state, run.name, warnings) == (expected, "x", [])
    assert run.error is None if reason is None else reason in (run.error or "")


def test_a_process_is_alive_however_late_it_is_looked_up(tmp_path: Path) -> None:
    """The folder /proc/PID, whose times are those of the first look at it, is not asked."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        status = {"pid": process.pid, "updated": time.time() - 0.9}
        time.sleep(0.3)
        write_run(tmp_path / "job", state="running", status=status)
        ((run,), _) = RunFinder().find([tmp_path])
    finally:
        process.communicate(b"\n")
    assert run.state == "running"


@pytest.mark.parametrize(
    ("ticks", "expected"), [("0", "running"), (f"{10**12}", "interrupted"), (None, "running")]
)
def test_the_name_of_a_process_may_be_anything_and_proc_may_be_absent(
    ticks: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "job", state="running")
    monkeypatch.setattr("arc.config.run_status.PROC", tmp_path / "proc")
    if ticks is not None:
        path = tmp_path / "proc" / str(os.getpid()) / "stat"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"7 (a) S 1 \xff) S" + 18 * b" 1" + f" {ticks} 1".encode())
    ((run,), _) = RunFinder().find([tmp_path / "job"])
    assert run.state == expected


def test_lines_of_steps_are_a_sign_of_life(tmp_path: Path) -> None:
    old = ELSEWHERE | {"updated": time.time() - 2 * STALE_SECONDS}
    write_run(tmp_path / "job", state="running", status=old, steps=3)
    ((run,), _) = RunFinder().find([tmp_path])
    assert run.state == "running"


# -- folders -----------------------------------------------------------------------------


def test_a_single_run_is_found_in_outputs_and_checkpoints(tmp_path: Path) -> None:
    """Its name is in its status; that of an older run's output folder follows from the curve."""
    for number, (name, status) in enumerate({"new": "finished", "old": None}.items()):
        curve = (3.0 + number, 4.0 + number)
        output = write_run(
            tmp_path / "outputs" / name, 9.0, state=status, run_name=name, curve=curve
        )
        if status is None:
            config = output / ".hydra" / "config.yaml"
            config.write_text(config.read_text().replace("run_name: old", "run_name: null"))
        for file in (output / "checkpoints").iterdir():
            (tmp_path / "checkpoints").mkdir(exist_ok=True)
            file.rename(tmp_path / "checkpoints" / file.name)
    metadata = {"config": {"run_name": "old"}, "val_loss": 1 / 20, "val_acc": 5.0}
    finder = RunFinder()
    finder._metadata = lambda path: metadata if path and path.name == "old_best.pth" else None  # type: ignore[method-assign]
    runs, warnings = finder.find([tmp_path / "outputs", tmp_path / "checkpoints"])
    assert warnings == []
    assert [(run.name, run.folder.name, run.metrics.last_step) for run in runs] == [
        ("new", "new", 20),
        ("old", "old", 20),
    ]
    assert all(run.values["test.random_9"] == 9.0 for run in runs)


def test_the_status_names_the_folder_of_the_checkpoints(tmp_path: Path) -> None:
    """Both runs are called x: the name alone would not tell which output folder is whose."""
    for name, seed in {"a": 0, "b": 1}.items():
        status = {"folder": f"../../{name}"}
        output = write_run(tmp_path / "outputs" / name, 9.0, status=status, seed=seed, curve=(1.0,))
        (output / "checkpoints").rename(tmp_path / name)
    runs, _ = RunFinder().find([tmp_path])
    assert [(run.folder.name, run.seed, len(run.values)) for run in runs] == [
        ("a", 0, 3),
        ("b", 1, 3),
    ]


def test_a_refused_start_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    output = write_run(tmp_path / "outputs" / "a", 9.0, curve=(1.0,))
    (output / "checkpoints").rename(tmp_path / "checkpoints")
    refused = {"step": None, "error": "contains a run of that name"}
    write_run(tmp_path / "outputs" / "b", state="failed", status=refused)
    ((run,), warnings) = RunFinder().find([tmp_path])
    assert (run.folder.name, run.state, run.error, warnings) == ("a", "finished", None, [])


def test_jobs_of_one_name_stay_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "0", 9.0, curve=(1.0,))
    write_run(tmp_path / "1", state="running", curve=(1.0,), seed=1)
    runs, _ = RunFinder().find([tmp_path])
    assert [(run.folder.name, run.seed, run.state) for run in runs] == [
        ("0", 0, "finished"),
        ("1", 1, "running"),
    ]


@pytest.mark.parametrize(
    ("file", "content", "warning"),
    [
        ("checkpoints/y_results.json", "{", "y_results.json: skipped: Expecting property name"),
        ("checkpoints/y_results.json", "[]", "y_results.json: skipped: not the results of a run"),
        ("checkpoints/y_results.json", '{"config": {}}', "not the results of a run"),
        ("checkpoints/y_last.pth", "PK", "y_last.pth: "),
        ("status.json", "{", "status.json: skipped: Expecting property name"),
        ("status.json", '{"state": "asleep"}', "status.json: skipped: not the status of a run"),
        (".hydra/config.yaml", "a: [", "config.yaml: skipped: while parsing"),
        (".hydra/config.yaml", "lr: 1", "config.yaml: skipped: not the configuration of a run"),
    ],
)
def test_what_cannot_be_read_is_one_warning(
    sweep: Path, capsys: Capture, file: str, content: str, warning: str
) -> None:
    path = sweep / "broken" / file
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert main([str(sweep)]) == 0
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("warning: ")
    assert warning in line
    assert "3 finished" in out


def test_only_changed_files_are_read_again(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finder, read = RunFinder(), list[Path]()
    finder.find([sweep])
    whole = Path.read_bytes

    def noted(path: Path) -> bytes:
        read.append(path)
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    assert finder.find([sweep])[0][0].values["test.random_9"] == 10.0
    assert read == []
    path = sweep / "0" / "checkpoints" / "x_results.json"
    path.write_text(path.read_text().replace('"accuracy": 10.0', '"accuracy": 11.25'))
    assert finder.find([sweep])[0][0].values["test.random_9"] == 11.25
    assert read == [path]


def test_the_command_does_not_import_torch(sweep: Path) -> None:
    script = (
        "import sys; from arc.server.compare import main; status = main(sys.argv[1:]);"
        "sys.exit(status or ('torch' in sys.modules))"
    )
    plot = str(sweep / "curves.svg")
    done = finish(start_python(CHECKOUT, "-c", script, str(sweep), "--plot", plot, is_fresh=True))
    assert done.status == 0, done.err


# -- curves ------------------------------------------------------------------------------


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Metrics:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return MetricsFile(path).read()


def test_the_curve_of_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    rows = [step_line(n) for n in (1, 2, 3, 2, 3, 4)]
    rows[1]["loss"] = 100.0
    rows[1:1] = [validation_line(3, 1.0), validation_line(5, 2.0), validation_line(5, 3.0)]
    metrics = write_lines(tmp_path / "metrics.jsonl", rows)
    loss, accuracy = metrics.curve("loss"), metrics.curve("val_acc")
    assert loss is not None
    assert accuracy is not None
    assert loss[0].tolist() == [1, 2, 3, 4]
    assert loss[1].tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert [each.tolist() for each in accuracy] == [[3, 5], [1.0, 3.0]]


def test_a_long_curve_is_the_mean_of_spans(tmp_path: Path) -> None:
    rows = [step_line(n) | {"loss": float(n)} for n in range(1, 2 * POINTS + 1)]
    rows[0]["loss"] = None  # not finite
    curve = write_lines(tmp_path / "metrics.jsonl", rows).curve("loss")
    assert curve is not None
    assert len(curve[0]) == POINTS
    assert curve[0][[0, -1]].tolist() == [3, 400]
    assert curve[1][[0, -1]].tolist() == [2.5, 400]


def test_an_incomplete_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_lines(path, [validation_line(10, 5.0)])
    with path.open("a") as file:
        file.write('{"kind": "validation", "step": 2')
    assert [row["step"] for row in MetricsFile(path).read().validations] == [10]


def test_only_the_new_lines_of_a_file_are_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in {"CHUNK": 100, "TAIL": 300}.items():  # bytes: less than a line, and a few
        monkeypatch.setattr(f"arc.runs.metrics_file.{name}", size)
    path = tmp_path / "metrics.jsonl"
    text = "".join(f"{json.dumps(step_line(n) | {'loss': float(n)})}\n" for n in range(1, 9))
    path.write_text(text + '{"kind": "step", "ste')
    kept = MetricsFile(path)
    loss = kept.read().curve("loss")
    assert loss is not None
    assert loss[1].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    path.write_text(text.replace('"loss": 1.0', '"loss": 0.0') + json.dumps(step_line(9)) + "\n")
    later = kept.read()
    found = later.curve("loss")
    assert found is not None
    assert found[1].tolist() == pytest.approx([1, 2, 3, 4, 5, 6, 7, 8, 1 / 9])
    assert later.last_step == 9


@pytest.mark.parametrize("how", ["cut off", "cut off and continued", "replaced"])
def test_a_file_that_is_not_continued_is_read_again(how: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [validation_line(10, 1.0), *(step_line(n) for n in (10, 20))]
    write_lines(path, [*rows, validation_line(20, 2.0)])
    kept = MetricsFile(path)
    assert [row["val_acc"] for row in kept.read().validations] == [1.0, 2.0]
    assert kept.read().curve("loss") is not None
    if how == "replaced":
        path.rename(tmp_path / "old")
        later = []
    else:
        later = [validation_line(20, 3.0), step_line(40)] if "continued" in how else []
    write_lines(path, [rows[0], step_line(20), *later])
    metrics = kept.read()
    loss = metrics.curve("loss")
    assert loss is not None
    assert loss[0].tolist() == ([20, 40] if later else [20])
    assert [row["val_acc"] for row in metrics.validations] == [1.0, 3.0][: len(later) or 1]


def test_names_of_values_are_stored_once_and_files_that_are_gone_are_forgotten(
    sweep: Path,
) -> None:
    finder = RunFinder()
    runs, _ = finder.find([sweep])
    names = [row["values"] for run in runs for row in run.metrics.validations]
    assert len({id(name) for values in names for name in values}) == len(set().union(*names))
    shutil.rmtree(sweep / "0")
    finder.find([sweep])
    assert not [path for _, path in finder._kept if sweep / "0" in path.parents]
    assert not [path for path in finder._files if sweep / "0" in path.parents]


def test_steps_of_the_logger_are_read(tmp_path: Path) -> None:
    logger = JsonlLogger(JsonlConfig(filename="metrics.jsonl"), tmp_path, {})
    for step, loss in enumerate((2.0, float("nan"), 1e-9), 1):
        logger.on_event(StepEvent(step, 1, step, 10, loss, 50.0, 0.1, 1.0, 16, 1.0, None))
    logger.close()
    curve = MetricsFile(tmp_path / "metrics.jsonl").read().curve("loss")
    assert curve is not None
    assert [each.tolist() for each in curve] == [[1, 3], [2.0, 1e-9]]


def test_the_band_goes_from_the_lowest_to_the_highest_run(sweep: Path) -> None:
    runs, _ = RunFinder().find([sweep])
    found = group_band(runs[:3], "val_acc")
    assert found is not None
    assert (found.steps.tolist(), found.count) == ([10, 20], 3)
    assert found.mean.tolist() == [20, 40]
    assert (found.low.tolist(), found.high.tolist()) == ([10, 20], [30, 60])
    assert group_band(runs[:3], "loss") is None


def test_a_run_counts_up_to_its_last_point() -> None:
    curves = [(np.array([0.0, 2.0]), np.array([0.0, 4.0])), (np.array([1.0]), np.array([6.0]))]
    found = band(curves)
    assert found is not None
    assert (found.steps.tolist(), found.mean.tolist()) == ([0, 1, 2], [0, 4, 4])


@pytest.mark.parametrize(
    ("metric", "curve"),
    [
        (None, "val_acc"),
        ("test.random_9", "val_acc"),
        ("language.posdis", "val.posdis"),
        ("val.posdis", "val.posdis"),
        ("val_loss", "val_loss"),
    ],
)
def test_each_metric_has_a_curve(metric: str | None, curve: str) -> None:
    assert curve_of(metric) == curve

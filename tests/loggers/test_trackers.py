"""The loggers csv and tensorboard: what they record, resumed runs, faults, missing packages."""

import csv
import importlib.util
import json
import logging
import resource
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_cli import Make, Recorder, run_here, tiny
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from arc.loggers import background
from arc.loggers.background import BackgroundLogger, UnavailableError
from arc.loggers.base import LOGGERS
from arc.loggers.csv import CsvLogger
from arc.loggers.grid_images import PALETTE, example_image, grid_image
from arc.loggers.tensorboard import TensorBoardLogger
from arc.loggers.tracking import ImageConfig, Record, group_of, symbol_counts
from arc.training import Callback, CallbackList, Evaluation, Example, StepEvent

SHORT = ["task=reconstruction", "training.max_steps=8", "checkpoint.every_minutes=null"]
BOTH = "logger=[csv,tensorboard]"
FAULTS = ("start", "send", "finish")


def rows(folder: Path, kind: str) -> list[dict[str, str]]:
    with (folder / "checkpoints" / f"mine_{kind}s.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def board(folder: Path) -> EventAccumulator:
    path = folder / "checkpoints" / "mine_tensorboard"
    return EventAccumulator(str(path), size_guidance={"scalars": 0, "images": 0}).Reload()


def settings(logger: str, every_steps: int = 1, **keys: Any) -> Any:
    return LOGGERS.config(logger).model_validate({"every_steps": every_steps, **keys})


def step(number: int) -> StepEvent:
    return StepEvent(number, 1, number, 4, 0.5, 10.0, 1e-3, 1.0, 16, 0.1, None)


def run_tree(folder: Path) -> dict[str, Any]:
    return {"checkpoint": {"dir": str(folder)}, "run_name": "mine", "bottleneck": {}}


@pytest.fixture(scope="module")
def resumed(train_small: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was killed after step 7 and resumed from step 4."""
    folder = tmp_path_factory.mktemp("resumed")
    early = [*SHORT, BOTH, "training.stop_at_step=4"]
    first = train_small(folder, *early).checkpoints.last
    kept = first.read_bytes()
    train_small(folder, *SHORT, BOTH, "training.stop_at_step=7", resume=first)
    first.write_bytes(kept)
    train_small(folder, *SHORT, BOTH, resume=first)
    return folder


def test_a_resumed_run_continues_the_tables_without_doubled_rows(resumed: Path) -> None:
    steps = rows(resumed, "step")
    assert [int(row["step"]) for row in steps] == list(range(1, 9))
    assert all(float(row["loss"]) > 0 for row in steps)
    validations = rows(resumed, "validation")
    numbers = [int(row["step"]) for row in validations]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 8
    assert float(validations[-1]["language/unique_messages"]) >= 1


def test_a_resumed_run_continues_the_curves_without_doubled_points(resumed: Path) -> None:
    events = board(resumed)
    assert [each.step for each in events.Scalars("train/loss")] == list(range(1, 9))
    losses = [each.value for each in events.Scalars("train/loss")]
    assert losses == pytest.approx([float(row["loss"]) for row in rows(resumed, "step")])
    numbers = [each.step for each in events.Scalars("validation/accuracy")]
    assert numbers == [int(row["step"]) for row in rows(resumed, "validation")]
    results = json.loads((resumed / "checkpoints" / "mine_results.json").read_text())
    metric, values = next(iter(results["test"].items()))
    name = f"results/test/{metric}"
    for key in ("grids", "baselines/background"):
        wanted = values["baselines"]["background"] if "/" in key else values[key]
        (point,) = events.Scalars(f"{name}/{key}")
        assert (point.step, point.value) == (8, pytest.approx(wanted))


def test_a_fresh_run_replaces_what_an_earlier_run_of_its_name_left(
    train_small: Make, tmp_path: Path
) -> None:
    typed = [*SHORT, BOTH, "logger.csv.every_steps=3", "logger.tensorboard.every_steps=3"]
    often = [*SHORT, BOTH]
    train_small(tmp_path, *often, "training.stop_at_step=4")
    for left in (tmp_path / "checkpoints").glob("*.pth"):
        left.unlink()
    train_small(tmp_path, *typed)
    assert [int(row["step"]) for row in rows(tmp_path, "step")] == [3, 6]
    assert [each.step for each in board(tmp_path).Scalars("train/loss")] == [3, 6]


def test_tensorboard_shows_grids_symbols_and_the_configuration(resumed: Path) -> None:
    events = board(resumed)
    images = [tag for tag in events.Tags()["images"] if tag.startswith("examples/")]
    assert len(images) == 4
    image = events.Images(images[0])[-1]
    assert (image.width > 8, image.height > 8) == (True, True)
    histogram = events.Histograms("symbols/position_1")[-1].histogram_value
    assert 0 < histogram.num == sum(histogram.bucket)
    assert len(histogram.bucket) == 25  # bottleneck.vocab_size
    texts = events.Tensors("configuration/text_summary")
    assert b'"max_steps": 8' in texts[-1].tensor_proto.string_val[0]


def test_typing_a_logger_keeps_the_metrics_file(tmp_path: Path, arc_folder: Path) -> None:
    outcome = run_here(tmp_path, *tiny(arc_folder), *SHORT[:1], "run_name=mine", "logger=csv")
    assert outcome.status == 0, outcome.err
    assert (tmp_path / "out" / "metrics.jsonl").stat().st_size > 0
    assert len(rows(tmp_path, "step")) == 4


@pytest.mark.parametrize("logger", ["tensorboard", "wandb", "trackio"])
def test_a_missing_package_is_named_before_anything_is_trained(
    tmp_path: Path, arc_folder: Path, monkeypatch: pytest.MonkeyPatch, logger: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == logger else find(name, *a)
    )
    outcome = run_here(tmp_path, *tiny(arc_folder), *SHORT[:1], f"logger={logger}")
    assert outcome.complaint == (
        f"logger={logger}: needs {logger}: pip install -e '.[{logger}]', or choose another logger"
    )
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("name", ["csv", "tensorboard"])
def test_records_that_do_not_fit_on_the_disk_are_dropped_and_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    keys = {} if name == "csv" else {"images": 0}
    logger = LOGGERS[name](settings(name, **keys), tmp_path, run_tree(tmp_path))
    logger.on_event(step(1))
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    size, before = path.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
    try:
        with caplog.at_level(logging.ERROR):
            for number in (2, 3):
                logger.on_event(step(number))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    logger.on_event(step(4))
    logger.close()
    assert [message.split(": ")[1] for message in caplog.messages] == ["cannot be written"]
    if name == "csv":
        lines = path.read_text().splitlines()
        found = [int(row["step"]) for row in csv.DictReader(lines)]
    else:
        events = EventAccumulator(str(path.parent)).Reload()
        found = [each.step for each in events.Scalars("train/loss")]
    assert found == [1, 4]


def test_a_new_column_is_added_to_the_table(tmp_path: Path) -> None:
    logger = CsvLogger(settings("csv"), tmp_path, run_tree(tmp_path))
    for number, key in enumerate("aab"):
        logger.write(Record("validation", number, {f"validation/{key}": 1.5}))
    logger.close()
    content = (tmp_path / "mine_validations.csv").read_text()
    assert content == "step,a,b\n0,1.5,\n1,1.5,\n2,,1.5\n"


def test_the_interval_of_steps_is_configurable(tmp_path: Path) -> None:
    logger = CsvLogger(settings("csv", every_steps=3), tmp_path, run_tree(tmp_path))
    for number in range(1, 8):
        logger.on_event(step(number))
    logger.close()
    with (tmp_path / "mine_steps.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["3", "6"]


# -- what is recorded ---------------------------------------------------------------------


def test_a_grid_is_drawn_in_the_colours_of_arc() -> None:
    grid = np.arange(10).reshape(2, 5)
    image = grid_image(grid, cell=4)
    assert image.shape == (9, 21, 3)
    assert image.dtype == np.uint8
    assert (image[2::4, 2::4] == PALETTE[grid]).all()
    assert PALETTE[2].tolist() == [255, 65, 54]


def test_an_example_shows_the_target_only_if_it_is_another_grid() -> None:
    small, wide = np.zeros((2, 2), int), np.ones((1, 4), int)
    assert example_image(Example("x", small, small, None)).shape == (17, 17, 3)
    assert example_image(Example("x", small, wide, small)).shape == (17, 17 + 33 + 17 + 16, 3)


def test_symbols_after_the_end_of_a_message_are_not_counted() -> None:
    import torch

    messages, lengths = torch.tensor([[1, 2], [1, 0], [3, 0]]), torch.tensor([2, 1, 2])
    evaluation = Evaluation(None, {}, torch.zeros(3, 1), messages, lengths)  # type: ignore[arg-type]
    counts = symbol_counts(evaluation, 4)
    assert {name: each.tolist() for name, each in counts.items()} == {
        "symbols/position_1": [0, 2, 0, 1],
        "symbols/position_2": [1, 0, 1, 0],
    }
    assert symbol_counts(evaluation, None) == {}


def test_runs_that_differ_only_in_their_seed_are_one_group(make_config: Make) -> None:
    from arc.config.schema import to_tree

    trees = [
        to_tree(make_config(*typed))
        for typed in (
            ("seed=1", "run_name=a"),
            ("seed=2", "run_name=b", "logger=csv"),
            ("seed=1", "training.batch_size=8"),
        )
    ]
    groups = [group_of(tree) for tree in trees]
    assert groups[0] == groups[1] != groups[2]
    assert groups[0].startswith("selection_communication_")


# -- loggers that fail or block -------------------------------------------------------------


class Library(BackgroundLogger):
    """A logger whose library fails or blocks in one of its calls."""

    place, fault = "", RuntimeError("broken\nlibrary")
    blocks: threading.Event | None = None

    def _call(self, name: str) -> None:
        self.calls = [*getattr(self, "calls", []), name]
        if name == self.place and self.blocks is not None:
            assert self.blocks.wait(60)
        elif name == self.place:
            raise self.fault

    def start(self) -> None:
        self._call("start")

    def send(self, record: Record) -> None:
        self._call("send")

    def finish(self) -> None:
        self._call("finish")


@pytest.fixture
def make_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(**attributes: Any) -> Library:
        subclass = type("Library", (Library,), attributes)
        monkeypatch.setitem(LOGGERS._components, "library", subclass)
        config = ImageConfig(every_steps=1, images=0)
        return subclass(config, tmp_path, run_tree(tmp_path))

    return make


@pytest.mark.parametrize("place", FAULTS)
def test_a_library_that_fails_is_reported_once_in_one_line(
    make_library: Make, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    logger = make_library(place=place)
    for number in range(1, 4):
        logger.on_event(step(number))
    logger.close()
    assert caplog.messages == [
        "logger=library: RuntimeError: broken (test_trackers.py, line "
        f"{Library._call.__code__.co_firstlineno + 5}); training continues without it"
    ]
    assert logger.calls.count(place) == 1


def test_a_library_that_cannot_be_used_says_why(
    make_library: Make, caplog: pytest.LogCaptureFixture
) -> None:
    logger = make_library(place="start", fault=UnavailableError("no account"))
    logger.on_event(step(1))
    logger.close()
    assert caplog.messages == ["logger=library: no account; training continues without it"]


@pytest.mark.parametrize("place", FAULTS)
def test_a_library_that_blocks_does_not_delay_the_run(
    make_library: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    place: str,
) -> None:
    monkeypatch.setattr(background, "CLOSE_SECONDS", 0.05)
    blocks = threading.Event()
    logger = make_library(place=place, blocks=blocks)
    for number in range(1, 50):
        logger.on_event(step(number))
    logger.close()
    blocks.set()  # only now: nothing has waited for the library
    logger._thread.join()
    assert [message.split("; ")[0] for message in caplog.messages] == [
        "logger=library: no answer within 0 s"
    ]


def test_a_full_queue_drops_records_and_is_reported_once(
    make_library: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "CAPACITY", 3)
    blocks = threading.Event()
    logger = make_library(place="start", blocks=blocks)
    for number in range(1, 10):
        logger.on_event(step(number))
    blocks.set()
    logger.close()
    assert len(caplog.messages) == 1
    assert "more than 3 records wait" in caplog.messages[0]


def test_a_resumed_run_keeps_its_identity_and_skips_recorded_steps(make_library: Make) -> None:
    first = make_library()
    for number in range(1, 6):
        first.on_event(step(number))
    first.close()
    later = make_library()
    later.begin(3)
    for number in range(4, 8):
        later.on_event(step(number))
    later.close()
    assert (later.identity, later.is_resumed) == (first.identity, True)
    assert later.calls == ["start", "send", "send", "finish"]


def test_a_full_disk_does_not_lose_the_identity_of_a_run(make_library: Make) -> None:
    first = make_library()
    first.on_event(step(1))
    first.close()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, before[1]))
    try:
        first = make_library()
        first.begin(1)
        first.on_event(step(2))
        first.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    later = make_library()
    later.begin(1)
    assert (later.identity, later.is_resumed) == (first.identity, True)


def test_a_fresh_run_leaves_the_identity_of_an_earlier_run_of_its_name(
    make_library: Make, tmp_path: Path
) -> None:
    first = make_library()
    first.on_event(step(1500))
    first.close()
    fresh = make_library()
    fresh.begin(0)
    fresh.close()  # it recorded nothing
    resumed = make_library()
    resumed.begin(5)
    resumed.on_event(step(10))
    resumed.close()
    assert not resumed.is_resumed
    assert resumed.identity != first.identity
    assert resumed.calls == ["start", "send", "finish"]


def test_a_tracker_learns_whether_its_run_is_resumed(
    train_small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, bool, list[int]]] = []

    class Tracker(Library):
        def start(self) -> None:
            opened.append((self.identity, self.is_resumed, []))

        def send(self, record: Record) -> None:
            if record.kind == "step":
                opened[-1][2].append(record.step)

    monkeypatch.setitem(LOGGERS._components, "trackio", Tracker)
    left_over = tmp_path / "checkpoints" / "mine_trackio.json"
    left_over.parent.mkdir()
    left_over.write_text(json.dumps({"identity": "old", "step": 1500}))
    typed = [*SHORT, "logger=trackio", "logger.trackio.every_steps=2"]
    first = train_small(tmp_path, *typed, "training.stop_at_step=4")
    train_small(tmp_path, *typed, resume=first.checkpoints.last)
    (identity, *fresh), (again, *resumed) = opened
    assert fresh == [False, [2, 4]]
    assert resumed == [True, [6, 8]]
    assert "old" != identity == again


def test_a_callback_that_fails_twice_is_reported_once_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Callback):
        def on_event(self, event: object) -> None:
            raise RuntimeError("first\nsecond")

        def close(self) -> None:
            raise RuntimeError("third")

    sound = Recorder()
    events = CallbackList([Broken(), sound])
    with caplog.at_level(logging.INFO):
        events.on_event("a")
        events.on_event("b")
        events.close()
    (line,) = caplog.messages
    assert line.startswith(
        "Broken failed and is disabled; training continues: RuntimeError: first ("
    )
    assert "\n" not in line
    assert caplog.records[0].exc_info is None
    assert (sound.events, sound.is_closed) == (["a", "b"], True)


def test_a_run_continues_if_tensorboard_raises(
    train_small: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(self: TensorBoardLogger, record: Record) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TensorBoardLogger, "write", fail)
    run = train_small(tmp_path, *SHORT[:1], "training.max_steps=2", "logger=tensorboard")
    assert run.outcome.kind == "finished"
    assert len([line for line in caplog.messages if "No space left" in line]) == 1

import json
from pathlib import Path

import pytest
from helpers_cli import CHECKOUT, composed, run, run_here, tiny

# Each: what is typed, and what the one line of the answer must hold.
REFUSED = {
    "mistyped key": ("task.num_distractor=3", "task.num_distractor:", "'num_distractors'"),
    "mistyped section": ("trainig.epochs=1", "trainig", "'training'"),
    "mistyped top key": ("sede=1", "sede:", "'seed'"),
    "added key": ("+foo=1", "foo:", "training"),
    "forced key": ("++bottleneck.temprature=1", "bottleneck.temprature:", "'temperature'"),
    "added nested": ("+training.foo.bar=1", "training.foo:", "epochs"),
    "unknown group": ("modell=tiny", "modell:", "'model'"),
    "unknown task": ("task=selektion", "task=selektion:", "'selection'", "reconstruction"),
    "unknown bottleneck": ("bottleneck=foo", "bottleneck=foo:", "autoencoder, categorical"),
    "unknown size": ("model=huge", "model=huge:", "base, large, small, tiny"),
    "unknown data": ("data=arc3", "data=arc3:", "arc1"),
    "unknown experiment": (
        "experiment=foo",
        "experiment=foo:",
        "hard, reconstruction_vector, single_distractor",
    ),
    "no group": ("task=null", "task", "selection"),
    "below the range": ("bottleneck.vocab_size=1", "bottleneck.vocab_size=1:", "2"),
    "not a number": ("bottleneck.vocab_size=abc", "bottleneck.vocab_size=abc:", "integer"),
    "name of an option": ("bottleneck.name=autoencoder", "bottleneck=autoencoder"),
    "unknown device": ("device=foo", "device", "foo", "auto, cpu, cuda or cuda:N"),
    "absent device": ("device=cuda:9", "device=cuda:9:", "CUDA devices"),
    "other device": ("device=meta", "device", "meta", "auto, cpu, cuda or cuda:N"),
    "name with a slash": ("run_name=a/b", "run_name=a/b:", "A-Za-z0-9"),
    "not an override": ("foo", "foo"),
    "broken grammar": ("seed=[", "seed=["),
    "unknown variable": ("seed=${oc.env:ARC_NO_SUCH}", "seed", "ARC_NO_SUCH"),
    "missing value": ("seed=???", "seed"),
}
BAD_GRIDS = {
    "ragged row": ([[1, 2], [3]], "different lengths [2, 1]"),
    "colour 10": ([[10]], "colour 10 is not one of 0 to 9"),
    "31 x 31": ([[0] * 31] * 31, "31 x 31; at most 30 x 30"),
    "text": ([["red"]], "integers 0 to 9"),
    "empty": ([], "non-empty"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_argument_ends_in_one_readable_line(case: str, tmp_path: Path) -> None:
    typed, *named = REFUSED[case]
    complaint = run_here(tmp_path, "training.max_steps=1", typed).complaint
    for part in named:
        assert part in complaint
    assert not list(tmp_path.rglob("*.pth"))


def test_the_key_of_another_option_is_not_called_a_typo(tmp_path: Path) -> None:
    complaint = run_here(tmp_path, "data=arc1", "data.path=here").complaint
    assert "data.path" in complaint
    assert "data=folder" in complaint
    assert "Did you mean 'path'" not in complaint


@pytest.mark.parametrize("case", BAD_GRIDS)
def test_a_bad_grid_is_named_by_file_and_place(case: str, tmp_path: Path) -> None:
    grid, reason = BAD_GRIDS[case]
    puzzle = {"train": [{"input": [[1]], "output": [[2]]}, {"input": [[1]], "output": grid}]}
    path = tmp_path / "mine" / "a.json"
    path.parent.mkdir()
    path.write_text(json.dumps(puzzle), encoding="utf-8")
    complaint = run_here(tmp_path, *tiny(path.parent)).complaint
    assert complaint.startswith(f"{path}, train[1].output: ")
    assert reason in complaint


def test_an_empty_folder_a_missing_one_and_no_path_at_all(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run_here(tmp_path, *tiny(empty)).complaint.startswith(f"{empty}: no .json files")
    absent = tmp_path / "absent"
    assert run_here(tmp_path, *tiny(absent)).complaint.startswith(f"{absent}: no such")
    assert "data.path" in run_here(tmp_path, "data=folder").complaint


def test_a_file_that_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    complaint = run_here(tmp_path, *tiny(tmp_path)).complaint
    assert complaint.startswith(f"{tmp_path / 'a.json'}: not JSON")


def test_more_distractors_than_there_are(tmp_path: Path, arc_folder: Path) -> None:
    many = ["data.max_grids=20", "task.num_distractors=999"]
    complaint = run_here(tmp_path, *tiny(arc_folder), *many).complaint
    assert complaint.startswith("task.num_distractors=999: ")
    assert "at most" in complaint


def test_pairs_where_they_make_no_sense(tmp_path: Path, arc_folder: Path) -> None:
    game = ["task=puzzle_classification", "task.use_input_output_pairs=true"]
    complaint = run_here(tmp_path, *tiny(arc_folder), *game).complaint
    assert complaint.lower().startswith("task.use_input_output_pairs=true: must be false")


@pytest.mark.parametrize("below", ["", "below"])
def test_a_folder_that_cannot_be_written(below: str, tmp_path: Path, arc_folder: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    folder = tmp_path / "file" / below
    complaint = run_here(tmp_path, *tiny(arc_folder), f"checkpoint.dir={folder}").complaint
    assert complaint.startswith(f"checkpoint.dir={folder}: cannot be written to")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("kept", ["mine_last.pth", "mine_best.pth", "mine_results.json"])
def test_a_run_writes_over_no_other_run(kept: str, tmp_path: Path, arc_folder: Path) -> None:
    path = tmp_path / "checkpoints" / kept
    path.parent.mkdir()
    path.write_text("another run's", encoding="utf-8")
    complaint = run_here(
        tmp_path, *tiny(arc_folder), "task.num_distractors=3", "run_name=mine"
    ).complaint
    assert complaint.startswith("run_name=mine: ")
    assert path.read_text(encoding="utf-8") == "another run's"


def test_two_runs_without_a_name_keep_their_files_apart(tmp_path: Path, arc_folder: Path) -> None:
    for _ in range(2):
        outcome = run_here(
            tmp_path, *tiny(arc_folder), "task=reconstruction", "training.stop_at_step=1"
        )
        assert outcome.status == 0, outcome.err
    assert len(list((tmp_path / "checkpoints").glob("*_last.pth"))) == 2


def test_errors_of_a_process_of_its_own(tmp_path: Path) -> None:
    assert run(tmp_path, "task=selektion").complaint.startswith("task=selektion: choose one of")
    assert not list(tmp_path.rglob("*.pth"))


def test_help_shows_the_groups_and_at_least_five_examples(tmp_path: Path) -> None:
    outcome = run(tmp_path, "--help")
    assert (outcome.status, outcome.err) == (0, "")
    for folder in (path for path in (CHECKOUT / "conf").iterdir() if path.is_dir()):
        options = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        assert f"{folder.name}: {options}\n" in outcome.out
    assert outcome.out.count("    python -m arc.train ") >= 5
    assert list(tmp_path.iterdir()) == []


def test_every_example_of_the_help_is_a_valid_command(tmp_path: Path) -> None:
    lines = run_here(tmp_path, "--help").out.splitlines()
    examples = [line.split()[3:] for line in lines if "python -m arc.train " in line]
    assert len(examples) >= 5
    for example in examples:
        first_job = [word.split(",")[0] for word in example if word != "-m"]
        assert composed(*first_job) is not None

"""Hostile files: refused in one line, with little memory, and without running their code.

Each reader reads each file in a process of its own, whose memory is measured.
"""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_cli import finish, start

MIB = 2**20
MAX_GROWTH = 300 * MIB

READERS = """
import contextlib, json, os, resource, sys, warnings
from pathlib import Path
from arc.checkpointing import CheckpointError, load, read_checkpoint, read_metadata

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def attempt(reader, path):
    before = peak()
    try:
        reader(path)
    except CheckpointError as error:
        kind, said = type(error).__name__, str(error)
    except BaseException as error:
        kind, said = "uncaught", repr(error)
    else:
        kind, said = "accepted", ""
    return {"kind": kind, "said": said, "growth": peak() - before}

def in_a_child(path, names):
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        with open(into, "w") as file:
            json.dump({name: attempt(readers[name], path) for name in names}, file)
            file.flush()
            os._exit(0)
    os.close(into)
    with open(out) as file:
        answers = json.load(file)
    os.waitpid(child, 0)
    return answers

warnings.simplefilter("ignore")
load(sys.argv[1])
readers = {reader.__name__: reader for reader in (load, read_checkpoint, read_metadata)}
tries = [argument.split("=", 1) for argument in sys.argv[2:]]
print(json.dumps({path: in_a_child(path, names.split(",")) for names, path in tries}))
"""


def pack(path: Path, records: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, record in records.items():
            archive.writestr(name, record)


def with_tree(path: Path, tree: bytes, **records: bytes) -> None:
    rest = {"x/version": b"3\n", "x/byteorder": b"little", "x/data/0": bytes(24)}
    pack(path, {"x/data.pkl": tree, **rest, **records})


# -- archives ----------------------------------------------------------------------------


def compressed(path: Path) -> None:
    """64 MiB in a small file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}, 2), zipfile.ZIP_STORED)
        with archive.open("x/data/0", "w", force_zip64=True) as record:
            for _ in range(64):
                record.write(bytes(MIB))


def overlapping(path: Path) -> None:
    """A thousand records of 4 MiB that share their bytes."""
    with_tree(path, pickle.dumps({}, 2), **{"x/data/1": bytes(4 * MIB)})
    with zipfile.ZipFile(path, "a") as archive:
        (large,) = [entry for entry in archive.infolist() if entry.filename == "x/data/1"]
        for number in range(2, 1002):
            entry = zipfile.ZipInfo(f"x/data/{number}")
            for field in ("header_offset", "CRC", "file_size", "compress_size"):
                setattr(entry, field, getattr(large, field))
            archive.filelist.append(entry)
        archive._didModify = True  # type: ignore[attr-defined]


def twice(path: Path) -> None:
    with_tree(path, pickle.dumps({}, 2))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x/data.pkl", pickle.dumps({"other": 1}, 2))


def linked(path: Path) -> None:
    with_tree(path, pickle.dumps({}, 2))
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("x/data/1")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")


def crowded(path: Path) -> None:
    """A directory of a million entries."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *[0] * 9, 1, *[0] * 6) + b"x"
    directory = entry * 1_000_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, len(directory), 0, 0)
    path.write_bytes(directory + end)


def oversized(path: Path) -> None:
    """A small file that declares a directory of 4 GiB."""
    with_tree(path, pickle.dumps({}, 2))
    content = bytearray(path.read_bytes())
    content[-10:-6] = struct.pack("<L", 2**32 - 2)
    path.write_bytes(content)


def folded(path: Path) -> None:
    """A second tree, which torch reads because it ignores the case of names."""
    content = {"x/DATA.PKL": pickle.dumps({"config": Code()}, 2)}
    pack(path, {**content, "x/data.pkl": pickle.dumps({}, 2), "x/version": b"3\n"})


def shifted(path: Path) -> None:
    """A second archive in front, where torch looks for the directory."""
    with_tree(path, pickle.dumps({}, 2))
    second = path.read_bytes()
    path.write_bytes(second + second)


def trailing(path: Path) -> None:
    with_tree(path, pickle.dumps({}, 2))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"PK\x05\x06" + bytes(18)


def aliased(path: Path) -> None:
    """A hundred weights in the bytes of one."""
    weights = dict.fromkeys(map(str, range(100)), torch.zeros(10_000))
    torch.save({"config": {}, "format_version": 2, "model_state_dict": weights}, path)


# -- trees -------------------------------------------------------------------------------


class Code:
    """Runs a shell command when it is unpickled without care."""

    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


def coded(path: Path) -> None:
    with_tree(path, pickle.dumps({"config": Code()}, 2))


def bare(path: Path) -> None:
    path.write_bytes(pickle.dumps({"config": Code()}, 2))


def referred(path: Path) -> None:
    """Code where a storage's reference is expected."""

    class Pickler(pickle._Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", Code(), "0", "cpu", 6) if value == "here" else None

    tree = io.BytesIO()
    Pickler(tree, 2).dump({"config": "here"})
    with_tree(path, tree.getvalue())


def attributed(path: Path) -> None:
    """Sets an attribute of a function that the reader uses."""
    built = b"\x80\x02}ccollections\nOrderedDict\nN}X\x0c\x00\x00\x00__defaults__)s\x86b0."
    with_tree(path, built)


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<L", len(encoded)) + encoded


HUGE = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
HUGE += b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
SIZE = b"\x8a\x06" + (2**40).to_bytes(6, "little")
EMPTY = b"\x89ccollections\nOrderedDict\n)RtR"
ONE = b"X\x01\x00\x00\x00w"
COPIES = b"lq\x00ctorch\nSize\nq\x01(" + b"h\x01h\x00\x85R" * 200  # torch.Size(the list)
TREES = {
    "huge storage": ONE + HUGE + SIZE + b"tQK\x00K\x02\x85K\x01\x85" + EMPTY + b"s",
    "expanded": ONE + HUGE + b"K\x06tQK\x00" + SIZE + b"\x85K\x00\x85" + EMPTY + b"s",
    "strides": ONE + HUGE + b"K\x06tQK\x00K\x02K\x02\x86" + SIZE + b"K\x01\x86" + EMPTY + b"s",
    "empty lists": b"]" * (15 * MIB),
    "dictionaries": b"(" + b"}" * 700_000 + b"l",
    "a long memo": b"".join(b"r" + struct.pack("<L", number) for number in range(300_000)),
    "a memo of billions": b"r\xff\xff\xff\x7f",
    "bytes that are not there": b"\x96" + (2**40).to_bytes(8, "little"),
    "a wide text": text("a" * (12 * MIB - 4) + "\U0001f600"),
    "a text cut off": text("\U0001f600" * (3 * MIB))[:-1],
    "tuples in tuples": b")" + b"\x85" * 500_000,
    "a list of one list": ONE + b"](]q\x00(" + b"N" * 200_000 + b"e" + b"h\x00" * 200_000 + b"es",
    "a text many times": ONE + b"](" + text("a" * 400_000) + b"q\x00" + b"h\x00" * 200_000 + b"es",
    "a list 200 times": ONE
    + b"("
    + b"N" * 100_000
    + b"lq\x00ctorch\nSize\nq\x01("
    + COPIES
    + b"ls",
}


# -- contents ----------------------------------------------------------------------------


def recorded(record: bytes, content: dict[str, Any], path: Path) -> None:
    """Write a good file with another metadata record."""
    with path.open("xb+") as file:
        torch.save(content, file)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("archive/arc.json", record)


RECORDS = {
    "a wide record": b"[" + b"{}," * (5 * MIB) + b"{}]",
    "a record within bounds": b'{"config":[' + b"{}," * (MIB + 200_000) + b"{}]}",
    "a deep record": b'{"config":{},"format_version":1,"x":' + b"[" * 900 + b"]" * 900 + b"}",
    "a record that is no object": b"1",
    "a long number": b'{"config":{},"format_version":' + b"1" * 10_000 + b"}",
}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "code by name": ("task", {"_target_": "os.system", "command": "touch ran"}),
    "an interpolation": ("data", {"path": "${oc.env:HOME}"}),
    "a resolver": ("data", {"path": "${arc_run:touch ran}"}),
    "a huge model": ("model", {"hidden_dim": 4096, "num_conv_layers": 64}),
    "a huge latent": ("model", {"latent_dim": 4096, "embedding_dim": 512}),
    "a huge vocabulary": ("bottleneck", {"vocab_size": 10**9, "max_message_length": 10**9}),
    "a vocabulary within bounds": ("bottleneck", {"vocab_size": 4096, "max_message_length": 64}),
    "a number of layers": ("model", {"num_conv_layers": 10**12}),
    "a long name": ("task", {"name": "selection" * 10_000}),
    "an infinity": ("model", {"dropout": float("inf")}),
}

ARCHIVES = (
    *(compressed, overlapping, twice, linked, crowded, oversized),
    *(folded, shifted, trailing, aliased),
)
CODE = (coded, bare, referred, attributed)
FILES = {write.__name__: write for write in (*ARCHIVES, *CODE)}


@pytest.fixture(scope="module")
def hostile(
    request: pytest.FixtureRequest,
    save_run: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """The hostile files of the selected tests, by their fault."""
    folder = tmp_path_factory.mktemp("hostile")
    content = save_run("task=selection", "task.num_distractors=3").content
    selected = [item for item in request.session.items if item.path == request.path]
    tested = dict.fromkeys(item.callspec.params["name"] for item in selected)  # type: ignore[attr-defined]
    paths = {name: folder / f"{name.replace(' ', '_')}.pth" for name in tested}
    for name, path in paths.items():
        if name in FILES:
            FILES[name](path)
        elif name in TREES:
            with_tree(path, b"\x80\x02}" + TREES[name] + b".")
        elif name in RECORDS:
            recorded(RECORDS[name], content, path)
        elif name in CONFIGS:
            section, change = CONFIGS[name]
            changed = {**content["config"], section: {**content["config"][section], **change}}
            torch.save({**content, "config": changed}, path)
        elif name == "a pipe":
            os.mkfifo(path)
        else:
            assert name == "a device"
            path.symlink_to("/dev/zero")
    return paths


@pytest.fixture(scope="module")
def answers(
    hostile: dict[str, Path],
    save_run: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, Any]]:
    """The outcome of each reader for each file: name -> reader -> kind, said, growth."""
    good = save_run("task=selection", "task.num_distractors=3").path
    cwd = tmp_path_factory.mktemp("cwd")
    tries = [f"{','.join(readers_of(name))}={path}" for name, path in hostile.items()]
    done = finish(start(cwd, str(good), *tries, script=READERS))
    assert done.status == 0, done.err
    assert list(cwd.iterdir()) == []  # nothing ran
    names = {str(path): name for name, path in hostile.items()}
    return {names[path]: found for path, found in json.loads(done.out).items()}


SLOW = ("empty lists", "dictionaries", "a long memo", "tuples in tuples", "a huge model")
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name in (*FILES, *TREES, *RECORDS, *CONFIGS, "a pipe", "a device")
]


def readers_of(name: str) -> list[str]:
    """All readers; for trees one, since all read them in the same way."""
    return ["read_metadata"] if name in TREES else ["load", "read_checkpoint", "read_metadata"]


def must_refuse(name: str) -> list[str]:
    """The readers that must refuse a file: those that use its bad part."""
    if name in CONFIGS:
        return ["load"]
    return ["read_metadata"] if name in RECORDS else readers_of(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_file_is_refused_in_one_line(
    name: str, answers: dict[str, dict[str, Any]], hostile: dict[str, Path]
) -> None:
    assert list(answers[name]) == readers_of(name)
    for reader, answer in answers[name].items():
        assert answer["kind"] != "uncaught", (reader, answer)
        if reader in must_refuse(name):
            assert answer["kind"] != "accepted", reader
            assert answer["said"].startswith(f"{hostile[name]}: "), reader
            assert len(answer["said"].splitlines()) == 1, reader
            assert len(answer["said"]) < 1000, reader


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_file_uses_little_memory(name: str, answers: dict[str, dict[str, Any]]) -> None:
    growth = {reader: answer["growth"] for reader, answer in answers[name].items()}
    assert max(growth.values()) < MAX_GROWTH, growth

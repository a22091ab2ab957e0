"""Choice of device and precision."""

import warnings

import pytest
import torch

from arc.training.device import autocast_dtype, pick_device

CPU = torch.device("cpu")


def test_auto_selects_a_gpu_if_there_is_one() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert pick_device("auto").type == expected
    assert pick_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "meta", "cpu:zero"])
def test_an_unknown_device_is_refused_with_the_allowed_names(name: str) -> None:
    with pytest.raises(ValueError, match="use auto, cpu, cuda or cuda:N"):
        pick_device(name)


def test_a_missing_gpu_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cuda:99: this machine has \d+ CUDA devices"):
        pick_device("cuda:99")


@pytest.fixture
def old_driver(monkeypatch: pytest.MonkeyPatch) -> str:
    """A GPU that is counted but cannot be used, with torch's reason."""
    reason = "The NVIDIA driver on your system is too old (found version 11040)."

    def is_available() -> bool:
        warnings.warn(f"CUDA initialization: {reason}", UserWarning, stacklevel=2)
        return False

    def init() -> None:
        raise RuntimeError(f"{reason}\nFor debugging, …")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(torch.cuda, "init", init)
    return reason


def test_auto_selects_the_cpu_if_cuda_does_not_start(
    old_driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert pick_device("auto") == CPU
    assert caplog.messages == [
        f"device=auto: using the CPU, since CUDA does not start: {old_driver}"
    ]


def test_a_gpu_is_refused_if_cuda_does_not_start(old_driver: str) -> None:
    with pytest.raises(ValueError, match=r"device=cuda:0: CUDA does not start: The NVIDIA driver"):
        pick_device("cuda:0")


def test_auto_is_silent_without_a_gpu_and_with_a_working_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for count, expected in ((0, "cpu"), (1, "cuda")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        monkeypatch.setattr(torch.cuda, "is_available", lambda count=count: count > 0)
        assert pick_device("auto").type == expected
    assert caplog.messages == []


def test_precision() -> None:
    assert autocast_dtype("fp32", CPU) is None
    assert autocast_dtype("bf16", CPU) is torch.bfloat16
    assert autocast_dtype("auto", CPU) in (None, torch.bfloat16)

"""Choice of device and precision."""

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


def test_precision() -> None:
    assert autocast_dtype("fp32", CPU) is None
    assert autocast_dtype("bf16", CPU) is torch.bfloat16
    assert autocast_dtype("auto", CPU) in (None, torch.bfloat16)

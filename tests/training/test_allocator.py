"""Choosing device and precision."""

import pytest
import torch

from arc.training.device import autocast_dtype, pick_device

CPU = torch.device("cpu")


def test_auto_takes_a_gpu_where_there_is_one():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert pick_device("auto").type == expected
    assert pick_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "meta", "cpu:zero"])
def test_what_is_no_device_is_refused_with_what_is(name):
    with pytest.raises(ValueError, match="use auto, cpu, cuda or cuda:N"):
        pick_device(name)


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"cuda:99: this machine has \d+ CUDA devices"):
        pick_device("cuda:99")


def test_precision_is_what_was_asked_for():
    assert autocast_dtype("fp32", CPU) is None
    assert autocast_dtype("bf16", CPU) is torch.bfloat16
    assert autocast_dtype("auto", CPU) in (None, torch.bfloat16)

"""Choice of device and precision."""

from __future__ import annotations

import logging
import warnings

import torch

log = logging.getLogger(__name__)


def pick_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises ValueError for a device that this machine does not have.
    """
    if name == "auto":
        problem = _cuda_problem()
        if problem and torch.cuda.device_count():
            log.warning(f"device=auto: using the CPU, since CUDA does not start: {problem}")
        return torch.device("cpu" if problem else "cuda")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device={name!r}: use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda") or name.startswith("cpu:"):
        raise ValueError(f"device={name!r}: use auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        available = torch.cuda.device_count()
        if (device.index or 0) >= available:
            raise ValueError(f"device={name}: this machine has {available} CUDA devices")
        problem = _cuda_problem()
        if problem:
            raise ValueError(f"device={name}: CUDA does not start: {problem}")
    return device


def _cuda_problem() -> str | None:
    """Return why no GPU can be used, or None if one can.

    ``device_count`` asks the driver's management library, so it also counts GPUs whose driver is
    too old for this torch; ``is_available`` starts the driver.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch's, with the same reason
        if torch.cuda.is_available():
            return None
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:  # what torch raises for it
        return (str(error).splitlines() or [type(error).__name__])[0]
    return "no reason is given"


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the dtype of matrix products, or None for full precision.

    ``auto`` selects bfloat16 if the hardware supports it.
    """
    if precision == "fp32":
        return None
    if precision == "bf16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else None
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else None

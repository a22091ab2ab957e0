"""Choice of device and precision."""

from __future__ import annotations

import torch


def pick_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises ValueError for a device that this machine does not have.
    """
    available = torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device={name!r}: use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda") or name.startswith("cpu:"):
        raise ValueError(f"device={name!r}: use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= available:
        raise ValueError(f"device={name}: this machine has {available} CUDA devices")
    return device


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

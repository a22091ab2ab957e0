"""State of the random number generators of a process."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed the global generators of torch (weights, dropout, noise), NumPy and Python."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_states(device: torch.device) -> dict[str, Any]:
    """Return the states of torch's, CUDA's, NumPy's and Python's generators, as plain types.

    CUDA's are a list of one state, that of ``device``; the list is empty for the CPU.
    """
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state(device)] if device.type == "cuda" else [],
        "numpy": [str(name), torch.tensor(np.asarray(keys, np.int64)), position, has_gauss, cached],
        "python": [version, torch.tensor(internal, dtype=torch.int64), gauss],
    }


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Restore what ``random_states`` returned, for this or another device.

    All processes of a run restore the same state, each on its own ``device``. States without a
    state of CUDA, which come from the CPU, leave its generator as it is.
    """
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"]:
        torch.cuda.set_rng_state(_state_of_run(states["cuda"]), device)
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))


def _state_of_run(states: list[torch.Tensor]) -> torch.Tensor:
    """Return the state of the device that the run used.

    Older checkpoints hold a state for each device of the machine. These have one seed, and only the
    run's own device has drawn numbers: its offset, which follows the 8 bytes of the seed, is the
    largest.
    """
    if len(states) == 1:
        return states[0]
    return max(states, key=lambda state: int(state[8:].view(torch.int64)))


class GeneratorStates:
    """A cheap snapshot of the global generators' states, in memory."""

    def __init__(self) -> None:
        self._torch = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        self._numpy = np.random.get_state(legacy=True)
        self._python = random.getstate()

    def restore(self) -> None:
        """Set the generators back to these states."""
        torch.set_rng_state(self._torch)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)
        np.random.set_state(self._numpy)
        random.setstate(self._python)

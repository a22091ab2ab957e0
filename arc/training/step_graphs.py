"""Training steps as CUDA graphs: a whole step is one launch in place of thousands.

On a GPU, the launches of its kernels limit the speed of a small model. A step whose shapes do not
depend on the data (see ``Task.step_is_static``) is therefore captured once for each batch size and
then replayed. The random numbers of augmentation and near copies are still drawn on the CPU, from
the run's own generator, in the same order, so that a run can be resumed exactly.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from arc.data.draws import Recorder

log = logging.getLogger(__name__)

EAGER_STEPS = 2  # of each batch size, before the capture: libraries choose their algorithms
Step = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    examples: Tensor
    draws: Recorder
    output: Tensor


class StepGraphs:
    """Takes steps of one trainer on a CUDA device, as graphs where possible.

    ``step`` trains on ``examples`` and returns a tensor on the device. If a step cannot be
    captured, this and all later steps are launched kernel by kernel, which is logged once.
    """

    def __init__(self, step: Step, device: torch.device) -> None:
        self.step, self.device = step, device
        self.failed = False
        self._seen: dict[int, int] = {}
        self._captured: dict[int, _Captured] = {}

    def reset(self) -> None:
        """Discard the graphs; call it if a tensor that they use is replaced by another one."""
        self._seen.clear()
        self._captured.clear()

    def __call__(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        """Take one step, with random numbers from ``generator``, and return its output."""
        size = len(examples)
        captured = self._captured.get(size)
        if captured is not None:
            captured.examples.copy_(examples, non_blocking=True)
            captured.draws.redraw()
            captured.graph.replay()
            return captured.output
        self._seen[size] = self._seen.get(size, 0) + 1
        if self.failed or self._seen[size] <= EAGER_STEPS:
            return self.step(examples, generator)
        return self._step_and_capture(examples, generator)

    def _step_and_capture(self, examples: Tensor, generator: torch.Generator) -> Tensor:
        """Take one step on a side stream, record its random numbers, and capture the next one."""
        draws, own = Recorder(self.device), examples.to(self.device)
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        with torch.cuda.stream(side), draws.recording():
            output = self.step(own, generator)
        current.wait_stream(side)
        torch.cuda.synchronize(self.device)
        output = output.clone()
        states = _states(generator)
        try:
            graph = torch.cuda.CUDAGraph()
            pool = next((each.graph.pool() for each in self._captured.values()), None)
            with (
                draws.playing(),
                torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"),
            ):
                captured = self.step(own, generator)
            if not all(map(torch.equal, states, _states(generator))):
                raise RuntimeError("it draws random numbers that are not recorded")
        except RuntimeError as error:
            self.failed = True
            generator.set_state(states[0])
            torch.set_rng_state(states[1])
            torch.cuda.synchronize(self.device)
            reason = str(error).strip().split("\n")[0]
            log.warning(f"the training step cannot be captured as a CUDA graph: {reason}")
            return output
        self._captured[len(examples)] = _Captured(graph, own, draws, captured)
        return output


def _states(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return generator.get_state(), torch.get_rng_state()

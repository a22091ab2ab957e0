"""When free memory is returned to the kernel."""

import pytest

from arc.training import StepEvent, allocator
from arc.training.allocator import KEPT_BYTES, MemoryTrimmer

STEP = StepEvent.__new__(StepEvent)  # only its type is read


@pytest.mark.parametrize("step_bytes", [0, 3 * KEPT_BYTES])
def test_memory_is_returned_when_it_grows_but_not_after_each_large_step(
    monkeypatch: pytest.MonkeyPatch, step_bytes: int
) -> None:
    resident, trims = 0, 0

    def trim() -> None:
        nonlocal resident, trims
        resident, trims = 0, trims + 1

    monkeypatch.setattr(allocator, "_glibc", lambda: object())
    monkeypatch.setattr(allocator, "resident_bytes", lambda: resident)
    monkeypatch.setattr(allocator, "trim", trim)
    trimmer = MemoryTrimmer()

    def steps(count: int, growth: int) -> None:
        nonlocal resident
        for _ in range(count):
            resident = max(resident, step_bytes) + growth
            trimmer.on_event(STEP)

    steps(20, growth=0)
    assert trims == 0, "a step that needs much memory needs it again"
    steps(41, growth=KEPT_BYTES // 10)
    assert 3 <= trims <= 4

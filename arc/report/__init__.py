"""A report on evaluated runs: one HTML page with figures, and its tables as CSV and JSON.

Names are imported on first use (PEP 562), so that drawing does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arc.report.page import check_report as check_report
    from arc.report.page import report_path as report_path
    from arc.report.page import write_report as write_report


def __getattr__(name: str) -> Any:
    if name not in ("check_report", "report_path", "write_report"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from arc.report import page

    return getattr(page, name)

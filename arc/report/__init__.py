"""A report on evaluated runs: one HTML page with figures, and its tables as CSV and JSON."""

from arc.report.page import check_report, report_path, write_report

__all__ = ["check_report", "report_path", "write_report"]

"""Figures that the tests have measured are told at the end, by whatever process they were measured."""

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Write what was recorded with ``record_property``."""
    reports = (report for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"))
    figures = [(report.nodeid, *figure) for report in reports for figure in report.user_properties]
    if figures:
        terminalreporter.section("figures")
        for test, name, value in dict.fromkeys(figures):
            terminalreporter.line(f"{name}: {value:.3g}  ({test})")

"""What a report of the whole synthetic study shows, made once for all tests that only look at it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from synthetic import Plan

    from slasearch.report.figures._base import ReportFigure
    from slasearch.report.results import Results


@pytest.fixture(scope="session")
def figures(results: Results) -> dict[str, ReportFigure]:
    """Every figure, by its name, in the order of the page."""
    from slasearch.report.figures.all import all_figures

    return {figure.name: figure for figure in all_figures(results)}


@pytest.fixture(scope="session")
def drawn(figures: dict[str, ReportFigure]) -> dict[str, Figure]:
    """Every printed figure, by its name."""
    return {name: figure.draw() for name, figure in figures.items()}


@pytest.fixture(scope="session")
def text(results: Results, figures: dict[str, ReportFigure]) -> str:
    """The page."""
    from slasearch.report.html import render

    return render(results, list(figures.values()))


@pytest.fixture(scope="session")
def written(
    database_of: Callable[[Plan], str], drawn: dict[str, Figure], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The report in every format, written by a process that has drawn its figures before."""
    from synthetic import Plan

    from slasearch.report.write import REPORT_FORMATS, write_report

    out = tmp_path_factory.mktemp("report")
    paths = write_report(database_of(Plan()), "synthetic", out, REPORT_FORMATS)
    assert paths[0].name == "report.html"
    assert sorted(paths) == sorted(path for path in out.rglob("*") if path.is_file()), "each once"
    return out

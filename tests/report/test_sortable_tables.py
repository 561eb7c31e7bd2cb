"""Tables of the page: every heading sorts, every table is a file, and numbers in it are numbers."""

import csv
import io
import json
import re

import numpy as np
import pandas as pd
import pytest

from slasearch.report.downloads import MOST_ROWS, csv_of_frame, csv_of_table, file_stem
from slasearch.report.figures._base import ReportFigure
from slasearch.report.results import Results
from slasearch.report.tables import Table, best_trials, failure_table


@pytest.fixture(scope="module")
def files(text: str) -> list[list[str]]:
    found = re.search(r'id="files">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    loaded: list[list[str]] = json.loads(found[1])
    return loaded


def test_every_heading_is_a_button_and_says_how_its_column_is_sorted(text: str) -> None:
    heads = re.findall(r"<thead><tr>(.*?)</tr></thead>", text, re.DOTALL)
    cells = [cell for head in heads for cell in re.findall(r"<th .*?</th>", head)]
    assert len(heads) > 20
    button = r'<button type="button" class="sort">[^<]+</button>'
    for cell in cells:
        assert re.fullmatch(rf'<th scope="col" aria-sort="none"( class="number")?>{button}</th>', cell), cell


def test_every_table_has_its_file(text: str, files: list[list[str]], figures: dict[str, ReportFigure]) -> None:
    places = [int(place) for place in re.findall(r'data-file="(\d+)"', text)]
    assert sorted(places) == list(range(len(files)))
    assert text.count("<table>") == len(files) - 1, "and the study file"
    names = {name for name, _, _ in files}
    assert {f"{name}.csv" for name in figures} | {"synthetic.yaml", "failures.csv"} <= names
    for name, kind, content in files:
        assert kind == ("application/yaml" if name.endswith(".yaml") else "text/csv")
        if kind == "text/csv":
            rows = list(csv.reader(io.StringIO(content)))
            assert len({len(row) for row in rows}) == 1, name


def test_a_figures_file_is_the_file_beside_the_page(files: list[list[str]], figures: dict[str, ReportFigure]) -> None:
    figure = figures["sensitivity_score"]
    content = next(content for name, _, content in files if name == "sensitivity_score.csv")
    table = pd.read_csv(io.StringIO(content))
    assert table["value"].to_numpy() == pytest.approx(figure.table["value"].to_numpy())
    assert list(table.columns) == list(figure.table.columns)


def test_numbers_for_people_are_numbers_for_programs() -> None:
    table = Table(
        "Best: 1 of 2",
        ("name", "score", "size", "difference", "seen"),
        (
            ("a, with a comma", "0.842 ± 0.011", "67\u202f427", "−0.010 ± 0.002", "12, 14"),
            ("b", "0.9", "–", "+0.5", "1\u202f000\u202f000 tokens"),
        ),
    )
    rows = list(csv.reader(io.StringIO(csv_of_table(table))))
    assert rows == [
        ["name", "score", "score ±", "size", "difference", "difference ±", "seen"],
        ["a, with a comma", "0.842", "0.011", "67427", "-0.010", "0.002", "12, 14"],
        ["b", "0.9", "", "", "0.5", "", "1 000 000 tokens"],
    ]
    assert file_stem(table.title) == "best-1-of-2"


def test_best_trials_read_back(results: Results) -> None:
    table = best_trials(results)
    assert table is not None
    read = pd.read_csv(io.StringIO(csv_of_table(table)))
    assert read["score"].to_numpy() == pytest.approx([float(row[2]) for row in table.rows])
    assert read["parameters"].dtype == np.int64


def test_a_long_table_is_cut_and_many_failures_are_counted(results: Results) -> None:
    frame = pd.DataFrame({"value": range(MOST_ROWS + 5)})
    assert csv_of_frame(frame).count("\n") == MOST_ROWS + 1
    table = failure_table(results)
    assert table is not None
    assert "more" not in table.rows[0][2]

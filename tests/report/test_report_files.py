"""All that a report writes: one database gives the same bytes in every format, and each figure says its origin."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from synthetic import Plan

from slasearch.analysis.frames import StudyFrames
from slasearch.report.figures._base import ReportFigure
from slasearch.report.results import Results
from slasearch.report.sidecar import sidecar
from slasearch.report.write import DEFAULT_FORMATS, REPORT_FORMATS, write_report


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_process_writes_the_same_bytes_in_every_format(
    written: Path, database_of: Callable[[Plan], str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "slasearch", "report", "synthetic", "--out", str(tmp_path / "again")]
    command += ["--format", ",".join(REPORT_FORMATS), "--storage", database_of(Plan())]
    environment = os.environ | {"PYTHONHASHSEED": "4711"}
    subprocess.run(command, check=True, capture_output=True, timeout=110, env=environment)
    first, second = files_of(written), files_of(tmp_path / "again")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert {Path(name).suffix.removeprefix(".") for name in first} == set(REPORT_FORMATS)


def test_another_version_changes_the_line_with_the_version_and_nothing_else(
    written: Path, database_of: Callable[[Plan], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("html", "sidecar", "write"):
        monkeypatch.setattr(f"slasearch.report.{module}.__version__", "9.9.9")
    write_report(database_of(Plan()), "synthetic", tmp_path, ("html", "csv", "json"))
    for name, later in files_of(tmp_path).items():
        lines = zip(files_of(written)[name].splitlines(), later.splitlines(), strict=True)
        differing = [new for old, new in lines if old != new]
        assert len(differing) == (0 if name.endswith(".csv") else 1), name
        assert all(b"9.9.9" in line for line in differing)


def test_every_figure_has_its_numbers_twice_and_a_description(
    written: Path, figures: dict[str, ReportFigure], frames: StudyFrames
) -> None:
    for figure in figures.values():
        table = pd.read_parquet(written / "data" / f"{figure.name}.parquet")
        assert len(pd.read_csv(written / "data" / f"{figure.name}.csv")) == len(table)
        told = json.loads((written / "data" / f"{figure.name}.json").read_text())
        assert told["config_hash"] == frames.study.fingerprint
        assert told["n"]["rows"] == len(table)
        assert list(told["columns"]) == list(table.columns)
        assert told["n"]["trials"] == sum(told["n"]["states"].values()) > 0
        assert told["seeds"]["study"] == 0
        assert told["method"]


def test_the_description_names_sampler_seeds_trials_and_interval(written: Path) -> None:
    told = json.loads((written / "data" / "sensitivity_score.json").read_text())
    assert told["sampler"] == ["one_at_a_time"]
    assert told["phases"] == ["design"]
    assert told["seeds"]["pairs"] == [[0, 0], [1, 1], [2, 2]]
    assert told["n"]["states"] == {"complete": 39}, "13 points with three seed pairs each"
    assert told["interval"] == {"text": ["bars: 95 % t-intervals"], "confidence": 0.95}
    assert told["study_version"] == "0.1.0"
    history = json.loads((written / "data" / "history.json").read_text())
    assert history["sampler"] == ["one_at_a_time", "tpe"]
    assert history["interval"] is None
    assert set(history["n"]["states"]) == {"complete", "pruned", "fail"}


def test_trials_are_those_of_the_phases_that_the_numbers_come_from(
    written: Path, results: Results, figures: dict[str, ReportFigure]
) -> None:
    """Costs are of all phases; what is read off a design is of the design alone, though the search went on."""
    ledger = json.loads((written / "data" / "ledger.json").read_text())
    assert ledger["phases"] == ["design", "optimise", "confirm"]
    assert ledger["n"]["trials"] == len(results.frames.trials)
    plain = replace(figures["history"], table=pd.DataFrame({"field": ["a"]}))
    for name, phases in (("history", ["design", "optimise"]), ("sobol_pairs", ["design"]), ("shape_score", ["design"])):
        assert json.loads(sidecar(results, replace(plain, name=name)))["phases"] == phases


def test_the_usual_formats_hold_figures_numbers_and_descriptions() -> None:
    assert set(DEFAULT_FORMATS) == set(REPORT_FORMATS) - {"pdf"}

"""Writes a report: one HTML file, pictures, the numbers behind them, and for each figure how they came about."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence, Set
from functools import partial
from pathlib import Path

import pandas as pd

from slasearch import __version__
from slasearch.analysis.frames import MEAN, load_frames
from slasearch.analysis.learning import load_learning
from slasearch.config.locations import locate, redacted
from slasearch.errors import ReportError
from slasearch.report.figures._base import ReportFigure
from slasearch.report.figures.all import all_figures
from slasearch.report.findings import findings
from slasearch.report.html import render
from slasearch.report.processes import in_processes
from slasearch.report.results import Results, analyse
from slasearch.report.sidecar import sidecar
from slasearch.report.style import FORMATS as PICTURES
from slasearch.report.style import save, style

__all__ = ["DEFAULT_FORMATS", "REPORT_FORMATS", "write_report"]

REPORT_FORMATS = ("html", *PICTURES, "csv", "parquet", "json")
DEFAULT_FORMATS = ("html", "png", "svg", "csv", "parquet", "json")

_METHODS = "methods.json"


def write_report(url: str, study_name: str, out: Path, formats: Sequence[str] = DEFAULT_FORMATS) -> list[Path]:
    """Writes `out/report.html`, `out/figures/*` and `out/data/*`, over what stood there.

    Figures that an earlier report wrote and this one has no more, such as the paths of a former winner, are removed.

    The same database gives the same bytes, but for the line with the version, and, where it is not the default one, its
    URL in the commands.

    Args:
        url: SQLAlchemy URL of the database.
        study_name: Name of the study.
        out: Folder; made if need be.
        formats: Some of `html`, `png`, `svg`, `pdf`, `csv`, `parquet`, `json` (one for each figure: method, trials,
            samplers, seeds, interval, versions, fingerprint).

    Returns:
        Every file written, the HTML file first.

    Raises:
        ReportError: An unknown format, no trial in the study, or a folder that cannot be written.
        StudyNotFoundError: No study of this name.
        StorageError: The database cannot be read.
    """
    unknown = [name for name in formats if name not in REPORT_FORMATS]
    if unknown or not formats:
        raise ReportError(
            f"formats: expected some of {', '.join(REPORT_FORMATS)}, got {', '.join(unknown) or 'none'}. "
            "Name them with --format, separated by commas."
        )
    results = analyse(load_frames(url, study_name), load_learning(url, study_name))
    storage = None if url == locate().storage_url else redacted(url)
    try:
        out.mkdir(parents=True, exist_ok=True)
        figures = all_figures(results)
        _remove_former(out, {figure.name for figure in figures})
        return list(_written(results, figures, out, [name for name in REPORT_FORMATS if name in formats], storage))
    except OSError as error:
        raise ReportError(
            f"report folder {out}: expected a folder that can be written, got: {error.strerror or error}. "
            "Name another with --out."
        ) from error


def _remove_former(out: Path, figures: Set[str]) -> None:
    """Removes what the last report into this folder says that it wrote of figures that there are no more."""
    try:
        former = json.loads((out / "data" / _METHODS).read_text(encoding="utf-8"))["figures"].keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # none, or another's file
    gone = [name for name in former - figures if re.fullmatch(r"\w+", name)]
    for name in gone:
        for path in (
            *(out / "figures" / f"{name}.{suffix}" for suffix in PICTURES),
            *(out / "data" / f"{name}.{suffix}" for suffix in ("csv", "parquet", "json")),
        ):
            path.unlink(missing_ok=True)


def _written(
    results: Results, figures: list[ReportFigure], out: Path, formats: list[str], storage: str | None
) -> Iterator[Path]:
    jobs: list[Callable[[], list[Path]]] = []  # the longest first, so that no process waits for another in the end
    if "html" in formats:
        jobs.append(lambda: [_text(out / "report.html", render(results, figures, storage=storage))])
    suffixes = [name for name in ("csv", "parquet") if name in formats]
    jobs += [
        partial(_table, table, out / "data" / f"{name}.{suffix}")
        for name, table in _tables(results, figures).items()
        for suffix in suffixes
    ]
    if pictures := [name for name in PICTURES if name in formats]:
        jobs += [partial(_pictures, figure, out / "figures", pictures) for figure in figures]
    if "json" in formats:
        jobs += [partial(_sidecar, results, figure, out / "data") for figure in figures]
    if "csv" in formats or "json" in formats:
        jobs.append(lambda: [_text(out / "data" / _METHODS, _methods(results, figures))])
    for paths in in_processes(jobs):
        yield from paths


def _pictures(figure: ReportFigure, folder: Path, formats: list[str]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{figure.name}.{name}" for name in formats]
    with style():
        drawn = figure.draw()
        for path, name in zip(paths, formats, strict=True):
            save(drawn, path, name)
    return paths


def _sidecar(results: Results, figure: ReportFigure, folder: Path) -> list[Path]:
    return [_text(folder / f"{figure.name}.json", sidecar(results, figure))]


def _tables(results: Results, figures: list[ReportFigure]) -> dict[str, pd.DataFrame]:
    frames = results.frames
    trials = frames.trials.merge(frames.params, on="trial_id", validate="one_to_one")
    tested = frames.clean_scores("test")
    tested = tested.loc[tested["series"] == MEAN, ["trial_id", "value"]].rename(columns={"value": "test_score"})
    trials = trials.merge(tested, on="trial_id", how="left", validate="one_to_one")
    return {"trials": trials, **{figure.name: figure.table for figure in figures}}


def _table(table: pd.DataFrame, path: Path) -> list[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        table.to_csv(path, index=False, lineterminator="\n")
    else:
        table.to_parquet(path, index=False)
    return [path]


def _text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def _methods(results: Results, figures: list[ReportFigure]) -> str:
    """How each figure was measured, the findings, and what identifies the study."""
    study = results.frames.study
    content = {
        "study": study.name,
        "fingerprint": study.fingerprint,
        "study_version": study.version,
        "seed": study.seed,
        "trials": results.counts.text(),
        "findings": [{"topic": item.topic, "kind": item.kind, "text": item.text} for item in findings(results)],
        "figures": {item.name: {"title": item.title, "note": item.note.replace("\n", " ")} for item in figures},
        "report_version": __version__,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

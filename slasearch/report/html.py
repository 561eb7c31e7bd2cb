"""The report as one HTML file that works offline: plotly.js is embedded once, and nothing is loaded from anywhere.

A content security policy in the page forbids every request and every script but the two embedded ones, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.resources import files
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from slasearch import __version__
from slasearch.analysis.compare import Comparisons
from slasearch.analysis.roles import role_label
from slasearch.report.figures._base import LegendItem, ReportFigure
from slasearch.report.findings import Finding, findings
from slasearch.report.labels import thousands
from slasearch.report.path_tables import path_tables
from slasearch.report.results import Results
from slasearch.report.style import DARK
from slasearch.report.tables import (
    Table,
    best_trials,
    controls_tables,
    cost_table,
    event_table,
    failure_table,
    tuning_table,
)

__all__ = ["render", "study_file"]

_SECTIONS = {
    "comparison": "Against the controls",
    "robustness": "Robustness",
    "sensitivity": "Sensitivity",
    "tradeoff": "Trade-off",
    "structure": "Structure",
    "importance": "Importance",
    "history": "Trials",
}
_MOST_ROWS = 60


@dataclass(frozen=True)
class _PanelView:
    title: str
    index: int
    height: int


@dataclass(frozen=True)
class _FigureView:
    """A figure as the template sees it: its charts by their index in the embedded JSON."""

    name: str
    title: str
    caption: str
    note: str
    alt: str
    wide: bool
    panels: tuple[_PanelView, ...]
    legend: tuple[LegendItem, ...]
    table: Table
    rows: int


@dataclass(frozen=True)
class _Section:
    name: str
    title: str
    before: list[Table]
    figures: list[_FigureView]
    after: list[Table]


@dataclass(frozen=True)
class _Tile:
    label: str
    value: str
    detail: str


def render(results: Results, figures: list[ReportFigure], *, storage: str | None = None) -> str:
    """The whole page. Texts of the study are escaped; only our own styles, scripts and JSON are put in as they are.

    Args:
        results: The analyses.
        figures: What is shown of them.
        storage: Database URL without a password, for the commands; None for the default database.
    """
    charts: list[str] = []
    views = {figure.name: _view(figure, charts) for figure in figures}
    plotly, script = get_plotlyjs(), _resource("report.js")
    study, config = results.frames.study, results.frames.config
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_resource("template.html")).render(
        study=study,
        description=config.description,
        facts=_facts(results),
        tiles=_tiles(results),
        findings=[(topic, list(items)) for topic, items in groupby(_sentences(results), key=lambda item: item.topic)],
        sections=_sections(results, figures, views),
        commands=_commands(results, storage),
        identity=_identity(results),
        study_file=study_file(results),
        version=__version__,
        dark_colors=DARK,
        css=Markup(_resource("report.css")),
        charts=_data(charts),
        dark=Markup(json.dumps(list(DARK.items()))),
        plotly=Markup(plotly),
        script=Markup(script),
        script_hashes=Markup(" ".join(_hash(text) for text in (plotly, script))),
    )


def _sentences(results: Results) -> list[Finding]:
    """The findings with their numbers and units held together at the end of a line."""
    joined = (
        ("\u00b1 ", "\u00b1\u00a0"),
        (" \u00b1", "\u00a0\u00b1"),
        (" %", "\u00a0%"),
        (" = ", "\u00a0=\u00a0"),
        ("; p ", "; p\u00a0"),
    )
    found = []
    for item in findings(results):
        text = item.text
        for loose, tight in joined:
            text = text.replace(loose, tight)
        found.append(replace(item, text=text))
    return found


def _resource(name: str) -> str:
    return files("slasearch.report").joinpath(name).read_text(encoding="utf-8")


def _data(charts: list[str]) -> Markup:
    """A JSON array that cannot end the script element it stands in."""
    return Markup(f"[{','.join(charts)}]".replace("<", "\\u003c"))


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _view(figure: ReportFigure, charts: list[str]) -> _FigureView:
    panels = []
    built = figure.panels()
    for panel in built:
        panels.append(_PanelView(panel.title, len(charts), int(panel.figure.layout.height)))
        charts.append(str(panel.figure.to_json()))
    return _FigureView(
        name=figure.name,
        title=figure.title,
        caption=figure.caption,
        note=figure.note.replace("\n", " "),
        alt=figure.alt,
        wide=any(panel.wide for panel in built),
        panels=tuple(panels),
        legend=figure.legend,
        table=_numbers(figure.table),
        rows=len(figure.table),
    )


def _numbers(table: pd.DataFrame) -> Table:
    """The means of a figure's table (all its rows where it has none), the first 60 of them."""
    means = table[table["what"] == "mean"].drop(columns=["what"]) if "what" in table else table
    shown = means.head(_MOST_ROWS).dropna(axis="columns", how="all")
    title = "Means" if "what" in table else "Rows"
    title += f" (first {len(shown)} of {len(means)})" if len(shown) < len(means) else ""
    numeric = [pd.api.types.is_numeric_dtype(shown[name]) for name in shown.columns]
    return Table(
        title=title,
        columns=tuple(str(name).replace("_", " ") for name in shown.columns),
        rows=tuple(tuple(_cell(value) for value in row) for row in shown.itertuples(index=False)),
        text_columns=numeric.index(True) if True in numeric else len(numeric),
    )


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.4g}" if abs(value) < 10_000 else thousands(value)
    return "" if pd.isna(value) else str(value)


def _sections(results: Results, figures: list[ReportFigure], views: dict[str, _FigureView]) -> list[_Section]:
    trials = [table for table in (failure_table(results), event_table(results), cost_table(results)) if table]
    best = best_trials(results)
    tuning = tuning_table(results)
    before = {"comparison": controls_tables(results)}
    after = {"comparison": [tuning] if tuning else [], "tradeoff": [best] if best else [], "history": trials}
    after["structure"] = path_tables(results)
    found = []
    for name, title in _SECTIONS.items():
        mine = [views[figure.name] for figure in figures if figure.section == name]
        section = _Section(name, title, before.get(name, []), mine, after.get(name, []))
        if section.before or section.figures or section.after:
            found.append(section)
    return found


def _facts(results: Results) -> list[str]:
    study, config = results.frames.study, results.frames.config
    tasks = results.frames.tasks
    named = f"{len(tasks)} tasks: {', '.join(tasks)}" if len(tasks) > 1 else f"task {tasks[0]}"
    started = datetime.fromtimestamp(study.created_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return [study.state, results.counts.text(), config.backbone.id, named, f"started {started}"]


def _tiles(results: Results) -> list[_Tile]:
    if results.comparisons:
        return _confirmed_tiles(results, results.comparisons[0])
    front = results.front
    if front is None:
        return []
    best = int(front.column("score").argmax())
    return [
        _Tile(
            "Best validation score", f"{front.column('score')[best]:.3f}", f"trial {front.numbers[best]}, one seed pair"
        ),
        _Tile("its size", thousands(front.column("exported_parameters")[best]), "exported parameters"),
    ]


def _confirmed_tiles(results: Results, item: Comparisons) -> list[_Tile]:
    winner = item.winner
    tiles = [
        _Tile(
            "Test score", winner.score().text(), f"trial {item.number}, {item.label}, n\u00a0=\u00a0{winner.score().n}"
        ),
        _Tile("Exported parameters", thousands(winner.parameters.mean), "without the task heads"),
    ]
    if item.controls:
        control = max(item.controls, key=lambda arm: np.nan_to_num(arm.score().mean, nan=-np.inf))
        one = item.difference(control.role)
        label = f"Minus {role_label(control.role)} ({thousands(control.parameters.mean)})"
        detail = f"the best control; {one.verdict}, {one.difference.n} pairs"
        tiles.append(_Tile(label, one.difference.text(signed=True), detail))
    if winner.robustness.n:
        tiles.append(_Tile("Robustness", winner.robustness.text(), "validation, under the measured conditions"))
    return tiles


def _commands(results: Results, storage: str | None) -> str:
    """Commands that work as they stand; an adapter can be exported only where one was stored."""
    name = shlex.quote(results.frames.study.name)
    verbs = [f"report {name} --out report", f"trials {name}", "dashboard"]
    if not results.frames.artifacts.empty:
        verbs.insert(1, f"export {name} --best score --out adapter")
    where = f" --storage {shlex.quote(storage)}" if storage else ""
    return "\n".join(f"slasearch {verb}{where}" for verb in verbs)


def _identity(results: Results) -> list[tuple[str, str]]:
    study, trials = results.frames.study, results.frames.trials
    pairs = trials.groupby("phase", sort=False)[["init_seed", "data_seed"]]
    seeds = "; ".join(
        f"{phase} {', '.join(f'{init}/{data}' for init, data in sorted(set(map(tuple, rows.to_numpy().tolist()))))}"
        for phase, rows in pairs
    )
    return [
        ("study", study.name),
        ("run with", f"slasearch {study.version}"),
        ("fingerprint", study.fingerprint),
        ("seed of the study", str(study.seed)),
        ("seed pairs (weights/data)", seeds),
    ]


def study_file(results: Results) -> str:
    """The study file as YAML, fields at their default left out; reading it gives the same study again."""
    plain = results.frames.config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)

"""The report as one HTML file that works offline: plotly.js is embedded once, and nothing is loaded from anywhere.

A content security policy in the page forbids every request and every script but the two embedded ones, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.resources import files
from itertools import groupby

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from slasearch import __version__
from slasearch.analysis.bounds import within_all
from slasearch.analysis.compare import Comparisons
from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.roles import role_label
from slasearch.report.asked import asked
from slasearch.report.figures._base import ReportFigure
from slasearch.report.finding import Finding
from slasearch.report.findings import findings
from slasearch.report.labels import thousands
from slasearch.report.path_tables import path_tables
from slasearch.report.results import Results
from slasearch.report.settings import best_settings
from slasearch.report.style import DARK
from slasearch.report.summary import certainty, five, others
from slasearch.report.tables import (
    Table,
    best_trials,
    controls_tables,
    event_table,
    failure_table,
    tuning_table,
)
from slasearch.report.views import Assembly, FigureView, TableView

__all__ = ["render", "study_file"]

_SECTIONS = {
    "comparison": "Against the controls",
    "robustness": "Robustness",
    "sensitivity": "Sensitivity",
    "tradeoff": "Trade-off",
    "structure": "Structure",
    "importance": "Importance",
    "history": "Trials and cost",
}
_SEED_PAIRS = 12
"""Seed pairs of a phase that are written out; more are counted."""

Topics = list[tuple[str, list[Finding]]]


@dataclass(frozen=True)
class _Section:
    name: str
    title: str
    before: list[TableView]
    figures: list[FigureView]
    after: list[TableView]


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
    page = Assembly()
    plotly, script = get_plotlyjs(), _resource("report.js")
    study, config = results.frames.study, results.frames.config
    file, told = study_file(results), findings(results)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_resource("template.html")).render(
        study=study,
        description=config.description,
        facts=_facts(results),
        asked=asked(config, results.frames.warm_start),
        tiles=_tiles(results),
        five=_joined(five(results, told)),
        others=_topics(others(results, told)),
        sections=_sections(results, figures, page),
        certainty=_topics(certainty(results, told)),
        failed=_topics(item for item in told if item.topic in ("Trials", "Not shown")),
        failures=[page.table(table) for table in (failure_table(results), event_table(results)) if table],
        commands=_commands(results, storage),
        identity=_identity(results),
        study_file=file,
        study_download=page.file(f"{study.name}.yaml", "application/yaml", file),
        version=__version__,
        dark_colors=DARK,
        css=Markup(_resource("report.css")),
        charts=_data(f"[{','.join(page.charts)}]"),
        files=_data(page.embedded()),
        dark=Markup(json.dumps(list(DARK.items()))),
        plotly=Markup(plotly),
        script=Markup(script),
        script_hashes=Markup(" ".join(_hash(text) for text in (plotly, script))),
    )


def _topics(found: Iterable[Finding]) -> Topics:
    return [(topic, list(items)) for topic, items in groupby(_joined(found), key=lambda item: item.topic)]


def _joined(found: Iterable[Finding]) -> list[Finding]:
    """Sentences with their numbers and units held together at the end of a line."""
    tight = (
        ("\u00b1 ", "\u00b1\u00a0"),
        (" \u00b1", "\u00a0\u00b1"),
        (" %", "\u00a0%"),
        (" = ", "\u00a0=\u00a0"),
        ("; p ", "; p\u00a0"),
    )
    joined = []
    for item in found:
        text = item.text
        for loose, held in tight:
            text = text.replace(loose, held)
        joined.append(replace(item, text=text))
    return joined


def _resource(name: str) -> str:
    return files("slasearch.report").joinpath(name).read_text(encoding="utf-8")


def _data(text: str) -> Markup:
    """JSON that cannot end the script element it stands in."""
    return Markup(text.replace("<", "\\u003c"))


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _sections(results: Results, figures: list[ReportFigure], page: Assembly) -> list[_Section]:
    before = {"comparison": controls_tables(results)}
    after: dict[str, list[Table | None]] = {
        "comparison": [tuning_table(results)],
        "tradeoff": [best_trials(results)],
        "structure": [*path_tables(results)],
    }
    others = {figure.section: figure.section.capitalize() for figure in figures if figure.section not in _SECTIONS}
    found = []
    for name, title in {**_SECTIONS, **others}.items():
        section = _Section(
            name,
            title,
            [page.table(table) for table in before.get(name, [])],
            [page.figure(figure) for figure in figures if figure.section == name],
            [page.table(table) for table in after.get(name, []) if table is not None],
        )
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
    settings = best_settings(results.frames)
    settings = settings[within_all(results.frames.config.constraints, settings)]
    if settings.empty:
        return []
    best = settings.iloc[0]
    over = pairs_of_seeds(best["pairs"]) if best["pairs"] > 1 else "one seed pair"
    return [
        _Tile("Best validation score", f"{best['score']:.3f}", f"trial {best['number']:g}, {over}"),
        _Tile("its size", thousands(best["exported_parameters"]), "exported parameters"),
    ]


def _confirmed_tiles(results: Results, item: Comparisons) -> list[_Tile]:
    winner = item.winner
    tiles = [
        _Tile(
            "Test score", winner.score().text(), f"trial {item.number}, {item.label}, n\u00a0=\u00a0{winner.score().n}"
        ),
        _Tile("Exported parameters", thousands(winner.parameters.mean), "without the task heads"),
    ]
    compared = [arm for arm in item.controls if item.difference(arm.role).difference.n]
    if compared:
        control = max(compared, key=lambda arm: arm.score().mean)
        one = item.difference(control.role)
        label = f"Minus {role_label(control.role)} ({thousands(control.parameters.mean)})"
        detail = f"the best control; {one.evidence.standing}, {one.difference.n} pairs"
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
    return [
        ("study", study.name),
        ("run with", f"slasearch {study.version}"),
        ("fingerprint", study.fingerprint),
        ("seed of the study", str(study.seed)),
        (
            "seed pairs (weights/data)",
            "; ".join(
                _pairs(str(phase), rows.to_numpy().tolist())
                for phase, rows in trials[["phase", "init_seed", "data_seed"]]
                .drop_duplicates()
                .groupby("phase", sort=False)[["init_seed", "data_seed"]]
            ),
        ),
    ]


def _pairs(phase: str, pairs: list[list[int]]) -> str:
    shown = [f"{init}/{data}" for init, data in sorted(pairs)]
    more = f" and {thousands(len(shown) - _SEED_PAIRS)} more" if len(shown) > _SEED_PAIRS else ""
    return f"{phase} {', '.join(shown[:_SEED_PAIRS])}{more}"


def study_file(results: Results) -> str:
    """The study file as YAML, fields at their default left out; reading it gives the same study again."""
    plain = results.frames.config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)

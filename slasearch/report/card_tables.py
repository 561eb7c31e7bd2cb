"""Sections of a model card that are tables: data, structure, scores, comparison with controls, hyperparameters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from slasearch.adapters.export import AdapterCard
from slasearch.analysis.compare import Comparisons
from slasearch.analysis.frames import MEAN
from slasearch.analysis.intervals import NORMAL
from slasearch.analysis.roles import role_label
from slasearch.records import CLEAN_SAMPLE, DIRECTIONS, SITES, SPARSITY_PATH, SPLITS, ConditionSpec, Slot
from slasearch.registry import KINDS
from slasearch.report.finding import listed
from slasearch.report.labels import margin_rule, p_label, sentences, series_label, thousands
from slasearch.report.origin import Origin

__all__ = [
    "comparison_section",
    "data_section",
    "markdown_table",
    "scores_section",
    "structure_section",
    "training_section",
]

_GOALS = {"score": "score", "exported_parameters": "size", "robustness": "robustness"}
_MARKUP = re.compile(r"[\\`*<\[]")
_LABELS = 12
"""No more of a task's labels are named than this."""


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, one line a row: line breaks in a cell become spaces, and `|` is escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    cells = ([" ".join(cell.splitlines()).replace("|", r"\|") for cell in line] for line in lines)
    return [f"| {' | '.join(line)} |" for line in cells]


# ---------------------------------------------------------------- data and structure


def data_section(card: AdapterCard, origin: Origin) -> Iterator[str]:
    """For each task its source, labels and examples: counted where the data are here unchanged, else their limits."""
    yield "## Data"
    yield ""
    rows = []
    for task in card.tasks:
        spec = next(spec for spec in origin.spec.tasks if spec.name == task.name)
        counts, limits = origin.examples[task.name], asdict(spec.limits)
        sizes = [thousands(counts[split]) if split in counts else _limit(limits[split]) for split in SPLITS]
        rows.append([task.name, f"`{spec.source}`", _labels(task.labels), *sizes, str(task.max_tokens)])
    columns = ["task", "source", "labels", *(f"{split} examples" for split in SPLITS), "most tokens"]
    yield from markdown_table(columns, rows)


def _labels(labels: Sequence[str]) -> str:
    named = ", ".join(_MARKUP.sub(r"\\\g<0>", label) for label in labels[:_LABELS])
    return named if len(labels) <= _LABELS else f"{named}, … ({len(labels)} in all)"


def _limit(limit: int | None) -> str:
    return "all" if limit is None else f"at most {thousands(limit)}" if limit else "0"


def structure_section(card: AdapterCard, parameters: Mapping[str, int]) -> Iterator[str]:
    """For each task where its open slots stand.

    Args:
        card: What the adapter is.
        parameters: Each task's own count without its head.
    """
    yield "## Structure"
    for task, slots in card.structure.paths:
        yield ""
        yield f"{task}: {len(slots)} open slots, {thousands(parameters[task])} parameters."
        if slots:
            yield ""
            yield from _places(slots)


def _places(slots: Sequence[Slot]) -> list[str]:
    sites = [site for site in SITES if any(slot.site == site for slot in slots)]
    rows = [
        [str(layer), *(_cell([slot for slot in slots if (slot.layer, slot.site) == (layer, site)]) for site in sites)]
        for layer in sorted({slot.layer for slot in slots})
    ]
    return markdown_table(["layer", *sites], rows)


def _cell(slots: Sequence[Slot]) -> str:
    """`bias, lora r1 × 3`: what stands at one place, by kind and rank."""
    counts = Counter((slot.kind, slot.rank) for slot in slots)
    return ", ".join(
        f"{kind}{f' r{rank}' if _ranked(kind) else ''}{f' × {n}' if n > 1 else ''}"
        for (kind, rank), n in sorted(counts.items())
    )


def _ranked(kind: str) -> bool:
    return kind not in KINDS.names() or bool(KINDS.get(kind).ranked)


# ---------------------------------------------------------------- scores


def scores_section(card: AdapterCard, origin: Origin) -> Iterator[str]:
    """The run's final scores: for each task a table of conditions and splits."""
    trial = origin.trial
    yield "## Scores"
    yield ""
    yield f"Of this one run (seeds: weights {trial.init_seed}, data {trial.data_seed})."
    yield from _among_runs(card, origin)
    if trial.robustness is not None:
        yield f"Robustness ({origin.spec.robustness}, validation, all of the trial's tasks): {trial.robustness:.4f}."
    yield "The search chooses by the validation split; the test split chooses nothing and is scored after the search."
    for task in card.tasks:
        yield ""
        yield from _scores(origin, task.name, task.metric)


def _among_runs(card: AdapterCard, origin: Origin) -> Iterator[str]:
    """How a confirmed run stands among those of its settings; nothing where it is the only one, or none of them.

    The best of several runs has scores that are too good by chance, and does not say so itself.
    """
    compared = origin.comparison
    if origin.trial.role != "winner" or compared is None or compared.winner.complete < 2:
        return
    trials = origin.frames.trials
    runs = trials[(trials["pair_of"] == origin.trial.pair_of) & (trials["role"] == "winner")]
    runs = runs[runs["state"] == "complete"].set_index("trial_id")
    best = []
    for name in (objective.name for objective in origin.frames.config.objectives):
        end = runs[name].min() if DIRECTIONS[name] == "minimize" else runs[name].max()
        if runs.index[runs[name] == end].tolist() == [origin.trial.id]:
            best.append(_GOALS[name])
    place = f"The best of {len(runs)} runs by validation ({listed(best)})" if best else f"One of {len(runs)} runs"
    yield f"{place}; mean over the runs on test {compared.winner.score(_series(card, compared)).text()}."


def _series(card: AdapterCard, item: Comparisons) -> str:
    """What a comparison says of the card's tasks: the mean, or the one task of several that the card has."""
    return card.tasks[0].name if len(card.tasks) == 1 and len(item.winner.scores) > 2 else MEAN


def _scores(origin: Origin, task: str, metric: str) -> Iterator[str]:
    rows = origin.frames.metrics
    rows = rows[(rows["trial_id"] == origin.trial.id) & (rows["task"] == task) & (rows["metric"] == metric)]
    rows = rows[rows["condition"] != SPARSITY_PATH]
    keys = zip(rows["condition"], rows["level"].astype(float), rows["split"], strict=True)
    values = dict(zip(keys, map(_number, rows["value"], rows["error"]), strict=True))
    splits = [split for split in SPLITS if (rows["split"] == split).any()]
    conditions = dict.fromkeys((kind, level) for kind, level, _ in values)
    yield from markdown_table(
        [f"{task}, {metric}", *splits],
        (
            [_condition(kind, level), *(values.get((kind, level, split), _number(None)) for split in splits)]
            for kind, level in conditions
        ),
    )
    sample = rows.loc[rows["condition"] == CLEAN_SAMPLE, "examples"]
    if len(sample):
        yield ""
        yield (
            f"Conditions were measured on a sample of {thousands(sample.iloc[0])} examples of the validation split; "
            "± gives 95 % by the choice of examples."
        )


def _condition(kind: str, level: float) -> str:
    if kind in ("clean", CLEAN_SAMPLE):
        return {CLEAN_SAMPLE: "clean, in the sample"}.get(kind, kind)
    return ConditionSpec(kind, level, "eval").name


def _number(value: float | None, error: float | None = None) -> str:
    if value is None or value != value:
        return "–"
    return f"{value:.4f}" if error is None or error != error else f"{value:.4f} ± {NORMAL * error:.4f}"


def comparison_section(card: AdapterCard, item: Comparisons) -> Iterator[str]:
    """Test scores of the trial's settings over seeds, beside those of its controls."""
    series = _series(card, item)
    yield "## Beside controls"
    yield ""
    label = series_label(series, [name for name, _ in item.winner.scores if name != MEAN])
    yield f"Test scores ({label}) of trial {item.number}'s settings and of controls; {item.method}."
    yield from map(sentences, margin_rule([item]))
    yield ""
    columns = ("", "test score", "parameters", "winner − control", "p", "verdict")
    yield from markdown_table(columns, (_arm(item, number, series) for number in range(len(item.arms))))


def _arm(item: Comparisons, number: int, series: str) -> list[str]:
    arm = item.arms[number]
    cells = [role_label(arm.role), arm.score(series).text(), thousands(arm.parameters.mean)]
    if number == 0:
        return [*cells, "", "", ""]
    one = item.difference(arm.role, series)
    return [*cells, one.difference.text(signed=True), p_label(one).removeprefix("p "), one.evidence.standing]


# ---------------------------------------------------------------- training


def training_section(origin: Origin) -> Iterator[str]:
    """Conditions and hyperparameters of the trial."""
    spec = origin.spec
    yield "## Training"
    yield ""
    disturbed = ", ".join(condition.name for condition in spec.train_conditions) or "none"
    measured = ", ".join(condition.name for condition in spec.measured) or "none"
    yield f"Conditions in training: {disturbed}. Conditions measured under: {measured}."
    yield ""
    chosen: dict[str, Any] = {"training": spec.training}
    if spec.control is None:
        chosen |= {"gates": spec.gates, "size_control": spec.size, "finalisation": spec.finalisation}
    rows = [
        [f"{section}.{name}", _value(value)]
        for section, record in chosen.items()
        for name, value in asdict(record).items()
        if value not in (None, ())
    ]
    yield from markdown_table(["hyperparameter", "value"], rows)


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(" ".join(map(_value, item)) if isinstance(item, tuple) else _value(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)

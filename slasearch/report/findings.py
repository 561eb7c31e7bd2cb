"""What was found, in sentences with their numbers: whatever the outcome, and no more than the data allow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from slasearch.analysis.compare import Arm, Comparisons, Verdict
from slasearch.analysis.curves import Curve, CurvePoint
from slasearch.analysis.frames import MEAN
from slasearch.report.labels import (
    condition_label,
    level_label,
    p_label,
    percent,
    role_label,
    short_factor,
    thousands,
)
from slasearch.report.results import Results

__all__ = ["Finding", "findings"]


WORTH_NAMING = 0.05
"""Share of importance below which a field is not named, even if it is above chance."""


@dataclass(frozen=True)
class Finding:
    """One sentence; `topic` is what it is about, `kind` whether it is a result or a caution."""

    topic: str
    text: str
    kind: Literal["result", "caution"] = "result"


def findings(results: Results) -> list[Finding]:
    """All sentences, the comparison with the controls first."""
    return [
        *_comparisons(results),
        *_robustness(results),
        *_factors(results),
        *_front(results),
        *_structure(results),
        *_importance(results),
        *_trials(results),
    ]


def _comparisons(results: Results) -> Iterator[Finding]:
    for item in results.comparisons:
        yield Finding("Controls", _against(item, len(results.frames.tasks)))
    for warning in dict.fromkeys(warning for item in results.comparisons for warning in item.warnings):
        yield Finding("Controls", f"{warning[:1].upper()}{warning[1:]}.", "caution")


_VERDICTS: dict[Verdict, str] = {
    "better": "beats",
    "worse": "is beaten by",
    "not told apart": "is not told apart from",
    "no interval": "is compared once with",
}


def _against(item: Comparisons, tasks: int) -> str:
    """`The structure of trial 15 (best score, 67 427 parameters) beats LoRA (69 449; +0.021 ± 0.012; p .01), …`."""
    parts = []
    pairs = 0
    for arm in item.controls:
        one = item.difference(arm.role)
        pairs = max(pairs, one.difference.n)
        if one.difference.n:
            numbers = "; ".join(filter(None, [one.difference.text(signed=True), p_label(one).removesuffix(" (Holm)")]))
            parts.append(f"{_VERDICTS[one.verdict]} {_with_article(arm)} ({thousands(arm.parameters.mean)}; {numbers})")
    who = f"The structure of trial {item.number} ({item.label}, {thousands(item.winner.parameters.mean)} parameters)"
    if not parts:
        return f"{who} scores {item.winner.score().text()} on test; no control has run beside it."
    over = f"mean of {tasks} tasks" if tasks > 1 else "one task"
    seeds = f"{pairs} pairs of seeds" if pairs > 1 else "one pair of seeds, which allows no conclusion"
    adjusted = ", p after Holm" if pairs > 1 else ""
    return f"{who} {', '.join(parts)}. Differences of test scores: {over}, {seeds}{adjusted}."


def _with_article(arm: Arm) -> str:
    name = role_label(arm.role)
    if name == "LoRA":
        return name
    return f"{'a' if arm.role == 'control:random' else 'the'} {name.lower()}"


def _robustness(results: Results) -> Iterator[Finding]:
    for kind, curves in results.robustness.items():
        mean = next(curve for curve in curves if curve.response == MEAN)
        parts = [_drop(series.name, series.points[0], series.points[-1]) for series in mean.series]
        level = level_label(mean.series[0].points[-1].level)
        yield Finding("Robustness", f"Under {condition_label(kind)} at level {level}: {'; '.join(parts)}.")


def _drop(role: str, clean: CurvePoint, worst: CurvePoint) -> str:
    before, after = clean.estimate.mean, worst.estimate.mean
    rate = f", a drop of {percent(1 - after / before, 1)}" if before > 0 else ""
    return f"{role_label(role)} from {before:.3f} to {after:.3f}{rate}"


def _factors(results: Results) -> Iterator[Finding]:
    changes = {curve.factor: curve for curve in results.design.get("change", ())}
    sizes = {curve.factor: curve for curve in results.design.get("exported_parameters", ())}
    for curve in results.design.get("score", ()):
        yield Finding("Sensitivity", _factor(curve, changes.get(curve.factor), sizes.get(curve.factor)))


def _factor(curve: Curve, change: Curve | None, size: Curve | None) -> str:
    name = short_factor(curve.factor)
    points = curve.series[-1].points
    best = max(points, key=lambda point: point.estimate.mean)
    text = f"{name[:1].upper()}{name[1:]}: best mean score {best.estimate.text()} at {level_label(best.level)}"
    if change is not None:
        told = [point for point in change.series[-1].points if point.estimate.excludes_zero]
        shifts = ", ".join(f"{point.estimate.text(signed=True)} at {level_label(point.level)}" for point in told)
        if told:
            text += f"; against the base, {shifts}"
        elif all(point.estimate.n < 2 for point in change.series[-1].points):
            text += "; with one seed pair no level can be told apart"
        else:
            text += "; no other level is told apart from the base"
    if size is not None:
        ends = (size.series[-1].points[0], size.series[-1].points[-1])
        low, high = sorted(ends, key=lambda point: point.estimate.mean)
        if low.estimate.mean > 0 and high.estimate.mean > 1.2 * low.estimate.mean:
            text += (
                f"; exported parameters go from {thousands(ends[0].estimate.mean)} at {level_label(ends[0].level)} "
                f"to {thousands(ends[1].estimate.mean)} at {level_label(ends[1].level)}"
            )
    return text + "."


def _front(results: Results) -> Iterator[Finding]:
    front = results.front
    if front is None:
        return
    order = sorted(
        range(front.n), key=lambda index: (front.column("exported_parameters")[index], -front.numbers[index])
    )
    ends = [
        f"trial {front.numbers[index]} ({thousands(front.column('exported_parameters')[index])} parameters, "
        f"validation score {front.column('score')[index]:.3f})"
        for index in order
        if front.on_front[index]
    ]
    if len(ends) == 1:
        text = f"No trial of {front.n} is better in anything than {ends[0]}."
    else:
        text = f"{len(ends)} of {front.n} complete trials are on the front, from {ends[0]} to {ends[-1]}."
    yield Finding("Trade-off", text)


def _structure(results: Results) -> Iterator[Finding]:
    gates = results.gates
    if gates is None:
        return
    table = gates.frequency.reshape(len(gates.tasks), -1)
    shares = []
    for task, row, (_, agreement) in zip(gates.tasks, table, gates.stability, strict=True):
        share = percent(float(row[row == row].mean()))
        shares.append(f"{task} {share}" + ("" if agreement is None else f" (runs agree {agreement:.2f})"))
    text = f"Open slots in trial {gates.number} over {gates.n} run{'s' if gates.n > 1 else ''}: {', '.join(shares)}."
    if gates.overlap:
        one, other, value = max(gates.overlap, key=lambda item: item[2])
        text += f" {one} and {other} share most (Jaccard {value:.2f})."
    yield Finding("Structure", text)
    for warning in gates.warnings:
        yield Finding("Structure", f"{warning[:1].upper()}{warning[1:]}.", "caution")


def _importance(results: Results) -> Iterator[Finding]:
    for item in results.importances:
        strong = [
            f"{short_factor(field.name)} ({percent(field.share)})"
            for field in item.fields
            if field.above_chance and field.share >= WORTH_NAMING
        ]
        goal = {"score": "score", "exported_parameters": "size", "robustness": "robustness"}[item.objective]
        said = ", ".join(strong) if strong else "no field stands out from chance"
        yield Finding(
            "Importance", f"For reaching the best {percent(item.quantile)} by {goal}: {said} (n = {item.n} trials)."
        )


def _trials(results: Results) -> Iterator[Finding]:
    counts = results.counts
    yield Finding("Trials", f"{counts.total} trials: {counts.text()}.", "caution" if counts.failed else "result")
    for reason in results.missing:
        yield Finding("Not shown", reason, "caution")

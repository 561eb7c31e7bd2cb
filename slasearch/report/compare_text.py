"""Comparisons as tables for a terminal, and as plain data with everything in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from slasearch.analysis.between import Contrasts
from slasearch.analysis.by_size import SizedArm
from slasearch.analysis.compare import Comparisons
from slasearch.analysis.evidence import Evidence
from slasearch.analysis.frames import MEAN
from slasearch.analysis.intervals import Estimate
from slasearch.analysis.measure import Measure
from slasearch.analysis.paired import Statistic
from slasearch.analysis.pooled import Pooled
from slasearch.analysis.roles import role_label
from slasearch.analysis.size_fronts import SizeFront
from slasearch.report.labels import NOT_TOLD_APART, arm_label, p_text, thousands

__all__ = ["ComparisonTable", "contrast_table", "front_table", "pooled_table", "size_table", "winner_tables"]

DIGITS = 4
"""Of scores and differences: a margin of .005 needs them."""


@dataclass(frozen=True)
class ComparisonTable:
    """Arms beside the one that stands first.

    `cells` are for the terminal, `notes` say how they came about and what is doubtful, `data` is everything as JSON
    takes it.
    """

    title: str
    columns: tuple[str, ...]
    cells: tuple[tuple[object, ...], ...]
    notes: tuple[str, ...]
    data: dict[str, Any]


@dataclass(frozen=True)
class _Row:
    """An arm, and its evidence by series; none for the arm that all are compared with."""

    label: str
    key: dict[str, Any]
    scores: Mapping[str, Estimate]
    parameters: Estimate
    seconds: Estimate
    complete: int
    failed: int
    evidence: Mapping[str, Evidence]


def winner_tables(study: str, found: Sequence[Comparisons]) -> list[ComparisonTable]:
    """One table for each winner of a study: the winner minus each control."""
    return [_winner_table(study, item) for item in found]


def _winner_table(study: str, item: Comparisons) -> ComparisonTable:
    rows = [
        _Row(
            label=arm_label(arm),
            key={"study": study, "role": arm.role, "trial": item.number},
            scores=dict(arm.scores),
            parameters=arm.parameters,
            seconds=arm.seconds,
            complete=arm.complete,
            failed=arm.failed,
            evidence={one.series: one.evidence for one in item.differences if one.control == arm.role},
        )
        for arm in item.arms
    ]
    notes = (item.method, *item.terms, *_rules(rows, "all winners and controls of the study"), *item.warnings)
    title = f"{study}, trial {item.number} ({item.label})"
    return _table(title, "winner − arm", "the winner is", rows, item.measure, notes)


def contrast_table(found: Contrasts) -> ComparisonTable:
    """Each arm minus the reference, which stands first."""
    rows = [
        _Row(
            label=arm.name.label,
            key=asdict(arm.name),
            scores=dict(arm.scores),
            parameters=arm.parameters,
            seconds=arm.seconds,
            complete=arm.complete,
            failed=arm.failed,
            evidence={one.series: one.evidence for one in found.contrasts if one.arm == arm.name},
        )
        for arm in found.arms
    ]
    notes = (found.method, *_rules(rows, "all comparisons of this table"), *found.warnings)
    title = f"beside {found.reference.name.label}"
    return _table(title, "arm − first", "the arm is", rows, found.measure, notes)


def pooled_table(found: Pooled) -> ComparisonTable:
    """A role minus each other one, on average over studies and in each of them."""
    title = f"{role_label(found.role)}, mean over {', '.join(found.studies)}"
    some = found.contrasts[0]
    notes = (
        found.method,
        "better, worse: p below .05 after Holm's adjustment over the arms of this table",
        f"non-inferior: lower end of the interval above −{some.non_inferiority.margin:g}",
        NOT_TOLD_APART,
        f"detectable: the smallest true difference that these runs would have shown; {some.detectable.method}",
        *found.warnings,
    )
    standing = f"{role_label(found.role)} is"
    several = found.studies if len(found.studies) > 1 else ()
    return ComparisonTable(
        title=title,
        columns=("arm", "pairs", "difference", "p (Holm)", standing, "detectable", *several),
        cells=tuple(
            (
                role_label(one.role),
                one.difference.n,
                one.difference.interval.text(DIGITS, signed=True),
                *_verdict(one.p_holm, one.standing, one.detectable),
                *(source.difference.interval.text(DIGITS, signed=True) for source in one.sources if several),
            )
            for one in found.contrasts
        ),
        notes=notes,
        data={
            "title": title,
            "role": found.role,
            "studies": found.studies,
            "exported_parameters": asdict(found.parameters),
            **asdict(found.measure),
            "differences": [{"standing": one.standing, **asdict(one)} for one in found.contrasts],
            "notes": notes,
        },
    )


def size_table(arms: Sequence[SizedArm], measure: Measure, cautions: Iterable[str]) -> ComparisonTable:
    """What each arm scores at its size."""
    title = "score by size"
    notes = (measure.words, "score: mean with its 95 % t-interval over runs", *measure.cautions, *cautions)
    return ComparisonTable(
        title=title,
        columns=("tasks", "arm", "parameters", "n", "score", "study"),
        cells=tuple(
            (
                ", ".join(arm.tasks),
                role_label(arm.name.role),
                thousands(arm.parameters.mean),
                arm.score.n,
                arm.score.text(DIGITS),
                arm.name.study,
            )
            for arm in arms
        ),
        notes=notes,
        data={
            "title": title,
            **asdict(measure),
            "arms": [
                {
                    **asdict(arm.name),
                    "tasks": arm.tasks,
                    "exported_parameters": asdict(arm.parameters),
                    "score": asdict(arm.score),
                }
                for arm in arms
            ],
            "notes": notes,
        },
    )


def front_table(fronts: Sequence[SizeFront], measure: Measure) -> ComparisonTable:
    """How much of the trade-off of score and size each arm covers."""
    title = "trade-off of score and size"
    notes = (
        "covered: share of the box of score and log size that an arm's means dominate (hypervolume); the box is common "
        "to the arms of the same tasks on the same data",
        "winner − arm: with its 95 % t-interval, its error by a bootstrap over seed pairs",
        *measure.cautions,
    )
    return ComparisonTable(
        title=title,
        columns=("tasks", "arm", "covered", "winner − arm"),
        cells=tuple(
            (
                ", ".join(front.tasks),
                role_label(front.role),
                f"{front.share:.3f}",
                "" if front.difference is None else front.difference.text(signed=True),
            )
            for front in fronts
        ),
        notes=notes,
        data={"title": title, **asdict(measure), "fronts": [asdict(front) for front in fronts], "notes": notes},
    )


def _table(
    title: str, difference: str, standing: str, rows: Sequence[_Row], measure: Measure, notes: tuple[str, ...]
) -> ComparisonTable:
    return ComparisonTable(
        title=title,
        columns=("arm", "n", "score", "parameters", "s a run", difference, "p (Holm)", standing, "detectable"),
        cells=tuple(_cells(row) for row in rows),
        notes=notes,
        data={
            "title": title,
            "difference": difference,
            **asdict(measure),
            "arms": [_arm_data(row) for row in rows],
            "differences": [
                {"arm": row.label, "series": series, "standing": one.standing, **asdict(one)}
                for row in rows
                for series, one in row.evidence.items()
            ],
            "notes": notes,
        },
    )


def _cells(row: _Row) -> tuple[object, ...]:
    means = (thousands(row.parameters.mean), f"{row.seconds.mean:.3g}" if row.seconds.n else "–")
    start = (row.label, row.complete, row.scores[MEAN].text(DIGITS), *means)
    if MEAN not in row.evidence:
        return (*start, "", "", "", "")
    one = row.evidence[MEAN]
    return (
        *start,
        one.difference.interval.text(DIGITS, signed=True),
        *_verdict(one.p_holm, one.standing, one.detectable),
    )


def _verdict(p: float | None, standing: str, detectable: Statistic) -> tuple[str, str, str]:
    smallest = "–" if detectable.low is None else f"{detectable.estimate:.{DIGITS}f}"
    return "–" if p is None else p_text(p).removeprefix("p "), standing, smallest


def _arm_data(row: _Row) -> dict[str, Any]:
    sizes = {"complete": row.complete, "failed": row.failed, "exported_parameters": asdict(row.parameters)}
    sizes["seconds"] = asdict(row.seconds)
    scores = {series: asdict(estimate) for series, estimate in row.scores.items()}
    return {"arm": row.label, **row.key, **sizes, "scores": scores}


def _rules(rows: Sequence[_Row], family: str) -> Iterator[str]:
    """How the columns are to be read, and what the signed-rank test says where it may."""
    found = {row.label: row.evidence[MEAN] for row in rows if MEAN in row.evidence}
    if not found:
        return
    some = next(iter(found.values()))
    yield f"better, worse: p below .05 after Holm's adjustment over {family}"
    yield f"non-inferior: {some.non_inferiority.method}"
    yield NOT_TOLD_APART
    yield f"detectable: the smallest true difference that these seeds would have shown; {some.detectable.method}"
    ranks = {label: one.signed_rank_holm for label, one in found.items() if one.signed_rank_holm is not None}
    if ranks:
        yield f"signed-rank tests, p (Holm): {', '.join(f'{label} {p:.3g}' for label, p in ranks.items())}"
    yield from dict.fromkeys(one.signed_rank_refused.rstrip(".") for one in found.values() if one.signed_rank_refused)

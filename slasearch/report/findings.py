"""What was found, in sentences with their numbers: whatever the outcome, and no more than the data allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from slasearch.analysis.compare import Arm, Comparisons, Verdict
from slasearch.analysis.curves import Curve, Series
from slasearch.analysis.drops import UNDEFINED
from slasearch.analysis.evidence import Evidence
from slasearch.analysis.frames import MEAN
from slasearch.analysis.intervals import Estimate
from slasearch.analysis.roles import role_phrase
from slasearch.report.cost_findings import cost_findings
from slasearch.report.factor_findings import disturbance_findings, factor_findings
from slasearch.report.finding import Finding, listed
from slasearch.report.labels import (
    bound_label,
    condition_label,
    level_label,
    number,
    p_label,
    percent,
    sentences,
    short_factor,
    thousands,
)
from slasearch.report.results import Results
from slasearch.report.screening_findings import screening_findings
from slasearch.report.shape_findings import shape_findings
from slasearch.report.share_findings import forest_findings, share_findings

__all__ = ["Finding", "findings"]


MOST_NAMED = 4
"""More controls than this are not all named in a sentence about robustness."""

WORTH_NAMING = 0.05
"""Share of importance below which a field is not named, even if it is above chance."""


def findings(results: Results) -> list[Finding]:
    """All sentences, each once, the comparison with the controls first."""
    told = [
        *_comparisons(results),
        *_robustness(results),
        *share_findings(results),
        *screening_findings(results),
        *factor_findings(results),
        *shape_findings(results),
        *disturbance_findings(results),
        *_front(results),
        *_kept_out(results),
        *_structure(results),
        *_importance(results),
        *_main_effects(results),
        *forest_findings(results),
        *cost_findings(results),
        *_trials(results),
    ]
    return list(dict.fromkeys(told))


def _comparisons(results: Results) -> Iterator[Finding]:
    for item in results.comparisons:
        yield Finding("Controls", _against(item, len(results.frames.tasks)))
    for terms in dict.fromkeys(item.terms for item in results.comparisons):
        yield Finding("Controls", sentences(*terms), "caution")
    for item in results.comparisons:
        if item.picked:
            yield Finding("Controls", f"For trial {item.number}, {item.picked}.")
    for warning in dict.fromkeys(warning for item in results.comparisons for warning in item.warnings):
        yield Finding("Controls", f"{warning[:1].upper()}{warning[1:]}.", "caution")


_VERDICTS: dict[Verdict, str] = {
    "better": "beat",
    "worse": "are beaten by",
    "not told apart": "are not told apart from",
    "no interval": "are compared without an interval with",
}


def _against(item: Comparisons, tasks: int) -> str:
    """`The structures learned with trial 15's settings (best by score, 67 427 parameters) beat LoRA (69 449; …), …`."""
    size = thousands(item.winner.parameters.mean)
    who = f"The structures learned with trial {item.number}'s settings ({item.label}, {size} parameters)"
    arms = [arm for arm in item.controls if item.difference(arm.role).difference.n]
    if not arms:
        return f"{who} score {item.winner.score().text()} on test; no control has run beside them."
    by_verdict: dict[Verdict, list[Arm]] = {}
    for arm in arms:
        by_verdict.setdefault(item.difference(arm.role).verdict, []).append(arm)
    parts = [
        f"{_VERDICTS[verdict]} {listed([_numbers(item, arm) for arm in by_verdict[verdict]])}"
        for verdict in _VERDICTS
        if verdict in by_verdict
    ]
    counts = [item.difference(arm.role).difference.n for arm in arms]
    pairs = max(counts)
    over = f"mean of {tasks} tasks" if tasks > 1 else "one task"
    span = f"{pairs}" if min(counts) == pairs else f"{min(counts)} to {pairs}"
    seeds = f"{span} pairs of seeds" if pairs > 1 else "one pair of seeds, which allows no conclusion"
    adjusted = ", p after Holm" if pairs > 1 else ""
    return f"{who} {', '.join(parts)}. Differences of test scores: {over}, {seeds}{adjusted}."


def _numbers(item: Comparisons, arm: Arm) -> str:
    one = item.difference(arm.role)
    parts = [one.difference.text(signed=True), p_label(one).removesuffix(" (Holm)"), _margin(one.evidence)]
    return f"{role_phrase(arm.role)} ({thousands(arm.parameters.mean)}; {'; '.join(filter(None, parts))})"


def _margin(one: Evidence) -> str:
    """That a loss of the margin or more is excluded, where the difference itself does not say so."""
    excluded = one.standing in ("non-inferior", "worse, within margin")
    return f"not worse by {one.non_inferiority.margin:g} or more" if excluded else ""


def _robustness(results: Results) -> Iterator[Finding]:
    lost = {
        (drop.condition, drop.level, drop.role): drop.rate
        for item in results.drops[:1]  # of the winner that the curves are of
        for drop in item.drops
        if drop.series == MEAN and drop.rate.n
    }
    for kind, curves in results.robustness.items():
        mean = next(curve for curve in curves if curve.response == MEAN)
        level = mean.series[0].points[-1].level
        rates = {role: rate for (condition, at, role), rate in lost.items() if (condition, at) == (kind, level)}
        said = "; ".join(_drops(mean, rates))
        yield Finding("Robustness", f"Under {condition_label(kind)} at level {level_label(level)}: {said}.")


def _drops(curve: Curve, rates: Mapping[str, Estimate]) -> list[str]:
    """What each arm loses; of many controls those that lose least and most."""
    winner, *controls = (_drop(series, rates.get(series.name)) for series in curve.series)
    roles = [series.name for series in curve.series[1:]]
    told = [(rates[role].mean, text) for role, text in zip(roles, controls, strict=True) if role in rates]
    if len(controls) <= MOST_NAMED:
        return [winner, *controls]
    named = [text for _, text in sorted(told)]
    ends = [f"of {len(named)} controls least: {named[0]}", f"most: {named[-1]}"] if len(named) > 1 else named
    rest = len(controls) - len(named)
    without = [f"{rest} control{'' if rest == 1 else 's'} without a rate: {UNDEFINED}"] if rest else []
    return [winner, *ends, *without]


def _drop(series: Series, rate: Estimate | None) -> str:
    """`LoRA from 0.843 to 0.790, a drop of 6.1 ± 0.8 % (…)`; the rate is the mean of the runs' and tasks' own."""
    before, after = series.points[0].estimate.mean, series.points[-1].estimate.mean
    half = None if rate is None else rate.half_width
    spread = "" if half is None else f" ± {100 * half:.1f}"
    drop = "" if rate is None else f", a drop of {number(100 * rate.mean, 1)}{spread} %"
    return f"{role_phrase(series.name)} from {before:.3f} to {after:.3f}{drop}"


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
    keeping = " that keep the constraints" if results.frames.config.constraints else ""
    if len(ends) == 1:
        text = f"No trial of {front.n}{keeping} is better in anything than {ends[0]}."
    else:
        text = f"{len(ends)} of {front.n} complete trials{keeping} are on the front, from {ends[0]} to {ends[-1]}."
    yield Finding("Trade-off", text)


def _kept_out(results: Results) -> Iterator[Finding]:
    """What the constraints left to be chosen among, and which of them kept the other trials out."""
    found, config = results.kept_out, results.frames.config
    if found is None or not found.complete:
        return
    if found.within == found.complete:
        bounds = listed([bound_label(config, bound) for bound, _ in found.broken])
        yield Finding("Constraints", f"All {found.complete} complete trials of the search keep {bounds}.")
        return
    broken = listed([f"{count} break {bound_label(config, bound)}" for bound, count in found.broken if count])
    out = f"{found.complete - found.within} of {found.complete} complete trials of the search are kept out"
    yield Finding("Constraints", f"{out} of the front, winners and exports by the constraints: {broken}.")


def _structure(results: Results) -> Iterator[Finding]:
    gates = results.gates
    if gates is None:
        return
    agreements = dict(gates.stability)
    shares = []
    for task, share in results.open_shares().items():
        agreement = agreements[task]
        shares.append(f"{task} {percent(share)}" + ("" if agreement is None else f" (runs agree {agreement:.2f})"))
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
            "Importance", f"For reaching the best {percent(item.quantile)} by {goal}: {said} (n = {item.n} settings)."
        )


def _main_effects(results: Results) -> Iterator[Finding]:
    for item in results.main_effects:
        goal = {"score": "score", "exported_parameters": "log size", "robustness": "robustness"}[item.response]
        told = [field for field in item.fields if field.told]
        parts = []
        for field in told:
            best = max(field.levels, key=lambda level: level.estimate)
            parts.append(
                f"{short_factor(field.name)} {level_label(best.level)} {best.estimate:+.3g} "
                f"[{best.low:+.3g}, {best.high:+.3g}]"
            )
        said = ", ".join(parts) if parts else "no field is told from nothing after Holm's correction"
        yield Finding(
            "Importance",
            f"Main effects on {goal}, the level that adds most to its field's mean: {said} "
            f"(n = {item.n} points, additive model, R² {item.r2:.2f}).",
        )


def _trials(results: Results) -> Iterator[Finding]:
    counts = results.counts
    yield Finding("Trials", f"{counts.total} trials: {counts.text()}.", "caution" if counts.failed else "result")
    for warning in results.health:
        yield Finding("Trials", f"{warning.text[:1].upper()}{warning.text[1:]}", "caution")
    for reason in results.missing:
        yield Finding("Not shown", reason, "caution")

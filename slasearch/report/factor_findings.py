"""What was found along the factors of a design, and along the measured conditions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from slasearch.analysis.curves import Curve, Level
from slasearch.analysis.frames import MEAN
from slasearch.analysis.ranges import BestRange, best_range, fall
from slasearch.analysis.sensitivity import level_p_values
from slasearch.report.finding import Finding, listed, some
from slasearch.report.labels import condition_label, level_label, p_text, short_factor, thousands
from slasearch.report.results import Results

__all__ = ["disturbance_findings", "factor_findings"]

_UNTOLD = "without intervals no level can be told apart"


def factor_findings(results: Results) -> Iterator[Finding]:
    """For each factor of the design: its best level and range, what differs from the base, and what it does to size."""
    changes = {curve.factor: curve for curve in results.design.get("change", ())}
    sizes = {curve.factor: curve for curve in results.design.get("exported_parameters", ())}
    p_values = level_p_values(results.frames, tuple(changes.values()))
    trials = results.frames.phase_trials("design")
    repeats = dict(zip(trials["trial_id"], trials["repeat"], strict=True))
    for curve in results.design.get("score", ()):
        change, size = changes.get(curve.factor), sizes.get(curve.factor)
        found = best_range(curve, repeats)
        parts = [_best_level(curve, found), *_range(curve, found, repeats)]
        if change or len(parts) == 1:
            parts.append(_shifts(change, p_values) if change else _UNTOLD)
        parts += _growth(size) if size else ()
        yield Finding("Sensitivity", f"{'; '.join(parts)}.")


def _best_level(curve: Curve, found: BestRange | None) -> str:
    """Where the mean is best, with every level that shares it; sums of equal scores may differ in their last bits.

    Where levels are told apart, by the runs by which they are.
    """
    name, all_runs = short_factor(curve.factor), {point.level: point.estimate for point in curve.named(MEAN).points}
    means = all_runs if found is None else found.means
    most = max(mean.mean for mean in means.values())
    tied = [level for level, mean in means.items() if math.isclose(mean.mean, most, rel_tol=1e-9, abs_tol=1e-12)]
    best = listed([f"{means[level].text()} at {level_label(level)}" for level in tied])
    left = found is not None and any(mean.n > found.n for mean in all_runs.values())
    over = f" over the {found.n} seed pairs that every level has" if found is not None and left else ""
    return f"{name[:1].upper()}{name[1:]}: best mean score{over} {best}"


def _shifts(change: Curve, p_values: Mapping[tuple[str, Level], float | None]) -> str:
    """Which levels differ from the base; `p_values` are those of all levels of the design."""
    found = [(point, p_values.get((change.factor, point.level))) for point in change.named(MEAN).points]
    if all(p is None for _, p in found):
        return _UNTOLD
    tested = sum(p is not None for p in p_values.values())
    holm = f"after Holm over the {tested} levels of the design"
    told = [
        f"{point.estimate.text(signed=True)} at {level_label(point.level)} ({p_text(p)})"
        for point, p in found
        if p is not None and p < 0.05
    ]
    return f"against the base, {', '.join(told)}, p {holm}" if told else f"no level is told apart from the base {holm}"


def _growth(size: Curve) -> Iterator[str]:
    ends = (size.named(MEAN).points[0], size.named(MEAN).points[-1])
    low, high = sorted(point.estimate.mean for point in ends)
    if low > 0 and high > 1.2 * low:
        first, last = (f"{thousands(point.estimate.mean)} at {level_label(point.level)}" for point in ends)
        yield f"exported parameters go from {first} to {last} (geometric means)"


def _range(curve: Curve, found: BestRange | None, repeats: Mapping[int, int]) -> Iterator[str]:
    """Which levels are as good as the best; along what is trained under, from which level on the score falls."""
    if found is not None and len(found.alike) == 1:
        worse = "every other level is" if found.rest_worse else "the levels next to it are"
        yield f"{worse} told to be worse"
    elif found is not None and len(found.alike) == len(curve.levels):
        yield "no level is told apart from the best"
    elif found is not None and curve.scale == "category":
        also = [level_label(level) for level in found.alike if level != found.best]
        yield f"not told apart from the best: {some(also)}"
    elif found is not None:
        yield f"from {level_label(found.low)} to {level_label(found.high)} no level is told apart from the best"
    fallen = fall(curve, repeats) if curve.factor.startswith("conditions.train.") else None
    if fallen is not None and fallen.start is not None:
        yield f"the score starts to fall at {level_label(fallen.start)} ({fallen.change:+.3f})".replace("-", "−")
    elif fallen is not None:
        yield f"no level is told from which on it falls, up to {level_label(fallen.last)}"


def disturbance_findings(results: Results) -> Iterator[Finding]:
    """For each measured condition: what it does to the validation score, and from which level on."""
    for curve in results.measured:
        points = curve.named(MEAN).points
        first, last = points[0], points[-1]
        ends = f"from {first.estimate.mean:.3f} undisturbed to {last.estimate.mean:.3f} at {level_label(last.level)}"
        text = f"Under {condition_label(curve.factor)} the mean validation score goes {ends}"
        found = fall(curve)
        if found is not None and found.start is not None:
            change = f"{found.change:+.3f}".replace("-", "−")
            text += f"; from {level_label(found.start)} on it is told to be lower ({change} there, {found.n} trials)"
        elif found is not None:
            text += f"; no level is told from which on it is lower ({found.n} trials)"
        yield Finding("Disturbance", f"{text}.")

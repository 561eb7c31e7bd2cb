"""How far comparisons with controls can be trusted: what the seeds could have shown, and what other tests say."""

from __future__ import annotations

from collections.abc import Iterator

from slasearch.analysis.compare import Comparisons
from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.effects import POWER
from slasearch.analysis.evidence import Evidence
from slasearch.analysis.paired import Statistic
from slasearch.analysis.roles import role_phrase
from slasearch.report.finding import NAMED, Finding, listed, some
from slasearch.report.labels import number, p_text, with_ends
from slasearch.report.results import Results

__all__ = ["evidence_findings"]

Named = list[tuple[str, Evidence]]


def evidence_findings(results: Results) -> Iterator[Finding]:
    """For each winner: the difference that its seeds could have shown, signed-rank tests, and whether IQMs agree."""
    for item in results.comparisons:
        found = [(role_phrase(arm.role), item.difference(arm.role).evidence) for arm in item.controls]
        yield from _detectable(item, found)
        yield from _ranks(item, found)
        yield from _middle(item, found)


def _detectable(item: Comparisons, found: Named) -> Iterator[Finding]:
    known = [(name, one.detectable) for name, one in found if one.detectable.low is not None]
    if not known:
        return
    if len(known) > NAMED:
        known.sort(key=lambda pair: pair[1].estimate)
        least = f"between {_smallest(*known[0])}, the least of {len(known)} controls,"
        said = f"{least} and {_smallest(*known[-1])}, the most,"
    else:
        said = f"at least {listed([_smallest(*pair) for pair in known])}"
    pairs = pairs_of_seeds(max(one.n for _, one in known))
    yield Finding(
        "Evidence",
        f"With the {pairs} of trial {item.number} a true difference of {said} would have been detected with power "
        f"{f'{POWER:g}'.removeprefix('0')}, before Holm's adjustment.",
    )


def _smallest(name: str, one: Statistic) -> str:
    """`0.012 [0.006, 0.074] from LoRA`."""
    assert one.low is not None
    assert one.high is not None
    return f"{with_ends(number, one.estimate, one.low, one.high)} from {name}"


def _ranks(item: Comparisons, found: Named) -> Iterator[Finding]:
    """Wilcoxon's tests where there are enough pairs."""
    tests = sorted((one.signed_rank_holm, name) for name, one in found if one.signed_rank_holm is not None)
    if tests:
        said = some([f"{p_text(p)} against {name}" for p, name in tests])
        yield Finding(
            "Evidence",
            f"By Wilcoxon's signed ranks, which do not take differences for normal, trial {item.number} has {said} "
            "after Holm.",
        )


def _middle(item: Comparisons, found: Named) -> Iterator[Finding]:
    """Differences whose sign is that of some extreme runs or tasks only."""
    other = [
        f"{name} ({number(one.iqm.estimate, signed=True)})"
        for name, one in found
        if one.iqm is not None and one.standing in ("better", "worse", "worse, within margin")
        if one.iqm.estimate * one.difference.estimate < 0
    ]
    if other:
        yield Finding(
            "Evidence",
            f"The interquartile mean over tasks and runs of trial {item.number} has the other sign beside "
            f"{some(other)}: what was told of the mean comes from extreme tasks or runs.",
            "caution",
        )

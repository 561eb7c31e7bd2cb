"""What was found of shares of variance: what fields explain alone and with their interactions, and which pairs do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from slasearch.analysis.coordinates import response_words
from slasearch.analysis.fanova import POOR, Fanova
from slasearch.analysis.sobol import Index, PairIndex, SobolIndices
from slasearch.report.finding import NAMED, Finding, some
from slasearch.report.labels import fraction, sentences, short_factor, with_ends
from slasearch.report.results import Results

__all__ = ["design_caution", "forest_findings", "share_findings"]


def share_findings(results: Results) -> Iterator[Finding]:
    """A sentence for each response with Sobol indices; what their intervals do not tell from 0 is said to be so."""
    for item in results.sobol:
        yield Finding("Sensitivity", _shares(item))
    for warning in dict.fromkeys(warning for item in results.sobol for warning in item.warnings):
        yield design_caution(results, warning)


def forest_findings(results: Results) -> Iterator[Finding]:
    """A sentence for each response on what fields explain alone over all settings, by fANOVA's forest."""
    for item in results.shares:
        ordered = sorted((one for one in item.fields if one.low > 0), key=lambda one: -one.estimate)
        named = [f"{short_factor(one.field)} {with_ends(fraction, one.estimate, one.low, one.high)}" for one in ordered]
        said = f"{some(named)} alone" if named else "the share of no field alone is told from nothing"
        over = f"Of what the fields do to the {response_words(item.response)} over their whole ranges"
        text = f"{over}: {said}. {_forest(item)}"
        yield Finding("Importance", text, "result" if item.r2 >= POOR else "caution")


def _forest(item: Fanova) -> str:
    poor = ", so it knows little" if item.r2 < POOR else ""
    return f"(fANOVA, a forest of {item.n} settings, R² {fraction(item.r2)} at settings left out{poor}.)"


def design_caution(results: Results, warning: str) -> Finding:
    """What limits the analyses of a design, with its fields named as in all sentences."""
    for field in sorted({one.field for item in results.sobol for one in item.total}, key=len, reverse=True):
        warning = warning.replace(field, short_factor(field))
    return Finding("Sensitivity", sentences(warning), "caution")


def _shares(item: SobolIndices) -> str:
    fields = some([short_factor(one.field) for one in item.total])
    do = "do" if len(item.total) > 1 else "does"
    ordered = sorted(item.total, key=lambda one: -one.estimate)
    alone = {one.field: one for one in item.first}
    told = [one for one in ordered if one.low > 0 or alone[one.field].low > 0]
    rest = [short_factor(one.field) for one in ordered if one not in told]
    parts = [*_told(told, alone), *_pairs(item)]
    if told and rest:
        parts.append(f"not told from nothing: {some(rest)}")
    over = f"Of what {fields} {do} to the {response_words(item.response)} over this design"
    return f"{over}, {'; '.join(parts)}. {_basis(item)}"


def _told(told: list[Index], alone: Mapping[str, Index]) -> Iterator[str]:
    """The fields that are told from nothing; `told` are their indices with interactions, the largest first."""
    for place, one in enumerate(told[:NAMED]):
        yield f"{short_factor(one.field)} {'' if place else 'explains '}{_field(alone[one.field], one)}"
    if len(told) > NAMED:
        yield f"{len(told) - NAMED} more at most {fraction(told[NAMED].estimate)} each with their interactions"
    if not told:
        yield "the share of none is told from nothing"


def _field(alone: Index, total: Index) -> str:
    """`.62 [.55, .69] alone and .71 [.63, .79] with its interactions`, of these what is told."""
    first, whole = (with_ends(fraction, one.estimate, one.low, one.high) for one in (alone, total))
    if alone.low <= 0:
        return f"{whole} with its interactions, alone not told from nothing"
    return f"{first} alone" + (f" and {whole} with its interactions" if total.low > 0 else "")


def _pairs(item: SobolIndices) -> Iterator[str]:
    """The pairs that are told to act together; that none is, where the design could have told."""
    told = sorted((pair for pair in item.second if pair.low > 0), key=lambda pair: -pair.estimate)
    if told:
        yield some([_pair(pair) for pair in told], NAMED - 1)
    elif item.second:
        yield "no two are told to act together"


def _pair(pair: PairIndex) -> str:
    both = " × ".join(map(short_factor, pair.fields))
    return f"{both} together {with_ends(fraction, pair.estimate, pair.low, pair.high)}"


def _basis(item: SobolIndices) -> str:
    if item.r2 is None:
        return f"(From {item.n} trials, without a surrogate.)"
    return f"(Gaussian process of {item.n} trials, R² {fraction(item.r2)} at points held out.)"

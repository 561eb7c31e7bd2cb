"""What a study cost: in all, by phase, and what of it gave no complete trial."""

from __future__ import annotations

from collections.abc import Iterator

from slasearch.analysis.ledger import LOST, Ledger, Outcome
from slasearch.report.finding import Finding
from slasearch.report.labels import percent, runs_label, thousands
from slasearch.report.results import Results

__all__ = ["cost_findings"]

_WORDS: dict[Outcome, str] = {"pruned": "pruned", "failed": "failed", "lost": "lost and repeated"}


def cost_findings(results: Results) -> Iterator[Finding]:
    """A sentence on the time that attempts at trials held their workers; none where no time has passed."""
    ledger = results.ledger
    if ledger is None or not ledger.device_seconds:
        return
    parts = [_total(ledger), *_phases(ledger), _lost(ledger)]
    running = sum(entry.attempts for entry in ledger.entries if entry.outcome == "running")
    if running:
        parts.append(f"{running} still running, counted until the last time that is stored")
    yield Finding("Cost", f"{'; '.join(parts)}.")


def _total(ledger: Ledger) -> str:
    """`0.299 device-hours in all, as much as 98 LoRA runs of 11 s`."""
    runs = ledger.in_lora_runs(ledger.device_seconds)
    said = "" if runs is None else f", as much as {runs_label(runs)} LoRA runs of {ledger.lora_seconds:.3g} s"
    return f"{_hours(ledger.device_seconds)} device-hours in all{said}"


def _phases(ledger: Ledger) -> Iterator[str]:
    """`design 0.119 (as much as 39 LoRA runs), …`; nothing where there is one phase."""
    sums: dict[str, float] = {}
    for entry in ledger.entries:
        sums[entry.phase] = sums.get(entry.phase, 0.0) + entry.device_seconds
    if len(sums) > 1:
        yield ", ".join(f"{phase} {_hours(seconds)}{_runs(seconds, ledger)}" for phase, seconds in sums.items())


def _lost(ledger: Ledger) -> str:
    """`7.1 % gave no complete trial (pruned 4.1 %, …)`; that nothing was lost, where nothing was."""
    sums = {
        outcome: sum(entry.device_seconds for entry in ledger.entries if entry.outcome == outcome) for outcome in LOST
    }
    found = [f"{_WORDS[outcome]} {_share(seconds, ledger)}" for outcome, seconds in sums.items() if seconds]
    if not found:
        return "none of it was pruned or failed"
    return f"{_share(ledger.lost_seconds, ledger)} gave no complete trial ({', '.join(found)})"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g}" if seconds < 3.6e6 else thousands(seconds / 3600)


def _runs(seconds: float, ledger: Ledger) -> str:
    runs = ledger.in_lora_runs(seconds)
    return "" if runs is None else f" (as much as {runs_label(runs)} LoRA runs)"


def _share(seconds: float, ledger: Ledger) -> str:
    return percent(seconds / ledger.device_seconds, 1)

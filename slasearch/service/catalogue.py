"""Everything that a study file may name, with equation, source and cost: for `slasearch kinds` and for docs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from slasearch.adapters.finalisers import FINALISERS
from slasearch.adapters.gates._base import GateEntry
from slasearch.adapters.kinds._base import KindEntry
from slasearch.config.schema import POOL_PRESETS, PoolConfig
from slasearch.perturb import describe_conditions
from slasearch.registry import CONTROL_VARIANTS, CONTROLS, GATES, KINDS

__all__ = ["catalogue", "markdown"]

_COLUMNS: dict[str, tuple[str, ...]] = {
    "kinds": ("name", "equation", "parameters", "sites", "merges", "source"),
    "presets": ("name", "kinds", "sites", "ranks"),
    "gates": ("name", "equation", "source"),
    "finalisers": ("name", "field", "equation", "cost", "source"),
    "conditions": ("name", "family", "level", "severities", "where", "equation", "source", "ours"),
    "controls": ("name", "summary", "equation", "size", "source"),
}
"""What the documentation shows of each."""


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """Kinds, pool presets, gates, finalisers, conditions and controls, each as a list of plain dicts with a `name`."""
    return {
        "kinds": [_kind(name) for name in KINDS.names()],
        "presets": [_preset(name) for name in POOL_PRESETS],
        "gates": [_gate(name) for name in GATES.names()],
        "finalisers": [asdict(finaliser) for finaliser in FINALISERS],
        "conditions": describe_conditions(),
        "controls": [_control(name) for name in CONTROLS.names()],
    }


def markdown() -> str:
    """The catalogue as Markdown tables, one under each heading; ends with a newline."""
    parts = []
    for what, rows in catalogue().items():
        columns = _COLUMNS[what]
        lines = [f"### {what.capitalize()}", "", _row(columns), _row(["---"] * len(columns))]
        lines += [_row([_cell(column, row[column]) for column in columns]) for row in rows]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _kind(name: str) -> dict[str, Any]:
    entry: KindEntry = KINDS.get(name)
    sites = [f"{site} (input)" if site in entry.input_sites else site for site in entry.sites]
    return {
        "name": name,
        "sites": sites,
        "equation": entry.equation,
        "parameters": entry.cost,
        "merges": entry.mergeable,
        "separable": entry.separable,
        "aimable": entry.aimable,
        "source": entry.source,
    }


def _preset(name: str) -> dict[str, Any]:
    pool = PoolConfig.model_validate({"preset": name})
    return {"name": name, **{field: list(getattr(pool, field)) for field in ("kinds", "sites", "ranks")}}


def _gate(name: str) -> dict[str, Any]:
    entry: GateEntry = GATES.get(name)
    start, end = entry.family.temperatures
    return {
        "name": name,
        "equation": entry.equation,
        "temperature_start": start,
        "temperature": end,
        "needs_budget": entry.needs_budget,
        "source": entry.source,
    }


def _control(name: str) -> dict[str, Any]:
    return {"name": name, **asdict(CONTROLS.get(name).facts), "variants": list(CONTROL_VARIANTS.get(name, ()))}


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(column: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(f"{entry:g}" if isinstance(entry, float) else str(entry) for entry in value)
    text = str(value).replace("|", "\\|")
    return f"`{text}`" if column == "name" else text

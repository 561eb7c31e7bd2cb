"""The JSON Schema of a study file: for `slasearch schema`, and for editors as `studies/study.schema.json`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from slasearch.config.schema import POOL_PRESETS, StudyConfig
from slasearch.records import SITES
from slasearch.registry import CONDITIONS, CONTROLS, DESIGN_SAMPLERS, GATES, KINDS, METRICS, PRUNERS, SAMPLERS

__all__ = ["study_schema"]


def study_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) whose names (kinds, gates, conditions, …) are those registered in this process."""
    schema = StudyConfig.model_json_schema(by_alias=True)
    for model, field, names in _names():
        for part in _texts(schema["$defs"][model]["properties"][field]):
            part["enum"] = list(names)
    title = "slasearch study file"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}


def _names() -> Iterable[tuple[str, str, Iterable[str]]]:
    """Fields whose texts are names: (model, field, names)."""
    return (
        ("TaskConfig", "metric", METRICS.names()),
        ("PoolConfig", "preset", POOL_PRESETS),
        ("PoolConfig", "sites", SITES),
        ("PoolConfig", "kinds", KINDS.names()),
        ("GatesConfig", "family", GATES.names()),
        (
            "TrainCondition",
            "kind",
            [name for name in CONDITIONS.names() if "train" in CONDITIONS.get(name).facts.where],
        ),
        (
            "MeasuredCondition",
            "kind",
            [name for name in CONDITIONS.names() if "eval" in CONDITIONS.get(name).facts.where],
        ),
        ("SamplerConfig", "name", dict.fromkeys((*DESIGN_SAMPLERS, *SAMPLERS))),
        ("PrunerConfig", "name", PRUNERS),
        ("ConfirmPhase", "controls", CONTROLS.names()),
    )


def _texts(part: Any) -> Iterable[dict[str, Any]]:
    """Every place inside a field's schema that takes text."""
    if isinstance(part, dict):
        if part.get("type") == "string":
            yield part
        for key in ("anyOf", "oneOf", "items"):
            yield from _texts(part.get(key))
    elif isinstance(part, list):
        for entry in part:
            yield from _texts(entry)

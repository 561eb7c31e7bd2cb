"""From a trained model to the trial's report: objectives, costs, gates and the adapter's files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import safetensors.torch

import slasearch
from slasearch.adapters.export import AdapterCard, BackboneCard, TaskCard, write_adapter
from slasearch.records import CostRow, Event, GateRow, MetricRow, Structure, TaskData, TrialReport, TrialSpec
from slasearch.trial.evaluate import mean_score, robustness
from slasearch.trial.model import TaskModel

__all__ = ["Outcome", "assemble"]


@dataclass(frozen=True)
class Outcome:
    """How a trial came out. `gates` is empty and `gated_score` None where the structure was given; `latency` in ms."""

    structure: Structure
    metrics: Sequence[MetricRow]
    gates: tuple[GateRow, ...]
    events: tuple[Event, ...]
    gated_score: float | None
    latency: float | None


def assemble(
    spec: TrialSpec,
    model: TaskModel,
    tasks: Sequence[TaskData],
    outcome: Outcome,
    *,
    steps: int,
    planned: int,
    seconds: Mapping[str, float],
    tokens: int,
    made_parameters: int,
) -> TrialReport:
    """The trial's last word.

    Args:
        spec: What was asked for.
        model: The trained model.
        tasks: The tasks with their labels.
        outcome: How it came out.
        steps: Optimiser steps taken.
        planned: Optimiser steps planned.
        seconds: Wall time of `train` and `evaluate`.
        tokens: Tokens trained on.
        made_parameters: Parameters of all modules that were there at the start, without heads.
    """
    exported = model.exported_parameters
    objectives = {
        "score": mean_score(outcome.metrics, "validation"),
        "exported_parameters": float(exported),
    }
    if spec.measured:
        objectives["robustness"] = robustness(outcome.metrics, "validation", spec.measured, spec.robustness)
    if outcome.latency is not None:
        objectives["latency"] = outcome.latency
    heads = sum(parameter.numel() for head in model.heads.values() for parameter in head.parameters())
    costs = [
        CostRow("train_seconds", seconds["train"], "s"),
        CostRow("evaluate_seconds", seconds["evaluate"], "s"),
        CostRow("train_tokens", float(tokens), "tokens"),
        CostRow("pool_parameters", float(made_parameters), "parameters"),
        CostRow("trainable_parameters", float(made_parameters + heads), "parameters"),
        CostRow("exported_parameters", float(exported), "parameters"),
        CostRow("backbone_parameters", float(model.backbone.shapes.parameters), "parameters"),
    ]
    if outcome.gated_score is not None:
        costs.append(CostRow("gated_score", outcome.gated_score, "score"))
        costs.append(CostRow("finalisation_gap", objectives["score"] - outcome.gated_score, "score"))
    if spec.training.early_stop is not None:
        costs.append(CostRow("skipped_steps", float(planned - steps), "steps"))
    more = () if model.adaptation is None else model.adaptation.events()
    return TrialReport(
        "complete",
        steps,
        planned,
        objectives=objectives,
        metrics=tuple(outcome.metrics),
        gates=outcome.gates or _open_all_along(model, outcome.structure),
        costs=tuple(costs),
        events=(*outcome.events, *more),
        artifact=_files(spec, model, outcome.structure, tasks, exported),
    )


def _open_all_along(model: TaskModel, structure: Structure) -> tuple[GateRow, ...]:
    """A control's slots as gates that were never closed."""
    return tuple(
        GateRow(task, slot, 1.0, 1.0, True, model.pool.costs[slot].parameters)
        for task, slots in structure.paths
        for slot in slots
    )


def _files(
    spec: TrialSpec, model: TaskModel, structure: Structure, tasks: Sequence[TaskData], parameters: int
) -> dict[str, bytes]:
    """The adapter's files, or a control's own tensors with its heads."""
    if model.adaptation is None:
        return write_adapter(_card(spec, model, structure, tasks, parameters), model.pool, model.heads)
    tensors = {f"modules/{name}": value for name, value in model.adaptation.tensors().items()}
    for task, head in model.heads.items():
        tensors |= {f"heads/{task}/{name}": value for name, value in head.state_dict().items()}
    facts = {"control": spec.control, "variant": spec.control_variant, "parameters": parameters}
    facts |= {"backbone": model.backbone.pinned_id, "fingerprint": model.backbone.fingerprint}
    return {
        "control.json": json.dumps(facts, indent=2).encode(),
        "control.safetensors": safetensors.torch.save(
            {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
        ),
    }


def _card(
    spec: TrialSpec, model: TaskModel, structure: Structure, tasks: Sequence[TaskData], parameters: int
) -> AdapterCard:
    shapes = model.backbone.shapes
    backbone = BackboneCard(
        id=model.backbone.pinned_id,
        fingerprint=model.backbone.fingerprint,
        family=shapes.family,
        layers=shapes.layers,
        hidden=shapes.hidden,
        pooling=model.backbone.pooling,
        precision=spec.backbone.precision,
    )
    cards = tuple(
        TaskCard(
            name=task.spec.name,
            labels=task.labels,
            metric=task.spec.metric,
            max_tokens=task.spec.max_tokens,
            pairs=task.splits["train"][0].text_pair is not None,
            slots=tuple(slot.name for slot in structure.slots_of(task.spec.name)),
        )
        for task in tasks
    )
    return AdapterCard(
        format_version=1,
        slasearch_version=slasearch.__version__,
        backbone=backbone,
        tasks=cards,
        parameters=parameters,
    )

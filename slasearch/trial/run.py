"""One trial from its spec to its report, on a worker that keeps the backbone and the evaluation data between trials."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from time import perf_counter

import torch

import slasearch
from slasearch.adapters.export import AdapterCard, BackboneCard, TaskCard, write_adapter
from slasearch.adapters.finalise import Finalised, finalise
from slasearch.adapters.gates._base import GateFamily
from slasearch.adapters.pool import Pool, candidate_slots
from slasearch.errors import SlaSearchError
from slasearch.records import (
    BackboneSpec,
    CostRow,
    Event,
    GateRow,
    MetricRow,
    Progress,
    Slot,
    Structure,
    TaskData,
    TrialReport,
    TrialSpec,
)
from slasearch.registry import CONTROLS, GATES
from slasearch.trial.backbone import Backbone, load_backbone
from slasearch.trial.data import EvaluationData, TrainingData
from slasearch.trial.evaluate import evaluate, mean_score, robustness
from slasearch.trial.model import TaskModel, make_heads
from slasearch.trial.train import Diverged, StepPlan, Trainer, plan_steps

__all__ = ["TrialWorker", "derived_seed"]


def derived_seed(seed: int, purpose: str) -> int:
    """An independent seed for one purpose (`modules`, `heads`, `gates`, …), the same on every machine."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=7).digest(), "little")


def _generator(seed: int, purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(derived_seed(seed, purpose))


def _portable(backbone: str) -> str:
    """A backbone's id that does not depend on the working folder."""
    scheme, _, rest = backbone.partition(":")
    return f"path:{Path(rest).expanduser().resolve()}" if scheme == "path" else backbone


class TrialWorker:
    """Runs trials one after the other; nothing of one is left when the next begins.

    Args:
        tasks: The study's tasks with their examples.
        cache: Folder for encoded splits, or None.
        threads: CPU threads of a trial.
        device: `cpu`, `cuda`, or `auto`: a GPU if one is visible.
    """

    def __init__(self, tasks: Sequence[TaskData], *, cache: Path | None, threads: int, device: str = "auto") -> None:
        torch.set_num_threads(threads)
        self._tasks = {task.spec.name: task for task in tasks}
        self._cache = cache
        name = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        self._device = torch.device(name)
        self._backbone: Backbone | None = None
        self._evaluation: dict[tuple[str, ...], EvaluationData] = {}

    def run(self, spec: TrialSpec) -> Iterator[Progress | TrialReport]:
        """Yields the trial's progress now and then, and its report last.

        A failure of the trial is a report with `state="fail"`, never an exception. The caller may stop early with
        `close()`: the backbone is clean again afterwards.
        """
        # The only broad `except`: whatever a trial does wrong is its result, and the worker goes on.
        trial = _Trial(spec, self)
        try:
            yield from trial.run()
        except Exception as error:
            yield trial.failure(error)

    def backbone(self, spec: BackboneSpec) -> Backbone:
        """The backbone, loaded if it is not the last one used."""
        if self._backbone is None or self._backbone.spec != spec:
            self._evaluation.clear()
            self._backbone = load_backbone(spec, self._device)
        return self._backbone

    def tasks(self, spec: TrialSpec) -> list[TaskData]:
        """The trial's tasks in its order."""
        return [self._tasks[task.name] for task in spec.tasks]

    def evaluation(self, tasks: Sequence[TaskData], backbone: Backbone) -> EvaluationData:
        """Evaluation data of these tasks, kept between trials."""
        key = tuple(task.spec.name for task in tasks)
        if key not in self._evaluation:
            self._evaluation[key] = EvaluationData(tasks, backbone, self._cache)
        return self._evaluation[key]

    def training(self, tasks: Sequence[TaskData], split: str, backbone: Backbone, spec: TrialSpec) -> TrainingData:
        """Training batches of one split under the trial's conditions; the gate split is never disturbed."""
        return TrainingData(
            tasks,
            "gate" if split == "gate" else "train",
            backbone,
            () if split == "gate" else spec.train_conditions,
            batch_size=spec.training.batch_size,
            seed=derived_seed(spec.seeds.data, split),
            cache=self._cache,
        )


class _Trial:
    """The course of one trial."""

    def __init__(self, spec: TrialSpec, worker: TrialWorker) -> None:
        self.spec, self._worker = spec, worker
        self._plan = StepPlan(0, 0, 0)
        self._step = 0
        self._seconds = {"train": 0.0, "evaluate": 0.0}
        self._events: list[Event] = []
        self._gates: tuple[GateRow, ...] = ()
        self._gated_score: float | None = None

    def failure(self, error: Exception) -> TrialReport:
        """The report of a trial that raised."""
        known = isinstance(error, (Diverged, SlaSearchError))
        reason = f"diverged: {error}" if isinstance(error, Diverged) else f"{type(error).__name__}: {error}"
        return TrialReport(
            "fail",
            self._step,
            self._plan.total,
            events=tuple(self._events),
            reason=reason if known or str(error) else type(error).__name__,
            traceback=traceback.format_exc(),
        )

    def run(self) -> Iterator[Progress | TrialReport]:
        spec, worker = self.spec, self._worker
        backbone = worker.backbone(spec.backbone)
        tasks = worker.tasks(spec)
        candidates = candidate_slots(spec.pool, layers=backbone.shapes.layers)
        fixed = self._control_structure(backbone, candidates)
        names = [task.name for task in spec.tasks]
        slots = candidates if fixed is None else fixed.union
        pool = Pool(slots, backbone.shapes.hosts, names, generator=_generator(spec.seeds.init, "modules"))
        pool_parameters = pool.parameter_count()
        data = worker.training(tasks, "train", backbone, spec)
        held_out = worker.training(tasks, "gate", backbone, spec) if tasks[0].splits["gate"] else None
        self._plan = plan_steps(
            spec.training, spec.gates.warm_up, spec.finalisation.share, data.batches_per_epoch, fixed=fixed is not None
        )
        self._data = worker.evaluation(tasks, backbone)
        lowest = min(slot.layer for slot in candidates)
        with TaskModel(backbone, pool, self._heads(tasks, backbone, "heads"), shared_depth=lowest) as model:
            trainer = Trainer(
                model,
                data,
                held_out,
                weights=[task.weight for task in spec.tasks],
                training=spec.training,
                plan=self._plan,
                generator=_generator(spec.seeds.init, "gates"),
            )
            structure = fixed or (yield from self._search(model, trainer, tasks))
            yield from self._follow(trainer, trainer.run_fixed(structure), model, structure)
            yield self._report(model, structure, tasks, pool_parameters, trainer.tokens)

    def _heads(self, tasks: Sequence[TaskData], backbone: Backbone, purpose: str) -> dict[str, torch.nn.Linear]:
        sizes = {task.spec.name: len(task.labels) for task in tasks}
        return make_heads(sizes, backbone.shapes.hidden, generator=_generator(self.spec.seeds.init, purpose))

    def _control_structure(self, backbone: Backbone, candidates: Sequence[Slot]) -> Structure | None:
        if self.spec.control is None:
            return None
        entry = CONTROLS.get(self.spec.control)
        seed = derived_seed(self.spec.seeds.init, "structure")
        slots = entry.slots(backbone.shapes, candidates, self.spec.control_size or 0, seed)
        return Structure(tuple((task.name, slots) for task in self.spec.tasks))

    def _search(
        self, model: TaskModel, trainer: Trainer, tasks: Sequence[TaskData]
    ) -> Generator[Progress, None, Structure]:
        """The gated stage and finalisation; returns the structure."""
        spec = self.spec
        family: type[GateFamily] = GATES.get(spec.gates.family).family
        gates = family(len(spec.tasks), len(model.pool.slots), spec.gates).to(model.backbone.device)
        steps = trainer.run_gated(gates, spec.size, spec.gates.learning_rate)
        yield from self._follow(trainer, steps, model, gates)
        gates.set_progress(1.0)
        rows = self._evaluate(model, gates.value().detach(), step=trainer.step)
        self._gated_score = mean_score(rows, "validation")
        done: Finalised = finalise(model.pool, gates, spec.size)
        self._gates = done.gates
        self._events.extend(done.events)
        if spec.finalisation.finish == "retrain":
            fresh = Pool(
                done.structure.union,
                model.backbone.shapes.hosts,
                model.pool.tasks,
                generator=_generator(spec.seeds.init, "fresh modules"),
            )
            model.swap(fresh, self._heads(tasks, model.backbone, "fresh heads"))
            trainer.restart_schedule()
        else:
            model.pool.keep(done.structure, done.values)
            trainer.drop_removed()
        return done.structure

    def _follow(
        self, trainer: Trainer, steps: Iterator[int], model: TaskModel, gates: GateFamily | Structure
    ) -> Iterator[Progress]:
        """Takes steps and yields progress at the report steps, all but the last."""
        every = self._plan.total / self.spec.training.reports
        due = {round(every * number) for number in range(1, self.spec.training.reports)}
        started = perf_counter()
        for step in steps:
            self._step = step
            if step not in due:
                continue
            self._seconds["train"] += perf_counter() - started
            z = gates if isinstance(gates, Structure) else (None if step <= self._plan.warm else gates.value().detach())
            rows = self._evaluate(model, z, step=step)
            yield Progress(step, self._plan.total, mean_score(rows, "validation"), step > self._plan.warm, tuple(rows))
            started = perf_counter()
        self._seconds["train"] += perf_counter() - started

    def _evaluate(
        self, model: TaskModel, gates: torch.Tensor | Structure | None, *, step: int | None
    ) -> list[MetricRow]:
        """Validation: clean in mid-training; at the end every split, and the measured conditions too."""
        started = perf_counter()
        if step is not None:
            rows = evaluate(model, self._data, self.spec.tasks, "validation", [None], gates, step=step)
        else:
            rows = []
            for split in self.spec.splits:
                conditions = [None, *self.spec.measured]
                rows += evaluate(model, self._data, self.spec.tasks, split, conditions, gates)
        self._seconds["evaluate"] += perf_counter() - started
        return rows

    def _report(
        self, model: TaskModel, structure: Structure, tasks: Sequence[TaskData], pool_parameters: int, tokens: int
    ) -> TrialReport:
        rows = self._evaluate(model, structure, step=None)
        exported = model.pool.parameter_count()
        objectives = {"score": mean_score(rows, "validation"), "exported_parameters": float(exported)}
        if self.spec.measured:
            objectives["robustness"] = robustness(rows, "validation", self.spec.measured, self.spec.robustness)
        heads = sum(parameter.numel() for head in model.heads.values() for parameter in head.parameters())
        costs = [
            CostRow("train_seconds", self._seconds["train"], "s"),
            CostRow("evaluate_seconds", self._seconds["evaluate"], "s"),
            CostRow("train_tokens", float(tokens), "tokens"),
            CostRow("pool_parameters", float(pool_parameters), "parameters"),
            CostRow("trainable_parameters", float(pool_parameters + heads), "parameters"),
            CostRow("exported_parameters", float(exported), "parameters"),
            CostRow("backbone_parameters", float(model.backbone.shapes.parameters), "parameters"),
        ]
        if self._gated_score is not None:
            costs.append(CostRow("gated_score", self._gated_score, "score"))
        return TrialReport(
            "complete",
            self._plan.total,
            self._plan.total,
            objectives=objectives,
            metrics=tuple(rows),
            gates=self._gates or self._control_gates(model, structure),
            costs=tuple(costs),
            events=tuple(self._events),
            artifact=write_adapter(self._card(model, structure, tasks, exported), model.pool, model.heads),
        )

    def _control_gates(self, model: TaskModel, structure: Structure) -> tuple[GateRow, ...]:
        """A control's slots as gates that were open all along."""
        return tuple(
            GateRow(task, slot, 1.0, 1.0, True, model.pool.costs[slot].parameters)
            for task, slots in structure.paths
            for slot in slots
        )

    def _card(self, model: TaskModel, structure: Structure, tasks: Sequence[TaskData], parameters: int) -> AdapterCard:
        shapes = model.backbone.shapes
        backbone = BackboneCard(
            id=_portable(self.spec.backbone.id),
            fingerprint=model.backbone.fingerprint,
            family=shapes.family,
            layers=shapes.layers,
            hidden=shapes.hidden,
            pooling=model.backbone.pooling,
            precision=self.spec.backbone.precision,
        )
        cards = tuple(
            TaskCard(
                name=task.spec.name,
                labels=task.labels,
                metric=task.spec.metric,
                max_tokens=task.spec.max_tokens,
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

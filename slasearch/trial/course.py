"""The course of one trial: what is trained, in which stages, and what is told on the way.

While gates learn, and again while the final structure is trained, its state can be saved between two steps. A course
that begins with a checkpoint goes on from there as if nothing had been in between: it tells again what was told before,
and every number that follows is that of an uninterrupted trial, but for wall times. Controls with modules of their own
have states that are not ours to save, and begin again.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch

from slasearch.adapters.finalise import finalise
from slasearch.adapters.gates.bank import GateBank
from slasearch.adapters.pool import Pool, candidate_slots, slot_cost
from slasearch.config.plain import from_plain, to_plain
from slasearch.errors import SlaSearchError
from slasearch.records import (
    CLEAN_SAMPLE,
    Checkpoint,
    Event,
    GateRow,
    MetricRow,
    Progress,
    Slot,
    Split,
    Structure,
    TaskData,
    TrialReport,
    TrialSpec,
)
from slasearch.registry import CONTROLS
from slasearch.trial.aim import aim
from slasearch.trial.assemble import Outcome, assemble
from slasearch.trial.backbone import Backbone
from slasearch.trial.checkpoints import Checkpoints
from slasearch.trial.controls._base import Control, GatedControl, ModelControl, SlotsControl, Wanted
from slasearch.trial.data import TrainingData
from slasearch.trial.evaluate import evaluate, evaluate_at_the_end, mean_score
from slasearch.trial.gating import GateLearner
from slasearch.trial.lambda_path import read_out, stage_rows
from slasearch.trial.latency import latency
from slasearch.trial.memory import is_out_of_memory
from slasearch.trial.model import TaskModel, make_heads
from slasearch.trial.ranking import rank_slots
from slasearch.trial.resources import Resources
from slasearch.trial.seeds import derived_seed, generator
from slasearch.trial.stopping import Plateau
from slasearch.trial.train import Diverged, StepPlan, Trainer, plan_steps

__all__ = ["Course"]


class Course:
    """One trial.

    Args:
        spec: What to do.
        resources: What it shares with other trials of the worker.
        checkpoints: Those of earlier attempts, to go on from, and where this one leaves its own; None: neither.
    """

    def __init__(self, spec: TrialSpec, resources: Resources, checkpoints: Checkpoints | None = None) -> None:
        self.spec, self._resources, self._checkpoints = spec, resources, checkpoints
        self._control: Control | None = None
        self._plan = StepPlan(0, 0, 0)
        self._step = 0
        self._seconds = {"train": 0.0, "evaluate": 0.0}
        self._events: list[Event] = []
        self._gates: tuple[GateRow, ...] = ()
        self._gated_score: float | None = None
        self._plateau: Plateau | None = None
        self._path: list[MetricRow] = []
        self._told: list[Progress] = []
        self._newest: Checkpoint | None = None

    @property
    def events(self) -> tuple[Event, ...]:
        """What there is to tell so far."""
        return (*self._events, *(() if self._checkpoints is None else self._checkpoints.events))

    def failure(self, error: Exception) -> TrialReport:
        """The report of a trial that raised."""
        known = isinstance(error, (Diverged, SlaSearchError))
        reason = f"diverged: {error}" if isinstance(error, Diverged) else f"{type(error).__name__}: {error}"
        return TrialReport(
            "fail",
            self._step,
            self._plan.total,
            events=self.events,
            reason=reason if known or str(error) else type(error).__name__,
            traceback=traceback.format_exc(),
            out_of_memory=is_out_of_memory(error),
        )

    def run(self) -> Iterator[Progress | TrialReport]:
        """Yields progress, and the report last."""
        if self.spec.control is not None:
            self._control = CONTROLS.get(self.spec.control)
        if isinstance(self._control, ModelControl):
            self._checkpoints = None
        if isinstance(self._control, GatedControl):
            self.spec = self._control.spec(self.spec)
        spec = self.spec
        backbone = self._resources.backbone(spec.backbone)
        tasks = self._resources.tasks(spec)
        candidates = candidate_slots(spec.pool, layers=backbone.shapes.layers)
        fixed = self._given(backbone, candidates)
        slots = self._own(candidates) if fixed is None else fixed.union
        everything: tuple[Split, ...] = ("train", "gate") if tasks[0].splits["gate"] else ("train",)
        data = self._resources.training(tasks, everything, backbone, spec)
        self._plan = plan_steps(
            spec.training, spec.gates.warm_up, spec.finalisation.share, data.batches_per_epoch, fixed=fixed is not None
        )
        self._data = self._resources.evaluation(tasks, backbone)
        part = spec.measured_share if spec.measured else 1.0
        self._sample = None if part == 1 else self._resources.evaluation(tasks, backbone, part)
        self._plateau = self._make_plateau()
        with self._model(backbone, tasks, slots) as model:
            holds_out = fixed is None and len(everything) > 1 and self._holds_out
            trainer = Trainer(
                model,
                data,
                self._gate_data(tasks, backbone),
                weights=[task.weight for task in spec.tasks],
                training=spec.training,
                plan=self._plan,
                generator=generator(spec.seeds.init, "gates"),
            )
            if holds_out:
                trainer.train_on(self._resources.training(tasks, ("train",), backbone, spec), until=self._plan.gated)
            made = sum(weight.numel() for weights in model.weights_by_kind().values() for weight in weights)
            saved = None if self._checkpoints is None else self._checkpoints.newest()
            if saved is None:
                self._aim(model, trainer)
            else:
                yield from self._tell_again(saved["course"])
            structure = fixed or (yield from self._search(model, trainer, tasks, data, saved))
            if saved is not None and saved["structure"] is not None:
                self._go_on(model, trainer, saved)
            yield from self._follow(trainer, trainer.run_fixed(structure), model, structure)
            if self._plateau is not None and trainer.step < self._plan.total:
                self._events.append(self._plateau.event(trainer.step))
            rows = [*self._path, *(yield from self._measure(model, structure))]
            taken = self._latency(model, structure) if spec.latency else None
            yield assemble(
                spec,
                model,
                tasks,
                Outcome(structure, rows, self._gates, self.events, self._gated_score, taken),
                steps=trainer.step,
                planned=self._plan.total,
                seconds=self._seconds,
                tokens=trainer.tokens,
                made_parameters=made,
            )

    # ------------------------------------------------------------ what is trained

    def _given(self, backbone: Backbone, candidates: Sequence[Slot]) -> Structure | None:
        """A control's structure; None where the gates find one."""
        spec, names = self.spec, [task.name for task in self.spec.tasks]
        if isinstance(self._control, ModelControl):
            return Structure(tuple((name, ()) for name in names))
        if not isinstance(self._control, SlotsControl):
            return None
        wanted = Wanted(
            backbone.shapes,
            candidates,
            spec.control_size or 0,
            derived_seed(spec.seeds.init, "structure"),
            spec.control_variant,
        )
        if spec.training.multitask == "joint" or len(names) == 1:
            slots = self._control.slots(wanted)
            return Structure(tuple((name, slots) for name in names))
        # What a task's slots exceed its share by, or leave over, is the other tasks' to come: the sum keeps the rule.
        paths, left = [], wanted.size
        for number, name in enumerate(names):
            share = self._control.slots(dataclasses.replace(wanted, size=max(0, left) // (len(names) - number)))
            left -= sum(slot_cost(slot, backbone.shapes.hosts).parameters for slot in share)
            paths.append((name, tuple(_copy(slot, number, len(names)) for slot in share)))
        return Structure(tuple(paths))

    def _own(self, candidates: Sequence[Slot]) -> tuple[Slot, ...]:
        """The pool's slots: the candidates, or a copy of them for each task where tasks train independently."""
        tasks = len(self.spec.tasks)
        if self.spec.training.multitask == "joint" or tasks == 1:
            return tuple(candidates)
        return tuple(_copy(slot, task, tasks) for slot in candidates for task in range(tasks))

    @contextmanager
    def _model(self, backbone: Backbone, tasks: Sequence[TaskData], slots: Sequence[Slot]) -> Iterator[TaskModel]:
        spec = self.spec
        adaptation = None
        if isinstance(self._control, ModelControl):
            seed = derived_seed(spec.seeds.init, "modules")
            adaptation = self._control.adapt(backbone, spec, steps=self._plan.total, seed=seed)
            backbone = adaptation.backbone
        names = [task.name for task in spec.tasks]
        pool = Pool(slots, backbone.shapes.hosts, names, generator=generator(spec.seeds.init, "modules"))
        heads = self._heads(tasks, backbone, "heads")
        with TaskModel(backbone, pool, heads, adaptation=adaptation) as model:
            yield model

    def _aim(self, model: TaskModel, trainer: Trainer, structure: Structure | None = None) -> None:
        """Turns fresh modules along the gradient, where that is what they start from; `structure` if there is one."""
        own = self._control.start if isinstance(self._control, SlotsControl) else None
        started = perf_counter()
        if model.adaptation is None and (own or self.spec.pool.start) == "gradient":
            aim(
                model,
                trainer.data,
                weights=[task.weight for task in self.spec.tasks],
                steps=self._plan.total - trainer.step,
                uses=self._may_use if structure is None else lambda task, slot: slot in structure.slots_of(task),
                generator=generator(self.spec.seeds.init, "directions"),
            )
        self._seconds["train"] += perf_counter() - started

    def _heads(self, tasks: Sequence[TaskData], backbone: Backbone, purpose: str) -> dict[str, torch.nn.Linear]:
        sizes = {task.spec.name: len(task.labels) for task in tasks}
        return make_heads(sizes, backbone.shapes.hidden, generator=generator(self.spec.seeds.init, purpose))

    @property
    def _holds_out(self) -> bool:
        """Whether gates or the ranking need examples that weights do not train on."""
        end = self.spec.finalisation  # `progressive` ranks by what it has seen in training
        return self.spec.gates.learn_on != "train" or (end.ranking != "gate" and end.finish != "progressive")

    def _gate_data(self, tasks: Sequence[TaskData], backbone: Backbone) -> TrainingData | None:
        """Held-out batches that gates learn on; None: the training batches."""
        if self.spec.gates.learn_on == "train" or not tasks[0].splits["gate"]:
            return None
        return self._resources.training(tasks, ("gate",), backbone, self.spec)

    # ------------------------------------------------------------ the gated stage

    def _search(
        self,
        model: TaskModel,
        trainer: Trainer,
        tasks: Sequence[TaskData],
        data: TrainingData,
        saved: Mapping[str, Any] | None,
    ) -> Generator[Progress, None, Structure]:
        """The gated stage and finalisation, as far as they are still to come; returns the structure.

        What gates were held to is data like any other from then on, as it is to controls: `data` has all of it.
        """
        spec, pool = self.spec, model.pool
        if saved is not None and saved["structure"] is not None:
            structure = from_plain(Structure, saved["structure"])
            if spec.finalisation.finish == "retrain":
                self._put_in_fresh(model, tasks, structure)
            else:
                pool.discard(set(pool.slots) - set(structure.union))
            trainer.train_on(data)
            return structure
        bank = self._bank(model)
        learner = GateLearner(
            bank,
            pool,
            spec.size,
            spec.finalisation,
            learning_rate=spec.gates.learning_rate,
            steps=self._plan.gated - self._plan.warm,
            ramp_steps=spec.size.ramp * self._plan.total,
        )
        trainer.drop_removed()  # the learner has closed slots that no structure can hold
        if saved is not None:
            learner.load_state_dict(saved["learner"], max(0, saved["trainer"]["step"] - self._plan.warm))
            self._go_on(model, trainer, saved)
        steps = self._along_path(trainer.run_gated(learner), learner, model)
        yield from self._follow(trainer, steps, model, learner)
        z = self._while_learning(bank, trainer.step)
        if spec.finalisation.gap:
            reported = [told.metrics for told in self._told if told.budget == trainer.step]
            rows = reported[0] if reported else self._evaluate(model, z, step=trainer.step)
            self._gated_score = mean_score(rows, "validation")
        self._events.extend(learner.health())
        strength = self._strength(model, bank, learner, tasks)
        done = finalise(pool, bank, spec.size, strength, candidates=self._candidates(pool))
        self._gates = tuple(row for row in done.gates if self._may_use(row.task, row.slot))
        self._events.extend(done.events)
        if trainer.data is not data:
            trainer.train_on(data)
        if spec.finalisation.finish == "retrain":
            self._put_in_fresh(model, tasks, done.structure)
            self._aim(model, trainer, done.structure)
            trainer.restart_schedule()
        else:
            pool.keep(done.structure, done.values)
            trainer.drop_removed()
            trainer.fold_moments(done.values)
        return done.structure

    def _put_in_fresh(self, model: TaskModel, tasks: Sequence[TaskData], structure: Structure) -> None:
        """Fresh modules of the structure, and fresh heads, in place of those that gates have learned on."""
        source = generator(self.spec.seeds.init, "fresh modules")
        fresh = Pool(structure.union, model.backbone.shapes.hosts, model.pool.tasks, generator=source)
        model.swap(fresh, self._heads(tasks, model.backbone, "fresh heads"))

    def _along_path(self, steps: Iterator[int], learner: GateLearner, model: TaskModel) -> Iterator[int]:
        """The same steps; at the end of each stage of a sparsity path its structure is read and scored."""
        for step in steps:
            weight = learner.path.points.get(step - self._plan.warm)
            if weight is not None:
                started = perf_counter()
                structure, z = read_out(model.pool, learner.bank, self.spec.size)
                scores = self._evaluate(model, z, step=step)
                size = sum(model.pool.costs[slot].parameters for slot in structure.union)
                self._path.extend(stage_rows(weight, scores, size))
                self._seconds["train"] -= perf_counter() - started  # the clock of the steps runs on meanwhile
            yield step

    def _bank(self, model: TaskModel) -> GateBank:
        """Gates of every (task, slot); where tasks train independently, those of other tasks' copies are closed."""
        pool, tasks = model.pool, len(self.spec.tasks)
        costs = torch.tensor([float(pool.costs[slot].parameters) for slot in pool.candidates])
        bank = GateBank(self.spec.gates, tasks, costs, model.backbone.device)
        bank.close(self._candidates(pool))
        return bank

    def _candidates(self, pool: Pool) -> torch.Tensor:
        """Which slots each task may use, `T x S` of bool."""
        return torch.tensor([[self._may_use(task, slot) for slot in pool.candidates] for task in pool.tasks])

    def _may_use(self, task: str, slot: Slot) -> bool:
        """Whether the slot is the task's, or shared: other tasks' copies are no candidates of an independent task."""
        names = [spec.name for spec in self.spec.tasks]
        return self.spec.training.multitask == "joint" or slot.index % len(names) == names.index(task)

    def _strength(
        self, model: TaskModel, bank: GateBank, learner: GateLearner, tasks: Sequence[TaskData]
    ) -> torch.Tensor | None:
        how = self.spec.finalisation.ranking
        if how == "gate" or self.spec.size.mode == "penalty":
            return None
        if self.spec.finalisation.finish == "progressive":
            return learner.strength()
        data = self._resources.training(tasks, ("gate",), model.backbone, self.spec)
        worth = rank_slots(model, bank.value(), bank.alive, data, how)
        return worth.mean(0, keepdim=True).expand_as(worth) if bank.shared else worth

    # ------------------------------------------------------------ on the way

    def _follow(
        self, trainer: Trainer, steps: Iterator[int], model: TaskModel, stage: GateLearner | Structure
    ) -> Iterator[Progress]:
        """Takes steps and yields progress at the report steps, all but the last, or until the score stops rising.

        Leaves checkpoints, but none at the end of a stage: what follows there is no step.
        """
        every = self._plan.total / self.spec.training.reports
        due = {round(every * number) for number in range(1, self.spec.training.reports)}
        started = perf_counter()
        for step in steps:
            self._step = step
            if step in due:
                self._seconds["train"] += perf_counter() - started
                z = stage if isinstance(stage, Structure) else self._while_learning(stage.bank, step)
                rows = self._evaluate(model, z, step=step)
                score = mean_score(rows, "validation")
                self._told.append(Progress(step, self._plan.total, score, step > self._plan.warm, tuple(rows)))
                yield dataclasses.replace(self._told[-1], checkpoint=self._newest)
                started = perf_counter()
                if self._plateau is not None and self._plateau.reached(step, score):
                    trainer.check()
                    break
            last = step in (self._plan.gated, self._plan.total)
            if self._checkpoints is not None and not last and self._checkpoints.due():
                self._seconds["train"] += perf_counter() - started
                saved = self._checkpoints.save(step, self._state(model, trainer, stage))
                self._newest = saved or self._newest
                started = perf_counter()
        self._seconds["train"] += perf_counter() - started

    def _while_learning(self, bank: GateBank, step: int) -> torch.Tensor | None:
        """Gates in mid-training: every one is open during the warm-up, and the last step's are what is finalised."""
        if step <= self._plan.warm:
            return bank.all_open()
        if step == self._plan.gated:
            bank.family.set_progress(1.0)
        return bank.value()

    def _make_plateau(self) -> Plateau | None:
        """What may end the trial early. A method with a schedule of its own over all steps runs to its end."""
        rule, total = self.spec.training.early_stop, self._plan.total
        if rule is None or isinstance(self._control, ModelControl):
            return None
        finalised = self._plan.gated or total - round(self.spec.finalisation.share * total)
        return Plateau(rule, after=finalised, total=total)

    def _evaluate(self, model: TaskModel, gates: torch.Tensor | Structure | None, *, step: int) -> list[MetricRow]:
        """The clean validation split, in mid-training."""
        started = perf_counter()
        rows = evaluate(model, self._data, self.spec.tasks, "validation", [None], gates, step=step)
        self._seconds["evaluate"] += perf_counter() - started
        return rows

    # ------------------------------------------------------------ checkpoints

    def _state(self, model: TaskModel, trainer: Trainer, stage: GateLearner | Structure) -> dict[str, Any]:
        """What it takes to go on from between two steps; plain values and tensors."""
        return {
            "course": {
                "events": [to_plain(event) for event in self._events],
                "gates": [to_plain(row) for row in self._gates],
                "gated_score": self._gated_score,
                "path": [to_plain(row) for row in self._path],
                "plateau": None if self._plateau is None else self._plateau.state_dict(),
                "seconds": self._seconds,
                "told": [to_plain(progress) for progress in self._told],
            },
            "structure": to_plain(stage) if isinstance(stage, Structure) else None,
            "learner": stage.state_dict() if isinstance(stage, GateLearner) else None,
            "model": model.state_dict(),
            "trainer": trainer.state_dict(),
            "random": _random_states(model.backbone.device),
        }

    def _tell_again(self, course: Mapping[str, Any]) -> Iterator[Progress]:
        """Takes up what an earlier attempt had come to, and yields the progress that it had made."""
        self._events = [from_plain(Event, event) for event in course["events"]]
        self._gates = tuple(from_plain(GateRow, row) for row in course["gates"])
        self._gated_score = course["gated_score"]
        self._path = [from_plain(MetricRow, row) for row in course["path"]]
        if self._plateau is not None:
            self._plateau.load_state_dict(course["plateau"])
        self._seconds = dict(course["seconds"])
        self._told = [from_plain(Progress, progress) for progress in course["told"]]
        for progress in self._told:
            self._step = progress.budget
            yield progress

    def _go_on(self, model: TaskModel, trainer: Trainer, saved: Mapping[str, Any]) -> None:
        """Loads a saved state into a model that has the modules that it had then."""
        model.load_state_dict(saved["model"])
        trainer.load_state_dict(saved["trainer"])
        self._step = trainer.step
        for device, state in saved["random"].items():
            _set_random_state(device, state)

    # ------------------------------------------------------------ at the end

    def _measure(self, model: TaskModel, structure: Structure) -> Generator[Progress, None, list[MetricRow]]:
        """Every split, and the measured conditions; in a race yields how the trial stands after each of those."""
        rows: list[MetricRow] = []
        parts = evaluate_at_the_end(model, self._data, self._sample, self.spec, structure)
        while True:
            started = perf_counter()
            part = next(parts, None)
            self._seconds["evaluate"] += perf_counter() - started
            if part is None:
                return rows
            rows += part
            if self.spec.race and part[0].condition not in ("clean", CLEAN_SAMPLE):
                yield Progress(
                    self._step,
                    self._plan.total,
                    mean_score(rows, "validation"),
                    prunable=True,
                    metrics=tuple(rows),
                    exported_parameters=model.exported_parameters,
                )

    def _latency(self, model: TaskModel, structure: Structure) -> float:
        """Time of one example (ms)."""
        started = perf_counter()
        found = latency(model, self._data, structure)
        self._seconds["evaluate"] += perf_counter() - started
        return found


def _copy(slot: Slot, task: int, tasks: int) -> Slot:
    """A task's own copy of a slot: `index % tasks` is the task."""
    return dataclasses.replace(slot, index=slot.index * tasks + task)


def _random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of torch's own generators, from which a user's modules may draw; ours have generators of their own."""
    states = {"cpu": torch.get_rng_state()}
    return states if device.type != "cuda" else states | {str(device): torch.cuda.get_rng_state(device)}


def _set_random_state(device: str, state: torch.Tensor) -> None:
    if device == "cpu":
        torch.set_rng_state(state)
    else:
        torch.cuda.set_rng_state(state, device)

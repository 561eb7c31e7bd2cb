"""A gated pool at work in a user's own model: routing, gates, finalisation, and what a resumed run needs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slasearch.adapters.attach import attach
from slasearch.adapters.finalise import finalise
from slasearch.adapters.gates.bank import GateBank
from slasearch.adapters.pool import Pool, candidate_slots
from slasearch.adapters.sites import host_shapes, layers_of
from slasearch.errors import ArtifactError, ConfigError
from slasearch.records import PoolSpec, Slot, Structure
from slasearch.service.attach_settings import Settings
from slasearch.service.gated_export import write_gated
from slasearch.service.task_numbers import TaskNumbers
from slasearch.trial.gating import GateLearner
from slasearch.trial.seeds import generator

__all__ = ["GatedPool"]

_NAME = "slasearch_pool"


class GatedPool:
    """A gated pool at work in a model; made by `slasearch.attach`.

    In training mode the model's forward pass samples gates, in evaluation mode it has their values. The pool's modules
    are a submodule of the model, so its parameters and checkpoints hold them too. Gates update themselves, follow the
    model to its device, stay in fp32, and have a state of their own (`state_dict`). They learn in one process: copies
    in several would drift apart.

    Args:
        model: A model of a supported family, with or without a head.
        settings: What to make.

    Raises:
        BackboneError: The model's family is unknown.
        ConfigError: The settings do not fit the model, or it has a gated pool already.
    """

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        base: nn.Module = getattr(model, "base_model", model)
        slots = _candidates(base, settings.pool)
        device = next(base.parameters()).device
        pool = Pool(slots, host_shapes(base), settings.tasks, generator=generator(settings.seed, "modules")).to(device)
        costs = torch.tensor([float(pool.costs[slot].parameters) for slot in slots])
        budget = settings.size.budget
        if budget is not None and budget < costs.min():
            line = f"attach: budget: expected at least {int(costs.min())} (the cheapest slot), got {budget}"
            raise ConfigError([line])
        self.pool, self._model, self._base, self._settings = pool, model, base, settings
        self._generator = generator(settings.seed, "gates")
        self._bank = GateBank(settings.gates, len(settings.tasks), costs, device)
        self._warm = min(settings.steps - 1, round(settings.gates.warm_up * settings.steps))
        self._learner = GateLearner(
            self._bank,
            pool,
            settings.size,
            settings.finalisation,
            learning_rate=settings.gates.learning_rate,
            steps=settings.steps - self._warm,
            ramp_steps=settings.size.ramp * settings.steps,
        )
        self._done, self._begun = 0, False
        self._passes: list[Tensor] = []
        self._structure: Structure | None = None
        self._events: tuple[str, ...] = ()
        self._numbers = TaskNumbers(len(settings.tasks))
        self._attachment = attach(base, pool)
        base.requires_grad_(False)
        base.add_module(_NAME, pool)
        self._hook = base.register_forward_pre_hook(self._route, with_kwargs=True)

    # ------------------------------------------------------------ before a forward pass

    def set_tasks(self, task_index: Tensor | Sequence[int]) -> None:
        """Which task each example of the next batches belongs to; where there are several, call it before each batch.

        Args:
            task_index: A number (in the order of `tasks`, from 0) for each example, or one for all of them. Best on
                the CPU, where looking at it waits for nobody. The forward pass raises a `TaskError` if a batch has
                another length.

        Raises:
            TaskError: A number is no task's.
        """
        self._numbers.tell(task_index)

    def _route(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = (*args[:1], kwargs.get("input_ids"), kwargs.get("inputs_embeds"))
        inputs = next((value for value in given if value is not None), None)
        if inputs is None:
            return  # the model has its own words for that
        index = self._numbers.of(inputs.shape[0])
        if self._structure is not None:
            self.pool.route_paths(index, self._structure, device=self._device)
        else:
            self._follow()
            self.pool.route(index.to(self._device, non_blocking=True), self._gates())

    def _gates(self) -> Tensor | None:
        """Z for the pass that follows; None: everything is open."""
        learns = self._model.training and torch.is_grad_enabled()
        if self._done < self._warm:
            return self._seen(self._learner.all_open()) if learns else self._bank.all_open()
        if not self._model.training:
            return self._bank.value()
        self._begin()
        return self._seen(self._learner.sample(self._generator)) if learns else self._bank.sample(self._generator)

    def _seen(self, z: Tensor | None) -> Tensor | None:
        """Keeps the gates of a pass whose gradient will say what slots are worth."""
        if z is not None and (z.retains_grad or (z.is_leaf and z.requires_grad)):
            self._passes.append(z)
        return z

    def _begin(self) -> None:
        """Once a step, also where a step takes several batches."""
        if not self._begun:
            self._learner.begin(min(self._done, self._settings.steps - 1) - self._warm)
            self._begun = True

    @property
    def _device(self) -> torch.device:
        return next(self.pool.parameters()).device

    def _follow(self) -> None:
        """Gates go where the model went: a trainer may move it to a GPU after `attach`."""
        if self._bank.family.logits.device != self._device:
            self._learner.to(self._device)

    # ------------------------------------------------------------ in the loop

    def penalty(self) -> Tensor:
        """The size term to add to the loss; 0 during the warm-up, after `finalise`, and for families without one."""
        if self._structure is not None or self._done < self._warm:
            return torch.zeros((), device=self._device)
        self._follow()
        self._begin()
        return self._learner.penalty()

    def step(self) -> None:
        """Call it after the optimiser's step and before gradients are forgotten: gates learn, close and anneal."""
        if self._structure is not None:
            return
        self._observe()
        self._done += 1
        if self._done > self._warm:
            self._begin()
            self._learner.step()
            self._learner.prune(min(self._done, self._settings.steps) - self._warm)
            self._begun = False

    def _observe(self) -> None:
        """Of several passes in one step the first-order changes of the loss add up: Σ z·∂L/∂z."""
        changes = [z.detach() * z.grad for z in self._passes if z.grad is not None]
        self._passes = []
        if changes:
            total = torch.stack(changes).sum(0)
            self._learner.observe(torch.ones_like(total), total)
        else:
            self._learner.observe()

    @property
    def rate_factor(self) -> float:
        """By what a study multiplies modules' learning rate at this step (docs/method.md, Gates); 1 without a budget.

        A loop with an optimiser of its own may do the same: a rate that suits the structure is too high for the pool.
        """
        return 1.0 if self._structure is not None else self._learner.rate_factor

    @property
    def ready(self) -> bool:
        """Whether the planned steps are done, so that it is time to `finalise`."""
        return self._done >= self._settings.steps

    def openness(self) -> dict[str, dict[str, float]]:
        """For each task the openness p of each slot by its name, in [0, 1]."""
        rows = self._bank.openness().detach().cpu().tolist()
        names = [slot.name for slot in self.pool.candidates]
        return {task: dict(zip(names, row, strict=True)) for task, row in zip(self.pool.tasks, rows, strict=True)}

    # ------------------------------------------------------------ the end

    def finalise(self) -> Structure:
        """Reads the structure off the gates, folds their values in, and removes what is closed.

        Warnings about the gates' health are in `events`. May be called once; later calls give the same structure.
        """
        if self._structure is None:
            self._bank.family.set_progress(1.0)
            health = self._learner.health() if self._done > self._warm else ()
            by_saliency = self._settings.finalisation.ranking == "saliency"
            strength = self._learner.strength() if by_saliency else None
            done = finalise(self.pool, self._bank, self._settings.size, strength)
            self._events = tuple(event.message for event in (*health, *done.events))
            self._structure, self._passes = done.structure, []
            self.pool.keep(done.structure, done.values)
        return self._structure

    @property
    def events(self) -> tuple[str, ...]:
        """What finalisation had to tell, such as gates that all stayed open; empty before."""
        return self._events

    def export(self, folder: str | Path) -> tuple[Path, ...]:
        """Writes the modules to `folder` in slasearch's format, without a head: yours stays in your model.

        `slasearch.load_adapter` puts them into a model again. Where the model was loaded from a folder, the files hold
        its fingerprint, and `load_adapter` warns of other weights; else it can only check shapes.

        Raises:
            ConfigError: The structure is not final yet.
            StorageError: The folder is none, or the disk refuses.
        """
        if self._structure is None:
            raise ConfigError(
                ["export: expected a final structure, got gates that still learn. Call finalise() first."]
            )
        return write_gated(Path(folder), self._base, self.pool, self._structure)

    def detach(self) -> None:
        """Takes the pool out of the model, whose own weights stay frozen as they are."""
        self._attachment.detach()
        self._hook.remove()
        if hasattr(self._base, _NAME):
            delattr(self._base, _NAME)

    # ------------------------------------------------------------ checkpoints

    def state_dict(self) -> dict[str, Any]:
        """A copy of what a run needs to go on with besides the model's weights: the gates and how far they have come.

        Plain values and tensors, which `torch.save` writes and `torch.load(..., weights_only=True)` reads. Take it
        between steps.
        """
        paths = None if self._structure is None else self._structure.paths
        return {
            **self._identity(),
            "done": self._done,
            "noise": self._generator.get_state(),
            "learner": copy.deepcopy(self._learner.state_dict()),
            "paths": paths and {task: [slot.name for slot in slots] for task, slots in paths},
            "events": list(self._events),
        }

    def _identity(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "slots": [slot.name for slot in self.pool.candidates],
            "tasks": list(settings.tasks),
            "steps": settings.steps,
            "family": settings.gates.family,
            "ranking": settings.finalisation.ranking,
            "finish": settings.finalisation.finish,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state, in a model that the same arguments have just been attached to.

        Make the optimiser after `attach`, as in the first run; load this state, which removes the modules whose gates
        are closed for good; then load the model's and the optimiser's states. What follows is what would have followed
        without the interruption.

        Args:
            state: What `state_dict` gave, on the CPU.

        Raises:
            ArtifactError: The state is another pool's.
            ConfigError: This pool has taken steps already.
        """
        if self._done or self._structure is not None:
            line = f"load_state_dict: expected a new pool, got one after {self._done} steps. Attach it to a new model."
            raise ConfigError([line])
        for name, wanted in self._identity().items():
            if state.get(name) != wanted:
                raise ArtifactError(
                    f"state: expected one of a pool with the same {name}, got another's. Call attach with the "
                    "arguments of the run that wrote it."
                )
        self._done = int(state["done"])
        self._generator.set_state(state["noise"])
        last = min(self._done, self._settings.steps) - self._warm - 1
        if last >= 0:
            self._learner.begin(last)  # temperatures and the target of the last step, for evaluation before the next
        self._learner.load_state_dict(state["learner"], max(0, last))
        self._events = tuple(state["events"])
        if state["paths"] is not None:
            paths = state["paths"].items()
            self._structure = Structure(tuple((task, tuple(map(Slot.parse, slots))) for task, slots in paths))
            self.pool.discard(set(self.pool.slots) - set(self._structure.union))


def _candidates(base: nn.Module, spec: PoolSpec) -> tuple[Slot, ...]:
    """The slots of a pool that may be attached to a model.

    Raises:
        BackboneError: The model's family is unknown.
        ConfigError: The model has a pool already, or the pool does not fit it.
    """
    layers = len(layers_of(base))
    if hasattr(base, _NAME):
        raise ConfigError(["attach: expected a model without a gated pool, got one that has one. Call its detach()."])
    try:
        slots = candidate_slots(spec, layers=layers)
    except ConfigError as error:
        raise ConfigError([f"attach: {problem}" for problem in error.problems]) from None
    rank, hidden = max(slot.rank for slot in slots), int(base.config.hidden_size)  # type: ignore[union-attr, arg-type]
    if rank > hidden:
        raise ConfigError([f"attach: pool: expected ranks of {hidden} (the model's hidden size) at most, got {rank}"])
    return slots

"""A gated pool in a user's own model and training loop: `slasearch.attach`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

import slasearch
from slasearch.adapters.attach import attach as attach_hooks
from slasearch.adapters.export import CARD_FILE, TENSOR_FILE, AdapterCard, BackboneCard, TaskCard, write_adapter
from slasearch.adapters.finalise import Finalised, finalise
from slasearch.adapters.gates.bank import GateBank
from slasearch.adapters.pool import Pool, candidate_slots
from slasearch.adapters.sites import host_shapes, layers_of, table_of
from slasearch.config.schema import GatesConfig, PoolConfig
from slasearch.errors import ConfigError
from slasearch.records import FinalisationSpec, GateSpec, PoolSpec, SizeSpec, Slot, Structure
from slasearch.trial.backbone import weights_fingerprint
from slasearch.trial.gating import GateLearner
from slasearch.trial.seeds import generator

__all__ = ["GatedPool", "attach"]

_NAME = "slasearch_pool"


def attach(
    model: nn.Module,
    pool: str | Mapping[str, Any] = "lora_linear",
    *,
    steps: int,
    sparsity_weight: float | None = None,
    budget: int | None = None,
    scope: Literal["union", "per_task"] = "union",
    gates: Mapping[str, Any] | None = None,
    finish: Literal["continue", "progressive"] = "continue",
    tasks: Sequence[str] = ("task",),
    seed: int = 0,
) -> GatedPool:
    """Puts a gated pool into a Hugging Face model, whose own weights it freezes, for a training loop of your own.

    ```python
    gated = slasearch.attach(model, "lora_linear", steps=600, budget=9216)
    for batch in loader:
        loss = model(**batch).loss + gated.penalty()
        loss.backward()
        optimizer.step()       # over model.parameters() that require gradients: modules and the model's head
        gated.step()           # gates learn, close and anneal
        optimizer.zero_grad()
    gated.finalise()           # then train on for a while: the structure is fixed now
    gated.export("adapter")
    ```

    Args:
        model: A model of a supported family, with or without a task head; heads keep learning.
        pool: Name of a preset, or the fields of `pool` as in a study file.
        steps: Optimiser steps until `finalise`, the warm-up included.
        sparsity_weight: λ, where λ decides the size. Exactly one of this and `budget`.
        budget: Most parameters of the structure, where a number decides the size.
        scope: Whether a budget counts the union of the tasks' slots, or each task's own.
        gates: Fields of `gates` as in a study file; `warm_up` is a share of `steps`.
        finish: `progressive` closes slots for good along the way, until the budget is met.
        tasks: Names of the tasks that share the pool.
        seed: Seed of the initial weights and of the gates' noise.

    Raises:
        BackboneError: The model's family is unknown.
        ConfigError: The fields do not fit together, or the model.
    """
    if (sparsity_weight is None) == (budget is None):
        raise ConfigError(["attach: expected exactly one of sparsity_weight and budget. Give one."])
    size = SizeSpec("penalty", sparsity_weight or 0.0) if budget is None else SizeSpec("budget", 0.0, budget, scope)
    if finish == "progressive" and budget is None:
        raise ConfigError(["attach: expected a budget with finish progressive, got a sparsity_weight. Give a budget."])
    return GatedPool(
        model,
        _pool_spec(pool),
        _gate_spec(gates or {}),
        size,
        FinalisationSpec(finish=finish),
        steps=steps,
        tasks=tuple(tasks),
        seed=seed,
    )


def _pool_spec(pool: str | Mapping[str, Any]) -> PoolSpec:
    config = PoolConfig.model_validate({"preset": pool} if isinstance(pool, str) else dict(pool))
    fields = config.model_dump(exclude={"preset"})
    return PoolSpec(**{**fields, "layers": None if fields["layers"] == "all" else fields["layers"]})


def _gate_spec(gates: Mapping[str, Any]) -> GateSpec:
    return GateSpec(**GatesConfig.model_validate(dict(gates)).model_dump())


class GatedPool:
    """A gated pool at work in a model; made by `attach`.

    In training mode the model's forward pass samples gates, in evaluation mode it has their values. The pool's modules
    are a submodule of the model, so its parameters, checkpoints and devices hold them too; gates update themselves.
    """

    def __init__(
        self,
        model: nn.Module,
        pool: PoolSpec,
        gates: GateSpec,
        size: SizeSpec,
        finalisation: FinalisationSpec,
        *,
        steps: int,
        tasks: tuple[str, ...],
        seed: int,
    ) -> None:
        self._model = model
        self._base: nn.Module = getattr(model, "base_model", model)
        slots = candidate_slots(pool, layers=len(layers_of(self._base)))
        device = next(self._base.parameters()).device
        shapes = host_shapes(self._base)
        self._base.requires_grad_(False)
        self.pool = Pool(slots, shapes, tasks, generator=generator(seed, "modules")).to(device)
        self._size, self._generator = size, generator(seed, "gates")
        costs = torch.tensor([float(self.pool.costs[slot].parameters) for slot in slots])
        if size.budget is not None and size.budget < costs.min():
            raise ConfigError([f"budget: expected at least {int(costs.min())} (the cheapest slot), got {size.budget}."])
        self._bank = GateBank(gates, len(tasks), costs, device)
        self._warm = min(steps - 1, round(gates.warm_up * steps))
        self._learner = GateLearner(
            self._bank,
            self.pool,
            size,
            finalisation,
            learning_rate=gates.learning_rate,
            steps=steps - self._warm,
            ramp_steps=size.ramp * steps,
        )
        self._steps, self._done, self._begun = steps, 0, False
        self._finalised: Finalised | None = None
        self._task_index: Tensor | None = None
        model.add_module(_NAME, self.pool)
        self._attachment = attach_hooks(self._base, self.pool)
        self._hook = self._base.register_forward_pre_hook(self._route, with_kwargs=True)

    # ------------------------------------------------------------ before a forward pass

    def set_tasks(self, task_index: Tensor) -> None:
        """Which task each example of the next batches belongs to: `n` numbers in the order of `tasks`, or just one."""
        self._task_index = task_index

    def _route(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs = args[0] if args else kwargs.get("input_ids", kwargs.get("inputs_embeds"))
        assert inputs is not None
        index = torch.zeros(1, dtype=torch.long) if self._task_index is None else self._task_index.reshape(-1)
        if len(index) != inputs.shape[0]:
            index = index[:1].expand(inputs.shape[0])
        index = index.to(inputs.device)
        if self._finalised is not None:
            self.pool.route_paths(index, self._finalised.structure)
        elif self._done < self._warm:
            self.pool.route(index, self._bank.all_open())
        elif self._model.training:
            self._begin()
            self.pool.route(index, self._bank.sample(self._generator))
        else:
            self.pool.route(index, self._bank.value())

    def _begin(self) -> None:
        """Once a step, also where a step takes several batches."""
        if not self._begun:
            self._learner.begin(min(self._done, self._steps - 1) - self._warm)
            self._begun = True

    # ------------------------------------------------------------ in the loop

    def penalty(self) -> Tensor:
        """The size term to add to the loss; 0 during the warm-up, after `finalise`, and for families without one."""
        if self._finalised is not None or self._done < self._warm:
            return torch.zeros((), device=self._bank.family.logits.device)
        self._begin()
        return self._learner.penalty()

    def step(self) -> None:
        """Call it after the optimiser's step and before gradients are forgotten: gates learn, close and anneal."""
        if self._finalised is not None:
            return
        self._learner.observe()
        self._done += 1
        if self._done > self._warm:
            self._begin()
            self._learner.step()
            self._learner.prune(min(self._done, self._steps) - self._warm)
            self._begun = False

    @property
    def ready(self) -> bool:
        """Whether the planned steps are done, so that it is time to `finalise`."""
        return self._done >= self._steps

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
        if self._finalised is None:
            self._bank.family.set_progress(1.0)
            health = self._learner.health() if self._done > self._warm else ()
            done = finalise(self.pool, self._bank, self._size)
            self._finalised = Finalised(done.structure, done.values, done.gates, (*health, *done.events))
            self.pool.keep(done.structure, done.values)
        return self._finalised.structure

    @property
    def events(self) -> tuple[str, ...]:
        """What finalisation had to tell, such as gates that all stayed open; empty before."""
        return () if self._finalised is None else tuple(event.message for event in self._finalised.events)

    def export(self, folder: str | Path) -> tuple[Path, ...]:
        """Writes the modules to `folder` in slasearch's format, without a head: yours stays in your model.

        `slasearch.load_adapter` puts them into a model again.

        Raises:
            ConfigError: The structure is not final yet.
        """
        if self._finalised is None:
            raise ConfigError(
                ["export: expected a final structure, got gates that still learn. Call finalise() first."]
            )
        structure = self._finalised.structure
        config: Any = self._base.config
        card = AdapterCard(
            format_version=1,
            slasearch_version=slasearch.__version__,
            backbone=BackboneCard(
                id=f"path:{config.name_or_path}",
                fingerprint=self._fingerprint(),
                family=str(config.model_type),
                layers=len(layers_of(self._base)),
                hidden=int(config.hidden_size),
                pooling="last" if table_of(self._base).decoder else "mean",
                precision="bf16" if next(self._base.parameters()).dtype == torch.bfloat16 else "fp32",
            ),
            tasks=tuple(
                TaskCard(name=task, labels=(), metric="none", max_tokens=_tokens(config), slots=_names(slots))
                for task, slots in structure.paths
            ),
            parameters=self.pool.parameter_count(),
        )
        out = Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        for name, content in write_adapter(card, self.pool, {}).items():
            (out / name).write_bytes(content)
        return tuple(sorted(out / name for name in (CARD_FILE, TENSOR_FILE)))

    def _fingerprint(self) -> str:
        """Of the files that the model was loaded from; empty where it was not loaded from a folder."""
        folder = Path(str(self._base.config.name_or_path))  # type: ignore[union-attr]
        return weights_fingerprint(folder) if (folder / "config.json").is_file() else ""

    def detach(self) -> None:
        """Takes the pool out of the model, whose own weights stay frozen as they are."""
        self._attachment.detach()
        self._hook.remove()
        if hasattr(self._model, _NAME):
            delattr(self._model, _NAME)


def _tokens(config: Any) -> int:
    return int(getattr(config, "max_position_embeddings", 512))


def _names(slots: Sequence[Slot]) -> tuple[str, ...]:
    return tuple(slot.name for slot in slots)

"""From learned gates to a structure: which slots stay, with which value, and whether the gates were healthy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from slasearch.adapters.budget import below_cheapest, by_strength, fill, pool_size
from slasearch.adapters.gates.bank import GateBank
from slasearch.adapters.pool import Pool
from slasearch.records import Event, GateRow, SizeSpec, Slot, Structure

__all__ = ["Finalised", "finalise"]

_CLEAR = 0.05
"""A gate is undecided if its openness is farther than this from both 0 and 1."""


@dataclass(frozen=True)
class Finalised:
    """The outcome: the structure, each open slot's value to fold in, a row for each gate, and health events."""

    structure: Structure
    values: dict[Slot, float]
    gates: tuple[GateRow, ...]
    events: tuple[Event, ...]


def finalise(
    pool: Pool, bank: GateBank, size: SizeSpec, strength: Tensor | None = None, *, candidates: Tensor | None = None
) -> Finalised:
    """Reads a structure off the gates.

    Under `penalty` the slots that the family calls open stay. Under `budget` the (task, slot) pairs are taken by
    falling strength wherever they fit, so the size never exceeds the budget; a slot that one task has paid opens for
    another only if that task's own gate is open. Never empty: if nothing is open under `penalty`, the strongest pair
    stays. Events tell of gates that all closed or all stayed open, and of tasks without a slot.

    A slot's value is the mean of z over the tasks that use it: the module is shared, so one number must serve them all
    [ours]; the training after finalisation absorbs the difference. Where these z differ in sign it is 1, as their mean
    may be nothing at all. Where a budget keeps a slot whose z is 0, what the family folds then stands for it, so that
    its weights are not erased.

    Args:
        pool: The pool, its open gates not yet folded in.
        bank: Its gates, `T x S`.
        size: What decides the size.
        strength: What pairs are ranked by, `T x S`, −∞ where closed for good; None: the gates themselves.
        candidates: Which gates there were to begin with, `T x S` of bool; None: all.

    Raises:
        ConfigError: The budget is below the cheapest slot.
    """
    with torch.no_grad():
        openness, value, is_open = bank.openness().cpu(), bank.value().cpu(), bank.is_open().cpu()
        folded = bank.folded().cpu()
    costs = [pool.costs[slot].parameters for slot in pool.candidates]
    strength = bank.strength().cpu() if strength is None else strength
    order = by_strength(strength)
    tasks = len(pool.tasks)
    if size.mode == "budget":
        assert size.budget is not None
        # A gate that all tasks share is paid by the first in the order, and open for the others too.
        wanted = torch.ones_like(is_open) if bank.shared else is_open
        chosen = fill(order, costs, size.budget, size.scope, tasks, wanted=wanted)
    else:
        chosen = [{int(slot) for slot in torch.nonzero(row).flatten()} for row in is_open]
    if not any(chosen):
        if size.budget is not None:
            raise below_cheapest(size.budget, costs)
        task, slot = order[0]
        chosen[task].add(slot)
    structure = Structure(
        tuple((task, tuple(pool.candidates[i] for i in sorted(chosen[t]))) for t, task in enumerate(pool.tasks))
    )
    values = {
        slot: _shared([float(folded[t, i]) for t in range(tasks) if i in chosen[t]])
        for i, slot in enumerate(pool.candidates)
        if any(i in row for row in chosen)
    }
    rows = tuple(
        GateRow(task, slot, float(openness[t, i]), float(value[t, i]), i in chosen[t], costs[i])
        for t, task in enumerate(pool.tasks)
        for i, slot in enumerate(pool.candidates)
    )
    alive = bank.alive.cpu()
    candidates = torch.ones_like(alive) if candidates is None else candidates
    whole = pool_size(alive, torch.tensor(costs, dtype=torch.float64), size.scope)
    fits = size.budget is not None and float(whole) <= size.budget
    health = _health(openness[candidates], is_open[candidates], alive[candidates], size.mode, fits)
    events = (health, *_without_slots(structure))
    return Finalised(structure, values, rows, events)


def _shared(values: list[float]) -> float:
    """What one module has in place of the values that tasks have for it."""
    return 1.0 if min(values) < 0 < max(values) else sum(values) / len(values)


def _health(openness: Tensor, is_open: Tensor, alive: Tensor, mode: str, fits: bool) -> Event:
    """How the gates stood at the end, before anything was pruned that was not closed for good already."""
    if not bool(is_open.any()):
        then = {
            "penalty": "the strongest slot, or the first of equals, was kept. Lower the sparsity weight.",
            "budget": "the budget was filled by openness all the same. Raise the budget, or the warm-up.",
        }[mode]
        return Event("gate_health.all_closed", f"Every gate closed; {then}", "warning")
    if bool(is_open.all()) and bool(alive.all()):
        if fits:
            text = "The whole pool fits the budget, so that nothing was chosen. Widen the pool, or lower the budget."
            return Event("gate_health.all_open", text, "warning")
        more = "the gates' learning rate, or the number of steps"
        cure = f"Raise the sparsity weight, {more}" if mode == "penalty" else f"Raise {more}"
        return Event("gate_health.all_open", f"No gate closed by itself. {cure}.", "warning")
    undecided = float(((openness > _CLEAR) & (openness < 1 - _CLEAR))[alive].float().mean())
    opened = f"{int(is_open.sum())} of {is_open.numel()} gates open"
    return Event("gate_health.mixed", f"{opened}; {undecided:.0%} undecided (openness between 5 % and 95 %).")


def _without_slots(structure: Structure) -> tuple[Event, ...]:
    """A warning for each task that passes no module: it is a linear probe on the backbone."""
    bare = [task for task, slots in structure.paths if not slots]
    return tuple(
        Event("gate_health.task_without_slots", f"Task {task} has no open slot: only its head was trained.", "warning")
        for task in bare
    )

"""Contract of adapter kinds in backbones; each check raises AssertionError.

`check_kind(name, family)`: identity at the start, z = 0 equals the backbone, counted parameters and multiply-adds equal
the declared ones, gradients reach gates and weights, an export read back is the same, a bf16 backbone too, detaching
leaves no trace. `check_gates_in(gate, family)`: gates learn beside modules, and folding in their values is exact.
`check_combination(kind, gate, family)`: what can differ between triples, in one forward and one backward pass.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from slasearch.adapters.attach import attach
from slasearch.adapters.export import (
    CARD_FILE,
    TENSOR_FILE,
    AdapterCard,
    BackboneCard,
    TaskCard,
    parse_adapter,
    restore_pool,
    write_adapter,
)
from slasearch.adapters.gates.bank import GateBank
from slasearch.adapters.pool import Pool, candidate_slots
from slasearch.adapters.sites import host_shapes, layers_of
from slasearch.records import GateSpec, PoolSpec, Structure
from slasearch.testing.modules import check_module, disturb_module
from slasearch.testing.tiny import run_tiny, tiny_backbone

__all__ = ["check_combination", "check_gates_in", "check_kind", "disturb_weights", "tiny_pool"]

_TASKS = ("a", "b")
_TASK_OF = torch.tensor([0, 1, 0])
_TOKENS = 3 * 5
"""What `run_tiny` runs: three examples of five tokens."""
_LINEAR = ("lora", "ia3", "scale", "bias")


def disturb_weights(pool: Pool, *, seed: int = 1, scale: float = 0.3) -> None:
    """Moves every weight of a pool away from its start, as training would."""
    disturb_module(pool, torch.Generator().manual_seed(seed), scale)


def tiny_pool(
    model: nn.Module, kinds: tuple[str, ...], ranks: tuple[int, ...] = (2,), tasks: tuple[str, ...] = _TASKS
) -> Pool:
    """Modules of some kinds at every place of a tiny backbone where they may sit."""
    shapes = host_shapes(model)
    slots = candidate_slots(PoolSpec(tuple(shapes), kinds, ranks), layers=len(layers_of(model)))
    return Pool(slots, shapes, tasks, generator=torch.Generator().manual_seed(0))


@functools.cache
def _backbone(family: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Tensor]:
    """One backbone a process, and its hidden states; checks leave it as it was."""
    model = tiny_backbone(family, dtype=dtype)
    return model, run_tiny(model)


def _loss(hidden: Tensor) -> Tensor:
    """A random direction: a sum of squares would be constant after a layer norm."""
    direction = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(5))
    return (hidden.float() * direction).sum()


def check_kind(name: str, family: str) -> None:
    """Every guarantee of a kind on one model family."""
    check_module(name)
    model, plain = _backbone(family)
    pool = tiny_pool(model, (name,), (1, 3))
    with attach(model, pool):
        _check_open_and_closed(model, pool, plain)
        _check_learning(model, pool)
        _check_cost(model, pool)
    assert torch.equal(run_tiny(model), plain), "detaching must leave the backbone as it was"
    _check_reload(model, pool, family)
    half, plain_half = _backbone(family, torch.bfloat16)
    pool = tiny_pool(half, (name,), (1, 3))
    with attach(half, pool):
        _check_open_and_closed(half, pool, plain_half)
    assert {weight.dtype for weight in pool.parameters()} == {torch.float32}, "modules must keep fp32 weights"


@torch.no_grad()
def _check_open_and_closed(model: nn.Module, pool: Pool, plain: Tensor) -> None:
    slots = len(pool.slots)
    pool.route(_TASK_OF, None)
    start = run_tiny(model)
    assert start.dtype == plain.dtype, "the backbone's number format must stay"
    assert torch.equal(start, plain), "an untrained module must be the identity"
    disturb_weights(pool)
    pool.route(_TASK_OF, torch.zeros(2, slots))
    assert torch.equal(run_tiny(model), plain), "closed gates must equal the backbone exactly"
    pool.route(_TASK_OF, torch.tensor([[1.0], [0.0]]).expand(2, slots))
    mixed = run_tiny(model)
    assert torch.equal(mixed[1], plain[1]), "an example whose task is closed must not see the modules"
    assert not torch.allclose(mixed[0], plain[0], atol=1e-3), "an example whose task is open must see them"


def _check_learning(model: nn.Module, pool: Pool) -> None:
    """Every gate and slot learns, and every parameter of the kind in some slot (a rectifier may be dead by chance)."""
    gates = torch.full((2, len(pool.slots)), 0.5, requires_grad=True)
    pool.route(_TASK_OF, gates)
    _loss(run_tiny(model)).backward()  # type: ignore[no-untyped-call]
    assert gates.grad is not None
    assert bool((gates.grad != 0).all()), "gradients must reach every gate"
    reached: dict[str, bool] = {}
    for slot in pool.slots:
        grads = {n: p.grad for module in pool.modules_of(slot) for n, p in module.named_parameters()}
        alive = {n: grad is not None and bool((grad != 0).any()) for n, grad in grads.items()}
        assert any(alive.values()), f"gradients must reach {slot.name}"
        reached = {n: alive[n] or reached.get(n, False) for n in alive}
    assert all(reached.values()), f"gradients must reach every parameter, got {reached}"


@torch.no_grad()
def _check_cost(model: nn.Module, pool: Pool) -> None:
    declared = sum(cost.parameters for cost in pool.costs.values())
    assert pool.parameter_count() == declared, f"declared {declared} parameters, found {pool.parameter_count()}"
    macs = sum(cost.macs_per_token for cost in pool.costs.values())
    found = []
    for structure in (Structure((("a", pool.slots), ("b", pool.slots))), Structure((("a", ()), ("b", ())))):
        pool.route_paths(_TASK_OF, structure)
        with FlopCounterMode(display=False) as flops:
            run_tiny(model)
        found.append(flops.get_total_flops() / (2 * _TOKENS))
    assert found[0] - found[1] == macs, f"declared {macs} multiply-adds a token, found {found[0] - found[1]}"


@torch.no_grad()
def _check_reload(model: nn.Module, pool: Pool, family: str) -> None:
    """Written and read back, a pool gives the same hidden states."""
    names, hidden = tuple(slot.name for slot in pool.slots), int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]
    card = AdapterCard(
        format_version=1,
        slasearch_version="0",
        backbone=BackboneCard(
            id="path:tiny",
            fingerprint="0",
            family=family,
            layers=len(layers_of(model)),
            hidden=hidden,
            pooling="mean",
            precision="fp32",
        ),
        tasks=tuple(TaskCard(name=t, labels=("n", "p"), metric="accuracy", max_tokens=8, slots=names) for t in _TASKS),
        parameters=pool.parameter_count(),
    )
    files = write_adapter(card, pool, {task: nn.Linear(hidden, 2) for task in _TASKS})
    restored, _ = restore_pool(model, *parse_adapter(files[CARD_FILE], files[TENSOR_FILE], "memory"))
    outputs = []
    for modules in (pool, restored):
        with attach(model, modules):
            modules.route(_TASK_OF, None)
            outputs.append(run_tiny(model))
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5)


def _bank(gate: str, pool: Pool) -> GateBank:
    spec = GateSpec(family=gate, learning_rate=0.05, warm_up=0.1, initial_openness=0.6, threshold=0.5)
    costs = torch.tensor([pool.costs[slot].parameters for slot in pool.slots])
    bank = GateBank(spec, len(pool.tasks), costs)
    bank.family.set_target(float(costs.sum()) / 2, "union")
    return bank


def check_combination(kind: str, gate: str, family: str) -> None:
    """One step after warm-up, task `b` closed for good: exactness, and gradients of gates and weights."""
    model, plain = _backbone(family)
    pool = tiny_pool(model, (kind,))
    disturb_weights(pool)
    bank = _bank(gate, pool)
    bank.close(torch.tensor([[True], [False]]).expand(2, len(pool.slots)))
    z = bank.sample(torch.Generator().manual_seed(0))
    z.retain_grad()
    with attach(model, pool):
        pool.route(_TASK_OF, z)
        hidden = run_tiny(model)
        _loss(hidden).backward()  # type: ignore[no-untyped-call]
    assert torch.equal(hidden[1], plain[1]), "a task whose gates are closed for good must not see the modules"
    assert bool((z[1] == 0).all())
    assert z.grad is not None
    assert bool((z.grad[0] != 0).all()), "the loss must depend on every gate"
    moved = bank.family.logits.grad
    assert moved is not None
    assert bool(moved.isfinite().all() and (moved[0] != 0).any() and (moved[1] == 0).all()), "gates must learn if alive"
    for slot, value in zip(pool.slots, z[0].tolist(), strict=True):
        grads = [p.grad for module in pool.modules_of(slot) for p in module.parameters() if p.grad is not None]
        assert any(bool((g != 0).any()) for g in grads) == (value != 0), (
            f"{slot.name}: weights learn if the gate is open"
        )


def check_gates_in(gate: str, family: str) -> None:
    """Three steps of gates and modules together, then the better half stays with its values folded in."""
    model, plain = _backbone(family)
    pool = tiny_pool(model, _LINEAR, (1,), tasks=("a",))
    disturb_weights(pool, scale=0.1)
    bank = _bank(gate, pool)
    before = bank.family.logits.detach().clone()
    optimisers = (bank.family.optimizer(0.05), torch.optim.SGD(pool.parameters(), lr=1e-3))
    task_index, noise = torch.zeros(3, dtype=torch.long), torch.Generator().manual_seed(0)
    with attach(model, pool):
        for step in range(3):
            bank.family.set_progress(step / 3)
            pool.route(task_index, bank.sample(noise))
            for optimiser in optimisers:
                optimiser.zero_grad()
            _loss(run_tiny(model)).backward()  # type: ignore[no-untyped-call]
            for optimiser in optimisers:
                optimiser.step()
            bank.family.after_step(0.05, 1e-3)
        assert bool((bank.family.logits != before).any()), "gates must move"
        strength = bank.strength()
        bank.close(strength >= strength.median())
        with torch.no_grad():
            pool.route(task_index, bank.value())
            gated = run_tiny(model)
            kept = [slot for slot, alive in zip(pool.slots, bank.alive[0].tolist(), strict=True) if alive]
            pool.keep(
                Structure((("a", tuple(kept)),)), dict(zip(pool.candidates, bank.value()[0].tolist(), strict=True))
            )
            torch.testing.assert_close(run_tiny(model), gated, rtol=1e-4, atol=1e-4)
    assert torch.equal(run_tiny(model), plain), "detaching must leave the backbone as it was"

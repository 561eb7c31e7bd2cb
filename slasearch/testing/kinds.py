"""Contract of an adapter kind: call `check_kind(name, family)` for each model family; it raises AssertionError.

Identity at the start, z = 0 equals the backbone, counted parameters and multiply-adds equal the declared ones,
gradients reach gates and weights once the modules are warm, `fold(z)` is z·Δ, detaching leaves no trace.
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from slasearch.adapters.attach import attach
from slasearch.adapters.kinds._base import AdapterModule, KindEntry, SlotContext
from slasearch.adapters.pool import Pool, candidate_slots
from slasearch.adapters.sites import HostShape, host_shapes, layers_of
from slasearch.records import PoolSpec
from slasearch.registry import KINDS
from slasearch.testing.tiny import run_tiny, tiny_backbone

__all__ = ["check_kind", "disturb_weights"]

_HOST = HostShape(d_in=12, d_out=12)
_TASK_OF = torch.tensor([0, 1, 0])


def disturb_weights(pool: Pool, *, seed: int = 1, scale: float = 0.3) -> None:
    """Moves every weight of a pool away from its start, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in pool.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * scale)


def check_kind(name: str, family: str) -> None:
    """Every guarantee of a kind on one model family."""
    entry: KindEntry = KINDS.get(name)
    check_module(entry)
    model = tiny_backbone(family)
    spec = PoolSpec(sites=entry.sites, kinds=(name,), ranks=(1, 3))
    pool = Pool(
        candidate_slots(spec, layers=len(layers_of(model))),
        host_shapes(model),
        ("a", "b"),
        generator=torch.Generator().manual_seed(0),
    )
    plain = run_tiny(model)
    _check_attached(model, pool, plain)
    assert torch.equal(run_tiny(model), plain), "detaching must leave the backbone as it was"


def _check_attached(model: torch.nn.Module, pool: Pool, plain: torch.Tensor) -> None:
    slots = len(pool.slots)
    with attach(model, pool):
        pool.route(_TASK_OF, None)
        assert torch.equal(run_tiny(model), plain), "an untrained module must be the identity"
        disturb_weights(pool)
        pool.route(_TASK_OF, torch.zeros(2, slots))
        assert torch.equal(run_tiny(model), plain), "closed gates must equal the backbone exactly"
        pool.route(_TASK_OF, torch.tensor([[1.0], [0.0]]).expand(2, slots))
        mixed = run_tiny(model)
        assert torch.equal(mixed[1], plain[1]), "an example whose task is closed must not see the modules"
        assert not torch.allclose(mixed[0], plain[0], atol=1e-4), "an example whose task is open must see them"
        gates = torch.full((2, slots), 0.5, requires_grad=True)
        pool.route(_TASK_OF, gates)
        run_tiny(model).square().sum().backward()  # type: ignore[no-untyped-call]
        assert gates.grad is not None
        assert bool((gates.grad != 0).all()), "gradients must reach every gate"
        _check_gradients(pool)
    declared = sum(cost.parameters for cost in pool.costs.values())
    assert pool.parameter_count() == declared, f"declared {declared} parameters, found {pool.parameter_count()}"


def _check_gradients(pool: Pool) -> None:
    """Every slot learns, and so does every parameter of the kind in some slot (one rectifier may be dead by chance)."""
    reached: dict[str, bool] = {}
    for slot in pool.slots:
        grads = {n: p.grad for module in pool.modules_of(slot) for n, p in module.named_parameters()}
        alive = {n: grad is not None and bool((grad != 0).any()) for n, grad in grads.items()}
        assert any(alive.values()), f"gradients must reach {slot.name}"
        reached = {n: alive[n] or reached.get(n, False) for n in alive}
    assert all(reached.values()), f"gradients must reach every parameter, got {reached}"


def check_module(entry: KindEntry) -> None:
    """Cost, determinism and folding of one module by itself."""
    for rank in (1, 4) if entry.ranked else (1,):
        module = entry.module(_HOST, rank, generator=torch.Generator().manual_seed(3))
        again = entry.module(_HOST, rank, generator=torch.Generator().manual_seed(3))
        for weight, other in zip(module.parameters(), again.parameters(), strict=True):
            assert torch.equal(weight, other), "the same generator must give the same weights"
        cost = entry.module.cost(_HOST, rank)
        counted = sum(weight.numel() for weight in module.parameters())
        assert counted == cost.parameters, f"declared {cost.parameters} parameters, found {counted}"
        x, y = torch.randn(2, 1, 7, 12, generator=torch.Generator().manual_seed(4)).unbind()
        with FlopCounterMode(display=False) as flops:
            module.delta(x, y, SlotContext())
        assert flops.get_total_flops() == 2 * 7 * cost.macs_per_token, "declared multiply-adds must equal the real ones"
        _check_fold(module, x, y)


def _check_fold(module: AdapterModule, x: torch.Tensor, y: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator))
        before = module.delta(x, y, SlotContext()).clone()
        module.fold(0.25)
        torch.testing.assert_close(module.delta(x, y, SlotContext()), 0.25 * before, rtol=1e-5, atol=1e-6)

"""Contract of one adapter module by itself, without a backbone: call `check_module(name)`; it raises AssertionError."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from slasearch.adapters.kinds._base import AdapterModule, KindEntry, SlotContext
from slasearch.adapters.sites import Host, HostShape
from slasearch.registry import KINDS

__all__ = ["check_module", "disturb_module"]

_HOST = HostShape(d_in=12, d_out=8, heads=4)
_EXAMPLES, _TOKENS = 3, 7


def disturb_module(module: nn.Module, generator: torch.Generator, scale: float = 0.3) -> None:
    """Moves every weight away from its start, as training would."""
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * scale)


@functools.cache
def check_module(name: str) -> None:
    """Every guarantee of a kind that needs no backbone, at every site's sort of host; checked once a process."""
    entry: KindEntry = KINDS.get(name)
    for host in {entry.shape_at(site, _HOST) for site in entry.sites}:
        x, y, context = _values(host)
        for rank in (1, 4) if entry.ranked else (1,):
            module = _made(entry, host, rank)
            _check_start(entry, module, host, rank)
            _check_cost(entry, module, host, rank)
            disturb_module(module, torch.Generator().manual_seed(rank))
            _check_fold(module, x, y, context)
        _check_combine(entry, host)
        _check_separable(entry, host)
        _check_aimable(entry, host)
    if entry.mergeable:
        _check_merge(entry)


def _made(entry: KindEntry, host: HostShape, rank: int, seed: int = 3) -> AdapterModule:
    module = entry.module(host, rank, generator=torch.Generator().manual_seed(seed))
    if entry.reads_weight:
        module.bind(Host(_linear(host)))
    return module


def _linear(host: HostShape) -> nn.Linear:
    """A linear host; the same for the same widths."""
    module, generator = nn.Linear(host.d_in, host.d_out), torch.Generator().manual_seed(8)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return module


def _values(host: HostShape) -> tuple[Tensor, Tensor, SlotContext]:
    """Input, output and context; at an input host, where both are the same, too."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(_EXAMPLES, _TOKENS, host.d_in, generator=generator)
    y = x if host.d_in == host.d_out else torch.randn(_EXAMPLES, _TOKENS, host.d_out, generator=generator)
    return x, y, SlotContext(query=torch.randn(_EXAMPLES, _TOKENS, host.d_out, generator=generator))


def _check_start(entry: KindEntry, module: AdapterModule, host: HostShape, rank: int) -> None:
    for weight, other in zip(module.parameters(), _made(entry, host, rank).parameters(), strict=True):
        assert torch.equal(weight, other), "the same generator must give the same weights"
    delta = module.delta(*_values(host))
    assert bool((delta == 0).all()), "Δ must be exactly zero at the start"
    (gradients,) = [torch.autograd.grad(delta.sum(), list(module.parameters()), allow_unused=True)]
    assert any(g is not None and bool((g != 0).any()) for g in gradients), "a weight must have a gradient at the start"


def _check_cost(entry: KindEntry, module: AdapterModule, host: HostShape, rank: int) -> None:
    cost = entry.module.cost(host, rank)
    counted = sum(weight.numel() for weight in module.parameters())
    assert counted == cost.parameters, f"declared {cost.parameters} parameters, found {counted}"
    with FlopCounterMode(display=False) as flops:
        module.delta(*_values(host))
    found = flops.get_total_flops() / (2 * _EXAMPLES * _TOKENS)
    assert found == cost.macs_per_token, f"declared {cost.macs_per_token} multiply-adds a token, found {found}"


@torch.no_grad()
def _check_fold(module: AdapterModule, x: Tensor, y: Tensor, context: SlotContext) -> None:
    before = module.delta(x, y, context).clone()
    folded = copy.deepcopy(module)
    folded.fold(0.25)
    torch.testing.assert_close(folded.delta(x, y, context), 0.25 * before, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def _check_combine(entry: KindEntry, host: HostShape) -> None:
    """`combine` is Σ z·Δ for one to three modules, with coefficients for each example and without."""
    x, y, context = _values(host)
    generator = torch.Generator().manual_seed(6)
    modules = [_made(entry, host, rank) for rank in (1, 4, 2)]
    for module in modules:
        disturb_module(module, generator)
    z = torch.rand(3, _EXAMPLES, 1, 1, generator=generator).unbind()
    for count, mask in itertools.product((1, 2, 3), itertools.product((True, False), repeat=3)):
        coefficients = [one if gated else None for one, gated in zip(z, mask, strict=True)][:count]
        total = y + entry.module.combine(modules[:count], coefficients, x, y, context)
        expected = y + sum(_times(one, m.delta(x, y, context)) for one, m in zip(coefficients, modules, strict=False))
        torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)


def _times(z: Tensor | None, delta: Tensor) -> Tensor:
    return delta if z is None else z * delta


def _check_aimable(entry: KindEntry, host: HostShape) -> None:
    """A kind that says `aimable` has the weight that is turned, and changes nothing at the start whatever it is."""
    if entry.aimable:
        rank, (x, y, context) = 3, _values(host)
        module = _made(entry, host, rank)
        down = module.get_parameter("down")
        assert down.shape == (rank, host.d_in), "an aimable kind must have a weight `down`, r x d_in"
        with torch.no_grad():
            down.copy_(torch.ones(rank, host.d_in))
        assert not module.delta(x, y, context).any(), "Δ must be 0 at the start whatever `down` is"


@torch.no_grad()
def _check_separable(entry: KindEntry, host: HostShape) -> None:
    """A kind says `separable` exactly if rank r is r modules of rank 1, with the weights split and the cost r times."""
    rank = 5
    module, single = _made(entry, host, rank), _made(entry, host, 1)
    disturb_module(module, torch.Generator().manual_seed(7))
    one, whole = entry.module.cost(host, 1), entry.module.cost(host, rank)
    adds_up = (rank * one.parameters, rank * one.macs_per_token) == (whole.parameters, whole.macs_per_token)
    assert entry.separable == (entry.ranked and adds_up), "separable must say whether cost is r times that of rank 1"
    if entry.separable:
        x, y, context = _values(host)
        parts = [copy.deepcopy(single) for _ in range(rank)]
        for name, weight in module.named_parameters():
            axis = _rank_axis(weight.shape, single.get_parameter(name).shape)
            for part, piece in zip(parts, torch.split(weight, 1, axis), strict=True):
                part.get_parameter(name).copy_(piece)
        total = torch.stack([part.delta(x, y, context) for part in parts]).sum(0)
        torch.testing.assert_close(total, module.delta(x, y, context), rtol=1e-5, atol=1e-5)


def _rank_axis(shape: Sequence[int], single: Sequence[int]) -> int:
    """The axis along which a weight grows with the rank."""
    (axis,) = [i for i, (many, one) in enumerate(zip(shape, single, strict=True)) if many != one]
    return axis


@torch.no_grad()
def _check_merge(entry: KindEntry) -> None:
    """A linear host with the merged weights gives what the host and the module beside it give."""
    linear = _linear(_HOST)
    weight, bias = linear.weight, linear.bias
    x = _values(_HOST)[0]
    kept = weight.clone(), bias.clone()
    for site in entry.sites:
        module = _made(entry, entry.shape_at(site, _HOST), 2)
        disturb_module(module, torch.Generator().manual_seed(9))
        if site in entry.input_sites:
            changed = x + module.delta(x, x, SlotContext())
            expected, merged = nn.functional.linear(changed, weight, bias), module.merge_input(weight, bias)
        else:
            y = nn.functional.linear(x, weight, bias)
            expected, merged = y + module.delta(x, y, SlotContext()), module.merge(weight, bias)
        torch.testing.assert_close(nn.functional.linear(x, *merged), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(weight, kept[0]), "merging must leave its arguments as they are"
    assert torch.equal(bias, kept[1]), "merging must leave its arguments as they are"

"""Merging: a pool of linear modules becomes part of the backbone's own weights, and costs nothing any more.

    W' = diag(1 + g) · (W + B·A) · diag(1 + l),    b' = (1 + g) ⊙ b + shift

with l of the stage `input` and g of the stage `scale`. The modules of one stage all start from the same weights, as in
a forward pass, so what several of them change is added. All of it is computed in fp32 and cast to the host's number
format at the end. Hidden states then equal the attached pool's: to 1e-4 in fp32; in bf16, where each merged weight is
rounded once more (a relative error of up to 2⁻⁹) and an attached pool keeps its modules in fp32, to 2 % of their norm
in the tiny models of every family.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from slasearch.adapters.kinds._base import AdapterModule, Stage
from slasearch.adapters.pool import Pool
from slasearch.adapters.sites import Host, hosts_of
from slasearch.errors import ArtifactError
from slasearch.records import Slot
from slasearch.registry import KINDS

__all__ = ["merge_into"]

_ORDER: tuple[Stage, ...] = ("delta", "input", "scale", "bias")
"""Deltas see the scaled input, so its scale multiplies their columns too."""

Weights = tuple[Tensor, Tensor | None]
"""A weight, `d_out x d_in`, and a bias, `d_out`, in fp32."""


def merge_into(model: nn.Module, pool: Pool) -> None:
    """Adds every module of a pool to the weights of its host, for good. Detach the pool first.

    A merged host gets new tensors: another module that was tied to the old ones keeps them as they are.

    Args:
        model: The backbone, on the pool's device.
        pool: A finalised pool: values are folded in, and every slot is open for all that the model will be used for.

    Raises:
        ArtifactError: A kind cannot be merged, a host is not linear or serves several layers, or a shift meets a host
            without bias. The model is as it was.
        BackboneError: A slot's layer or site does not exist in this model.
    """
    uses = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    merged: dict[nn.Module, Weights] = {}
    for layer, site in pool.places:
        slots = [slot for slot in pool.slots if (slot.layer, slot.site) == (layer, site)]
        for part, host in enumerate(hosts_of(model, layer, site)):
            pool.bind(layer, site, part, host)
            for slot in slots:
                _check(slot, host, uses[id(host.module)])
            if host.module not in merged:
                merged[host.module] = _read(host.module)
            _merge_host(pool, slots, part, host, merged[host.module])
    for module, weights in merged.items():
        _write(module, *weights)


def _check(slot: Slot, host: Host, uses: int) -> None:
    """Refuses what cannot be merged, before anything is changed."""
    entry = KINDS.get(slot.kind)
    if not entry.mergeable:
        kinds = ", ".join(name for name in KINDS.names() if KINDS.get(name).mergeable)
        raise ArtifactError(
            f"slot {slot.name}: expected a kind that can be merged ({kinds}), got {slot.kind}. Export it unmerged."
        )
    whole_input = host.whole or entry.stage_at(slot.site) != "input"
    if not (isinstance(host.module, (nn.Linear, Conv1D)) and host.module.weight.is_floating_point() and whole_input):
        raise ArtifactError(
            f"slot {slot.name}: expected a linear host with weights to merge into, got {type(host.module).__name__} "
            f"at {slot.site}. Export it unmerged, or search without this site."
        )
    if uses > 1:
        raise ArtifactError(
            f"slot {slot.name}: expected a host of its own, got one that {uses} layers share. Export it unmerged."
        )


def _read(module: nn.Module) -> Weights:
    """Copies of a host's weights; a Conv1D keeps its own as `d_in x d_out`."""
    kept: Tensor = module.get_parameter("weight").detach()
    bias = None if module.bias is None else module.get_parameter("bias").detach().float().clone()
    return (kept.T if isinstance(module, Conv1D) else kept).float().clone(), bias


def _write(module: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    """Gives a host its merged weights as new parameters, in its own number format."""
    weight = weight.T.contiguous() if isinstance(module, Conv1D) else weight
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            old: nn.Parameter = getattr(module, name)
            setattr(module, name, nn.Parameter(value.to(old.dtype), requires_grad=old.requires_grad))


def _merge_host(pool: Pool, slots: Sequence[Slot], part: int, host: Host, weights: Weights) -> None:
    """Merges one host's modules into `weights` of its module, of which a slice owns some rows."""
    rows = slice(host.start, host.stop)
    weight, bias = weights[0][rows], None if weights[1] is None else weights[1][rows]
    for stage in _ORDER:
        staged = [slot for slot in slots if KINDS.get(slot.kind).stage_at(slot.site) == stage]
        modules = [(slot, pool.modules_of(slot)[part]) for slot in staged]
        weight, bias = _merge_stage(stage, modules, weight, bias)
    weights[0][rows] = weight
    if weights[1] is not None and bias is not None:
        weights[1][rows] = bias


def _merge_stage(
    stage: Stage, modules: Sequence[tuple[Slot, AdapterModule]], weight: Tensor, bias: Tensor | None
) -> Weights:
    """The weights plus what each module of a stage changes in them."""
    merged, shifted = weight, bias
    for slot, module in modules:
        merge = module.merge_input if stage == "input" else module.merge
        new_weight, new_bias = merge(weight, bias)
        merged = merged + (new_weight - weight)
        if new_bias is not None:
            if bias is None or shifted is None:
                raise ArtifactError(
                    f"slot {slot.name}: expected a host with a bias to merge into, got {slot.site} without one. "
                    "Export it unmerged, or search without this kind."
                )
            shifted = shifted + (new_bias - bias)
    return merged, shifted

"""LoRA-XS (Bałazy et al. 2024, arXiv 2405.17604): a small matrix between the host's own leading singular vectors.

    Δ(x) = U_r · R · Σ_r · V_rᵀ · x,    W ≈ U_r · Σ_r · V_rᵀ (truncated SVD of the host's weight),  R ~ N(0, 10⁻⁵²)

Only R (r x r) is trained and exported: the rest is computed again from the backbone. At the places of the authors'
GLUE runs: q, v, attn.out and ffn.out of every layer. The package peft does not have the method.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slasearch.adapters.sites import Host
from slasearch.records import TrialSpec
from slasearch.trial.backbone import Backbone
from slasearch.trial.controls._base import FOR_ALL_TASKS, Adaptation, ModelControl, register_control
from slasearch.trial.controls.copies import host_weight, hosts, private_copy
from slasearch.trial.controls.dealing import AT_LEAST, deal

__all__ = ["LoraXs"]

_SITES = ("attn.v", "attn.q", "attn.out", "ffn.out")
_START = 1e-5
"""Standard deviation of R at the start."""


@register_control(
    "lora_xs",
    summary="LoRA-XS on q, v, attn.out and ffn.out of every layer: an r x r matrix between the host's leading singular "
    "vectors; an export holds that matrix alone, the vectors are computed again from the backbone. "
    f"{FOR_ALL_TASKS}",
    source="Bałazy et al. 2024, arXiv 2405.17604; ours after the authors' code, peft does not have it",
    equation="Δ(x) = U_r·R·Σ_r·V_rᵀ·x, W ≈ U_r·Σ_r·V_rᵀ, R ≈ 0 at the start",
    size=AT_LEAST.format("rank of one matrix"),
)
class LoraXs(ModelControl):
    """Ranks are dealt to the hosts in turn, so that they differ by at most one where no host is too narrow."""

    def adapt(self, backbone: Backbone, spec: TrialSpec, *, steps: int, seed: int) -> Adaptation:
        """Hooks in a copy of the backbone; `spec.control_size` is what all R together come to."""
        own = private_copy(backbone)
        found = dict(hosts(own.model, own.shapes.layers, _SITES))
        upwards = sorted(found, key=lambda name: -int(name.split(":")[0]))
        ranks = deal(
            upwards,
            spec.control_size or 0,
            lambda _, rank: rank**2,
            most=lambda name: min(host_weight(found[name]).shape),
        )
        source = torch.Generator().manual_seed(seed)
        cores = {name: _Core(found[name], rank, generator=source) for name, rank in sorted(ranks.items())}
        for core in cores.values():
            core.attach()
        return _LoraXsAdaptation(own, cores)


class _Core:
    """R of one host, and the frozen maps around it: `into` is `r x d_in` (Σ_r·V_rᵀ), `out` is `d_out x r` (U_r)."""

    def __init__(self, host: Host, rank: int, *, generator: torch.Generator) -> None:
        weight = host_weight(host)
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        self._host = host
        self._into = values[:rank, None] * right[:rank]
        self._out = left[:, :rank]
        start = torch.empty(rank, rank).normal_(0.0, _START, generator=generator)
        self.matrix = nn.Parameter(start.to(weight.device))

    def attach(self) -> None:
        """Adds Δ to the host's output from now on."""
        self._host.module.register_forward_hook(self._add)

    def _add(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        inner = nn.functional.linear(nn.functional.linear(args[0].float(), self._into), self.matrix)
        delta = nn.functional.linear(inner, self._out)
        after = 0 if self._host.stop is None else output.shape[-1] - self._host.stop
        return output + nn.functional.pad(delta, (self._host.start, after)).to(output.dtype)


class _LoraXsAdaptation(Adaptation):
    def __init__(self, backbone: Backbone, cores: dict[str, _Core]) -> None:
        self.backbone, self._cores = backbone, cores

    def weights(self) -> dict[str, list[nn.Parameter]]:
        return {"lora_xs": [core.matrix for core in self._cores.values()]}

    def exported_parameters(self) -> int:
        return sum(core.matrix.numel() for core in self._cores.values())

    def tensors(self) -> dict[str, Tensor]:
        return {name: core.matrix for name, core in self._cores.items()}

"""AdapterFusion (Pfeiffer et al. 2020, arXiv 2005.00247): adapters of all tasks, then attention over their outputs.

    first half of the steps:   h' = y + Δ_t(y)                               each task's own adapter learns
    second half, for task m:   h' = y + Σ_t s_t·V_m·Δ_t(y),  s = softmax_t(⟨Q_m·y, K_m·Δ_t(y)⟩)   Q, K, V learn

y is the output of ffn.out in every layer, Δ_t a bottleneck of width d/16. V starts as the identity plus small noise and
is held to it by 0.01·Σ‖I − V‖², as in the authors' code. Adapters are frozen in the second half.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slasearch.adapters.kinds._base import SlotContext
from slasearch.adapters.kinds.bottleneck import Bottleneck
from slasearch.adapters.sites import HostShape, hidden_states
from slasearch.errors import ConfigError
from slasearch.records import Event, TrialSpec
from slasearch.trial.backbone import Backbone
from slasearch.trial.controls._base import Adaptation, ModelControl, register_control
from slasearch.trial.controls.copies import hosts, private_copy

__all__ = ["Fusion", "FusionAdaptation"]

_SITE = "ffn.out"
_REDUCTION = 16
_HELD = 0.01
_RATE = 0.5


@register_control(
    "fusion",
    summary="AdapterFusion over the study's tasks: a bottleneck for each task after ffn.out of every layer, then, with "
    "the bottlenecks frozen, attention over all of them for each task, at half the rate; not kept. From two tasks on. "
    "Attention passes the bottlenecks of all tasks, also where tasks train independently",
    source="Pfeiffer et al. 2020, arXiv 2005.00247",
    equation="h' = y + Σ_t s_t·V_m·Δ_t(y), s = softmax_t(⟨Q_m·y, K_m·Δ_t(y)⟩), V ≈ I at the start",
    size="its own",
)
class Fusion(ModelControl):
    """Half of the steps for each stage; the schedule of the learning rate runs over both."""

    def adapt(self, backbone: Backbone, spec: TrialSpec, *, steps: int, seed: int) -> Adaptation:
        """Hooks in a copy of the backbone.

        Raises:
            ConfigError: There is one task only.
        """
        tasks = len(spec.tasks)
        if tasks < 2:
            raise ConfigError(["control fusion: expected two tasks or more to fuse, got 1. Leave this control out."])
        own = private_copy(backbone)
        source = torch.Generator().manual_seed(seed)
        shape = backbone.shapes.hosts[_SITE][0]
        places = dict(hosts(own.model, own.shapes.layers, (_SITE,)))
        fused = {name: _Fused(shape, tasks, generator=source).to(own.device) for name in places}
        for name, host in places.items():
            host.module.register_forward_hook(fused[name].add)
        return FusionAdaptation(own, fused, switch=max(1, steps // 2))


class _Attention(nn.Module):
    """Q, K and V of one task, each `d x d`."""

    def __init__(self, width: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.query, self.key = (
            nn.Parameter(torch.empty(width, width).normal_(0.0, 0.02, generator=generator)) for _ in range(2)
        )
        noise = torch.empty(width, width).normal_(0.0, 1e-6, generator=generator)
        self.value = nn.Parameter(torch.eye(width) + noise)

    def forward(self, y: Tensor, deltas: Tensor) -> Tensor:
        """`y`: `n x t x d`, `deltas`: `n x t x tasks x d` -> `n x t x d`."""
        scores = torch.einsum("ntd,ntkd->ntk", y @ self.query.T, deltas @ self.key.T)
        return torch.einsum("ntk,ntkd->ntd", scores.softmax(-1), deltas) @ self.value.T

    def off_identity(self) -> Tensor:
        """Σ‖I − V‖²."""
        return (torch.eye(len(self.value), device=self.value.device) - self.value).square().sum()


class _Fused(nn.Module):
    """Adapters of all tasks at one host, and each task's attention over them."""

    def __init__(self, shape: HostShape, tasks: int, *, generator: torch.Generator) -> None:
        super().__init__()
        rank = max(1, shape.d_out // _REDUCTION)
        self.adapters = nn.ModuleList(Bottleneck(shape, rank, generator=generator) for _ in range(tasks))
        self.attentions = nn.ModuleList(_Attention(shape.d_out, generator=generator) for _ in range(tasks))
        self.task_index: Tensor | None = None
        self.fusing = False

    def add(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        """A forward hook: the host's output with Δ of each example's task."""
        assert self.task_index is not None
        y = hidden_states(output).float()
        total = torch.zeros_like(y)
        for task in sorted(set(self.task_index.tolist())):
            rows = (self.task_index == task).nonzero().flatten().to(y.device, non_blocking=True)
            total = total.index_copy(0, rows, self._delta(task, y[rows]))
        return (y + total).to(output.dtype)

    def _delta(self, task: int, y: Tensor) -> Tensor:
        if not self.fusing:
            return self._adapted(task, y)
        deltas = torch.stack([self._adapted(other, y) for other in range(len(self.adapters))], dim=2)
        fused: Tensor = self.attentions[task](y, deltas)
        return fused

    def _adapted(self, task: int, y: Tensor) -> Tensor:
        adapter = self.adapters[task]
        assert isinstance(adapter, Bottleneck)
        return adapter.delta(y, y, SlotContext())


class FusionAdaptation(Adaptation):
    """The two stages.

    Args:
        backbone: The private copy.
        fused: Adapters and attentions by the name of their host.
        switch: The step after which the second stage begins.
    """

    def __init__(self, backbone: Backbone, fused: dict[str, _Fused], *, switch: int) -> None:
        self.backbone = backbone
        self.rates = {"fusion": _RATE}
        self._fused, self._switch = fused, switch

    def weights(self) -> dict[str, list[nn.Parameter]]:
        """Two groups: `adapters` and `fusion`."""
        parts = self._fused.values()
        return {
            "adapters": [weight for part in parts for weight in part.adapters.parameters()],
            "fusion": [weight for part in parts for weight in part.attentions.parameters()],
        }

    def exported_parameters(self) -> int:
        """Adapters and attentions of all tasks."""
        return sum(weight.numel() for group in self.weights().values() for weight in group)

    def tensors(self) -> dict[str, Tensor]:
        """None: 3·d² numbers for each layer and task, often more than the backbone has."""
        return {}

    def before_batch(self, task_index: Tensor) -> None:
        """Says which adapter, or attention, each example passes; looked at on the CPU, where nobody waits for it."""
        for part in self._fused.values():
            part.task_index = task_index

    def loss(self) -> Tensor | None:
        """What holds V to the identity, in the second stage."""
        if not any(part.fusing for part in self._fused.values()):
            return None
        attentions = [a for part in self._fused.values() for a in part.attentions if isinstance(a, _Attention)]
        return _HELD * torch.stack([attention.off_identity() for attention in attentions]).sum()

    def after_step(self, step: int, total: int) -> None:
        """Begins the second stage: adapters are frozen, attention passes all of them."""
        if step == self._switch:
            for part in self._fused.values():
                part.fusing = True
                part.adapters.requires_grad_(False)

    def events(self) -> tuple[Event, ...]:
        """When the second stage began."""
        text = f"Adapters learned in {self._switch} steps, then attention over them; neither was kept."
        return (Event("fusion.stages", text),)

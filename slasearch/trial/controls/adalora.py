"""AdaLoRA (Zhang et al. 2023, arXiv 2303.10512) as PEFT has it, its allocator called after every optimiser step.

    ΔW = (α/r₀) · B · diag(e) · A,    triplets (B_i, e_i, A_i) with the lowest smoothed sensitivity are masked: e_i = 0

PEFT's allocator counts triplets, a budget here counts parameters, and a triplet of a wide module costs more. So when
the last allocation is due, it is given the largest number of triplets whose parameters fit: its own ranking says which
they are. An export holds e folded into B.

Schedule and settings are those of the authors' GLUE scripts, as shares of the trial's steps.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import torch
from torch import Tensor, nn

from slasearch.errors import ConfigError
from slasearch.records import Event, TrialSpec
from slasearch.trial.backbone import Backbone
from slasearch.trial.controls._base import Adaptation, ModelControl, register_control
from slasearch.trial.controls.copies import linear_modules, load_peft, private_copy, seeded

__all__ = ["AdaLora", "AdaLoraAdaptation"]

_WARM_UP, _LAST = 0.12, 0.5
"""Shares of the steps before the first allocation, and after the last."""
_ALPHA = 32
_ORTHOGONAL = 0.1
_EXCESS = 1.5
"""Triplets at the start, as a multiple of those at the end."""
_NAME = "default"


@register_control(
    "adalora",
    summary="AdaLoRA on every linear map of every layer, by PEFT: from 12 % to 50 % of the steps ranks are pruned, "
    "from one and a half times the size or more",
    source="Zhang et al. 2023, arXiv 2303.10512, in the package peft; α = 32 and orthogonality 0.1 as in the authors' "
    "scripts",
    equation="Δ(x) = (α/r₀)·B·diag(e)·A·x, e = 0 at the start; loss + 0.1·mean(‖AAᵀ−I‖_F, ‖BᵀB−I‖_F)",
    size="never above the structure's, below it by less than the dearest triplet; one triplet at least",
)
class AdaLora(ModelControl):
    """See the module docstring."""

    def adapt(self, backbone: Backbone, spec: TrialSpec, *, steps: int, seed: int) -> Adaptation:
        """AdaLoRA modules in a copy of the backbone; `spec.control_size` is what the kept triplets may cost."""
        peft = load_peft(self.name)
        if steps < 2:
            raise ConfigError([f"control adalora: expected 2 steps or more, got {steps}. Raise training.steps."])
        own = private_copy(backbone)
        modules = linear_modules(own.model, own.shapes.layers)
        size = spec.control_size or 0
        mean_cost = sum(_triplet_cost(module) for module in modules.values()) / len(modules)
        wanted = max(1, round(size / mean_cost))
        warm_up = min(round(_WARM_UP * steps), steps - 2)
        config = peft.AdaLoraConfig(
            target_modules=list(modules),
            init_r=-(-int(_EXCESS * wanted + 1) // len(modules)),
            target_r=max(1, wanted // len(modules)),
            lora_alpha=_ALPHA,
            tinit=warm_up,
            tfinal=min(round(_LAST * steps), steps - 2 - warm_up),  # one step of allocation before the last at least
            deltaT=max(1, steps // 1000),
            total_step=steps,
            orth_reg_weight=_ORTHOGONAL,
            fan_in_fan_out=not any(isinstance(module, nn.Linear) for module in modules.values()),
        )
        with seeded(seed):
            tuner = peft.get_peft_model(own.model, config).base_model
        tuner.rankallocator.target_bgt = wanted
        return AdaLoraAdaptation(own, tuner, size)


class AdaLoraAdaptation(Adaptation):
    """PEFT's tuner at work.

    Args:
        backbone: The private copy, with PEFT's layers in it.
        tuner: PEFT's `AdaLoraModel`.
        size: Most parameters of the kept triplets.
    """

    def __init__(self, backbone: Backbone, tuner: Any, size: int) -> None:
        self.backbone = backbone
        self._tuner, self._size = tuner, size
        self._config = tuner.peft_config[_NAME]
        self._made = self.ranks()

    def _layers(self) -> dict[str, Any]:
        """PEFT's layers by path."""
        return {path: module for path, module in self._tuner.model.named_modules() if hasattr(module, "ranknum")}

    def ranks(self) -> dict[str, int]:
        """Triplets of each adapted module that are not masked, as of the latest allocation."""
        pattern = self._config.rank_pattern or {}
        return {
            path: sum(pattern.get(_key(path), [True] * len(layer.lora_E[_NAME])))
            for path, layer in self._layers().items()
        }

    def weights(self) -> dict[str, list[nn.Parameter]]:
        """A, e and B of every module."""
        found = [weight for name, weight in self._tuner.model.named_parameters() if ".lora_" in name]
        return {"adalora": found}

    def loss(self) -> Tensor:
        """The orthogonality term, which PEFT adds only where the model has a loss of its own."""
        layers = self._layers().values()
        terms = [_off_orthonormal(layer.lora_A[_NAME]) for layer in layers]
        terms += [_off_orthonormal(layer.lora_B[_NAME].T) for layer in layers]
        return _ORTHOGONAL * torch.stack(terms).mean()

    def after_step(self, step: int, total: int) -> None:
        """PEFT's allocation, which wants the gradients of this step; after the last one masked triplets are removed."""
        if step == self._config.total_step - self._config.tfinal:
            self._fit_target()
        self._tuner.update_and_allocate(step)
        if step == total:
            kept = self._config.rank_pattern
            self._tuner.resize_modules_by_rank_pattern(kept, _NAME)
            self._config.rank_pattern = {key: [True] * sum(mask) for key, mask in kept.items()}

    def _fit_target(self) -> None:
        """Sets the number of triplets to the largest whose parameters fit; one at least."""
        allocator = self._tuner.rankallocator
        counts = range(1, allocator.init_bgt)
        fitting = bisect_right(counts, self._size, key=self._cost_of)
        allocator.target_bgt = max(1, fitting)

    def _cost_of(self, triplets: int) -> int:
        """Parameters of the best triplets by the allocator's ranking, without masking any."""
        layers = self._layers()
        values = {path: layer.lora_E[_NAME].detach().clone() for path, layer in layers.items()}
        kept = self._tuner.rankallocator.mask_to_budget(self._tuner.model, triplets)
        for path, layer in layers.items():
            layer.lora_E[_NAME].detach().copy_(values[path])
        return sum(sum(kept[_key(path)]) * _triplet_cost(layer) for path, layer in layers.items())

    def exported_parameters(self) -> int:
        """d_in + d_out for each triplet that is left."""
        layers = self._layers()
        return sum(rank * _triplet_cost(layers[path]) for path, rank in self.ranks().items())

    def tensors(self) -> dict[str, Tensor]:
        """A and (α/r₀)·B·diag(e) of every module that has a triplet left."""
        tensors: dict[str, Tensor] = {}
        for path, layer in self._layers().items():
            down, values, up = layer.lora_A[_NAME], layer.lora_E[_NAME], layer.lora_B[_NAME]
            if len(values):
                scale = layer.scaling[_NAME] / (layer.ranknum[_NAME] + 1e-5)
                tensors |= {f"{path}.A": down, f"{path}.B": up * values.T * scale}
        return tensors

    def events(self) -> tuple[Event, ...]:
        """How many triplets were kept, and where."""
        kept, made = self.ranks(), sum(self._made.values())
        modules = sum(rank > 0 for rank in kept.values())
        text = (
            f"AdaLoRA kept {sum(kept.values())} of {made} triplets, in {modules} of {len(kept)} modules; "
            f"ranks from {min(kept.values())} to {max(kept.values())}."
        )
        return (Event("adalora.ranks", text),)


def _key(path: str) -> str:
    """A module's name in PEFT's rank pattern."""
    return f"{path}.lora_E.{_NAME}"


def _triplet_cost(module: Any) -> int:
    """d_in + d_out of a linear module, or of PEFT's layer around one."""
    return sum(getattr(module, "base_layer", module).weight.shape)


def _off_orthonormal(rows: Tensor) -> Tensor:
    """‖P·Pᵀ − I‖_F."""
    distance: Tensor = torch.linalg.matrix_norm(rows @ rows.T - torch.eye(len(rows), device=rows.device))
    return distance

"""AdaLoRA (Zhang et al. 2023, arXiv 2303.10512) as PEFT has it, its allocator called after every optimiser step.

    ΔW = (α/r₀) · B · diag(e) · A,    triplets (B_i, e_i, A_i) with the lowest smoothed sensitivity are masked: e_i = 0

PEFT's allocator counts triplets, a size here counts parameters, and a triplet of a wide module costs more. So the last
allocation is made here, by the importance that PEFT has kept: triplets stay from the most important on wherever they
still fit, and one more, the cheapest, if the size is not reached by them. An export holds e folded into B.

Schedule and settings are those of the authors' GLUE scripts, as shares of the trial's steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slasearch.adapters.budget import fill
from slasearch.errors import ConfigError
from slasearch.records import Event, TrialSpec
from slasearch.trial.backbone import Backbone
from slasearch.trial.controls._base import FOR_ALL_TASKS, Adaptation, ModelControl, register_control
from slasearch.trial.controls.copies import linear_modules, load_peft, private_copy, seeded
from slasearch.trial.controls.dealing import AT_LEAST

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
    "from one and a half times the size or more; the last time to the size in parameters. "
    f"{FOR_ALL_TASKS}",
    source="Zhang et al. 2023, arXiv 2303.10512, in the package peft; α = 32 and orthogonality 0.1 as in the authors' "
    "scripts",
    equation="Δ(x) = (α/r₀)·B·diag(e)·A·x, e = 0 at the start; loss + 0.1·mean(‖AAᵀ−I‖_F, ‖BᵀB−I‖_F)",
    size=AT_LEAST.format("triplet"),
)
class AdaLora(ModelControl):
    """See the module docstring."""

    def adapt(self, backbone: Backbone, spec: TrialSpec, *, steps: int, seed: int) -> Adaptation:
        """AdaLoRA modules in a copy of the backbone; `spec.control_size` is what the kept triplets come to.

        Raises:
            ConfigError: There is a single step, which leaves none to prune in.
        """
        if steps < 2:
            text = "Raise training.steps or training.epochs, or leave this control out."
            raise ConfigError([f"control adalora: expected 2 steps or more, in which it prunes, got {steps}. {text}"])
        peft = load_peft(self.name)
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
        size: Parameters that the kept triplets come to.
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
        """An allocation, which wants the gradients of this step; at the end masked triplets are removed."""
        if step == self._config.total_step - self._config.tfinal:
            self._allocate_last()
        else:
            self._tuner.update_and_allocate(step)
        if step == total:
            kept = self._config.rank_pattern
            self._tuner.resize_modules_by_rank_pattern(kept, _NAME)
            self._config.rank_pattern = {key: [True] * sum(mask) for key, mask in kept.items()}

    def _allocate_last(self) -> None:
        """Masks all triplets but those that come to the size; PEFT holds them masked from now on."""
        kept, pattern = self._worth_keeping(), {}
        for path, layer in self._layers().items():
            pattern[_key(path)] = [(path, index) in kept for index in range(len(layer.lora_E[_NAME]))]
        allocator = self._tuner.rankallocator
        allocator.reset_ipt()
        allocator.mask_using_rank_pattern(self._tuner.model, pattern)
        self._config.rank_pattern = pattern

    def _worth_keeping(self) -> set[tuple[str, int]]:
        """Triplets by path and number: from the most important on wherever they fit, and the cheapest of the rest."""
        layers = self._layers()
        importance = {path: self._importance(path).tolist() for path in layers}
        triplets = [(path, index) for path, found in importance.items() for index in range(len(found))]
        triplets.sort(key=lambda triplet: -importance[triplet[0]][triplet[1]])
        costs = [_triplet_cost(layers[path]) for path, _ in triplets]
        (kept,) = fill([(0, number) for number in range(len(triplets))], costs, self._size, "union", 1)
        if sum(costs[number] for number in kept) < self._size or not kept:
            kept.add(min(set(range(len(triplets))) - kept, key=lambda number: (costs[number], number)))
        return {triplets[number] for number in kept}

    def _importance(self, path: str) -> Tensor:
        """s(e_i) + mean_j s(B_ji) + mean_j s(A_ij) of a module's triplets, s smoothed sensitivity times uncertainty."""
        allocator = self._tuner.rankallocator

        def score(part: str) -> Tensor:
            name = f"{path}.lora_{part}.{_NAME}"
            found: Tensor = allocator.exp_avg_ipt[name] * allocator.exp_avg_unc[name]
            return found

        return score("E").flatten() + score("B").mean(0) + score("A").mean(1)

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

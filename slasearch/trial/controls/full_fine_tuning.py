"""Full fine-tuning: every weight of a private copy of the backbone is trained."""

from __future__ import annotations

from torch import Tensor, nn

from slasearch.adapters.sites import rejoin_positions
from slasearch.records import Event, TrialSpec
from slasearch.trial.backbone import Backbone
from slasearch.trial.controls._base import Adaptation, ModelControl, register_control
from slasearch.trial.controls.copies import private_copy

__all__ = ["FullFineTuning"]

_RATE = 0.01


@register_control(
    "full_fine_tuning",
    summary="every weight of the backbone trained, in fp32, at 0.01 times `training.learning_rate`, which is made for "
    "adapters; the trained weights are not kept. One backbone for all tasks, also where tasks train independently",
    source="Devlin et al. 2018, arXiv 1810.04805; the factor 0.01 ours (3e-5 beside 3e-3)",
    equation="W' = W + ΔW",
    size="the backbone's",
)
class FullFineTuning(ModelControl):
    """Dropout stays off, as for every other method here."""

    def adapt(self, backbone: Backbone, spec: TrialSpec, *, steps: int, seed: int) -> Adaptation:
        """A copy of the backbone in fp32 with every weight unfrozen: steps of 1e-5 are lost on bf16 weights."""
        own = private_copy(backbone)
        rejoin_positions(own.model)
        own.model.float().requires_grad_(True)
        return _FullAdaptation(own)


class _FullAdaptation(Adaptation):
    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.rates = {"backbone": _RATE}

    def weights(self) -> dict[str, list[nn.Parameter]]:
        return {"backbone": list(self.backbone.model.parameters())}

    def exported_parameters(self) -> int:
        return self.backbone.shapes.parameters

    def tensors(self) -> dict[str, Tensor]:
        """None: every run would keep a whole backbone."""
        return {}

    def events(self) -> tuple[Event, ...]:
        return (Event("full_fine_tuning.not_kept", "The fine-tuned backbone was scored and not kept."),)

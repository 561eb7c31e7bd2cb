"""Controls that are gated trials themselves: one structure for all tasks, and pruning without gates."""

from __future__ import annotations

from dataclasses import replace

from slasearch.records import GateSpec, SizeSpec, TrialSpec
from slasearch.trial.controls._base import GatedControl, register_control

__all__ = ["AdaLoraPool", "Shared"]


@register_control(
    "shared",
    summary="the winner's own search with one gate a slot for all tasks, so that all pass the same structure; tasks "
    "train jointly",
    source="ours: what paths of their own are worth",
    equation="as the search, with α_{t,s} = α_s",
    size="under a budget never above it; under a penalty what its λ gives",
)
class Shared(GatedControl):
    """The scope `per_task` gives every task the same slots under a budget: their rankings are the same."""

    def spec(self, spec: TrialSpec) -> TrialSpec:
        """The search, with shared gates and the structure's size as its budget."""
        return replace(
            spec,
            gates=replace(spec.gates, shared=True),
            size=spec.size if spec.size.mode == "penalty" else _budget(spec, "per_task"),
            training=replace(spec.training, multitask="joint"),
            control=None,
        )


@register_control(
    "adalora_pool",
    summary="AdaLoRA's rule on the study's mixed pool, without gates: one run in which slots close for good along a "
    "cubic, by the moving average of the saliency per parameter; one structure for all tasks that train jointly",
    source="Zhang et al. 2023, arXiv 2303.10512; sensitivity without its uncertainty factor, and the pool, ours",
    equation="I_s ← 0.85·I_s + 0.15·Σ|w·∂L/∂w|/c_s; the lowest I_s close first",
)
class AdaLoraPool(GatedControl):
    """Gates are 1 and stay so, one a slot for all tasks: all that decides is the saliency of the modules."""

    def spec(self, spec: TrialSpec) -> TrialSpec:
        """A progressive run ranked by saliency, its gates inert."""
        alone = spec.training.multitask == "independent"
        inert = GateSpec(
            family="sigmoid",
            learning_rate=0.0,
            warm_up=spec.gates.warm_up,
            initial_openness=1 - 1e-9,
            threshold=0.5,
            temperature=1.0,
            temperature_start=1.0,
            learn_on="train",
            shared=not alone,
        )
        return replace(
            spec,
            gates=inert,
            size=_budget(spec, "union" if alone else "per_task"),
            finalisation=replace(spec.finalisation, ranking="saliency", finish="progressive"),
            control=None,
        )


def _budget(spec: TrialSpec, scope: str) -> SizeSpec:
    """The size to come to as a budget; where all tasks have the same slots, each task's own are the union."""
    assert spec.control_size is not None
    return replace(spec.size, mode="budget", budget=spec.control_size, scope=scope)  # type: ignore[arg-type]

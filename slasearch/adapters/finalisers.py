"""The ways from gates to a structure, as facts for people: how slots are ranked, and what follows."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FINALISERS", "Finaliser"]


@dataclass(frozen=True)
class Finaliser:
    """One value of `finalisation.ranking` or `finalisation.finish`.

    Args:
        name: The value.
        field: `ranking` or `finish`.
        equation: What it computes or does.
        cost: What it costs besides training.
        source: Where it comes from, and what is ours.
    """

    name: str
    field: str
    equation: str
    cost: str
    source: str


FINALISERS: tuple[Finaliser, ...] = (
    Finaliser("gate", "ranking", "the gate's own strength: p, or |z| of proximal", "none", "the paper's gates; ours"),
    Finaliser(
        "saliency",
        "ranking",
        "Σ|w·∂L_t/∂w| per parameter on the gate split, tasks compared by rank; with progressive a moving average while "
        "gates learn, of several tasks of |z·∂L_t/∂z|",
        "a forward and backward pass a task; with progressive nothing",
        "AdaLoRA, arXiv 2303.10512; S3Delta, arXiv 2206.07382; |z·∂L/∂z|: Molchanov et al., arXiv 1611.06440; per "
        "parameter and by rank ours",
    ),
    Finaliser(
        "ablation",
        "ranking",
        "S(all) − S(all without s) + S(s alone), S = −cross entropy on the gate split, tasks compared by rank",
        "two forward passes a slot",
        "ALoRA, arXiv 2403.16187; cross entropy in place of the score ours",
    ),
    Finaliser(
        "continue",
        "finish",
        "open gates are folded in (z·Δ becomes Δ), closed slots removed, the same weights train on",
        "none",
        "ours",
    ),
    Finaliser(
        "retrain",
        "finish",
        "the structure is trained anew from fresh modules and heads",
        "none: its steps are finalisation.share of all",
        "S3Delta, arXiv 2206.07382; BIPEFT, arXiv 2410.09079",
    ),
    Finaliser(
        "progressive",
        "finish",
        "B(t) falls along a cubic from the pool to the budget; what it has no room for closes for good, weights go on",
        "less than a fixed pool: closed slots are not computed",
        "schedule of AdaLoRA, arXiv 2303.10512; by gates, over kinds and per task ours",
    ),
)

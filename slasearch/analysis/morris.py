"""Morris screening: elementary effects of each field, to find those that do nothing (Morris 1991, Campolongo 2007)."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.distributions import CategoricalDistribution

from slasearch.analysis.blocks import complete_blocks
from slasearch.analysis.coordinates import DesignResponse, design_coordinates, response_words
from slasearch.analysis.curves import pairs_of_seeds
from slasearch.analysis.frames import StudyFrames
from slasearch.errors import ReportError
from slasearch.space.design import block_size, morris_levels, morris_step
from slasearch.space.parameters import Parameter

__all__ = ["Effect", "MorrisScreening", "morris_screening"]

_FEWEST = 2
_RESAMPLES = 1000


@dataclass(frozen=True)
class Effect:
    """One field's elementary effects, in units of the response over the whole range of the field.

    `mu_star` is the mean of their sizes with its 95 % bootstrap interval, `mu` their mean with sign, `sigma` their
    standard deviation: large where the effect depends on the other fields or bends. `choice`: the field is a list of
    choices, and its effects are changes from one to another, of no direction.
    """

    field: str
    mu_star: float
    low: float
    high: float
    mu: float
    sigma: float
    choice: bool = False


@dataclass(frozen=True)
class MorrisScreening:
    """Effects of all fields on one response, in the order of the study file, from `trajectories` of `n` trials.

    `step` is Δ, the share of a field's range that a step of a trajectory goes.
    """

    response: DesignResponse
    effects: tuple[Effect, ...]
    trajectories: int
    n: int
    method: str
    warnings: tuple[str, ...] = ()
    step: float = 1.0


def morris_screening(frames: StudyFrames, response: DesignResponse = "score") -> MorrisScreening:
    """Elementary effects on a Morris design, in the space in which the fields were sampled.

    A trajectory with a point that has no result is left out; seed repeats of a point are averaged.

    Args:
        frames: The study.
        response: `score` (validation, undisturbed, mean over tasks), `exported_parameters` or `robustness`.

    Raises:
        ReportError: The study has no Morris design, or fewer than 2 complete trajectories.
    """
    from SALib.analyze import morris  # type: ignore[import-untyped]

    found = design_coordinates(frames, response, ("morris",), what="Morris screening")
    design = frames.config.phases.design
    assert design is not None
    assert design.points is not None
    size = block_size(design, len(found.fields))
    blocks = complete_blocks(found, size, design.points, called="trajectories")
    if blocks.count < _FEWEST:
        raise ReportError(
            f"Morris screening: expected at least {_FEWEST} complete trajectories of {size} points each, got "
            f"{blocks.count}. Run the study further, or look at its failures with `slasearch trials`."
        )
    step = morris_step(design)
    effects = morris.analyze(
        {"num_vars": len(found.names), "names": list(found.names), "bounds": [[0.0, 1.0]] * len(found.names)},
        blocks.unit,
        blocks.values,
        num_resamples=_RESAMPLES,
        num_levels=morris_levels(design),
        seed=frames.config.seed + 1,  # SALib takes a seed of 0 for none
    )
    seeds = f", means over {pairs_of_seeds(blocks.repeats)}" if blocks.repeats > 1 else ""
    return MorrisScreening(
        response=response,
        effects=tuple(
            _effect(field, step, *map(float, numbers))
            for field, *numbers in zip(
                found.fields, *(effects[name] for name in ("mu_star", "mu_star_conf", "mu", "sigma")), strict=True
            )
        ),
        trajectories=blocks.count,
        n=blocks.n,
        method=(
            f"elementary effects on the {response_words(response)} over {blocks.count} Morris trajectories of "
            f"{morris_levels(design)} levels{seeds}; 95 % bootstrap intervals"
        ),
        warnings=blocks.warnings,
        step=step,
    )


def _effect(field: Parameter, step: float, mu_star: float, half: float, mu: float, sigma: float) -> Effect:
    """SALib divides by the step; that is undone for choices, of which a step goes from one to another."""
    choice = isinstance(field.distribution, CategoricalDistribution)
    scale = step if choice else 1.0
    ends = (scale * (mu_star - half), scale * (mu_star + half))
    return Effect(field.name, scale * mu_star, *ends, scale * mu, scale * sigma, choice)

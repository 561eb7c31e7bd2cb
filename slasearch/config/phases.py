"""The `phases` section of the study file: what is run, by which sampler, how often."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from slasearch.config.fields import Choice, PositiveInt, Repeats, Scalar, StrictModel, StudyName, known
from slasearch.registry import ADAPTIVE_SAMPLERS, CONTROLS, DESIGN_SAMPLERS, OPTIMISE_SAMPLERS, PRUNERS

__all__ = [
    "ConfirmPhase",
    "DesignPhase",
    "OptimisePhase",
    "PhasesConfig",
    "PrunerConfig",
    "SamplerConfig",
    "WarmStartConfig",
]


class SamplerConfig(StrictModel):
    """Who proposes trials."""

    name: str = Field(
        description="one_at_a_time, grid, qmc, morris or saltelli for design; tpe, gp, nsgaii, nsgaiii, cmaes, random "
        "or qmc for optimise"
    )
    options: dict[str, Scalar] = Field(
        default_factory=dict,
        description="options of the sampler: n_startup_trials and n_ei_candidates of tpe; n_startup_trials of gp; "
        "population_size and mutation_prob of nsgaii and nsgaiii; population_size of cmaes; levels of morris (an even "
        "number, 4 if left out); second_order of saltelli (1: indices of pairs too, 0 if left out)",
    )


class PrunerConfig(StrictModel):
    """Who stops trials early."""

    name: str = Field("none", description="none, median, successive_halving or hyperband")
    options: dict[str, Scalar] = Field(
        default_factory=dict,
        description="options of the pruner: n_startup_trials and n_min_trials of median; reduction_factor and "
        "first_share (the share of its budget at which a trial is first judged) of successive_halving and hyperband",
    )

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        known(PRUNERS, "pruner", value)
        return value


_WITH_LEVELS = ("one_at_a_time", "grid")
_COUNTED = {"qmc": "points", "morris": "trajectories", "saltelli": "base points"}
"""What `points` counts in each design that has it."""


class DesignPhase(StrictModel):
    """Space-filling trials, never pruned: for sensitivity."""

    sampler: SamplerConfig = Field(description="one_at_a_time, grid, qmc, morris or saltelli")
    levels: dict[str, Annotated[tuple[Choice, ...], Field(min_length=1)]] = Field(
        default_factory=dict,
        validate_default=True,
        description="for one_at_a_time and grid: the values of each field that is varied (dotted path)",
    )
    base: dict[str, Choice] = Field(
        default_factory=dict,
        description="values of the searched fields that a point does not vary (dotted path); "
        "without one: the middle of a range, the first of some choices",
    )
    points: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        None,
        validate_default=True,
        description="number of points of qmc; of trajectories of morris, k + 1 trials each with k searched fields; of "
        "base points of saltelli, a power of two, 32 or more for its indices, k + 2 trials each, 2k + 2 with "
        "second_order; may grow later",
    )
    seeds: Repeats = Field(
        1,
        description="repetitions of every point with other seed pairs; it counts by its mean; 2 or more for the "
        "indices of saltelli; may grow later",
    )

    @field_validator("sampler")
    @classmethod
    def _space_filling(cls, value: SamplerConfig) -> SamplerConfig:
        known(DESIGN_SAMPLERS, "sampler of a design", value.name)
        return value

    @field_validator("levels")
    @classmethod
    def _levels(cls, value: dict[str, tuple[Choice, ...]], info: ValidationInfo) -> dict[str, tuple[Choice, ...]]:
        sampler = info.data.get("sampler")
        if sampler is not None and (sampler.name in _WITH_LEVELS) != bool(value):
            wanted = f"{'no ' if value else ''}levels with {sampler.name}"
            raise ValueError(f"expected {wanted}, got {', '.join(value) or 'none'}")
        return value

    @field_validator("points")
    @classmethod
    def _points(cls, value: int | None, info: ValidationInfo) -> int | None:
        sampler = info.data.get("sampler")
        if sampler is not None and (sampler.name in _COUNTED) != (value is not None):
            counted = f"a number of {_COUNTED[sampler.name]}" if value is None else "no points"
            raise ValueError(f"expected {counted} with {sampler.name}, got {value or 'none'}")
        if sampler is not None and sampler.name == "saltelli" and value is not None and value & (value - 1):
            raise ValueError(f"expected a power of two with saltelli, got {value}")
        return value


class WarmStartConfig(StrictModel):
    """An earlier study whose trials the sampler learns from, though they are no trials of this one."""

    study: StudyName = Field(
        description="its name in the same database; it agrees in all that the values of trials depend on"
    )
    trials: PositiveInt | None = Field(
        None, description="at most so many of its complete search trials, the last ones (none: all)"
    )


class OptimisePhase(StrictModel):
    """Adaptive trials, pruned."""

    sampler: SamplerConfig = Field(default_factory=lambda: SamplerConfig(name="tpe"), description="by default tpe")
    trials: Annotated[int, Field(ge=1, le=100_000)] = Field(description="number of trials; may grow later")
    pruner: PrunerConfig = Field(default_factory=lambda: PrunerConfig(), description="who stops trials early")
    seeds: Repeats = Field(
        1,
        description="seed pairs that trials take in turn; with several, the luck of one is not in all scores alike",
    )
    warm_start: WarmStartConfig | None = Field(
        None, description="an earlier study from whose trials the sampler begins (none: it begins by chance)"
    )

    @field_validator("sampler")
    @classmethod
    def _adaptive(cls, value: SamplerConfig) -> SamplerConfig:
        if value.name in DESIGN_SAMPLERS and value.name not in OPTIMISE_SAMPLERS:
            raise ValueError(
                f"expected one of {', '.join(OPTIMISE_SAMPLERS)}, got {value.name!r}, which belongs to the design phase"
            )
        known(OPTIMISE_SAMPLERS, "adaptive or random sampler", value.name)
        return value

    @field_validator("warm_start")
    @classmethod
    def _learns(cls, value: WarmStartConfig | None, info: ValidationInfo) -> WarmStartConfig | None:
        sampler = info.data.get("sampler")
        if value is not None and sampler is not None and sampler.name not in ADAPTIVE_SAMPLERS:
            raise ValueError(
                f"expected none with the sampler {sampler.name}, which learns from no trial "
                f"({', '.join(ADAPTIVE_SAMPLERS)} do), got one"
            )
        return value


class ConfirmPhase(StrictModel):
    """The best trials again over seeds, on the test split, beside controls of equal size and equally tuned."""

    top: Repeats = Field(1, description="how many of the best by each objective; may grow later")
    seeds: Repeats = Field(3, description="seed pairs for each of them and for each control; may grow later")
    controls: tuple[str, ...] = Field(("lora", "random", "linear_probe"), description="baselines on the same data")
    tuning: Annotated[int, Field(ge=0, le=100_000)] | Literal["equal"] = Field(
        "equal",
        description="settings that are tried on validation for each control before it is confirmed, for each winner of "
        "its own size; equal: as many trials as the search has made; 0: controls take the winner's hyperparameters; "
        "may grow later",
    )
    tuning_seeds: Repeats = Field(
        1, description="seed pairs under which each of these settings is tried; by their mean"
    )
    finalists: Repeats = Field(
        1,
        description="how many of the best settings by each objective, and of each control, are tried again on "
        "validation before the best of them by the mean are confirmed; 1: none are; may grow later",
    )
    finalist_seeds: Repeats = Field(
        3, description="seed pairs of the search under which each of them is tried in all; may grow later"
    )

    @field_validator("controls")
    @classmethod
    def _controls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known(CONTROLS.names(), "control", *value)
        if len(set(value)) != len(value):
            raise ValueError(f"expected each control once, got {', '.join(value)}")
        return value

    @model_validator(mode="after")
    def _to_choose_from(self) -> ConfirmPhase:
        if 1 < self.finalists <= self.top:
            raise ValueError(
                f"expected more finalists than the {self.top} that are confirmed (top), or 1 for none, "
                f"got {self.finalists}"
            )
        if self.finalists > 1 and self.finalist_seeds <= self.tuning_seeds:
            raise ValueError(
                f"expected finalists under more seed pairs (finalist_seeds) than the {self.tuning_seeds} of all "
                f"settings (tuning_seeds), got {self.finalist_seeds}"
            )
        return self


class PhasesConfig(StrictModel):
    """What is run, in this order. At least one of design and optimise."""

    design: DesignPhase | None = Field(None, description="trials at points that are fixed beforehand, for sensitivity")
    optimise: OptimisePhase | None = Field(None, description="adaptive trials for the best")
    confirm: ConfirmPhase | None = Field(None, description="controls tuned, then the best again beside them, on test")

    @model_validator(mode="after")
    def _some(self) -> PhasesConfig:
        if self.design is None and self.optimise is None:
            raise ValueError("expected at least one of design and optimise, got neither")
        return self

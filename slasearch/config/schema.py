"""The study file as pydantic models: unknown fields are errors, each field has one description with its unit.

A searchable field takes either a value or a distribution in its place, such as `{log_float: [1.0e-4, 1.0e-2]}`.
These models are only read by `slasearch.space`, which turns them into plain records for everything below.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from slasearch.records import SITES
from slasearch.registry import (
    CONDITIONS,
    CONTROLS,
    DESIGN_SAMPLERS,
    GATES,
    KINDS,
    METRICS,
    PRUNERS,
    SAMPLERS,
    SOURCES,
    Registry,
)

__all__ = [
    "POOL_PRESETS",
    "BackboneConfig",
    "BudgetSize",
    "ConditionsConfig",
    "ConfirmPhase",
    "DesignPhase",
    "Distribution",
    "GatesConfig",
    "LimitsConfig",
    "MeasuredCondition",
    "ObjectiveConfig",
    "OptimisePhase",
    "PenaltySize",
    "PhasesConfig",
    "PoolConfig",
    "PrunerConfig",
    "ResourcesConfig",
    "SamplerConfig",
    "SeedsConfig",
    "StudyConfig",
    "TaskConfig",
    "TrainCondition",
    "TrainingConfig",
]

Scalar = bool | int | float | str

POOL_PRESETS: dict[str, dict[str, tuple[str, ...]]] = {
    "lora_linear": {"sites": SITES[:6], "kinds": ("lora",)},
    "lora_attention": {"sites": SITES[:4], "kinds": ("lora",)},
    "mixed": {"sites": SITES[:6], "kinds": ("lora", "bottleneck", "bias")},
}
"""Named pools: LoRA at every linear place; LoRA in the attention only; every kind at every linear place it fits."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False, strict=False)


class Distribution(_Model):
    """A distribution in place of a value. Exactly one of the four forms; `when` makes it conditional."""

    float_range: tuple[float, float] | None = Field(
        None, alias="float", description="uniform between two numbers, both included"
    )
    log_float: tuple[float, float] | None = Field(
        None, description="log-uniform between two positive numbers, both included"
    )
    int_range: tuple[int, int] | None = Field(
        None, alias="int", description="uniform over whole numbers, both ends included"
    )
    categorical: tuple[Scalar | tuple[Scalar, ...], ...] | None = Field(None, description="one of these values")
    when: dict[str, Scalar | tuple[Scalar, ...]] = Field(
        default_factory=dict,
        description="searched only if each named field (dotted path) was chosen as this value, or one of these",
    )

    @model_validator(mode="after")
    def _one_form(self) -> Distribution:
        forms = [self.float_range, self.log_float, self.int_range, self.categorical]
        if sum(form is not None for form in forms) != 1:
            raise ValueError("expected exactly one of float, log_float, int, categorical")
        for name, form in (("float", self.float_range), ("log_float", self.log_float), ("int", self.int_range)):
            if form is not None and not form[0] < form[1]:
                raise ValueError(f"{name}: expected [low, high] with low < high, got {list(form)}")
        if self.log_float is not None and self.log_float[0] <= 0:
            raise ValueError(f"log_float: expected a low end above 0, got {self.log_float[0]}")
        if self.categorical is not None:
            if len(self.categorical) < 2:
                raise ValueError("categorical: expected at least two choices; write a single one as a plain value")
            if len({repr(choice) for choice in self.categorical}) != len(self.categorical):
                raise ValueError(f"categorical: expected different choices, got {list(self.categorical)}")
        return self


def _form(value: Any) -> str:
    return "search" if isinstance(value, (dict, Distribution)) else "fixed"


def _searchable(kind: Any) -> Any:
    """A field type that takes a value of `kind`, or a distribution."""
    return Annotated[
        Annotated[kind, Tag("fixed")] | Annotated[Distribution, Tag("search")],
        Discriminator(_form),
        Field(json_schema_extra={"x-searchable": True}),
    ]


def _known(registry: Registry[Any] | tuple[str, ...] | Any, what: str, value: str) -> str:
    names = registry.names() if isinstance(registry, Registry) else tuple(registry)
    if value not in names:
        raise ValueError(f"expected a {what}, one of {', '.join(names)}, got {value!r}")
    return value


# Field types that hold either a value or a distribution of it.
UnitFloat = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
PositiveInt = Annotated[int, Field(ge=1)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]
Ints = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
Ranks = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class BackboneConfig(_Model):
    """The frozen transformer."""

    id: str = Field("bundled:minilm", description="`bundled:NAME` (extra `bundled`) or `path:DIR` (a saved model)")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="number format of the frozen weights")
    pooling: Literal["auto", "mean", "last"] = Field(
        "auto", description="how token vectors become one: mean for encoders, last token for decoders"
    )

    @field_validator("id")
    @classmethod
    def _id(cls, value: str) -> str:
        scheme, _, rest = value.partition(":")
        if scheme not in ("bundled", "path") or not rest:
            raise ValueError(f"expected 'bundled:NAME' or 'path:DIR', got {value!r}")
        return value


class LimitsOfSplits(_Model):
    """Most examples of each split."""

    train: PositiveInt | None = Field(None, description="training examples (none: all)")
    gate: Annotated[int, Field(ge=0)] = Field(0, description="examples taken out of train for gates and ranking")
    validation: PositiveInt | None = Field(None, description="validation examples (none: all)")
    test: PositiveInt | None = Field(None, description="test examples (none: all)")


class TaskConfig(_Model):
    """One classification task."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")] = Field(
        description="short name: lower case, digits, - and _"
    )
    source: str = Field(description="`bundled:NAME`, or `file:PATH` of a JSONL/CSV file or a folder of split files")
    text: str = Field("text", description="column of the text")
    text_pair: str | None = Field(None, description="column of the second text of a pair")
    label: str = Field("label", description="column of the label")
    limits: LimitsOfSplits = Field(default_factory=LimitsOfSplits, description="most examples of each split")
    max_tokens: Annotated[int, Field(ge=4, le=8192)] = Field(64, description="texts are cut to this many tokens")
    metric: str = Field("accuracy", description="the score: accuracy, macro_f1 or mcc")
    weight: PositiveFloat = Field(1.0, description="weight of this task's loss in a joint trial")

    @field_validator("source")
    @classmethod
    def _source(cls, value: str) -> str:
        scheme, _, rest = value.partition(":")
        _known(SOURCES, "task source", scheme)
        if not rest:
            raise ValueError(f"expected 'SOURCE:NAME', got {value!r}")
        return value

    @field_validator("metric")
    @classmethod
    def _metric(cls, value: str) -> str:
        return _known(METRICS, "metric", value)


class PoolConfig(_Model):
    """The candidates: every (layer, site, kind, rank) that fits."""

    preset: str | None = Field(None, description="a named pool; `sites` and `kinds` given beside it win")
    sites: _searchable(Names) = Field(None, description="places in a layer, such as attn.q or ffn.out")  # type: ignore[valid-type]
    kinds: _searchable(Names) = Field(None, description="adapter kinds, such as lora, bottleneck, bias")  # type: ignore[valid-type]
    ranks: _searchable(Ranks) = Field((4,), description="ranks (widths) of each kind that has one")  # type: ignore[valid-type]
    layers: _searchable(Ints | Literal["all"]) = Field("all", description="layer numbers from 0, or all")  # type: ignore[valid-type]

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        name = data.get("preset")
        if name is None and ("sites" not in data or "kinds" not in data):
            data = {**data, "preset": (name := "lora_linear")}
        if name is not None:
            if name not in POOL_PRESETS:
                raise ValueError(f"preset: expected one of {', '.join(POOL_PRESETS)}, got {name!r}")
            data = {**POOL_PRESETS[name], **data}
        return data

    @field_validator("sites", "kinds")
    @classmethod
    def _names(cls, value: Any, info: Any) -> Any:
        known, what = (SITES, "site") if info.field_name == "sites" else (KINDS, "adapter kind")
        if isinstance(value, tuple):
            for name in value:
                _known(known, what, name)
        return value


class GatesConfig(_Model):
    """How gates learn."""

    family: _searchable(str) = Field("hard_concrete", description="gate family")  # type: ignore[valid-type]
    temperature: _searchable(PositiveFloat) = Field(  # type: ignore[valid-type]
        2 / 3, description="τ of sigmoid, β of hard_concrete (no unit)"
    )
    learning_rate: _searchable(PositiveFloat) = Field(0.05, description="learning rate of the gates (per step)")  # type: ignore[valid-type]
    warm_up: _searchable(Annotated[float, Field(ge=0, lt=1)]) = Field(  # type: ignore[valid-type]
        0.1, description="share of the steps with all gates open before gates learn"
    )
    initial_openness: _searchable(Annotated[float, Field(gt=0, lt=1)]) = Field(  # type: ignore[valid-type]
        0.9, description="openness p of every gate at the start"
    )
    threshold: _searchable(Annotated[float, Field(gt=0, lt=1)]) = Field(  # type: ignore[valid-type]
        0.5, description="under `penalty`: a slot stays if its openness p ends above this"
    )

    @field_validator("family")
    @classmethod
    def _family(cls, value: Any) -> Any:
        if isinstance(value, str):
            _known(GATES, "gate family", value)
        return value


class PenaltySize(_Model):
    """The sparsity weight decides the size."""

    mode: Literal["penalty"] = Field(description="`penalty`: the sparsity weight decides the size")
    sparsity_weight: _searchable(NonNegativeFloat) = Field(  # type: ignore[valid-type]
        1.0, description="λ, weight of the cost-weighted share of open slots in the loss (no unit)"
    )
    ramp: _searchable(UnitFloat) = Field(0.2, description="share of the steps over which λ grows from 0")  # type: ignore[valid-type]


class BudgetSize(_Model):
    """A number of parameters decides the size."""

    mode: Literal["budget"] = Field(description="`budget`: a number of parameters decides the size")
    parameters: _searchable(PositiveInt) = Field(description="most exported parameters of the structure")  # type: ignore[valid-type]
    scope: Literal["union", "per_task"] = Field(
        "union", description="what is counted: the union of all tasks' slots, or each task's own"
    )


class SeedsConfig(_Model):
    """The seed pair of a trial, recorded apart and used as blocks."""

    init: Annotated[int, Field(ge=0)] = Field(0, description="seed of the initial weights and gate noise")
    data: Annotated[int, Field(ge=0)] = Field(0, description="seed of the order of the data")


class TrainingConfig(_Model):
    """How a trial trains. Exactly one of `epochs` and `steps`."""

    epochs: _searchable(PositiveFloat) | None = Field(None, description="passes over the training data")  # type: ignore[valid-type]
    steps: _searchable(PositiveInt) | None = Field(None, description="optimiser steps")  # type: ignore[valid-type]
    batch_size: _searchable(PositiveInt) = Field(32, description="examples in a step")  # type: ignore[valid-type]
    learning_rate: _searchable(PositiveFloat) = Field(3e-3, description="peak learning rate of the modules (per step)")  # type: ignore[valid-type]
    head_learning_rate: _searchable(PositiveFloat) = Field(1e-2, description="peak learning rate of the task heads")  # type: ignore[valid-type]
    weight_decay: _searchable(NonNegativeFloat) = Field(
        0.01, description="AdamW decay of modules and heads, not of gates"
    )  # type: ignore[valid-type]
    schedule: _searchable(Literal["linear", "cosine", "constant"]) = Field(  # type: ignore[valid-type]
        "linear", description="how learning rates fall over the steps"
    )
    gradient_clip: PositiveFloat = Field(1.0, description="largest L2 norm of the gradient of all weights")
    finish: _searchable(Literal["continue", "retrain"]) = Field(  # type: ignore[valid-type]
        "continue", description="after finalisation: go on with the same weights, or train fresh modules"
    )
    finish_share: _searchable(Annotated[float, Field(gt=0, lt=1)]) = Field(  # type: ignore[valid-type]
        0.4, description="share of all steps kept for the time after finalisation"
    )
    reports: PositiveInt = Field(4, description="how often a trial reports its validation score while it trains")
    seeds: SeedsConfig = Field(default_factory=SeedsConfig, description="seed pair of the first repetition")

    @model_validator(mode="after")
    def _length(self) -> TrainingConfig:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("expected exactly one of epochs and steps")
        return self


class _Condition(_Model):
    kind: str = Field(description="what is disturbed, and how")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="seed of the disturbance")
    scale: PositiveFloat | None = Field(None, description="strength of one disturbance, where the kind has one")
    where: ClassVar[str]

    @field_validator("kind")
    @classmethod
    def _kind(cls, value: str) -> str:
        _known(CONDITIONS, "condition", value)
        facts = CONDITIONS.get(value).facts
        if cls.where not in facts.where:
            raise ValueError(
                f"expected a condition for {cls.where}, got {value!r}, which is for {', '.join(facts.where)}"
            )
        return value


def _check_level(kind: str, level: float) -> None:
    maximum = CONDITIONS.get(kind).facts.maximum
    if not 0 <= level <= maximum:
        raise ValueError(f"level: expected a {CONDITIONS.get(kind).facts.level} from 0 to {maximum:g}, got {level:g}")


class TrainCondition(_Condition):
    """A disturbance of the training data; its level may be searched."""

    where: ClassVar[str] = "train"
    level: _searchable(NonNegativeFloat) = Field(description="how much is disturbed, in the unit of the kind")  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _level(self) -> TrainCondition:
        if isinstance(self.level, (int, float)):
            _check_level(self.kind, self.level)
        return self


class MeasuredCondition(_Condition):
    """A disturbance that every trial is measured under, on a fixed grid of levels."""

    where: ClassVar[str] = "eval"
    levels: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = Field(
        description="levels in the unit of the kind; the clean score is always measured"
    )

    @model_validator(mode="after")
    def _levels(self) -> MeasuredCondition:
        for level in self.levels:
            _check_level(self.kind, level)
        if len(set(self.levels)) != len(self.levels):
            raise ValueError(f"levels: expected different levels, got {list(self.levels)}")
        return self


class ConditionsConfig(_Model):
    """What trials train under (may be searched) and what they are measured under (fixed for the study)."""

    train: tuple[TrainCondition, ...] = Field((), description="conditions during training")
    measured: tuple[MeasuredCondition, ...] = Field(
        (), description="conditions of evaluation, the same for every trial"
    )

    @model_validator(mode="after")
    def _once(self) -> ConditionsConfig:
        for name, conditions in (("train", self.train), ("measured", self.measured)):
            kinds = [condition.kind for condition in conditions]
            for kind in kinds:
                if kinds.count(kind) > 1:
                    raise ValueError(f"{name}: expected each kind once, got {kind!r} {kinds.count(kind)} times")
        return self


class SamplerConfig(_Model):
    """Who proposes trials."""

    name: str = Field(description="sampler")
    options: dict[str, Scalar] = Field(default_factory=dict, description="options of the sampler")

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return _known(SAMPLERS, "sampler", value)


class PrunerConfig(_Model):
    """Who stops trials early."""

    name: str = Field("none", description="pruner")
    options: dict[str, Scalar] = Field(default_factory=dict, description="options of the pruner")

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return _known(PRUNERS, "pruner", value)


class DesignPhase(_Model):
    """Space-filling trials, never pruned: for sensitivity."""

    sampler: SamplerConfig = Field(description="one_at_a_time, grid or qmc")
    levels: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(
        default_factory=dict, description="for grids: values of each searched field (dotted path)"
    )
    base: dict[str, Any] = Field(
        default_factory=dict, description="values of the fields that a design point does not vary (dotted path)"
    )
    points: PositiveInt | None = Field(None, description="number of points, for qmc only")
    seeds: PositiveInt = Field(1, description="repetitions of every point with other seed pairs")

    @model_validator(mode="after")
    def _fits(self) -> DesignPhase:
        if self.sampler.name not in DESIGN_SAMPLERS:
            raise ValueError(f"sampler: expected one of {', '.join(DESIGN_SAMPLERS)}, got {self.sampler.name!r}")
        if (self.sampler.name == "qmc") != (self.points is not None):
            raise ValueError("points: expected with qmc and with no other sampler")
        if (self.sampler.name == "qmc") == bool(self.levels):
            raise ValueError("levels: expected with one_at_a_time and grid, and not with qmc")
        return self


class OptimisePhase(_Model):
    """Adaptive trials, pruned."""

    sampler: SamplerConfig = Field(default_factory=lambda: SamplerConfig(name="tpe"), description="tpe, random, …")
    trials: PositiveInt = Field(description="number of trials")
    pruner: PrunerConfig = Field(default_factory=lambda: PrunerConfig(), description="who stops trials early")

    @field_validator("sampler")
    @classmethod
    def _adaptive(cls, value: SamplerConfig) -> SamplerConfig:
        if value.name in ("one_at_a_time", "grid"):
            raise ValueError(f"expected tpe, random or qmc, got {value.name!r}, which belongs to the design phase")
        return value


class ConfirmPhase(_Model):
    """The best trials again over seeds, on the test split, beside controls of equal size."""

    top: PositiveInt = Field(1, description="how many of the best by each objective")
    seeds: PositiveInt = Field(3, description="seed pairs for each of them and for each control")
    controls: tuple[str, ...] = Field(("lora", "random", "linear_probe"), description="baselines on the same data")

    @field_validator("controls")
    @classmethod
    def _controls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            _known(CONTROLS, "control", name)
        return value


class PhasesConfig(_Model):
    """What is run, in this order. At least one of design and optimise."""

    design: DesignPhase | None = Field(None, description="space-filling trials for sensitivity")
    optimise: OptimisePhase | None = Field(None, description="adaptive trials for the best")
    confirm: ConfirmPhase | None = Field(None, description="the best again, on test, beside controls")

    @model_validator(mode="after")
    def _some(self) -> PhasesConfig:
        if self.design is None and self.optimise is None:
            raise ValueError("expected at least one of design and optimise")
        return self


class ObjectiveConfig(_Model):
    """One thing to be good at."""

    name: Literal["score", "exported_parameters", "robustness"] = Field(
        description="mean validation score; exported parameters; score under the measured conditions"
    )
    measure: Literal["noisy_score", "relative", "worst"] | None = Field(
        None, description="robustness only: mean noisy score, its ratio to the clean one, or the worst condition"
    )

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Parameters are to be few, scores high."""
        return "minimize" if self.name == "exported_parameters" else "maximize"

    @model_validator(mode="after")
    def _measure(self) -> ObjectiveConfig:
        if self.measure is not None and self.name != "robustness":
            raise ValueError(f"measure: expected with robustness only, got it with {self.name}")
        return self


class ResourcesConfig(_Model):
    """What a trial may use, and how many run at a time."""

    cpus_per_trial: PositiveInt = Field(1, description="CPU threads of a trial")
    gpus_per_trial: NonNegativeFloat = Field(0.0, description="GPUs of a trial; a fraction shares one")
    max_concurrent_trials: PositiveInt = Field(2, description="most trials at a time")


class LimitsConfig(_Model):
    """When to stop early."""

    max_hours: PositiveFloat | None = Field(None, description="wall time of one run command (hours)")
    max_device_hours: PositiveFloat | None = Field(None, description="sum of all trials' wall times (hours)")
    max_retries: Annotated[int, Field(ge=0)] = Field(2, description="new attempts after a lost worker or node")
    failure_window: PositiveInt = Field(10, description="stop when most of this many last trials failed")


class StudyConfig(_Model):
    """One study: backbone, tasks, pool, gates, size control, training, conditions, phases, objectives, limits."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")] = Field(
        description="name in the database: letters, digits, - and _"
    )
    description: str = Field("", description="one sentence for people")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="seed of samplers and of splits")
    backbone: BackboneConfig = Field(default_factory=lambda: BackboneConfig(), description="the frozen transformer")
    tasks: Annotated[tuple[TaskConfig, ...], Field(min_length=1, max_length=64)] = Field(
        description="tasks that share the pool and are trained jointly"
    )
    pool: PoolConfig = Field(default_factory=lambda: PoolConfig.model_validate({}), description="candidate slots")
    gates: GatesConfig = Field(default_factory=lambda: GatesConfig(), description="how gates learn")
    size_control: Annotated[PenaltySize | BudgetSize, Field(discriminator="mode")] = Field(
        description="what decides the size"
    )
    training: TrainingConfig = Field(description="how a trial trains")
    conditions: ConditionsConfig = Field(
        default_factory=lambda: ConditionsConfig(), description="disturbances in training and in evaluation"
    )
    phases: PhasesConfig = Field(description="what is run")
    objectives: Annotated[tuple[ObjectiveConfig, ...], Field(min_length=1, max_length=3)] = Field(
        default_factory=lambda: (ObjectiveConfig(name="score"),), description="what to be good at"
    )
    resources: ResourcesConfig = Field(default_factory=lambda: ResourcesConfig(), description="what a trial may use")
    limits: LimitsConfig = Field(default_factory=lambda: LimitsConfig(), description="when to stop early")

    @model_validator(mode="after")
    def _fits_together(self) -> StudyConfig:
        problems = []
        names = [task.name for task in self.tasks]
        if len(set(names)) != len(names):
            problems.append(f"tasks: expected different names, got {', '.join(names)}")
        objectives = [objective.name for objective in self.objectives]
        if len(set(objectives)) != len(objectives):
            problems.append(f"objectives: expected each once, got {', '.join(objectives)}")
        if "robustness" in objectives and not self.conditions.measured:
            problems.append("objectives: expected conditions.measured beside a robustness objective, got none")
        pruner = self.phases.optimise.pruner.name if self.phases.optimise else "none"
        if pruner == "median" and len(self.objectives) > 1:
            problems.append("phases.optimise.pruner: expected successive_halving with several objectives, got median")
        if problems:
            raise ValueError("; ".join(problems))
        return self

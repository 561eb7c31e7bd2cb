"""The study file as pydantic models: unknown fields are errors, each field has one description with its unit.

A searchable field takes either a value or a distribution in its place, such as `{log_float: [1.0e-4, 1.0e-2]}`.
These models are only read by `slasearch.space`, which turns them into plain records for everything below.

Checks stand in field validators, each of which looks only at fields that are valid themselves: so one wrong field
does not hide what is wrong with another. A message is `expected …, got …`, after `PATH: ` where another field is
to blame; several messages stand on lines of their own.
"""

from __future__ import annotations

import itertools
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from slasearch.config.backbones import checked_backbone
from slasearch.config.conditions import ConditionsConfig, MeasuredCondition, TrainCondition
from slasearch.config.constraints import ConstraintConfig
from slasearch.config.fields import (
    Counted,
    Distribution,
    Ints,
    Names,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Ranks,
    Searchable,
    Seed,
    Size,
    StrictModel,
    StudyName,
    UnitFloat,
    Weights,
    known,
    registered,
)
from slasearch.config.phases import (
    ConfirmPhase,
    DesignPhase,
    OptimisePhase,
    PhasesConfig,
    PrunerConfig,
    SamplerConfig,
)
from slasearch.config.resources import LimitsConfig, ResourcesConfig
from slasearch.config.splits import source_splits
from slasearch.records import DIRECTIONS, SITES, Pooling
from slasearch.registry import GATES, KINDS, METRICS, SOURCES

__all__ = [
    "POOL_PRESETS",
    "BackboneConfig",
    "BudgetSize",
    "ConditionsConfig",
    "ConfirmPhase",
    "DesignPhase",
    "Distribution",
    "EarlyStopConfig",
    "FinalisationConfig",
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

POOL_PRESETS: dict[str, dict[str, tuple[Any, ...]]] = {
    "lora_linear": {"sites": SITES[:6], "kinds": ("lora",)},
    "lora_attention": {"sites": SITES[:4], "kinds": ("lora",)},
    "granular": {"sites": SITES[:6], "kinds": ("lora", "bias", "scale"), "ranks": (1,)},
    "linear": {"sites": SITES[:6], "kinds": ("lora", "bias", "scale", "ia3")},
    "mixed": {"sites": SITES[:6], "kinds": ("lora", "bottleneck", "bias")},
    "all": {"sites": SITES, "kinds": ("lora", "lora_xs", "bottleneck", "parallel", "prefix", "ia3", "scale", "bias")},
}
"""Named pools.

- `lora_linear` (the default): LoRA at every linear place; each of its structures exports to the stock PEFT format.
- `lora_attention`: LoRA at the four linear places of attention; exports to the stock PEFT format too.
- `granular`: the smallest pieces, rank-one LoRA, shifts and scales at every linear place.
- `linear`: kinds that can be merged into the backbone's weights (shifts where hosts have a bias).
- `mixed`: LoRA, bottlenecks and shifts at every linear place.
- `all`: every built-in kind wherever it fits.
"""


class BackboneConfig(StrictModel):
    """The frozen transformer."""

    id: str = Field(
        "bundled:minilm",
        description="`bundled:NAME` (extra `bundled`), `path:DIR` (a saved model) or `hub:ORG/NAME@REVISION`",
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="number format of the frozen weights")
    pooling: Literal["auto"] | Pooling = Field(
        "auto",
        description="how token vectors become one: mean (auto for encoders), last token (auto for decoders), or cls, "
        "the first token, above which most of a BERT-like last layer is left out",
    )
    gradient_checkpointing: bool = Field(
        False, description="compute each layer again in the backward pass: less memory, about a third more time"
    )

    @field_validator("id")
    @classmethod
    def _id(cls, value: str) -> str:
        return checked_backbone(value)


class LimitsOfSplits(StrictModel):
    """Most examples of each split."""

    train: PositiveInt | None = Field(None, description="training examples, those of `gate` included (none: all)")
    gate: NonNegativeInt = Field(
        0, description="examples of train held out for gates and ranking; after finalisation all of train is trained on"
    )
    validation: PositiveInt | None = Field(None, description="validation examples (none: all)")
    test: PositiveInt | None = Field(None, description="test examples (none: all)")

    @field_validator("gate")
    @classmethod
    def _gate(cls, value: int, info: ValidationInfo) -> int:
        train = info.data.get("train")
        if train is not None and value >= train:
            raise ValueError(
                f"expected fewer gate examples than the {train} of train that they are taken from, got {value}"
            )
        return value


class TaskConfig(StrictModel):
    """One classification task."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")] = Field(
        description="short name: lower case, digits, - and _"
    )
    source: str = Field(
        description="`bundled:NAME`, `file:PATH` of a JSONL/CSV/Parquet file or a folder of split files, "
        "`hub:ORG/NAME[/CONFIG]@REVISION` of a data set on the Hugging Face hub, or `object:NAME` of data that a "
        "program gives"
    )
    text: str = Field("text", description="column of the text")
    text_pair: str | None = Field(None, description="column of the second text of a pair")
    label: str = Field("label", validate_default=True, description="column of the label")
    limits: LimitsOfSplits = Field(default_factory=LimitsOfSplits, description="most examples of each split")
    max_tokens: Annotated[int, Field(ge=4, le=8192)] = Field(64, description="texts are cut to this many tokens")
    metric: str = Field("accuracy", description="the score, higher is better: accuracy, macro_f1, mcc, or your own")
    weight: PositiveFloat = Field(1.0, description="weight of this task's loss in a joint trial")
    splits: dict[Literal["train", "validation", "test"], str] = Field(
        default_factory=dict,
        description="names of the source's splits where they are others, such as {test: dev}; a split that is named "
        "for one of ours no longer stands for its namesake, and a missing validation or test is taken off train",
    )

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if value == "mean":
            raise ValueError(
                "expected another name than 'mean', which tables and figures call the average over tasks, got 'mean'"
            )
        return value

    @field_validator("source")
    @classmethod
    def _source(cls, value: str, info: ValidationInfo) -> str:
        scheme, _, rest = value.partition(":")
        if not rest and (PurePath(value).suffix or "/" in value):
            raise ValueError(f"expected 'SOURCE:NAME', got {value!r}; did you mean 'file:{value}'?")
        registered(SOURCES, info, scheme)
        if not rest:
            raise ValueError(f"expected 'SOURCE:NAME', got {value!r}")
        return value

    @field_validator("text_pair", "label")
    @classmethod
    def _column(cls, value: str | None, info: ValidationInfo) -> str | None:
        for other in ("text", "text_pair"):
            if value is not None and value == info.data.get(other):
                raise ValueError(f"expected another column for {info.field_name} than that of {other}, got {value!r}")
        return value

    @field_validator("metric")
    @classmethod
    def _metric(cls, value: str, info: ValidationInfo) -> str:
        registered(METRICS, info, value)
        return value

    @field_validator("splits")
    @classmethod
    def _splits(cls, value: dict[str, str]) -> dict[str, str]:
        source_splits(value)
        return value


def _no_repeats(values: tuple[Any, ...]) -> None:
    if len(set(values)) != len(values):
        raise ValueError(f"expected different entries, got {list(values)}")


class PoolConfig(StrictModel):
    """The candidates: every (layer, site, kind, rank) that fits."""

    preset: str | None = Field(None, description="a named pool; what is given beside it, such as `kinds`, wins")
    sites: Searchable[Names] = Field(SITES[:6], description="places in a layer, such as attn.q or ffn.out")
    kinds: Searchable[Names] = Field(("lora",), description="adapter kinds, such as lora, bottleneck, bias")
    ranks: Searchable[Ranks] = Field((4,), description="ranks (widths) of each kind that has one")
    kind_ranks: dict[str, Searchable[Ranks]] = Field(
        default_factory=dict, description="ranks of kinds that have others than `ranks`, such as {lora_xs: [8]}"
    )
    layers: Searchable[Ints | Literal["all"]] = Field("all", description="layer numbers from 0, or all")
    gating: Searchable[Literal["slot", "rank"]] = Field(
        "slot", description="one gate for a whole module, or one for each rank-one part of it (kinds such as lora)"
    )
    start: Searchable[Literal["random", "gradient"]] = Field(
        "random",
        description="what modules that project their input (lora) start from: weights drawn at random, or the leading "
        "directions of the loss's gradient at their place, which costs a few steps",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        name = data.get("preset") if isinstance(data, dict) else None
        return {**POOL_PRESETS[name], **data} if isinstance(name, str) and name in POOL_PRESETS else data

    @field_validator("preset")
    @classmethod
    def _preset(cls, value: str | None) -> str | None:
        if value is not None:
            known(POOL_PRESETS, "pool preset", value)
        return value

    @field_validator("sites", "kinds")
    @classmethod
    def _names(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, tuple):
            known(SITES, "site", *value) if info.field_name == "sites" else registered(KINDS, info, *value)
            _no_repeats(value)
        return value

    @field_validator("ranks", "layers")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        if isinstance(value, tuple):
            _no_repeats(value)
        return value

    @field_validator("kind_ranks")
    @classmethod
    def _own_ranks(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        registered(KINDS, info, *value)
        for ranks in value.values():
            if isinstance(ranks, tuple):
                _no_repeats(ranks)
        return value


class GatesConfig(StrictModel):
    """How gates learn."""

    family: Searchable[str] = Field("hard_concrete", description="gate family")
    temperature: Searchable[PositiveFloat | None] = Field(
        None, description="τ or β at the end of the gated steps (no unit); none: as the family has it"
    )
    temperature_start: Searchable[PositiveFloat | None] = Field(
        None, description="τ or β at the start of the gated steps (no unit); none: as the family has it"
    )
    temperature_schedule: Searchable[Literal["geometric", "linear", "constant"]] = Field(
        "geometric", description="how the temperature goes from start to end; constant: it is the end's all along"
    )
    learning_rate: Searchable[PositiveFloat] = Field(0.05, description="learning rate of the gates (per step)")
    warm_up: Searchable[Annotated[float, Field(ge=0, lt=1)]] = Field(
        0.1, description="share of the steps with all gates open before gates learn"
    )
    initial_openness: Searchable[Annotated[float, Field(gt=0, lt=1)]] = Field(
        0.9, description="openness p of every gate at the start"
    )
    threshold: Searchable[Annotated[float, Field(gt=0, lt=1)]] = Field(
        0.5,
        description="a slot stays if its openness p ends above this; under a budget over several tasks, one that "
        "another task has paid",
    )
    learn_on: Searchable[Literal["auto", "train", "gate"]] = Field(
        "auto", description="split that gates learn on: auto is the gate split where tasks have one, else train"
    )

    @field_validator("family")
    @classmethod
    def _family(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            registered(GATES, info, value)
        return value


class PenaltySize(StrictModel):
    """The sparsity weight decides the size."""

    mode: Literal["penalty"] = Field(description="`penalty`: the sparsity weight decides the size")
    sparsity_weight: Searchable[NonNegativeFloat] = Field(
        1.0, description="λ, weight of the cost-weighted share of open slots in the loss (no unit)"
    )
    ramp: Searchable[UnitFloat] = Field(0.2, description="share of the steps over which λ grows from 0")
    schedule: Searchable[Literal["linear", "cosine", "cubic"]] = Field(
        "linear", description="how λ grows over the ramp"
    )
    path: Searchable[Weights | None] = Field(
        None,
        description="rising values of λ that one trial goes through in stages, each read and scored at its end; the "
        "trial ends at the last one, and sparsity_weight plays no part",
    )

    @field_validator("path")
    @classmethod
    def _path(cls, value: Any) -> Any:
        if isinstance(value, tuple) and any(low >= high for low, high in itertools.pairwise(value)):
            raise ValueError(f"expected rising values, got {list(value)}")
        return value


class BudgetSize(StrictModel):
    """A number of parameters decides the size."""

    mode: Literal["budget"] = Field(description="`budget`: a number of parameters decides the size")
    parameters: Searchable[Size] = Field(description="most exported parameters of the structure")
    scope: Literal["union", "per_task"] = Field(
        "union", description="what is counted: the union of all tasks' slots, or each task's own"
    )


class SeedsConfig(StrictModel):
    """The seed pair of a trial, recorded apart and used as blocks."""

    init: Seed = Field(0, description="seed of the initial weights and gate noise")
    data: Seed = Field(0, description="seed of the order of the data")


class EarlyStopConfig(StrictModel):
    """When a trial ends before its last step: on a plateau of its validation score, once its structure is fixed."""

    patience: PositiveInt = Field(description="reports on end without a better score, after finalisation")
    min_delta: NonNegativeFloat = Field(0.0, description="by how much a score must be above the best to be better")


class TrainingConfig(StrictModel):
    """How a trial trains. Exactly one of `epochs` and `steps`."""

    epochs: Searchable[Annotated[float, Field(gt=0, le=1_000_000)] | None] = Field(
        None, description="passes over the training data"
    )
    steps: Searchable[PositiveInt | None] = Field(None, validate_default=True, description="optimiser steps")
    batch_size: Searchable[PositiveInt] = Field(32, description="examples in a step")
    learning_rate: Searchable[PositiveFloat] = Field(3e-3, description="peak learning rate of the modules (per step)")
    head_learning_rate: Searchable[PositiveFloat] = Field(1e-2, description="peak learning rate of the task heads")
    weight_decay: Searchable[NonNegativeFloat] = Field(
        0.01, description="AdamW decay of modules and heads, not of gates"
    )
    schedule: Searchable[Literal["linear", "cosine", "constant"]] = Field(
        "linear", description="how learning rates fall over the steps"
    )
    gradient_clip: PositiveFloat = Field(1.0, description="largest L2 norm of the gradient of all weights")
    reports: Counted = Field(4, description="how often a trial reports its validation score while it trains")
    kind_factors: dict[str, Searchable[PositiveFloat]] = Field(
        default_factory=dict, description="factor on `learning_rate` for modules of a kind, such as {bias: 3}"
    )
    task_temperature: Searchable[Annotated[float, Field(ge=1)]] = Field(
        1.0, description="τ ≥ 1: a task of n examples is drawn in proportion to n^(1/τ); 1: every example once an epoch"
    )
    multitask: Searchable[Literal["joint", "independent"]] = Field(
        "joint", description="tasks train together on one shared pool, or each by itself on a pool of its own"
    )
    early_stop: EarlyStopConfig | None = Field(
        None, description="ends a trial on a plateau of its validation score (none: it takes all its steps)"
    )
    seeds: SeedsConfig = Field(default_factory=SeedsConfig, description="seed pair of the first repetition")

    @field_validator("kind_factors")
    @classmethod
    def _kinds(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        registered(KINDS, info, *value)
        return value

    @field_validator("steps")
    @classmethod
    def _length(cls, value: Any, info: ValidationInfo) -> Any:
        if "epochs" in info.data and (info.data["epochs"] is None) == (value is None):
            raise ValueError(f"expected exactly one of epochs and steps, got {'neither' if value is None else 'both'}")
        return value


class FinalisationConfig(StrictModel):
    """From gates to a structure."""

    ranking: Searchable[Literal["gate", "saliency", "ablation"]] = Field(
        "gate", description="under `budget`: slots are ranked by gate, by first-order saliency or by ablation"
    )
    finish: Searchable[Literal["continue", "retrain", "progressive"]] = Field(
        "continue",
        description="go on with the same weights; train fresh modules; or close slots for good while gates learn",
    )
    share: Searchable[Annotated[float, Field(gt=0, lt=1)]] = Field(
        0.4, description="share of all steps kept for the time after finalisation"
    )
    gap: bool = Field(
        True,
        description="store `gated_score` and `finalisation_gap`, which costs one more look at the validation split",
    )


class ObjectiveConfig(StrictModel):
    """One thing to be good at."""

    name: Literal["score", "exported_parameters", "robustness"] = Field(
        description="mean validation score; exported parameters; score under the measured conditions"
    )
    measure: Literal["noisy_score", "relative", "worst", "curve_area"] | None = Field(
        None,
        description="robustness only: mean noisy score, its ratio to the clean one, the worst condition, or the area "
        "under the curve of score against level",
    )

    direction: Literal["maximize", "minimize"] = Field(
        "maximize", description="follows from the name: minimize for exported_parameters, else maximize"
    )

    @model_validator(mode="before")
    @classmethod
    def _default_direction(cls, data: Any) -> Any:
        name = data.get("name") if isinstance(data, dict) else None
        return {"direction": DIRECTIONS.get(name, "maximize"), **data} if isinstance(name, str) else data

    @field_validator("direction")
    @classmethod
    def _direction(cls, value: str, info: ValidationInfo) -> str:
        wanted = DIRECTIONS.get(str(info.data.get("name")), value)
        if value != wanted:
            raise ValueError(f"expected {wanted} for {info.data['name']}, got {value!r}")
        return value

    @field_validator("measure")
    @classmethod
    def _measure(cls, value: str | None, info: ValidationInfo) -> str | None:
        name = info.data.get("name")
        if value is not None and name not in (None, "robustness"):
            raise ValueError(f"expected no measure for {name} (it belongs to robustness), got {value!r}")
        return value


class StudyConfig(StrictModel):
    """One study: backbone, tasks, pool, gates, size control, training, conditions, phases, objectives, limits."""

    name: StudyName = Field(description="name in the database: letters, digits, - and _")
    description: str = Field("", description="one sentence for people")
    seed: Seed = Field(0, description="seed of samplers and of splits")
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
    finalisation: FinalisationConfig = Field(
        default_factory=lambda: FinalisationConfig(), description="from gates to a structure"
    )
    conditions: ConditionsConfig = Field(
        default_factory=lambda: ConditionsConfig(), description="disturbances in training and in evaluation"
    )
    phases: PhasesConfig = Field(description="what is run")
    objectives: Annotated[tuple[ObjectiveConfig, ...], Field(min_length=1, max_length=3)] = Field(
        default_factory=lambda: (ObjectiveConfig(name="score"),),
        validate_default=True,
        description="what to be good at",
    )
    constraints: tuple[ConstraintConfig, ...] = Field(
        (), description="bounds of what may be chosen: samplers learn them; winners, exports and the front keep them"
    )
    resources: ResourcesConfig = Field(default_factory=lambda: ResourcesConfig(), description="what a trial may use")
    limits: LimitsConfig = Field(default_factory=lambda: LimitsConfig(), description="when to stop early")

    @field_validator("tasks")
    @classmethod
    def _tasks(cls, value: tuple[TaskConfig, ...]) -> tuple[TaskConfig, ...]:
        names = [task.name for task in value]
        if len(set(names)) != len(names):
            raise ValueError(f"expected different names, got {', '.join(names)}")
        without = [number for number, task in enumerate(value) if task.limits.gate == 0]
        if 0 < len(without) < len(value):
            wanted = "expected a number above 0, as other tasks have gate examples, got 0"
            raise ValueError("\n".join(f"tasks.{number}.limits.gate: {wanted}" for number in without))
        return value

    @field_validator("constraints")
    @classmethod
    def _constraints(cls, value: tuple[ConstraintConfig, ...], info: ValidationInfo) -> tuple[ConstraintConfig, ...]:
        names = [constraint.name for constraint in value]
        if len(set(names)) != len(names):
            raise ValueError(f"expected each name once, with both of its bounds, got {', '.join(names)}")
        conditions = info.data.get("conditions")
        if "robustness" in names and conditions is not None and not conditions.measured:
            raise ValueError("conditions.measured: expected conditions to measure robustness under, got none")
        return value

    @field_validator("objectives")
    @classmethod
    def _objectives(cls, value: tuple[ObjectiveConfig, ...], info: ValidationInfo) -> tuple[ObjectiveConfig, ...]:
        problems = []
        names = [objective.name for objective in value]
        if len(set(names)) != len(names):
            problems.append(f"expected each objective once, got {', '.join(names)}")
        conditions = info.data.get("conditions")
        if "robustness" in names and conditions is not None and not conditions.measured:
            problems.append(
                "conditions.measured: expected conditions to measure the robustness objective under, got none"
            )
        if conditions is not None and conditions.race is not None and "robustness" not in names:
            problems.append(
                "conditions.race: expected none, as robustness is no objective and no trial can fall behind in it, got "
                f"{conditions.race:g}"
            )
        phases = info.data.get("phases")
        if conditions is not None and conditions.race is not None and phases is not None and phases.optimise is None:
            problems.append(
                "conditions.race: expected none without phases.optimise, whose trials alone race, got "
                f"{conditions.race:g}"
            )
        pruner = phases.optimise.pruner.name if phases is not None and phases.optimise is not None else "none"
        if pruner == "median" and names != ["score"]:
            problems.append(
                "phases.optimise.pruner.name: expected one fit for objectives other than score, got median with the "
                f"objectives {', '.join(names)}"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return value

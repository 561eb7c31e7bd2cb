"""The `conditions` section of the study file: what trials train under, and what they are measured under."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationInfo, field_validator, model_validator

from slasearch.config.fields import Distribution, NonNegativeFloat, PositiveFloat, Searchable, Seed, StrictModel, known
from slasearch.registry import CONDITIONS

__all__ = ["ConditionsConfig", "MeasuredCondition", "TrainCondition"]


class _Condition(StrictModel):
    kind: str = Field(description="what is disturbed, and how")
    seed: Seed = Field(0, description="seed of the disturbance")
    scale: PositiveFloat | None = Field(None, description="strength of one disturbance, for kinds that have one")
    where: ClassVar[str]

    @field_validator("kind")
    @classmethod
    def _kind(cls, value: str) -> str:
        known(CONDITIONS.names(), "condition", value)
        facts = CONDITIONS.get(value).facts
        if cls.where not in facts.where:
            raise ValueError(
                f"expected a condition for {cls.where}, got {value!r}, which is for {', '.join(facts.where)} only"
            )
        return value

    @field_validator("scale")
    @classmethod
    def _scale(cls, value: float | None, info: ValidationInfo) -> float | None:
        kind = info.data.get("kind")
        if value is not None and kind is not None and CONDITIONS.get(kind).facts.default_scale is None:
            raise ValueError(f"expected no scale for {kind}, whose level says everything, got {value:g}")
        return value


def _check_level(kind: str | None, level: float) -> None:
    if kind is None:  # its own error is reported already
        return
    facts = CONDITIONS.get(kind).facts
    if not 0 <= level <= facts.maximum:
        raise ValueError(f"expected a {facts.level} from 0 to {facts.maximum:g}, got {level:g}")


class TrainCondition(_Condition):
    """A disturbance of the training data; its level may be searched."""

    where: ClassVar[str] = "train"
    level: Searchable[NonNegativeFloat] = Field(
        description="how much is disturbed, in the unit of the kind; 0 disturbs nothing"
    )

    @field_validator("level")
    @classmethod
    def _level(cls, value: float | Distribution, info: ValidationInfo) -> float | Distribution:
        if not isinstance(value, Distribution):
            _check_level(info.data.get("kind"), value)
        return value


class MeasuredCondition(_Condition):
    """A disturbance that every trial is measured under, on a fixed grid of levels: the kind's own five if left out."""

    where: ClassVar[str] = "eval"
    levels: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = Field(
        default_factory=tuple,
        description="levels in the unit of the kind, five that come with it if left out; the clean score is always "
        "measured",
    )

    @model_validator(mode="before")
    @classmethod
    def _severities(cls, data: Any) -> Any:
        kind = data.get("kind") if isinstance(data, dict) else None
        if isinstance(kind, str) and kind in CONDITIONS.names():
            return {"levels": CONDITIONS.get(kind).facts.severities, **data}
        return data

    @field_validator("levels")
    @classmethod
    def _levels(cls, value: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        for level in value:
            _check_level(info.data.get("kind"), level)
        if len(set(value)) != len(value):
            raise ValueError(f"expected different levels, got {list(value)}")
        return value


def _each_kind_once(conditions: Sequence[_Condition]) -> None:
    kinds = [condition.kind for condition in conditions]
    twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
    if twice:
        raise ValueError(f"expected each kind once, got {', '.join(twice)} more than once")


class ConditionsConfig(StrictModel):
    """What trials train under (may be searched) and what they are measured under (fixed for the study).

    With a `share` below 1 the search measures conditions on a part of the validation split: one part for all trials and
    conditions, on which the clean score that they are compared with is measured too, so that comparisons are paired.
    """

    train: tuple[TrainCondition, ...] = Field((), description="conditions during training")
    measured: tuple[MeasuredCondition, ...] = Field(
        (), description="conditions of evaluation, the same for every trial"
    )
    share: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="share of each task's validation examples on which conditions are measured before `confirm`, the "
        "same examples for every trial; confirm always measures on all",
    )
    race: Annotated[float, Field(gt=0, lt=0.5)] | None = Field(
        None,
        description="significance level at which a trial of `optimise` leaves the race over conditions: it is pruned "
        "once a complete one that keeps the constraints is as good in all other objectives and better under the "
        "conditions measured so far, by a test that takes conditions as independent, so that trials that are equal but "
        "for the draw of examples are stopped more often than that; none: every trial is measured under all",
    )

    @field_validator("train")
    @classmethod
    def _train(cls, value: tuple[TrainCondition, ...]) -> tuple[TrainCondition, ...]:
        _each_kind_once(value)
        return value

    @field_validator("measured")
    @classmethod
    def _measured(cls, value: tuple[MeasuredCondition, ...]) -> tuple[MeasuredCondition, ...]:
        _each_kind_once(value)
        return value

    @field_validator("share")
    @classmethod
    def _share(cls, value: float, info: ValidationInfo) -> float:
        if value < 1 and info.data.get("measured") == ():
            raise ValueError(f"expected 1, as no condition is measured, got {value:g}")
        return value

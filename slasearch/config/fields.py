"""What the parts of the study file are built from: the strict model, distributions, searchable fields, number types."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from slasearch.registry import Registry

__all__ = [
    "STORED",
    "Choice",
    "Counted",
    "Distribution",
    "Ints",
    "Names",
    "NonNegativeFloat",
    "NonNegativeInt",
    "PositiveFloat",
    "PositiveInt",
    "Ranks",
    "Repeats",
    "Scalar",
    "Searchable",
    "Seed",
    "Size",
    "StrictModel",
    "StudyName",
    "UnitFloat",
    "Weights",
    "did_you_mean",
    "known",
    "registered",
]

Scalar = bool | int | float | str
Choice = Scalar | tuple[Scalar, ...]
"""What one choice of a categorical may be: a value, or a list of values."""

UnitFloat = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
PositiveInt = Annotated[int, Field(ge=1, lt=2**31)]
NonNegativeInt = Annotated[int, Field(ge=0, lt=2**31)]
Size = Annotated[int, Field(ge=1, lt=2**63)]
"""Numbers of parameters, as far as a database holds them."""
Counted = Annotated[int, Field(ge=1, le=10_000)]
"""What is kept or shown one by one."""
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Repeats = Annotated[int, Field(ge=1, le=1000)]
"""Repetitions under other seeds; at most 1000, so that the seeds of `confirm` never meet those of the search."""
StudyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Names = Annotated[tuple[str, ...], Field(min_length=1)]
Ints = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]
Ranks = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
Weights = Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)]


class StrictModel(BaseModel):
    """Unknown fields are errors, NaN and infinity too; values do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, serialize_by_alias=True)


def _meaning(choice: Choice) -> Any:
    """What is equal for choices that come to the same: numbers of one value, lists in any order."""
    return frozenset(map(_meaning, choice)) if isinstance(choice, tuple) else (isinstance(choice, bool), choice)


class Distribution(StrictModel):
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
    categorical: tuple[Choice, ...] | None = Field(None, max_length=500, description="one of these values")
    when: dict[str, Scalar | tuple[Choice, ...]] = Field(
        default_factory=dict,
        description="searched only if each named field (dotted path) was chosen as this value, or one of these; "
        "else the field has its default",
    )

    @field_validator("float_range", "log_float", "int_range")
    @classmethod
    def _rising(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError(f"expected [low, high] with low < high, got {list(value)}")
        return value

    @field_validator("log_float")
    @classmethod
    def _positive(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] <= 0:
            raise ValueError(f"expected a low end above 0, got {value[0]:g}")
        return value

    @field_validator("categorical")
    @classmethod
    def _choices(cls, value: tuple[Choice, ...] | None) -> tuple[Choice, ...] | None:
        if value is not None and len(value) < 2:
            raise ValueError(f"expected at least two choices, got {len(value)}; write a single one as a plain value")
        if value is not None and len(set(map(_meaning, value))) != len(value):
            raise ValueError(f"expected different choices, got {list(value)}")
        return value

    @model_validator(mode="after")
    def _one_form(self) -> Distribution:
        forms = {"float": self.float_range, "log_float": self.log_float, "int": self.int_range}
        given = [name for name, form in {**forms, "categorical": self.categorical}.items() if form is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected exactly one of float, log_float, int, categorical, got {' and '.join(given) or 'none'}"
            )
        return self


STORED = "stored"
"""Key of a validation's context: the study is read back from a database."""


def _form(value: Any) -> str:
    return "search" if isinstance(value, (dict, Distribution)) else "fixed"


if TYPE_CHECKING:
    T = TypeVar("T")
    Searchable: TypeAlias = T | Distribution
else:

    class Searchable:
        """`Searchable[X]`: a field type that takes an X, or a distribution in its place."""

        def __class_getitem__(cls, kind: Any) -> Any:
            return Annotated[
                Annotated[kind, Tag("fixed")] | Annotated[Distribution, Tag("search")],
                Discriminator(_form),
                Field(json_schema_extra={"x-searchable": True}),
            ]


def did_you_mean(value: str, names: Iterable[str]) -> str:
    """A question after what was got, where one of `names` is written nearly so; else nothing."""
    close = difflib.get_close_matches(value.lower(), list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def known(names: Iterable[str], what: str, *values: str) -> None:
    """Raises ValueError for the values that are not among `names`, a line for each, in the words of a config error."""
    names = tuple(names)
    wrong = [
        f"expected a known {what} ({', '.join(names)}), got {value!r}{did_you_mean(value, names)}"
        for value in values
        if value not in names
    ]
    if wrong:
        raise ValueError("\n".join(wrong))


def registered(registry: Registry[Any], info: ValidationInfo, *values: str) -> None:
    """As `known` with the names of a registry; a stored study may have others, as its program may not be running."""
    if not (info.context or {}).get(STORED):
        known(registry.names(), registry.what, *values)

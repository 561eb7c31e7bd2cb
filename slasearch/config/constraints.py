"""The `constraints` section of the study file: bounds that a structure must keep to be chosen."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from slasearch.config.fields import StrictModel

__all__ = ["ConstraintConfig"]


class ConstraintConfig(StrictModel):
    """A bound on something that every complete trial has."""

    name: Literal["score", "exported_parameters", "robustness", "latency"] = Field(
        description="mean validation score; exported parameters; score under the measured conditions; time of one "
        "example through the unmerged adapter and its backbone (ms), which trials measure only where it is bounded"
    )
    min: float | None = Field(None, description="the least that is allowed")
    max: float | None = Field(None, description="the most that is allowed")

    @model_validator(mode="after")
    def _bounds(self) -> ConstraintConfig:
        if self.min is None and self.max is None:
            raise ValueError("expected min, max or both, got neither")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"expected min of at most max, got {self.min:g} and {self.max:g}")
        return self

    @property
    def unit(self) -> str:
        """`ms` of a latency; the others are plain numbers."""
        return "ms" if self.name == "latency" else ""

    def excess(self, value: float) -> float:
        """How far a value lies beyond the bounds, in its own unit; within them 0 or less."""
        beyond = [value - self.max] if self.max is not None else []
        beyond += [self.min - value] if self.min is not None else []
        return max(beyond)

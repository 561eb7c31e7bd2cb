"""The `resources` and `limits` sections of the study file: what trials may use, and when a study stops early."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field, field_validator

from slasearch.config.fields import Counted, NonNegativeInt, PositiveFloat, PositiveInt, StrictModel
from slasearch.config.secrets import holds_secret

__all__ = ["LimitsConfig", "ResourcesConfig"]


class ResourcesConfig(StrictModel):
    """What a trial may use, and how many run at a time."""

    cpus_per_trial: Annotated[int, Field(ge=1, le=1024)] = Field(1, description="CPU threads of a trial")
    gpus_per_trial: float = Field(0.0, ge=0, le=1, description="GPUs of a trial, one at most; a fraction shares one")
    max_concurrent_trials: PositiveInt = Field(2, description="most trials at a time")
    cache_gib: Annotated[float, Field(ge=0, le=1_000_000)] = Field(
        4.0, description="hidden states of frozen layers that each node keeps for all trials (GiB); 0: none"
    )
    checkpoint_minutes: PositiveFloat | None = Field(
        10.0, description="every how many minutes a trial saves its state, to go on from if it is lost; null: never"
    )
    checkpoint_folder: str | None = Field(
        None, description="folder of checkpoints that all nodes see; null: one on each node, in the home folder"
    )
    storage_path: str | None = Field(
        None,
        description="where trained adapters are written: a folder, such as one of a shared file system, or a URI that "
        "pyarrow opens, such as s3://bucket/prefix (credentials come from the environment); null: the home folder",
    )

    @field_validator("gpus_per_trial")
    @classmethod
    def _gpus(cls, value: float) -> float:
        if 0 < value < 1e-4:  # Ray counts no smaller parts
            raise ValueError(f"expected 0, or a share of one GPU from 0.0001 up, got {value:g}")
        return value

    @field_validator("checkpoint_folder")
    @classmethod
    def _checkpoint_folder(cls, value: str | None) -> str | None:
        if value is not None and not PurePosixPath(value).is_absolute():
            raise ValueError(f"expected the absolute path of a folder, got {value!r:.80}")
        return value

    @field_validator("storage_path")
    @classmethod
    def _storage_path(cls, value: str | None) -> str | None:
        if value is None or value.startswith("file:///"):
            return value
        if "://" not in value and not PurePosixPath(value).is_absolute():
            raise ValueError(f"expected an absolute path, or a URI such as s3://bucket/prefix, got {value!r}")
        if holds_secret(value):
            raise ValueError(
                "expected a URI without a secret (credentials are taken from the environment), got one with a password "
                "or a key"
            )
        if value.startswith("file://"):
            raise ValueError(f"expected file:/// and an absolute path, got {value!r}")
        return value


class LimitsConfig(StrictModel):
    """When to stop early."""

    max_hours: PositiveFloat | None = Field(None, description="wall time of one run command (hours)")
    max_device_hours: PositiveFloat | None = Field(None, description="sum of all trials' wall times (hours)")
    max_retries: NonNegativeInt = Field(2, description="new attempts after a lost worker or too little memory")
    failure_window: Counted = Field(
        10, description="stop when most of this many last trials failed and were not tried again"
    )

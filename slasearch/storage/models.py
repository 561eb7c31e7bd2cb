"""The `sla_` tables as SQLAlchemy models. They stand beside Optuna's own tables in one database.

Times are UTC epoch seconds. JSON stands in text columns, so that every database takes it. A number that a trial could
not give (NaN, infinite) is NULL. The task `*` in `sla_metric` stands for the whole trial: its metric `score` with a
`step` is the validation score that the trial reported at that step, on which trials are pruned.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = [
    "Base",
    "SlaArtifact",
    "SlaCheckpoint",
    "SlaCost",
    "SlaEvent",
    "SlaGate",
    "SlaLease",
    "SlaMetric",
    "SlaRequest",
    "SlaStudy",
    "SlaTrial",
    "SlaWarmStart",
]

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Parent of all our tables; constraint names are fixed, so that migrations can refer to them."""

    metadata = MetaData(naming_convention=_NAMES)


class SlaStudy(Base):
    """One study: its file's content, and where it stands."""

    __tablename__ = "sla_study"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    config: Mapped[str] = mapped_column(Text)
    """The StudyConfig as JSON."""
    fingerprint: Mapped[str] = mapped_column(String(64))
    """SHA-256 over the fields that affect results."""
    data: Mapped[str | None] = mapped_column(Text)
    """SHA-256 of each task's data as JSON, by the task's name; NULL until a run has read them."""
    seed: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    """`running`, `finished`, `stopped` (by a limit or a person), `failed`, or `deleted` while it is being deleted."""
    version: Mapped[str] = mapped_column(String(32))
    """Version of slasearch that made the study."""
    created_at: Mapped[float] = mapped_column(Float)
    updated_at: Mapped[float] = mapped_column(Float)


class SlaTrial(Base):
    """One attempt at one trial. A new attempt after a lost worker is a row of its own, with `retry_of`."""

    __tablename__ = "sla_trial"
    __table_args__ = (UniqueConstraint("study_id", "optuna_study", "number"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("sla_study.id"), index=True)
    optuna_study: Mapped[str] = mapped_column(String(16))
    """`search` (Optuna's study NAME) or `confirm` (NAME.confirm, with all trials of `tune`)."""
    number: Mapped[int | None] = mapped_column(Integer)
    """Optuna's number in that study; NULL as long as the trial only waits."""
    phase: Mapped[str] = mapped_column(String(16))
    """`design`, `optimise`, `tune` or `confirm`."""
    role: Mapped[str] = mapped_column(String(64))
    """`search`, `finalist`, `winner` or `control:NAME`."""
    sampler: Mapped[str] = mapped_column(String(32))
    """Who proposed it: the phase's sampler; `qmc`, `grid` or `fixed` in `tune`, `fixed` in `confirm`."""
    factor: Mapped[str | None] = mapped_column(String(255))
    """In a one-at-a-time design: the parameter that differs from the base point."""
    point: Mapped[int | None] = mapped_column(Integer)
    """In a design: number of the design point; in `tune`: number of the control's tuning trial."""
    repeat: Mapped[int] = mapped_column(Integer)
    """Which seed pair of the point, from 0."""
    attempt: Mapped[int] = mapped_column(Integer)
    """From 1."""
    retry_of: Mapped[int | None] = mapped_column(ForeignKey("sla_trial.id"), index=True)
    """The attempt before this one."""
    state: Mapped[str] = mapped_column(String(16))
    """`waiting`, `running`, `complete`, `pruned` or `fail`."""
    reason: Mapped[str | None] = mapped_column(Text)
    """Why it failed or was pruned."""
    params: Mapped[str] = mapped_column(Text)
    """Searched fields as JSON, dotted path -> the value as Optuna stores it."""
    spec: Mapped[str] = mapped_column(Text)
    """The TrialSpec as JSON."""
    config_hash: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the spec without its seeds: repeats of one configuration share it."""
    init_seed: Mapped[int] = mapped_column(BigInteger)
    data_seed: Mapped[int] = mapped_column(BigInteger)
    pair_of: Mapped[int | None] = mapped_column(ForeignKey("sla_trial.id"), index=True)
    """In `tune` and `confirm`: the search trial that it repeats, or is a control of; NULL for a control of all."""
    control_size: Mapped[int | None] = mapped_column(BigInteger)
    """For a control of equal size: its size in exported parameters."""
    control_variant: Mapped[str | None] = mapped_column(String(64))
    """Which of a control's layouts, where it has several; NULL is the default one."""
    sampler_notes: Mapped[str | None] = mapped_column(Text)
    """What the sampler keeps of the draw beside its values, its generation, as JSON; every attempt has the same."""
    ray_trial_id: Mapped[str | None] = mapped_column(String(64))
    worker: Mapped[str | None] = mapped_column(String(255))
    score: Mapped[float | None] = mapped_column(Float)
    """Mean validation score; of a pruned trial its last one."""
    exported_parameters: Mapped[float | None] = mapped_column(Float)
    robustness: Mapped[float | None] = mapped_column(Float)
    latency: Mapped[float | None] = mapped_column(Float)
    """Time of one example through the trained model (ms), in studies that bound it."""
    budget: Mapped[int | None] = mapped_column(Integer)
    """Training steps done."""
    budget_max: Mapped[int | None] = mapped_column(Integer)
    """Training steps planned."""
    created_at: Mapped[float] = mapped_column(Float)
    started_at: Mapped[float | None] = mapped_column(Float)
    ended_at: Mapped[float | None] = mapped_column(Float)
    log: Mapped[str | None] = mapped_column(String(512))
    """Log file, relative to the home folder."""


class SlaMetric(Base):
    """One measured number; `step` NULL is the final value, `condition` is `clean` or the condition's kind.

    The condition `clean_sample` is undisturbed too, on that part of a split on which conditions were measured.
    """

    __tablename__ = "sla_metric"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("sla_trial.id"), index=True)
    task: Mapped[str] = mapped_column(String(64))
    split: Mapped[str] = mapped_column(String(16))
    condition: Mapped[str] = mapped_column(String(64))
    level: Mapped[float] = mapped_column(Float)
    metric: Mapped[str] = mapped_column(String(64))
    step: Mapped[int | None] = mapped_column(Integer)
    value: Mapped[float | None] = mapped_column(Float)
    examples: Mapped[int | None] = mapped_column(Integer)
    """How many examples it was measured on."""
    error: Mapped[float | None] = mapped_column(Float)
    """Its standard error over them, where they are a sample of the split."""
    labels: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Of a score on the test split: the examples' labels, as `slasearch.tasks.predictions` packs them."""
    predicted: Mapped[bytes | None] = mapped_column(LargeBinary)
    """And the labels that were predicted for them."""


class SlaGate(Base):
    """One gate at a trial's end."""

    __tablename__ = "sla_gate"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("sla_trial.id"), index=True)
    task: Mapped[str] = mapped_column(String(64))
    slot: Mapped[str] = mapped_column(String(128))
    """`LAYER:SITE:KIND:rRANK:INDEX`."""
    layer: Mapped[int] = mapped_column(Integer)
    site: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(64))
    rank: Mapped[int] = mapped_column(Integer)
    idx: Mapped[int] = mapped_column(Integer)
    openness: Mapped[float | None] = mapped_column(Float)
    value: Mapped[float | None] = mapped_column(Float)
    open: Mapped[bool] = mapped_column()
    parameters: Mapped[int] = mapped_column(BigInteger)


class SlaCost(Base):
    """What a trial cost, such as `train_seconds` in s."""

    __tablename__ = "sla_cost"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("sla_trial.id"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    value: Mapped[float | None] = mapped_column(Float)
    unit: Mapped[str] = mapped_column(String(32))


class SlaArtifact(Base):
    """One file that a trial handed back."""

    __tablename__ = "sla_artifact"
    __table_args__ = (UniqueConstraint("trial_id", "name"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("sla_trial.id"))
    name: Mapped[str] = mapped_column(String(128))
    path: Mapped[str] = mapped_column(String(512))
    """Relative to the home folder if it begins with `artifacts/`, else to the study's `resources.storage_path`."""
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)


class SlaCheckpoint(Base):
    """A state that an attempt has saved; the file itself may lie on the attempt's node alone, and be gone by now."""

    __tablename__ = "sla_checkpoint"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("sla_trial.id"), index=True)
    step: Mapped[int] = mapped_column(Integer)
    """Training steps done."""
    sha256: Mapped[str] = mapped_column(String(64))
    """Of its JSON file, which holds that of the tensors."""
    node: Mapped[str] = mapped_column(String(255))


class SlaEvent(Base):
    """Something worth telling about a study or one of its trials."""

    __tablename__ = "sla_event"
    __table_args__ = (Index(None, "study_id", "trial_id"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("sla_study.id"))
    trial_id: Mapped[int | None] = mapped_column(ForeignKey("sla_trial.id"), index=True)
    at: Mapped[float] = mapped_column(Float)
    level: Mapped[str] = mapped_column(String(16))
    """`info`, `warning` or `error`."""
    kind: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text)


class SlaLease(Base):
    """Who may write to a study.

    The token grows with every holder and every write of it: a late write of an old holder is refused, and one that
    was committed is not done again.
    """

    __tablename__ = "sla_lease"

    study_id: Mapped[int] = mapped_column(ForeignKey("sla_study.id"), primary_key=True, autoincrement=False)
    token: Mapped[int] = mapped_column(BigInteger)
    holder: Mapped[str | None] = mapped_column(Text)
    """JSON: host, boot id, pid, start of the process; NULL when nobody holds it."""
    renewed_at: Mapped[float] = mapped_column(Float)


class SlaRequest(Base):
    """What a command asks of a study; whoever holds its lease carries it out."""

    __tablename__ = "sla_request"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("sla_study.id"), index=True)
    verb: Mapped[str] = mapped_column(String(16))
    """`retry` or `cancel`."""
    trials: Mapped[str | None] = mapped_column(Text)
    """Ids in `sla_trial` as a JSON list; NULL means the study."""
    at_once: Mapped[bool] = mapped_column()
    """For the study: without waiting for its running trials."""
    asked_at: Mapped[float] = mapped_column(Float)
    done_at: Mapped[float | None] = mapped_column(Float)
    """NULL until it is carried out."""
    outcome: Mapped[str | None] = mapped_column(Text)
    """What came of it, in a sentence."""


class SlaWarmStart(Base):
    """What a study's sampler took from an earlier study when the study was made; it outlives that study."""

    __tablename__ = "sla_warm_start"

    study_id: Mapped[int] = mapped_column(ForeignKey("sla_study.id"), primary_key=True, autoincrement=False)
    source: Mapped[str] = mapped_column(String(64))
    """Name of the earlier study."""
    fingerprint: Mapped[str] = mapped_column(String(64))
    """Its fingerprint at that time."""
    data: Mapped[str | None] = mapped_column(Text)
    """The digests of its tasks' data, as in `sla_study`."""
    left_out: Mapped[int] = mapped_column(Integer)
    """How many of its complete trials have a value outside this study's ranges, or lack one that it bounds."""
    trials: Mapped[str] = mapped_column(Text)
    """The trials as a JSON list: number, params, and the values that can be objectives."""

"""The values that travel between packages: frozen dataclasses of plain data, no I/O, nothing but the standard library.

Each survives JSON unchanged: `to_plain` and `from_plain` in `slasearch.config.plain` convert both ways.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar, Literal

__all__ = [
    "CLEAN_SAMPLE",
    "DIRECTIONS",
    "SITES",
    "SPARSITY_PATH",
    "SPLITS",
    "WHOLE_TRIAL",
    "BackboneSpec",
    "Checkpoint",
    "CheckpointPlan",
    "ConditionSpec",
    "CostRow",
    "EarlyStopSpec",
    "Event",
    "Example",
    "FinalisationSpec",
    "GateRow",
    "GateSpec",
    "MetricRow",
    "PoolSpec",
    "Pooling",
    "Progress",
    "SeedPair",
    "SizeSpec",
    "Slot",
    "SlotCost",
    "Split",
    "SplitLimits",
    "Structure",
    "TaskData",
    "TaskSpec",
    "TrainingSpec",
    "TrialReport",
    "TrialSpec",
]

Split = Literal["train", "gate", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "gate", "validation", "test")

SITES: tuple[str, ...] = ("attn.q", "attn.k", "attn.v", "attn.out", "ffn.in", "ffn.out", "block")
"""Places in a backbone layer where a module can sit, in the order in which a forward pass meets them."""


CLEAN_SAMPLE = "clean_sample"
"""In place of a condition: undisturbed, on those examples of a split on which conditions were measured."""

SPARSITY_PATH = "sparsity_path"
"""In place of a condition: undisturbed, at the end of that stage of a sparsity path whose λ is the level."""

WHOLE_TRIAL = "*"
"""In place of a task's name: the number belongs to the trial over all its tasks."""

DIRECTIONS: dict[str, Literal["maximize", "minimize"]] = {
    "score": "maximize",
    "exported_parameters": "minimize",
    "robustness": "maximize",
}
"""The objectives, and which way is better."""


# ---------------------------------------------------------------- structure


@dataclass(frozen=True, order=True)
class Slot:
    """One candidate of a pool: a module of `kind` and `rank` at `site` of `layer`; `index` tells copies apart."""

    layer: int
    site: str
    kind: str
    rank: int
    index: int = 0

    @property
    def name(self) -> str:
        """Unique, readable, parseable: `3:attn.q:lora:r2:0`."""
        return f"{self.layer}:{self.site}:{self.kind}:r{self.rank}:{self.index}"

    @classmethod
    def parse(cls, name: str) -> Slot:
        """The inverse of `name`. Raises ValueError on any other text."""
        match = re.fullmatch(r"(\d+):([a-z.]+):([a-z0-9_]+):r(\d+):(\d+)", name)
        if match is None:
            raise ValueError(f"slot name: expected 'LAYER:SITE:KIND:rRANK:INDEX', got {name!r}")
        layer, site, kind, rank, index = match.groups()
        return cls(int(layer), site, kind, int(rank), int(index))


@dataclass(frozen=True)
class SlotCost:
    """What a slot costs: exported `parameters` (a count) and multiply-adds for each token."""

    parameters: int
    macs_per_token: int


@dataclass(frozen=True)
class Structure:
    """The open slots of each task after finalisation, as (task, slots) pairs in the order of the study's tasks."""

    paths: tuple[tuple[str, tuple[Slot, ...]], ...]

    def slots_of(self, task: str) -> tuple[Slot, ...]:
        """Open slots of one task. Raises KeyError for a task that the structure does not know."""
        return dict(self.paths)[task]

    @property
    def union(self) -> tuple[Slot, ...]:
        """Every slot that at least one task uses, sorted, once."""
        return tuple(sorted({slot for _, slots in self.paths for slot in slots}))


# ---------------------------------------------------------------- what a trial is asked to do


@dataclass(frozen=True)
class SeedPair:
    """Two seeds, recorded apart and used as blocks: initial weights and gates (`init`), order of the data (`data`)."""

    init: int
    data: int


Pooling = Literal["mean", "cls", "last"]
"""How token vectors become one: their mean, the first token's (BERT's `[CLS]`) or the last token's."""


@dataclass(frozen=True)
class BackboneSpec:
    """Which frozen transformer: `id` as `bundled:NAME`, `path:DIR` or `hub:ORG/NAME@REVISION`.

    `pooling` is `auto` or a `Pooling`. With `gradient_checkpointing` layers are computed again in the backward pass.
    """

    id: str
    precision: Literal["fp32", "bf16"] = "fp32"
    pooling: Literal["auto"] | Pooling = "auto"
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class SplitLimits:
    """Most examples of each split (None: all). `gate` counts examples taken out of train (0: no gate split)."""

    train: int | None = None
    gate: int = 0
    validation: int | None = None
    test: int | None = None


@dataclass(frozen=True)
class TaskSpec:
    """One classification task: where its texts come from, how many are used, how it is scored.

    `splits` are (our split, the source's split) pairs where the source calls them otherwise.
    """

    name: str
    source: str
    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    limits: SplitLimits = SplitLimits()
    max_tokens: int = 64
    metric: str = "accuracy"
    weight: float = 1.0
    seed: int = 0
    splits: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Example:
    """One labelled text (or pair). `id` is stable over runs and unique in its task; `label` indexes the labels."""

    id: str
    text: str
    label: int
    text_pair: str | None = None


@dataclass(frozen=True)
class TaskData:
    """A task's examples in memory: label names, and the four splits (an unused `gate` split is empty)."""

    spec: TaskSpec
    labels: tuple[str, ...]
    splits: dict[str, tuple[Example, ...]]


@dataclass(frozen=True)
class PoolSpec:
    """Candidates: every (layer, site, kind, rank) whose kind may sit at the site; `layers` None means all.

    `gating` `rank`: a module of rank r of a kind that is a sum of rank-one modules stands as r slots of rank 1, told
    apart by `Slot.index`, so that ranks are learned too. `slot`: one gate for the whole module. `start`: what the input
    projections of kinds that are `aimable` start as. `kind_ranks` are (kind, ranks) pairs of kinds whose ranks are not
    `ranks`.
    """

    sites: tuple[str, ...]
    kinds: tuple[str, ...]
    ranks: tuple[int, ...]
    layers: tuple[int, ...] | None = None
    gating: Literal["slot", "rank"] = "slot"
    start: Literal["random", "gradient"] = "random"
    kind_ranks: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True)
class GateSpec:
    """How gates learn.

    `temperature` is τ (or β) at the end and `temperature_start` where it begins, None: as the family has it. `warm_up`
    is the share of all steps with every gate open first. `learn_on` says which split gates learn on; `auto` is the gate
    split where there is one. `shared` gives all tasks one gate a slot (a control).
    """

    family: str
    learning_rate: float
    warm_up: float
    initial_openness: float
    threshold: float
    temperature: float | None = None
    temperature_start: float | None = None
    temperature_schedule: Literal["geometric", "linear", "constant"] = "geometric"
    learn_on: Literal["auto", "train", "gate"] = "auto"
    shared: bool = False


@dataclass(frozen=True)
class SizeSpec:
    """What decides the size. `penalty`: the sparsity weight λ does. `budget`: at most `budget` exported parameters.

    `scope` says what a budget counts: the `union` of all tasks' slots, or each task's own (`per_task`).
    `ramp` is the share of all steps over which λ grows from 0 after the warm-up, along `schedule`. With a `path` λ goes
    through its rising values in stages, the last of which is `sparsity_weight`.
    """

    mode: Literal["penalty", "budget"]
    sparsity_weight: float = 0.0
    budget: int | None = None
    scope: Literal["union", "per_task"] = "union"
    ramp: float = 0.2
    schedule: Literal["linear", "cosine", "cubic"] = "linear"
    path: tuple[float, ...] = ()


@dataclass(frozen=True)
class FinalisationSpec:
    """From gates to a structure: how slots are ranked under a budget, and what follows.

    `finish`: `continue` with the same weights, `retrain` from fresh modules, or `progressive`: slots close for good
    while gates learn, until the budget is met. `share` is the share of all steps kept for the time after finalisation.
    `gap`: the gated model is scored too, before it is finalised.
    """

    ranking: Literal["gate", "saliency", "ablation"] = "gate"
    finish: Literal["continue", "retrain", "progressive"] = "continue"
    share: float = 0.4
    gap: bool = True


@dataclass(frozen=True)
class EarlyStopSpec:
    """Ends a trial once `patience` reports on end have not raised its validation score by more than `min_delta`."""

    patience: int
    min_delta: float = 0.0


@dataclass(frozen=True)
class TrainingSpec:
    """How a trial trains. Exactly one of `epochs` and `steps` is set.

    `kind_factors` are (kind, factor on the learning rate) pairs. `task_temperature` τ draws examples of a task of n in
    proportion to n^(1/τ). `multitask` says whether tasks share one pool and train together (`joint`), or each trains a
    pool of its own (`independent`). `early_stop` None: every trial takes all its steps.
    """

    batch_size: int
    learning_rate: float
    head_learning_rate: float
    weight_decay: float
    schedule: Literal["linear", "cosine", "constant"]
    epochs: float | None = None
    steps: int | None = None
    gradient_clip: float = 1.0
    reports: int = 4
    kind_factors: tuple[tuple[str, float], ...] = ()
    task_temperature: float = 1.0
    multitask: Literal["joint", "independent"] = "joint"
    early_stop: EarlyStopSpec | None = None


@dataclass(frozen=True)
class ConditionSpec:
    """How inputs are disturbed. `level` is a ratio or a σ as the kind declares; level 0 disturbs nothing."""

    kind: str
    level: float
    where: Literal["train", "eval"]
    seed: int = 0
    scale: float | None = None

    @property
    def name(self) -> str:
        """`clean` at level 0, else `kind@level`, as it stands in tables and figures."""
        return "clean" if self.level == 0 else f"{self.kind}@{self.level:g}"


@dataclass(frozen=True)
class TrialSpec:
    """Everything that one trial needs, with every choice made.

    The same spec on the same device gives the same report, but for what is a time.

    `control` is None for a searched trial, else the name of a baseline of about `control_size` exported parameters;
    `control_variant` names one of its layouts where it has several.
    `splits` are those scored at the end. `measured` are evaluated besides the clean score, in the validation split on
    `measured_share` (0 to 1) of each task's examples, the same for every trial; with `race` the trial reports after
    each of them, and may be stopped. With `latency` it measures that too at its end. `recurring`: other trials of the
    study train under the same `train_conditions`, so that what frozen layers make of disturbed inputs is worth keeping.
    """

    study: str
    backbone: BackboneSpec
    tasks: tuple[TaskSpec, ...]
    pool: PoolSpec
    gates: GateSpec
    size: SizeSpec
    training: TrainingSpec
    train_conditions: tuple[ConditionSpec, ...]
    measured: tuple[ConditionSpec, ...]
    seeds: SeedPair
    robustness: Literal["noisy_score", "relative", "worst", "curve_area"] = "noisy_score"
    splits: tuple[Split, ...] = ("validation",)
    control: str | None = None
    control_size: int | None = None
    control_variant: str | None = None
    finalisation: FinalisationSpec = FinalisationSpec()
    measured_share: float = 1.0
    race: bool = False
    latency: bool = False
    recurring: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """A state of a trial on disk: after `step` steps, on `node`, in a JSON file with this `sha256`."""

    step: int
    sha256: str
    node: str


@dataclass(frozen=True)
class CheckpointPlan:
    """Where a trial's checkpoints lie, every how many `minutes` one is written, and those known of, oldest first."""

    folder: str
    minutes: float
    known: tuple[Checkpoint, ...] = ()


# ---------------------------------------------------------------- what a trial hands back


@dataclass(frozen=True)
class MetricRow:
    """One measured number. `step` None is the final value; `condition` is `clean` or the condition's kind.

    `examples` is how many it was measured on, where it is about examples. `error` is its standard error over them,
    given where they are a sample of the split. Of the test split, which is scored once, it holds what it was computed
    from too: the examples' `labels` and the labels `predicted` for them (`slasearch.tasks.predictions`).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}

    task: str
    split: Split
    condition: str
    level: float
    metric: str
    value: float
    step: int | None = None
    examples: int | None = None
    error: float | None = None
    labels: bytes | None = None
    predicted: bytes | None = None


@dataclass(frozen=True)
class GateRow:
    """One gate at the end: `openness` p in [0, 1], its own value z, and whether it is open.

    What is folded into a module that tasks share is the mean of theirs.
    """

    task: str
    slot: Slot
    openness: float
    value: float
    open: bool
    parameters: int


@dataclass(frozen=True)
class CostRow:
    """What something cost: `name` (`train_seconds`, `evaluate_seconds`, `train_tokens`, …), number and unit."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class Event:
    """Something worth telling: `kind` such as `gate_health.all_closed`, `level` info, warning or error."""

    kind: str
    message: str
    level: Literal["info", "warning", "error"] = "info"


@dataclass(frozen=True)
class Progress:
    """A trial's intermediate report: `budget` of `budget_max` steps done; `prunable` once the gates are warm.

    `exported_parameters` is None in training. Given, the trial is trained and in the race over conditions: `metrics`
    are all of its final ones that are measured so far. `checkpoint` is the newest that was written before it.
    """

    budget: int
    budget_max: int
    score: float
    prunable: bool
    metrics: tuple[MetricRow, ...] = ()
    exported_parameters: int | None = None
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class TrialReport:
    """A trial's last word. `state` is `complete` or `fail` (with `reason` and `traceback`).

    `budget` of `budget_max` steps were done. A complete trial that did fewer has ended on a plateau.
    `objectives` maps `score`, `exported_parameters`, `robustness` and, where it was measured, `latency` (ms), which may
    be bounded only, to numbers. `artifact` maps file names of the trained adapter to their bytes (safetensors and
    JSON); empty when the trial failed. `out_of_memory` says that it failed for want of memory, which is the machine's
    failure more than the trial's.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}

    state: Literal["complete", "fail"]
    budget: int
    budget_max: int
    objectives: dict[str, float] = field(default_factory=dict)
    metrics: tuple[MetricRow, ...] = ()
    gates: tuple[GateRow, ...] = ()
    costs: tuple[CostRow, ...] = ()
    events: tuple[Event, ...] = ()
    artifact: dict[str, bytes] = field(default_factory=dict)
    reason: str | None = None
    traceback: str | None = None
    out_of_memory: bool = False

"""A synthetic study in a real database, for tests of analysis and report: what a study looks like, in milliseconds.

Three tasks over MiniLM's layers 3 to 5; a one-at-a-time design over seeds, an adaptive phase with pruned and failed
trials, tuned controls, a confirm phase with winners and controls, metrics under measured conditions, and gates.
Responses follow smooth known curves plus seeded noise.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
import sqlalchemy as sa

from slasearch.config.schema import StudyConfig
from slasearch.registry import CONTROL_VARIANTS, DRAWN_CONTROLS, UNSIZED_CONTROLS
from slasearch.storage.engine import make_engine
from slasearch.storage.models import SlaCost, SlaEvent, SlaGate, SlaMetric, SlaStudy, SlaTrial
from slasearch.storage.store import Store
from slasearch.tasks.predictions import packed

TASKS = {"tweets": (0.66, "macro_f1"), "spam": (0.93, "mcc"), "bbc": (0.95, "accuracy")}
MEASURED = {"typos": (0.1, 0.2, 0.4), "embedding_gaussian": (0.1, 0.3, 0.5)}
DROP = {"typos": 0.5, "embedding_gaussian": 0.3}
WEIGHT = "size_control.sparsity_weight"
NOISE = "conditions.train.embedding_gaussian.level"
TYPOS = "conditions.train.typos.level"
RATE = "training.learning_rate"
RANKS = "pool.ranks"
BASE = {WEIGHT: 0.1, NOISE: 0.0, TYPOS: 0.0, RATE: 3e-3, RANKS: "[4]"}
LEVELS: dict[str, list[Any]] = {
    WEIGHT: [0.01, 0.03, 0.1, 0.3, 1.0],
    NOISE: [0.0, 0.1, 0.2, 0.3],
    TYPOS: [0.0, 0.1, 0.2, 0.4],
    RANKS: [[1], [4], [1, 4]],
}
GRID = (WEIGHT, RANKS)
"""What a grid varies: every combination of all levels would be 720 trials."""
START = 1_750_000_000.0


def study_config(name: str, plan: Plan) -> StudyConfig:
    """The study file of the synthetic study."""
    phases: dict[str, Any] = {}
    if plan.design:
        phases["design"] = {
            "sampler": {"name": plan.design_sampler},
            "levels": {name: LEVELS[name] for name in GRID} if plan.design_sampler == "grid" else LEVELS,
            "base": {WEIGHT: 0.1, NOISE: 0.0, TYPOS: 0.0, RATE: 3e-3, RANKS: [4]},
            "seeds": plan.seeds,
        }
    if plan.optimise or not plan.design:
        phases["optimise"] = {"trials": max(plan.optimise, 1), "pruner": {"name": "successive_halving"}}
    if plan.confirm:
        phases["confirm"] = {
            "top": 1,
            "seeds": plan.seeds,
            "tuning": plan.tuning,
            "controls": list(plan.controls),
        }
    measured = [{"kind": kind, "levels": levels} for kind, levels in MEASURED.items()] if plan.measured else []
    share = {"share": plan.share} if plan.share < 1 else {}
    objectives = [{"name": "score"}, {"name": "exported_parameters"}]
    return StudyConfig.model_validate(
        {
            "name": name,
            "description": "A synthetic study of three tasks.",
            "tasks": [
                {"name": task, "source": f"bundled:{task}", "metric": metric} for task, (_, metric) in TASKS.items()
            ],
            "pool": {
                "sites": ["attn.q", "attn.v", "attn.out", "ffn.in", "ffn.out"],
                "kinds": ["lora", "bottleneck", "bias"],
                "ranks": {"categorical": [[1], [4], [1, 4]]},
                "layers": [3, 4, 5],
            },
            "size_control": {"mode": "penalty", "sparsity_weight": {"log_float": [0.01, 1.0]}},
            "training": {"epochs": 2, "learning_rate": {"log_float": [3e-4, 1e-2]}},
            "conditions": {
                "train": [
                    {"kind": "embedding_gaussian", "level": {"float": [0.0, 0.3]}},
                    {"kind": "typos", "level": {"float": [0.0, 0.4]}},
                ],
                "measured": measured,
                **share,
            },
            "phases": phases,
            "objectives": [*objectives, {"name": "robustness"}] if plan.measured else objectives,
        }
    )


@dataclass(frozen=True)
class Plan:
    """What the synthetic study holds. `lora` is how much better (in score) the LoRA control is than the winner.

    `tuning` trials tune each control; `broken` names controls whose tuning trials all fail. With `lost` the winners'
    runs of the confirm phase fail. With a `share` below 1 the search measures conditions on that part of 400 validation
    examples, where the clean score is lower by .01.
    """

    design: bool = True
    design_sampler: str = "one_at_a_time"
    optimise: int = 28
    confirm: bool = True
    measured: bool = True
    seeds: int = 3
    lora: float = -0.008
    controls: tuple[str, ...] = ("lora", "random", "linear_probe")
    tuning: int = 0
    broken: tuple[str, ...] = ()
    lost: bool = False
    share: float = 1.0
    fail: bool = False
    hostile: bool = False
    seed: int = 0


@dataclass
class _Writer:
    connection: sa.Connection
    study_id: int
    plan: Plan
    random: np.random.Generator
    numbers: dict[str, int] = field(default_factory=lambda: {"search": 0, "confirm": 0})
    clock: float = START

    def trial(self, *, phase: str, params: dict[str, Any], repeat: int, **values: Any) -> int:
        """Inserts one trial with its measured numbers; returns its id."""
        store = "confirm" if phase in ("tune", "confirm") else "search"
        number = self.numbers[store]
        self.numbers[store] += 1
        self.clock += 6.0
        row = {
            "study_id": self.study_id,
            "optuna_study": store,
            "number": number,
            "phase": phase,
            "role": "search",
            "sampler": {"design": self.plan.design_sampler, "optimise": "tpe"}.get(phase, "fixed"),
            "repeat": repeat,
            "attempt": 1,
            "state": "fail" if self.plan.fail else "complete",
            "params": json.dumps(params),
            "spec": "{}",
            "config_hash": "0" * 64,
            "init_seed": repeat + (1000 if phase == "confirm" else 0),
            "data_seed": repeat + (1000 if phase == "confirm" else 0),
            "budget": 120,
            "budget_max": 120,
            "created_at": self.clock,
            "started_at": self.clock,
            "ended_at": self.clock + 11.0,
            **values,
        }
        if row["state"] == "fail":
            row.setdefault("reason", "the loss became NaN at step 40")
        if row["state"] == "complete":
            row |= self.outcome(params, phase, row["role"], repeat)
        shift = row.pop("_shift", None)
        key = self.connection.execute(sa.insert(SlaTrial).values(**row)).inserted_primary_key
        assert key is not None
        if shift is not None:
            self.results(key[0], params, phase, row["role"], shift, row)
        return int(key[0])

    def outcome(self, params: dict[str, Any], phase: str, role: str, repeat: int) -> dict[str, Any]:
        seed = np.random.default_rng([self.plan.seed, repeat, phase == "confirm", 7])
        shift = float(seed.normal(0, 0.006))
        clean = [score(task, params, role, self.plan) + shift for task in TASKS]
        noisy = [
            disturbed(value, kind, level, params)
            for value in clean
            for kind, levels in MEASURED.items()
            for level in levels
        ]
        return {
            "score": float(np.mean(clean)),
            "exported_parameters": size(params, role, self.random),
            "robustness": float(np.mean(noisy)) if self.plan.measured else None,
            "_shift": shift,
        }

    def results(self, trial_id: int, params: dict[str, Any], phase: str, role: str, shift: float, row: Any) -> None:
        metrics = []
        for split in ("validation", "test") if phase == "confirm" else ("validation",):
            for task, (_, metric) in TASKS.items():
                clean = score(task, params, role, self.plan) + shift + float(self.random.normal(0, 0.004))
                key = {"trial_id": trial_id, "task": task, "split": split, "metric": metric, "step": None}
                metrics.append({**key, "condition": "clean", "level": 0.0, "value": clean})
                metrics.append({**key, "condition": "clean", "level": 0.0, "metric": "loss", "value": 1 - clean})
                if self.plan.share < 1 and phase != "confirm":
                    clean -= 0.01
                    key |= {"examples": round(400 * self.plan.share), "error": 0.03}
                    metrics.append({**key, "condition": "clean_sample", "level": 0.0, "value": clean})
                for kind, levels in (MEASURED if self.plan.measured else {}).items():
                    metrics.extend(
                        {**key, "condition": kind, "level": level, "value": disturbed(clean, kind, level, params)}
                        for level in levels
                    )
        for step, value in ((30, 0.6), (60, 0.7)):
            metrics.append(
                {"trial_id": trial_id, "task": "*", "split": "validation", "metric": "score", "step": step}
                | {"condition": "clean", "level": 0.0, "value": value}
            )
        alike = {"examples": None, "error": None}
        self.connection.execute(sa.insert(SlaMetric), [alike | row for row in metrics])
        costs = {"train_seconds": (9.0 + len(metrics) / 50, "s"), "evaluate_seconds": (2.0, "s")}
        self.connection.execute(
            sa.insert(SlaCost),
            [{"trial_id": trial_id, "name": n, "value": v, "unit": u} for n, (v, u) in costs.items()],
        )
        if role == "control:lora":  # slots of its own; drawn beside the study, whose numbers stay as they are
            self.connection.execute(sa.insert(SlaGate), list(gates(trial_id, params, np.random.default_rng(trial_id))))
        if role in ("search", "winner"):
            self.connection.execute(sa.insert(SlaGate), list(gates(trial_id, params, self.random)))
            self.connection.execute(sa.insert(SlaEvent).values(study_id=self.study_id, **health(trial_id, params)))


def score(task: str, params: dict[str, Any], role: str, plan: Plan) -> float:
    """The smooth response of one task: best near λ = 0.08 and a learning rate of 3e-3, better with a little noise."""
    top, _ = TASKS[task]
    reach = {"tweets": 1.0, "spam": 0.8, "bbc": 0.5}[task]
    loss = 0.022 * (math.log10(params[WEIGHT]) + 1.1) ** 2 + 0.05 * (math.log10(params[RATE] / 3e-3)) ** 2
    loss += 1.1 * (params[NOISE] - 0.08) ** 2 + 0.35 * params[TYPOS] ** 2
    loss += {"[1]": 0.02, "[4]": 0.0, "[1, 4]": -0.004}[params[RANKS]]
    known = {"control:lora": plan.lora, "control:random": -0.03, "control:linear_probe": -0.09, "winner": 0.0}
    control = known.get(role, 0.0 if role == "search" else 0.006 * (len(role) % 7) - 0.03)
    return top - reach * (loss - control)


def disturbed(clean: float, kind: str, level: float, params: dict[str, Any]) -> float:
    """The score under a condition: falls with its level, less when the trial was trained under it."""
    hardened = 0.8 * min(1.0, params[TYPOS if kind == "typos" else NOISE] / 0.2)
    return clean - DROP[kind] * (1 - hardened) * level**1.4


def size(params: dict[str, Any], role: str, random: np.random.Generator) -> float:
    fixed = {"control:linear_probe": 0.0, "control:full_fine_tuning": 22_713_216.0, "control:bitfit": 50_304.0}
    if role in fixed:
        return fixed[role]
    ranks = sum(json.loads(params[RANKS]))
    share = 1 / (1 + (params[WEIGHT] / 0.12) ** 1.3)
    return float(round(384 * (2 + 80 * share * ranks * float(random.uniform(0.9, 1.1)))))


def gates(trial_id: int, params: dict[str, Any], random: np.random.Generator) -> Iterator[dict[str, Any]]:
    for task_index, task in enumerate(TASKS):
        for layer in (3, 4, 5):
            for site_index, site in enumerate(("attn.q", "attn.v", "attn.out", "ffn.in", "ffn.out")):
                for kind in ("lora", "bottleneck", "bias"):
                    if kind == "bottleneck" and site not in ("attn.out", "ffn.out"):
                        continue
                    for rank in [0] if kind == "bias" else json.loads(params[RANKS]):
                        lean = 0.8 * (layer - 4) + 0.5 * (site_index - 2) * (1 if task_index < 2 else -1)
                        openness = 1 / (1 + math.exp(-(lean + float(random.normal(0, 0.6)))))
                        yield {
                            "trial_id": trial_id,
                            "task": task,
                            "slot": f"{layer}:{site}:{kind}:r{rank}:0",
                            "layer": layer,
                            "site": site,
                            "kind": kind,
                            "rank": rank,
                            "idx": 0,
                            "openness": openness,
                            "value": openness,
                            "open": openness > 0.5,
                            "parameters": 384 if kind == "bias" else 768 * rank,
                        }


def health(trial_id: int, params: dict[str, Any]) -> dict[str, Any]:
    """The event that a trial with gates leaves: a small sparsity weight closes nothing."""
    event = {"trial_id": trial_id, "at": START, "level": "info", "kind": "gate_health.mixed", "message": "some open"}
    if params[WEIGHT] < 0.02:
        event |= {"level": "warning", "kind": "gate_health.all_open", "message": "No gate closed by itself."}
    return event


def write_study(url: str, name: str = "synthetic", plan: Plan | None = None) -> StudyConfig:
    """Writes the study into the database (made if need be); returns its study file."""
    plan = plan or Plan()
    config = study_config(name, plan)
    Store(url).upgrade()
    engine = make_engine(url)
    with engine.begin() as connection:
        key = connection.execute(
            sa.insert(SlaStudy).values(
                name=name,
                config=config.model_dump_json(),
                fingerprint="f" * 64,
                seed=plan.seed,
                state="finished",
                version="0.1.0",
                created_at=START,
                updated_at=START + 3600,
            )
        ).inserted_primary_key
        assert key is not None
        writer = _Writer(connection, int(key[0]), plan, np.random.default_rng(plan.seed))
        if plan.design:
            _design(writer)
        _optimise(writer)
        if plan.confirm:
            _confirm(writer)
    engine.dispose()
    return config


def add_predictions(url: str, examples: int = 300) -> None:
    """Gives every score on test what might have been predicted: errors on the share of examples that the score lacks.

    Some examples are hard for every run; scores stay as they are, of which the errors' share is a neighbour.
    """
    engine = make_engine(url)
    with engine.begin() as connection:
        rows = connection.execute(
            sa.select(SlaMetric.id, SlaMetric.task, SlaMetric.value).where(
                SlaMetric.split == "test", SlaMetric.metric != "loss"
            )
        ).all()
        for row in rows:
            task = np.random.default_rng([examples, list(TASKS).index(row.task)])
            labels, hard = task.integers(0, 2, examples), task.normal(size=examples)
            order = np.argsort(hard + np.random.default_rng(row.id).normal(size=examples))
            predicted = labels.copy()
            wrong = order[: round((1 - row.value) * examples)]
            predicted[wrong] = 1 - predicted[wrong]
            kept = {"labels": packed(labels), "predicted": packed(predicted)}
            connection.execute(sa.update(SlaMetric).where(SlaMetric.id == row.id).values(**kept))
    engine.dispose()


def _encoded(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


def _design(writer: _Writer) -> None:
    points: list[tuple[str | None, dict[str, Any]]] = [(None, dict(BASE))]
    for factor, levels in LEVELS.items():
        points += [(factor, {**BASE, factor: _encoded(level)}) for level in levels if _encoded(level) != BASE[factor]]
    if writer.plan.design_sampler == "grid":
        combinations = itertools.product(*(map(_encoded, LEVELS[name]) for name in GRID))
        points = [(None, BASE | dict(zip(GRID, combination, strict=True))) for combination in combinations]
    for point, (factor, params) in enumerate(points):
        for repeat in range(writer.plan.seeds):
            writer.trial(phase="design", params=params, repeat=repeat, factor=factor, point=point)


def _optimise(writer: _Writer) -> None:
    for index in range(writer.plan.optimise):
        params = dict(_draw(writer.random, index / max(1, writer.plan.optimise)))
        if index in (9, 17) and not writer.plan.fail:
            reason = "CUDA out of memory" if index == 9 else "the loss became NaN at step 40"
            if writer.plan.hostile:
                reason = "<script>alert('x')</script> $x_1$ & more"
            writer.trial(phase="optimise", params=params, repeat=0, state="fail", reason=reason, budget=40)
        elif index % 6 == 4 and not writer.plan.fail:
            writer.trial(
                phase="optimise", params=params, repeat=0, state="pruned", reason="below the best third at step 60",
                score=0.74 + 0.02 * float(writer.random.normal()), budget=60,
            )  # fmt: skip
        elif index == 12 and not writer.plan.fail:
            lost = writer.trial(phase="optimise", params=params, repeat=0, state="fail", reason="worker lost")
            writer.trial(phase="optimise", params=params, repeat=0, attempt=2, retry_of=lost)
        else:
            writer.trial(phase="optimise", params=params, repeat=0)
    writer.connection.execute(
        sa.insert(SlaEvent).values(
            study_id=writer.study_id, trial_id=None, at=writer.clock, level="warning", kind="limit.max_hours",
            message="2.00 h of at most 2 h have passed",
        )
    )  # fmt: skip


def _draw(random: np.random.Generator, progress: float) -> Iterable[tuple[str, Any]]:
    """Wide at first, nearer to the best later, as an adaptive sampler does."""
    width = 1.0 - 0.7 * progress
    yield WEIGHT, float(np.clip(10 ** random.normal(-1.1, 0.7 * width), 0.01, 1.0))
    yield NOISE, float(np.clip(random.normal(0.08, 0.12 * width), 0.0, 0.3))
    yield TYPOS, float(np.clip(random.normal(0.08, 0.15 * width), 0.0, 0.4))
    yield RATE, float(np.clip(10 ** random.normal(-2.5, 0.4 * width), 3e-4, 1e-2))
    yield RANKS, str(random.choice(["[1]", "[4]", "[1, 4]"]))


def _confirm(writer: _Writer) -> None:
    complete = writer.connection.execute(
        sa.select(SlaTrial.id, SlaTrial.params, SlaTrial.score, SlaTrial.exported_parameters, SlaTrial.robustness)
        .where(SlaTrial.study_id == writer.study_id, SlaTrial.state == "complete")
        .order_by(SlaTrial.id)
    ).all()
    if not complete:
        return
    best = [_best(complete, "score"), _best(complete, "exported_parameters", sign=-1)]
    if writer.plan.measured:
        best.append(_best(complete, "robustness"))
    winners = list({row.id: row for row in best}.values())
    sized = [f"control:{name}" for name in writer.plan.controls if name not in UNSIZED_CONTROLS]
    tuned = {(row.id, role): _tune(writer, row, role, row.id) for row in winners for role in sized}
    unsized = [f"control:{name}" for name in writer.plan.controls if name in UNSIZED_CONTROLS]
    tuned |= {(None, role): _tune(writer, best[0], role, None) for role in unsized}
    for row in winners:
        for repeat in range(writer.plan.seeds):
            own = {"params": json.loads(row.params), **({"state": "fail"} if writer.plan.lost else {})}
            writer.trial(phase="confirm", repeat=repeat, role="winner", pair_of=row.id, **own)
            for role in sized:
                writer.trial(phase="confirm", repeat=repeat, role=role, pair_of=row.id, **tuned[row.id, role])
    for repeat, role in itertools.product(range(writer.plan.seeds), unsized):
        writer.trial(phase="confirm", repeat=repeat, role=role, **tuned[None, role])


def _best(rows: Sequence[Any], objective: str, sign: int = 1) -> Any:
    """The best trial of the configuration whose trials are the best by their mean."""

    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        values[row.params].append(sign * getattr(row, objective))
    return max(rows, key=lambda row: (fmean(values[row.params]), sign * getattr(row, objective)))


def _tune(writer: _Writer, winner: Any, role: str, pair_of: int | None) -> dict[str, Any]:
    """Tuning trials of one control; returns what it is confirmed with."""
    name, own = role.removeprefix("control:"), json.loads(winner.params)
    layouts = CONTROL_VARIANTS.get(name)
    found: list[tuple[float, dict[str, Any]]] = []
    for number in range(writer.plan.tuning):
        rate = own[RATE] if number == 0 else float(10 ** writer.random.uniform(-3.5, -2))
        variant = layouts[number % len(layouts)] if layouts else str(number) if name in DRAWN_CONTROLS else None
        chosen = {"params": {**own, RATE: rate}, "control_variant": variant}
        state = "fail" if name in writer.plan.broken else "complete"
        trial = writer.trial(
            phase="tune", repeat=0, role=role, pair_of=pair_of, point=number, control_size=pair_of and 5_000,
            state=state, **chosen,
        )  # fmt: skip
        if state == "complete":
            score = writer.connection.scalar(sa.select(SlaTrial.score).where(SlaTrial.id == trial))
            found.append((float(score or 0.0), chosen))
    return max(found, key=lambda item: item[0])[1] if found else {"params": own}

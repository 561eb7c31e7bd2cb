"""Evaluation under many conditions: five kinds at five severities, beside one clean evaluation through all layers.

A trial adapts the upper half and is measured clean on the whole validation split, and on a share of its examples clean
and under the 25 conditions; the same examples in every trial, so that trials are compared pair by pair. The hidden
states that enter the lowest adapted layer are kept from the first trial on; its cost is given apart. The other side
adapts all layers and is measured clean once. Both train one step; sides take turns, ratios are made within a round.

    python benchmarks/conditions.py [--repeats N] [--share S] [--task NAME=SOURCE] [--json FILE]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import transformers
from kit import Journal, arguments, described, finish, machine, outcome
from workload import TWEETS

from slasearch.records import (
    BackboneSpec,
    ConditionSpec,
    GateSpec,
    PoolSpec,
    SeedPair,
    SizeSpec,
    SplitLimits,
    TaskSpec,
    TrainingSpec,
    TrialReport,
    TrialSpec,
)
from slasearch.registry import CONDITIONS
from slasearch.tasks.load import load_task
from slasearch.trial.run import TrialWorker

KINDS = ("typos", "word_drop", "neighbour", "embedding_gaussian", "weight_noise")
"""Of texts, of tokens, of embeddings and of the adapter's weights."""
TARGET = 3.0
UPPER, ALL = (3, 4, 5), (0, 1, 2, 3, 4, 5)


def trial(task: TaskSpec, layers: Sequence[int], measured: tuple[ConditionSpec, ...], share: float) -> TrialSpec:
    """One step of a LoRA of rank 8 on q and v, then its evaluation."""
    return TrialSpec(
        study="conditions",
        backbone=BackboneSpec("bundled:minilm"),
        tasks=(task,),
        pool=PoolSpec(("attn.q", "attn.v"), ("lora",), (8,), layers=tuple(layers)),
        gates=GateSpec("sigmoid", learning_rate=0.05, warm_up=0.0, initial_openness=0.9, threshold=0.5),
        size=SizeSpec("penalty", sparsity_weight=0.0),
        training=TrainingSpec(32, 1e-3, 1e-3, 0.01, "linear", steps=1, reports=1),
        train_conditions=(),
        measured=measured,
        measured_share=share,
        seeds=SeedPair(0, 0),
        control="all_open",
    )


def grid(severities: int) -> tuple[ConditionSpec, ...]:
    """Every kind at its lowest severities."""
    return tuple(
        ConditionSpec(kind, level, "eval")
        for kind in KINDS
        for level in CONDITIONS.get(kind).facts.severities[:severities]
    )


def run(worker: TrialWorker, spec: TrialSpec) -> TrialReport:
    """The report of a trial that must not fail."""
    *_, report = worker.run(spec)
    assert isinstance(report, TrialReport)
    assert report.state == "complete", report.traceback
    return report


def seconds(report: TrialReport) -> float:
    """What a trial's evaluation took."""
    return next(cost.value for cost in report.costs if cost.name == "evaluate_seconds")


def measure(worker: TrialWorker, many: TrialSpec, clean: TrialSpec, seed: int) -> dict[str, Any]:
    """One round: a trial under all conditions, a clean one, and how sure the disturbed scores are."""
    seeds = SeedPair(seed, seed)
    measured = run(worker, replace(many, seeds=seeds))
    one = seconds(run(worker, replace(clean, seeds=seeds)))
    rows = [row for row in measured.metrics if row.error is not None and row.condition in KINDS]
    assert len(rows) == len(many.measured)
    return {
        "conditions_s": seconds(measured),
        "clean_s": one,
        "ratio": seconds(measured) / one,
        "half_width": 1.96 * statistics.median(float(row.error or 0.0) for row in rows),
        "examples": rows[0].examples,
    }


def table(found: Mapping[str, Any]) -> str:
    """The result for people."""
    row, settings = found["medians"], found["settings"]
    return "\n".join(
        [
            described(found["machine"]),
            f"{settings['source']}: {settings['conditions']} conditions on {row['examples']} of "
            f"{settings['validation']} validation texts; median of {found['repeats']} rounds",
            f"first trial: {found['first_s']:.1f} s of evaluation; it computes the hidden states",
            f"each other trial: {row['conditions_s']:.1f} s, beside {row['clean_s']:.1f} s of one clean evaluation "
            f"through all layers: {row['ratio']:.2f} (target {TARGET:g}: {found['verdicts']['ratio']})",
            f"a disturbed score is known to ± {row['half_width']:.3f} (95 %, median over conditions)",
        ]
    )


def main() -> int:
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--share", type=float, default=0.15, help="of the validation texts (default: %(default)s)")
    parser.add_argument("--task", default=f"tweets={TWEETS}", help="NAME=SOURCE (default: %(default)s)")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    about = machine(options.device, 1)
    validation, severities, repeats = (40, 1, 1) if options.smoke else (1800, 5, options.repeats)
    source = options.task.partition("=")[2]
    settings = {
        "source": source,
        "share": options.share,
        "validation": validation,
        "conditions": severities * len(KINDS),
        "device": options.device,
    }
    journal = Journal(options, settings)
    found = _rounds(journal, options, settings, severities, repeats)
    rounds = found["rounds"]
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    result = {
        "benchmark": "conditions",
        "machine": about,
        "settings": settings,
        "repeats": repeats,
        "first_s": found["first_s"],
        "medians": medians,
        "verdicts": {"ratio": outcome(medians["ratio"], TARGET, at_least=False, smoke=options.smoke)},
        "all": rounds,
    }
    return finish(result, table(result), journal, options.json)


def _rounds(
    journal: Journal, options: argparse.Namespace, settings: Mapping[str, Any], severities: int, repeats: int
) -> dict[str, Any]:
    limits = SplitLimits(train=64, validation=settings["validation"], test=1)
    task = load_task(TaskSpec("task", settings["source"], limits=limits, max_tokens=64))
    many = trial(task.spec, UPPER, grid(severities), options.share)
    clean = trial(task.spec, ALL, (), 1.0)
    with tempfile.TemporaryDirectory(prefix="sla-bench-") as folder:
        worker = TrialWorker([task], cache=Path(folder), threads=1, device=options.device)
        if journal.find("first") is not None:
            run(worker, many)  # the hidden states are computed anew all the same
        return {
            "first_s": journal.piece("first", lambda: {"seconds": seconds(run(worker, many))})["seconds"],
            "rounds": [
                journal.piece(f"round {number}", lambda number=number: measure(worker, many, clean, number))
                for number in range(repeats)
            ],
        }


if __name__ == "__main__":
    sys.exit(main())

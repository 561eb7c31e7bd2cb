"""What a report on a hundred thousand trials costs: the time and memory of `slasearch report` with its usual formats.

The database is written in bulk, without training: trials of a design and of a search with twenty searched fields, each
with thirty final metrics, four reports, costs and an event, and a winner beside its controls with their gates. The
report is a command of its own, which forks workers; its memory is the sum over all of them, each page counted once
(PSS), sampled every second.

Databases stay in --folder.

    python benchmarks/report_scale.py [--trials 1000,100000] [--formats LIST] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from kit import THREAD_VARIABLES, Journal, arguments, described, finish, machine, median, outcome
from numpy.typing import NDArray
from processes import SECONDS, PeakMemory, sampled

from slasearch.config.schema import StudyConfig
from slasearch.space.parameters import Parameter, parameters
from slasearch.storage.engine import make_engine
from slasearch.storage.models import SlaCost, SlaEvent, SlaGate, SlaMetric, SlaStudy, SlaTrial
from slasearch.storage.store import Store

TARGET_TRIALS = 100_000
TARGETS = {"report_s": 60.0, "memory_mib": 2048.0, "page_mib": 15.0}
FIELDS = 20
METRICS = 30
REPORTS = 4
POINTS, PAIRS = 128, 2
"""Points of the design, and seed pairs of each."""
SEEDS = 3
ROLES = ("winner", "control:lora", "control:random")
TASKS = {"tweets": "macro_f1", "spam": "mcc", "bbc": "accuracy"}
MEASURED = {"typos": (0.1, 0.3), "embedding_gaussian": (0.1, 0.3)}
BATCH = 2_000
"""Trials whose rows are written at a time."""
START = 1_750_000_000.0


# ---------------------------------------------------------------- the database


def study(trials: int, points: int) -> StudyConfig:
    """The study file: twenty searched fields, three tasks, two measured conditions, three phases."""
    confirmed = SEEDS * len(ROLES)
    ranges: dict[str, Any] = {
        "pool": {"sites": ["attn.q", "attn.v"], "ranks": {"categorical": [[1], [4], [1, 4]]}},
        "size_control": {
            "mode": "penalty",
            "sparsity_weight": {"log_float": [0.01, 1.0]},
            "ramp": {"float": [0.0, 0.5]},
        },
        "gates": {
            "temperature": {"float": [0.3, 1.0]},
            "learning_rate": {"log_float": [0.01, 0.2]},
            "warm_up": {"float": [0.0, 0.4]},
            "initial_openness": {"float": [0.3, 0.9]},
            "threshold": {"float": [0.2, 0.8]},
        },
        "training": {
            "steps": 200,
            "reports": REPORTS,
            "learning_rate": {"log_float": [1e-4, 1e-2]},
            "head_learning_rate": {"log_float": [1e-3, 1e-1]},
            "weight_decay": {"float": [0.0, 0.1]},
            "batch_size": {"int": [8, 64]},
            "schedule": {"categorical": ["linear", "cosine", "constant"]},
            "task_temperature": {"float": [1.0, 5.0]},
        },
        "finalisation": {
            "ranking": {"categorical": ["gate", "saliency", "ablation"]},
            "share": {"float": [0.1, 0.5]},
        },
        "conditions": {
            "train": [
                {"kind": kind, "level": {"float": [0.0, 0.3]}}
                for kind in ("embedding_gaussian", "typos", "word_drop", "char_swap")
            ],
            "measured": [{"kind": kind, "levels": levels} for kind, levels in MEASURED.items()],
        },
    }
    return StudyConfig.model_validate(
        {
            "name": "scale",
            "tasks": [{"name": task, "source": f"bundled:{task}", "metric": metric} for task, metric in TASKS.items()],
            "objectives": [{"name": "score"}, {"name": "exported_parameters"}, {"name": "robustness"}],
            "phases": {
                "design": {"sampler": {"name": "qmc"}, "points": points, "seeds": PAIRS},
                "optimise": {"trials": trials - points * PAIRS - confirmed, "pruner": {"name": "successive_halving"}},
                "confirm": {
                    "seeds": SEEDS,
                    "controls": [role.removeprefix("control:") for role in ROLES[1:]],
                    "tuning": 0,
                },
            },
            **ranges,
        }
    )


def write(url: str, trials: int, points: int = POINTS, seed: int = 0) -> None:
    """Writes the study with so many trials (at least 40), in few large inserts.

    Args:
        url: A database, made if need be.
        trials: Of all phases together.
        points: Points of the design; of few trials at most a quarter belongs to them.
        seed: Of everything that is drawn.

    Raises:
        StorageError: The database cannot be written.
    """
    points = min(points, trials // (4 * PAIRS))
    config, random = study(trials, points), np.random.default_rng(seed)
    fields = parameters(config)
    store = Store(url)
    store.upgrade()
    store.close()
    engine = make_engine(url)
    with engine.begin() as connection:
        values = {
            "name": config.name, "config": config.model_dump_json(), "fingerprint": "f" * 64, "seed": 0,
            "state": "finished", "version": "0.1.0", "created_at": START, "updated_at": START + trials,
        }  # fmt: skip
        connection.execute(sa.insert(SlaStudy).values(id=1, **values))
        searched = trials - SEEDS * len(ROLES)
        designed = points * PAIRS
        best: tuple[float, int, dict[str, Any]] = (-1.0, 0, {})
        for first in range(0, searched, BATCH):
            rows = list(_search(fields, range(first, min(first + BATCH, searched)), designed, random))
            _insert(connection, rows, random)
            complete = ((row["score"], row["id"], row) for row in rows if row["state"] == "complete")
            best = max([best, *complete], key=lambda item: item[:2])
        confirm = list(_confirm(best[2], searched))
        _insert(connection, confirm, random)
        connection.execute(sa.insert(SlaGate), [gate for row in confirm for gate in _gates(row, random)])
    engine.dispose()


def _search(
    fields: tuple[Parameter, ...], numbers: Iterable[int], designed: int, random: np.random.Generator
) -> Iterator[dict[str, Any]]:
    point: dict[str, Any] = {}
    for number in numbers:
        design = number < designed
        if not design or number % PAIRS == 0 or not point:
            point = {field.name: field.at(float(u)) for field, u in zip(fields, random.random(FIELDS), strict=True)}
        luck = random.random()
        state = "complete" if design or luck < 0.9 else "pruned" if luck < 0.98 else "fail"
        yield {
            **_trial(number, point, state),
            "phase": "design" if design else "optimise",
            "role": "search",
            "sampler": "qmc" if design else "tpe",
            "optuna_study": "search",
            "number": number,
            "point": number // PAIRS if design else None,
            "repeat": number % PAIRS if design else 0,
            "init_seed": number % PAIRS if design else 0,
            "reason": {"complete": None, "pruned": "below the best third at step 100"}.get(state, "CUDA out of memory"),
            "pair_of": None,
        }


def _confirm(winner: Mapping[str, Any], searched: int) -> Iterator[dict[str, Any]]:
    for index in range(SEEDS * len(ROLES)):
        yield {
            **_trial(searched + index, json.loads(winner["params"]), "complete"),
            "phase": "confirm",
            "role": ROLES[index % len(ROLES)],
            "sampler": "fixed",
            "optuna_study": "confirm",
            "number": index,
            "point": None,
            "repeat": index // len(ROLES),
            "init_seed": 1000 + index // len(ROLES),
            "reason": None,
            "pair_of": winner["id"],
        }


def _trial(index: int, params: Mapping[str, Any], state: str) -> dict[str, Any]:
    """A row; what it scored follows its values smoothly."""
    weight, rate = params["size_control.sparsity_weight"], params["training.learning_rate"]
    score = 0.9 - 0.02 * np.log10(weight / 0.1) ** 2 - 0.03 * np.log10(rate / 2e-3) ** 2 + 0.002 * (index * 7919 % 13)
    return {
        "id": index + 1,
        "study_id": 1,
        "attempt": 1,
        "state": state,
        "params": json.dumps(params),
        "spec": "{}",
        "config_hash": "0" * 64,
        "data_seed": 0,
        "score": None if state == "fail" else float(score),
        "exported_parameters": float(round(40_000 / (1 + weight / 0.1))) + index % 97 if state == "complete" else None,
        "robustness": float(score) - 0.05 if state == "complete" else None,
        "budget": 200 if state == "complete" else 100,
        "budget_max": 200,
        "created_at": START + index,
        "started_at": START + index,
        "ended_at": START + index + 11.0,
    }


def _insert(connection: sa.Connection, rows: list[dict[str, Any]], random: np.random.Generator) -> None:
    connection.execute(sa.insert(SlaTrial), rows)
    connection.execute(sa.insert(SlaMetric), [metric for row in rows for metric in _metrics(row, random)])
    complete = [row["id"] for row in rows if row["state"] == "complete"]
    costs = (("train_seconds", 9.0), ("evaluate_seconds", 2.0))
    connection.execute(
        sa.insert(SlaCost),
        [{"trial_id": key, "name": name, "value": value, "unit": "s"} for key in complete for name, value in costs],
    )
    event = {"study_id": 1, "at": START, "level": "info", "kind": "gate_health.mixed", "message": "some open"}
    connection.execute(sa.insert(SlaEvent), [{**event, "trial_id": key} for key in complete])


def _metrics(row: Mapping[str, Any], random: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Thirty final numbers of a complete trial (sixty with the test split), and the scores that it reported."""
    key = {"trial_id": row["id"], "examples": None, "error": None}
    reports = REPORTS if row["state"] == "complete" else REPORTS // 2 if row["state"] == "pruned" else 0
    for report in range(reports):
        yield {
            **key, "task": "*", "split": "validation", "condition": "clean", "level": 0.0, "metric": "score",
            "step": 50 * (report + 1), "value": row["score"] - 0.1 / (report + 1),
        }  # fmt: skip
    if row["state"] != "complete":
        return
    levels = [("clean", 0.0), *((kind, level) for kind, levels in MEASURED.items() for level in levels)]
    for split in ("validation", "test") if row["phase"] == "confirm" else ("validation",):
        noise: NDArray[np.float64] = random.normal(0, 0.004, METRICS // 2)
        for index, (task, (kind, level)) in enumerate((task, place) for task in TASKS for place in levels):
            value = row["score"] + float(noise[index]) - 0.2 * level
            for metric, measured in ((TASKS[task], value), ("loss", 1 - value)):
                yield {
                    **key, "task": task, "split": split, "condition": kind, "level": level, "metric": metric,
                    "step": None, "value": measured,
                }  # fmt: skip


def _gates(row: Mapping[str, Any], random: np.random.Generator) -> Iterator[dict[str, Any]]:
    if row["role"] != "winner":
        return
    for task in TASKS:
        for layer in range(6):
            for site in ("attn.q", "attn.v"):
                openness = float(random.random())
                yield {
                    "trial_id": row["id"], "task": task, "slot": f"{layer}:{site}:lora:r4:0", "layer": layer,
                    "site": site, "kind": "lora", "rank": 4, "idx": 0, "openness": openness, "value": openness,
                    "open": openness > 0.5, "parameters": 3072,
                }  # fmt: skip


# ---------------------------------------------------------------- the report


@dataclass(frozen=True)
class Cell:
    """One database and what is written of it; no formats: the usual ones."""

    folder: Path
    trials: int
    formats: str

    @property
    def name(self) -> str:
        """As it stands in tables and journals."""
        return f"{self.trials} trials"

    @property
    def url(self) -> str:
        """The database, made if need be."""
        file = self.folder / f"{self.trials}.db"
        if not file.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            unfinished = self.folder / f"{self.trials}.db.part"
            unfinished.unlink(missing_ok=True)
            write(f"sqlite:///{unfinished}", self.trials)
            unfinished.rename(file)
        return f"sqlite:///{file}"


def report(cell: Cell) -> dict[str, Any]:
    """Wall time of the command, peak memory of its processes together and of the largest, size of what it wrote.

    Raises:
        RuntimeError: It failed; the text has the end of what it wrote.
    """
    url, out = cell.url, cell.folder / f"{cell.trials}-report"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "slasearch", "report", "scale", "--out", str(out), "--storage", url]
    command += ["--format", cell.formats] if cell.formats else []
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, "1")
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        child = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
        memory = PeakMemory(child.pid)
        with sampled(memory.look):
            _, status, usage = os.wait4(child.pid, 0)
            taken = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            said.seek(0)
            raise RuntimeError(f"slasearch report ended with {child.returncode}:\n{said.read().decode()[-4000:]}")
    sizes = {file: file.stat().st_size for file in out.rglob("*") if file.is_file()}
    page = sizes.get(out / "report.html")
    return {
        "report_s": taken,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "memory_mib": memory.mib,
        "largest_rss_mib": usage.ru_maxrss / 1024,
        "page_mib": None if page is None else page / 2**20,
        "written_mib": sum(sizes.values()) / 2**20,
        "files": len(sizes),
    }


def verdicts(cells: Mapping[str, Mapping[str, Any]], *, smoke: bool) -> dict[str, str]:
    """Targets of the full size; `not measured` where it was left out."""
    row = next((row for row in cells.values() if smoke or row["trials"] == TARGET_TRIALS), None)
    return {
        name: "not measured" if row is None else outcome(row[name], target, at_least=False, smoke=smoke)
        for name, target in TARGETS.items()
    }


def table(result: Mapping[str, Any]) -> str:
    """The result for people."""
    lines = [described(result["machine"]), f"{'':18}{'report':>9}{'memory':>11}{'page':>10}{'all files':>12}"]
    for name, row in result["cells"].items():
        page = "" if row["page_mib"] is None else f"{row['page_mib']:6.1f} MiB"
        lines.append(
            f"{name:18}{row['report_s']:7.1f} s{row['memory_mib']:7.0f} MiB{page:>10}{row['written_mib']:8.0f} MiB"
        )
    return "\n".join([*lines, *(f"{name}: {said}" for name, said in result["verdicts"].items())])


def main() -> int:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--trials", default="1000,10000,100000", help="of a database (default: %(default)s)")
    parser.add_argument("--formats", default="", help="of the report (default: those of the command)")
    parser.add_argument("--folder", type=Path, default=Path(".slasearch") / "benchmarks" / "report_scale")
    options = parser.parse_args()
    if options.smoke:
        options.trials, options.repeats, options.formats = "60", 1, "html,csv"
        options.folder = Path(tempfile.mkdtemp(prefix="sla-bench-"))
    try:
        return _measured(options)
    finally:
        if options.smoke:
            shutil.rmtree(options.folder)


def _measured(options: argparse.Namespace) -> int:
    about = machine("cpu", 1)
    journal = Journal(options, {"formats": options.formats})
    cells: dict[str, dict[str, Any]] = {}
    for trials in (int(count) for count in options.trials.split(",")):
        cell = Cell(options.folder.resolve(), trials, options.formats)
        runs = [
            journal.piece(f"{cell.name}: report {number}", lambda cell=cell: report(cell))
            for number in range(options.repeats)
        ]
        cells[cell.name] = {
            "trials": trials,
            **{name: median(run[name] for run in runs) for name in runs[0]},
            "runs": runs,
        }
    result = {
        "benchmark": "report_scale",
        "machine": about,
        "settings": {"formats": options.formats, "repeats": options.repeats, "memory_sampled_s": SECONDS},
        "cells": cells,
        "verdicts": verdicts(cells, smoke=options.smoke),
    }
    return finish(result, table(result), journal, options.json)


if __name__ == "__main__":
    sys.exit(main())

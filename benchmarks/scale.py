"""What ten thousand trials cost the driver: asks, reports, tells, memory, and the report page.

Trials are simulated: the session, its SQLite database, searcher, scheduler and desk are the real ones, Ray alone is
left out. A database is filled with trials of the random sampler, of five reports each; then TPE, which has all of them
before it, is asked for some more, in turn with Optuna's own TPE on the same trials in memory.

Databases stay in --folder. When the time is up (--minutes), the same command goes on where it stopped.

    python benchmarks/scale.py [--sizes 100,1000,10000] [--objectives 1,3] [--minutes M] [--json FILE]
"""

from __future__ import annotations

import argparse
import io
import json
import math
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import psutil
from kit import Journal, arguments, code_digest, described, finish, machine, outcome, say, timed_child
from optuna.samplers import TPESampler

from slasearch.config.fingerprint import fingerprint
from slasearch.config.locations import Locations
from slasearch.config.schema import StudyConfig
from slasearch.orchestrate.desk import TrialDesk
from slasearch.orchestrate.progress import ProgressPrinter
from slasearch.orchestrate.simulate import SimulatedWorker
from slasearch.orchestrate.trainable import PROGRESS, REPORT, SPEC
from slasearch.records import DIRECTIONS, Progress, TrialReport, TrialSpec
from slasearch.search.study import StudySession
from slasearch.space import suggest

OBJECTIVES = ("score", "exported_parameters", "robustness")
ASK_TARGETS_MS = {1: 150.0, 3: 400.0}
MEMORY_TARGET_MIB = 1.5 * 1024
RATE_TARGET = 20.0
"""Trials a second, from ask to tell, with five reports each; Optuna's storage alone takes in some 40."""
TARGET_TRIALS = 10_000
REPORTS = 5
MORE = 500
"""Trials that a study has planned beyond those that fill it: enough for any number of asks and of runs cut short."""
WINDOW = 500
"""Trials of a fill whose medians are noted together."""
QUANTITIES = ("ask_ms", "report_ms", "tell_ms", "summary_ms", "open_ms", "rss_mib", "page_s")


class OutOfTime(Exception):
    """The time is up; what was done so far is kept."""


@dataclass(frozen=True)
class Cell:
    """One database: a study of `trials` trials with some of the objectives."""

    folder: str
    trials: int
    objectives: int
    pruner: str

    @property
    def name(self) -> str:
        """As it stands in tables and journals."""
        return f"{self.objectives} objective{'s' if self.objectives > 1 else ''}, {self.trials} trials"

    @property
    def home(self) -> Path:
        """The folder of its database."""
        return Path(self.folder) / f"{self.objectives}-{self.trials}-{self.pruner}"

    @property
    def locations(self) -> Locations:
        """Where the study lies."""
        return Locations(f"sqlite:///{self.database}", self.home)

    @property
    def database(self) -> Path:
        """The file of its database."""
        return self.home / "study.db"

    def study(self, sampler: str) -> StudyConfig:
        """The study, with one of Optuna's samplers."""
        names = OBJECTIVES[: self.objectives]
        measured = [{"kind": "typos", "levels": [0.1, 0.2]}] if "robustness" in names else []
        return StudyConfig.model_validate(
            {
                "name": "scale",
                "tasks": [{"name": "spam", "source": "bundled:sms_spam"}],
                "pool": {"sites": ["attn.q"], "ranks": {"categorical": [[1], [4], [1, 4]]}},
                "size_control": {"mode": "penalty", "sparsity_weight": {"float": [0.0, 1.0]}},
                "training": {
                    "steps": 100,
                    "learning_rate": {"log_float": [1e-4, 1e-2]},
                    "weight_decay": {"float": [0.0, 0.1]},
                    "schedule": {"categorical": ["linear", "cosine"]},
                    "reports": REPORTS,
                },
                "conditions": {"measured": measured},
                "objectives": [{"name": name} for name in names],
                "phases": {
                    "optimise": {
                        "trials": self.trials + MORE,
                        "sampler": {"name": sampler},
                        "pruner": {"name": self.pruner},
                    }
                },
            }
        )


# ---------------------------------------------------------------- trials without Ray


class Driver:
    """Ray Tune's part: asks the searcher, passes reports to the scheduler, tells the searcher of ends."""

    def __init__(self, session: StudySession) -> None:
        from slasearch.orchestrate.scheduler import StudyScheduler
        from slasearch.orchestrate.searcher import StudySearcher

        self._desk = TrialDesk(session, ProgressPrinter(io.StringIO(), terminal=False))
        self._searcher, self._scheduler = StudySearcher(self._desk), StudyScheduler(self._desk)
        self._worker = SimulatedWorker((), cache=None, threads=1)
        self._number = 0

    def trial(self) -> dict[str, Any]:
        """Runs a trial: milliseconds of its ask, of a report, and of its tell, and its report.

        Raises:
            SlaSearchError: The session refused something.
        """
        self._number += 1
        name = f"ray{self._number}"
        with _timed() as ask:
            answer = self._searcher.suggest(name)
        if not isinstance(answer, dict):
            raise self._desk.error or RuntimeError(f"expected a trial, got {answer!r}")
        self._desk.started(name, "worker")
        reports, last = self._reports(name, answer[SPEC])
        with _timed() as tell:
            self._searcher.on_trial_complete(name, {} if last is None else {REPORT: last})
        if self._desk.error is not None:
            raise self._desk.error
        return {"ask_ms": ask[0], "report_ms": statistics.median(reports), "tell_ms": tell[0], "report": last}

    def _reports(self, name: str, spec: TrialSpec) -> tuple[list[float], TrialReport | None]:
        taken: list[float] = []
        for item in self._worker.run(spec):
            if isinstance(item, TrialReport):
                return taken, item
            with _timed() as report:
                answer = self._on_result(name, item)
            taken += report
            if answer == "STOP":
                break
        return taken, None

    def _on_result(self, name: str, progress: Progress) -> str:
        return self._scheduler.on_trial_result(None, SimpleNamespace(trial_id=name), {PROGRESS: progress})


@contextmanager
def _timed() -> Iterator[list[float]]:
    """A list that has the milliseconds of the block after it."""
    found: list[float] = []
    began = time.perf_counter()
    yield found
    found.append(1000 * (time.perf_counter() - began))


def _open(cell: Cell, sampler: str) -> StudySession:
    """The study with a sampler. A study keeps the one that it was begun with; here the same trials serve both."""
    cell.home.mkdir(parents=True, exist_ok=True)
    config = cell.study(sampler)
    if cell.database.exists():
        with closing(sqlite3.connect(cell.database)) as database, database:
            new = config.model_dump_json(), fingerprint(config)
            database.execute("UPDATE sla_study SET config = ?, fingerprint = ?", new)
    return StudySession.open(config, cell.locations)


def _rss_mib() -> float:
    return float(psutil.Process().memory_info().rss) / 2**20


# ---------------------------------------------------------------- what the children do


def fill(cell: Cell, seconds: float) -> dict[str, Any]:
    """Runs random trials until the database has them all, or the time is up; notes their costs on the way."""
    until = time.monotonic() + seconds
    notes, code = cell.home / "fill.jsonl", code_digest()
    with closing(_open(cell, "random")) as session:
        driver, done, window = Driver(session), session.summary().ended, []
        began = time.monotonic()
        while done < cell.trials and time.monotonic() < until:
            window.append(driver.trial())
            done += 1
            if len(window) == WINDOW:
                _note(notes, window, time.monotonic() - began, done, code)
                window, began = [], time.monotonic()
        if window:
            _note(notes, window, time.monotonic() - began, done, code)
    if done < cell.trials:
        return {"trials": done}
    curve = [
        note for line in notes.read_text(encoding="utf-8").splitlines() if (note := json.loads(line))["code"] == code
    ]
    rate = sum(note["window"] for note in curve) / sum(note["seconds"] for note in curve) if curve else 0.0
    rss = max([_rss_mib(), *(note["rss_mib"] for note in curve)])
    return {"trials": done, "curve": curve, "trials_s": rate, "rss_mib": rss}


def _note(file: Path, window: list[dict[str, Any]], seconds: float, done: int, code: str) -> None:
    note = {"trials": done, "window": len(window), "seconds": seconds, **_medians(window)}
    note |= {"rss_mib": _rss_mib(), "code": code}
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(note) + "\n")


def _medians(trials: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    trials = list(trials)
    return {name: statistics.median(trial[name] for trial in trials) for name in ("ask_ms", "report_ms", "tell_ms")}


def ask(cell: Cell, asks: int) -> dict[str, Any]:
    """Costs of trials on top of all the others, drawn by TPE; and what Optuna's TPE alone takes for the same."""
    with _timed() as opened:
        session = _open(cell, "tpe")
    with closing(session):
        driver = Driver(session)
        ours = [driver.trial() | {"alone_ms": None}]  # the first one loads what TPE needs
        rss = _rss_mib()
        alone = OptunaAlone(cell)
        for number in range(asks):
            ours.append(driver.trial() | {"alone_ms": alone.ask(number)})
            alone.tell(ours[-1]["report"])
        with _timed() as summary:
            session.summary()
    measured = ours[1:]
    return {
        **_medians(measured),
        "alone_ms": statistics.median(trial["alone_ms"] for trial in measured),
        "ask_to_alone": statistics.median(trial["ask_ms"] / trial["alone_ms"] for trial in measured),
        "asks": [trial["ask_ms"] for trial in measured],
        "asks_alone": [trial["alone_ms"] for trial in measured],
        "open_ms": opened[0],
        "summary_ms": summary[0],
        "rss_mib": rss,
    }


class OptunaAlone:
    """Optuna's TPE with our options on the same trials, in memory and with nothing around it."""

    def __init__(self, cell: Cell) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._config = cell.study("tpe")
        self._names = OBJECTIVES[: cell.objectives]
        storage = optuna.storages.RDBStorage(cell.locations.storage_url, skip_table_creation=True)
        trials = storage.get_all_trials(storage.get_study_id_from_name("scale"), deepcopy=False)
        storage.engine.dispose()
        self._study = optuna.create_study(directions=[DIRECTIONS[name] for name in self._names])
        self._study.add_trials(trial for trial in trials if trial.state.is_finished())
        self._trial: optuna.Trial | None = None

    def ask(self, seed: int) -> float:
        """Milliseconds until a trial has its parameters."""
        self._study.sampler = TPESampler(multivariate=True, group=True, seed=seed)
        with _timed() as taken:
            self._trial = self._study.ask()
            suggest(self._trial, self._config)
        return taken[0]

    def tell(self, report: TrialReport | None) -> None:
        """The trial's end; it gets the values of the trial that ours drew, as one of the same kind."""
        assert self._trial is not None
        if report is None:
            self._study.tell(self._trial, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(self._trial, [report.objectives[name] for name in self._names])


def page(cell: Cell, seconds: float) -> dict[str, Any]:
    """Wall time of `slasearch report` for the page alone.

    Raises:
        OutOfTime: It takes longer than there is time.
    """
    out = cell.home / "report"
    command = [sys.executable, "-m", "slasearch", "report", "scale", "--out", str(out), "--format", "html"]
    began = time.perf_counter()
    try:
        subprocess.run(
            [*command, "--storage", cell.locations.storage_url], check=True, capture_output=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise OutOfTime from None
    taken = time.perf_counter() - began
    return {"page_s": taken, "page_mib": (out / "report.html").stat().st_size / 2**20}


# ---------------------------------------------------------------- all cells


def measure(cells: Iterable[Cell], journal: Journal, asks: int, minutes: float) -> dict[str, dict[str, Any]]:
    """What each cell gives; those that there was no time for are left out."""
    until = time.monotonic() + 60 * minutes
    found: dict[str, dict[str, Any]] = {}
    for cell in cells:
        numbers: dict[str, Any] = {}
        try:
            filled = journal.piece(f"{cell.name}: fill", lambda cell=cell: _filled(cell, until))
            asked = journal.piece(f"{cell.name}: asks", lambda cell=cell: _child("ask", cell, asks, until))
            numbers = {"fill": filled, **asked, "rss_mib": max(filled["rss_mib"], asked["rss_mib"])}
            numbers["trials_s"] = filled["trials_s"]
            numbers |= journal.piece(f"{cell.name}: page", lambda cell=cell: page(cell, until - time.monotonic()))
        except OutOfTime:
            say(f"{cell.name}: the time is up; run the same command again to go on")
        if numbers:
            found[cell.name] = {"trials": cell.trials, "objectives": cell.objectives, **numbers}
    return found


def _filled(cell: Cell, until: float) -> dict[str, Any]:
    found = _child("fill", cell, 0, until)
    if found["trials"] < cell.trials:
        say(f"{cell.name}: {found['trials']} are there")
        raise OutOfTime
    return found


def _child(what: str, cell: Cell, asks: int, until: float) -> dict[str, Any]:
    """A step in a process of its own, whose memory is that of a driver."""
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise OutOfTime
    fields = {"folder": cell.folder, "trials": cell.trials, "objectives": cell.objectives, "pruner": cell.pruner}
    return timed_child("scale.py", {"what": what, "cell": fields, "asks": asks, "seconds": seconds})


def growth(found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Exponent e of cost ~ trials^e between the two largest sizes of each number of objectives; 1 is linear."""
    exponents: dict[str, dict[str, float]] = {}
    for objectives in sorted({row["objectives"] for row in found.values()}):
        rows = sorted((row for row in found.values() if row["objectives"] == objectives), key=lambda row: row["trials"])
        if len(rows) < 2:
            continue
        small, large = rows[-2:]
        steps = math.log(large["trials"] / small["trials"])
        exponents[str(objectives)] = {
            name: math.log(large[name] / small[name]) / steps
            for name in (*QUANTITIES, "alone_ms")
            if name in small and name in large
        }
    return exponents


def verdicts(found: Mapping[str, Mapping[str, Any]], objectives: Iterable[int], *, smoke: bool) -> dict[str, str]:
    """The targets at ten thousand trials."""
    said = {}
    for count in objectives:
        row = next(
            (row for row in found.values() if (row["objectives"], row["trials"]) == (count, TARGET_TRIALS)), None
        )
        for name, number, target in (
            ("ask", "ask_ms", ASK_TARGETS_MS.get(count)),
            ("memory", "rss_mib", MEMORY_TARGET_MIB),
            ("trials a second", "trials_s", RATE_TARGET),
        ):
            at_least = number == "trials_s"
            said[f"{name}, {count} objectives"] = (
                "not measured" if row is None else outcome(row[number], target, at_least=at_least, smoke=smoke)
            )
    return said


def table(result: Mapping[str, Any]) -> str:
    """The result for people."""
    lines = [
        described(result["machine"]),
        f"{'':28}{'ask':>9}{'alone':>9}{'ratio':>7}{'report':>8}{'tell':>8}{'summary':>9}{'open':>9}"
        f"{'trials':>8}{'memory':>10}{'page':>8}",
    ]
    for name, row in result["cells"].items():
        page_s = f"{row['page_s']:6.1f} s" if "page_s" in row else ""
        lines.append(
            f"{name:28}{row['ask_ms']:6.1f} ms{row['alone_ms']:6.1f} ms{row['ask_to_alone']:7.2f}"
            f"{row['report_ms']:5.1f} ms{row['tell_ms']:5.1f} ms{row['summary_ms']:6.1f} ms{row['open_ms']:6.0f} ms"
            f"{row['trials_s']:6.1f}/s{row['rss_mib']:6.0f} MiB{page_s}"
        )
    for objectives, exponents in result["growth"].items():
        parts = ", ".join(f"{name} {value:.2f}" for name, value in exponents.items())
        lines.append(f"growth with {objectives} objectives (1 is linear): {parts}")
    lines += [f"unfinished: {', '.join(result['unfinished'])}"] if result["unfinished"] else []
    return "\n".join([*lines, *(f"{name}: {said}" for name, said in result["verdicts"].items())])


def main() -> int:
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        return _as_child(json.loads(sys.argv[1]))
    parser = arguments(__doc__, repeats=15)
    parser.add_argument("--sizes", default="100,1000,10000", help="trials of a database (default: %(default)s)")
    parser.add_argument("--objectives", default="1,3", help="how many, some of 1, 2, 3 (default: %(default)s)")
    parser.add_argument("--pruner", default="none", help="none, median (one objective) or successive_halving")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after that time (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path(".slasearch") / "benchmarks" / "scale")
    options = parser.parse_args()
    if options.smoke:
        options.sizes, options.objectives, options.repeats = "16", "3", 3
        options.folder = Path(tempfile.mkdtemp(prefix="sla-bench-"))
    try:
        return _measured(options)
    finally:
        if options.smoke:
            shutil.rmtree(options.folder)


def _measured(options: argparse.Namespace) -> int:
    counts = [int(count) for count in options.objectives.split(",")]
    sizes = [int(size) for size in options.sizes.split(",")]
    # Smaller databases first, so that there is something of everything when the time is up.
    cells = [Cell(str(options.folder.resolve()), size, count, options.pruner) for size in sizes for count in counts]
    settings = {"pruner": options.pruner, "repeats": options.repeats, "reports": REPORTS}
    about = machine("cpu", 1)
    journal = Journal(options, settings)
    found = measure(cells, journal, options.repeats, options.minutes)
    result = {
        "benchmark": "scale",
        "machine": about,
        "settings": settings,
        "cells": found,
        "unfinished": [cell.name for cell in cells if "page_s" not in found.get(cell.name, {})],
        "growth": growth(found),
        "verdicts": verdicts(found, counts, smoke=options.smoke),
    }
    return finish(result, table(result), journal, options.json)


def _as_child(settings: Mapping[str, Any]) -> int:
    cell = Cell(**settings["cell"])
    filling = settings["what"] == "fill"
    print(json.dumps(fill(cell, settings["seconds"]) if filling else ask(cell, settings["asks"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What runs in a worker process: trial after trial with one worker object, which keeps the backbone loaded."""

from __future__ import annotations

import importlib
import logging
import os
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from ray.tune import Trainable

from slasearch.orchestrate.versions import Versions, refusal, warning
from slasearch.records import CheckpointPlan, Event, Progress, TaskData, TrialReport, TrialSpec
from slasearch.tasks.metrics import register_places
from slasearch.trial.memory import is_out_of_memory

__all__ = [
    "CHECKPOINTS",
    "EVENTS",
    "PROGRESS",
    "REFUSAL",
    "REPORT",
    "SPEC",
    "StudyTrainable",
    "Worker",
    "WorkerFactory",
    "thread_variables",
    "trial_worker",
]

SPEC = "spec"
"""Key of a Ray trial's config: its `TrialSpec`."""
CHECKPOINTS = "checkpoints"
"""Key of a Ray trial's config: its `CheckpointPlan`, or None."""
PROGRESS = "progress"
"""Key of an intermediate result: its `Progress`."""
REPORT = "report"
"""Key of the last result: its `TrialReport`."""
REFUSAL = "refusal"
"""Key of the only result of a worker that may not run the study's trials: why."""
EVENTS = "events"
"""Key of a result, if there is something to tell of the worker itself: its `Event`s since the result before."""


class Worker(Protocol):
    """What runs trials, one after another; `slasearch.trial.run.TrialWorker` or a stand-in."""

    def run(self, spec: TrialSpec, plan: CheckpointPlan | None = None) -> Iterator[Progress | TrialReport]:
        """Yields `Progress` and last a `TrialReport`; closing it early leaves the worker clean for the next trial.

        Args:
            spec: What to do.
            plan: Where to leave checkpoints, and to go on from those that are there; None: neither.
        """


class WorkerFactory(Protocol):
    """Makes a worker in its process. Must be importable there."""

    def __call__(self, tasks: Sequence[TaskData], *, cache: Path | None, threads: int) -> Worker:
        """Args: tasks: data. cache: folder of encoded texts. threads: CPU threads that a trial may use."""


def trial_worker(tasks: Sequence[TaskData], *, cache: Path | None, threads: int, hidden_bytes: int) -> Worker:
    """The worker that trains; it keeps at most `hidden_bytes` of hidden states of frozen layers on a node."""
    from slasearch.trial.run import TrialWorker

    return TrialWorker(tasks, cache=cache, threads=threads, hidden_bytes=hidden_bytes)


def _make(
    factory: WorkerFactory,
    extensions: Sequence[str],
    metrics: Mapping[str, str],
    tasks: Sequence[TaskData],
    cache: Path | None,
    threads: int,
) -> Worker:
    """A worker, after a user's own kinds, metrics and the like are registered here as they are in the driver."""
    for module in extensions:
        importlib.import_module(module)
    register_places(metrics)
    return factory(tasks, cache=cache, threads=threads)


def thread_variables(threads: int) -> dict[str, str]:
    """Environment that holds every numeric library to `threads` CPU threads, if set before it is loaded."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {"TOKENIZERS_PARALLELISM": "false", **dict.fromkeys(names, str(threads))}


class _Warnings(logging.Handler):
    """Keeps a process's warnings as events: what a worker prints, its driver never sees."""

    def __init__(self, events: list[Event]) -> None:
        super().__init__(logging.WARNING)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        self._events.append(Event("worker.warning", record.getMessage(), "warning"))


class StudyTrainable(Trainable):  # type: ignore[misc]
    """Runs trials for Ray Tune: one `step` for each report. Reused for trial after trial."""

    def setup(self, config: dict[str, Any], *, versions: Versions, **parameters: Any) -> None:
        """Once for each process. An error here would be a lost worker to Ray: it is told in the first step.

        Args:
            config: The first trial.
            versions: Those of the driver. With another slasearch than this process has nothing else is looked at.
            parameters: Those of `_prepare`.
        """
        self._reports: Iterator[Progress | TrialReport] | None = None
        self._last: Progress | None = None
        self._refusal = refusal(versions)
        if self._refusal is None:
            found = warning(versions)
            self._events: list[Event] = [] if found is None else [found]
            self._warnings = _Warnings(self._events)
            logging.getLogger("slasearch").addHandler(self._warnings)
            self._prepare(**parameters)

    def _prepare(
        self,
        tasks: Sequence[TaskData],
        factory: WorkerFactory,
        cache: Path | None,
        threads: int,
        extensions: Sequence[str] = (),
        metrics: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """The worker itself is made in the first step, where an error is told with its traceback."""
        os.environ.update(thread_variables(threads))
        self._make_worker: Callable[[], Worker] = partial(_make, factory, extensions, metrics, tasks, cache, threads)
        self._worker: Worker | None = None

    def step(self) -> dict[str, Any]:
        """The trial's next report."""
        if self._refusal is not None:
            return {REFUSAL: self._refusal, "done": True, "budget": 0, "budget_max": 0}
        report = self._next_report()
        common: dict[str, Any] = {"budget": report.budget, "budget_max": report.budget_max}
        if self._events:
            common[EVENTS] = tuple(self._events)
            self._events.clear()
        if isinstance(report, Progress):
            self._last = report
            return {PROGRESS: report, "done": False, **common}
        self._end_trial()
        return {REPORT: report, "done": True, **common}

    def _next_report(self) -> Progress | TrialReport:
        try:
            if self._worker is None:
                self._worker = self._make_worker()
            if self._reports is None:
                self._reports = self._worker.run(self.config[SPEC], self.config.get(CHECKPOINTS))
            return next(self._reports, None) or self._failed("the worker ended without a report")
        except (
            Exception
        ) as error:  # the process's edge: Ray would tell a lost worker from a broken one by its text only
            self._worker = None
            report = self._failed(f"{type(error).__name__}: {error}")
            return replace(report, traceback=traceback.format_exc(), out_of_memory=is_out_of_memory(error))

    def _failed(self, reason: str) -> TrialReport:
        budget, budget_max = (self._last.budget, self._last.budget_max) if self._last else (0, 0)
        return TrialReport("fail", budget, budget_max, reason=reason)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Ready for the next trial; a trial that was stopped early is closed first."""
        self._end_trial()
        return True

    def cleanup(self) -> None:
        """Closes a trial that was stopped early."""
        self._end_trial()
        if self._refusal is None:
            logging.getLogger("slasearch").removeHandler(self._warnings)

    def get_auto_filled_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Ray's own columns without the config, which the driver knows."""
        filled: dict[str, Any] = super().get_auto_filled_metrics(*args, **kwargs)
        filled.pop("config", None)
        return filled

    def _end_trial(self) -> None:
        reports, self._reports = self._reports, None
        self._last = self._last_result = None
        if isinstance(reports, Generator):
            reports.close()

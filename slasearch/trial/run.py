"""A worker that runs trials, one after the other, and keeps the backbone and the evaluation data between them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from slasearch.records import CheckpointPlan, Progress, TaskData, TrialReport, TrialSpec
from slasearch.trial.checkpoints import Checkpoints
from slasearch.trial.course import Course
from slasearch.trial.heap import keep_freed_memory
from slasearch.trial.prefix import LIMIT
from slasearch.trial.resources import Resources

__all__ = ["TrialWorker"]


class TrialWorker:
    """Runs trials one after the other; nothing of one is left when the next begins.

    Args:
        tasks: The study's tasks with their examples.
        cache: Folder for encoded splits, or None.
        threads: CPU threads of a trial.
        device: `cpu`, `cuda`, or `auto`: a GPU if one is visible.
        hidden_bytes: Most bytes of hidden states of frozen layers that are kept.
    """

    def __init__(
        self,
        tasks: Sequence[TaskData],
        *,
        cache: Path | None,
        threads: int,
        device: str = "auto",
        hidden_bytes: int = LIMIT,
    ) -> None:
        torch.set_num_threads(threads)
        keep_freed_memory()
        self.resources = Resources(tasks, cache=cache, device=device, limit=hidden_bytes)

    def run(self, spec: TrialSpec, plan: CheckpointPlan | None = None) -> Iterator[Progress | TrialReport]:
        """Yields the trial's progress now and then, and its report last.

        A failure of the trial is a report with `state="fail"`, never an exception. The caller may stop early with
        `close()`: the backbone is clean again afterwards. Checkpoints outlive a trial that was lost, by a signal that
        ends the process as well, or had too little memory, since it is tried again; every other end removes them.

        Args:
            spec: What to do.
            plan: Where to leave checkpoints, and to go on from those that are there; None: neither.
        """
        checkpoints = None if plan is None else Checkpoints(plan, spec)
        course = Course(spec, self.resources, checkpoints)
        ended = False
        try:
            yield from course.run()
            ended = True
        except GeneratorExit:
            ended = not sys.is_finalizing()  # closed by the caller, and not as the process ends
            raise
        except Exception as error:  # the only broad one: whatever a trial does wrong is its result; the worker goes on
            report = course.failure(error)
            ended = not report.out_of_memory
            yield report
        finally:
            if checkpoints is not None and ended:
                checkpoints.discard()

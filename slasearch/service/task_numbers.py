"""Which task each example of a batch belongs to, as a user's loop tells it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from slasearch.errors import TaskError

__all__ = ["TaskNumbers"]


class TaskNumbers:
    """The numbers of the tasks of the next batches, on the CPU.

    Args:
        count: T, the number of tasks; where it is one, no number needs to be told.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._told: Tensor | None = torch.zeros(1, dtype=torch.long) if count == 1 else None

    def tell(self, numbers: Tensor | Sequence[int]) -> None:
        """Takes a number for each example, or one for all of them.

        Raises:
            TaskError: There is none, or one is no task's.
        """
        told = torch.as_tensor(numbers).detach().cpu().reshape(-1)
        wrong = [number for number in told.tolist() if number not in range(self._count)]
        if wrong or not len(told):
            got = wrong[0] if wrong else "none"
            expected = f"numbers of tasks from 0 to {self._count - 1}"
            raise TaskError(f"set_tasks: expected {expected}, got {got}. They follow the order of attach's tasks.")
        self._told = told.long()

    def of(self, examples: int) -> Tensor:
        """The task of each of `examples` examples, `n`.

        Raises:
            TaskError: Numbers were told for a batch of another length, or none where there are several tasks.
        """
        if self._told is None:
            raise TaskError(
                f"set_tasks: expected to be called before a forward pass, as there are {self._count} tasks, got no "
                "call. Tell the task of each example."
            )
        if len(self._told) not in (1, examples):
            raise TaskError(
                f"set_tasks: expected one number, or {examples} for a batch of {examples} examples, got "
                f"{len(self._told)}. Call it before each batch."
            )
        return self._told.expand(examples)

"""Which errors say that memory ran out."""

from collections.abc import Callable

import pytest
import torch

from slasearch.records import TrialReport, TrialSpec
from slasearch.trial.memory import is_out_of_memory
from slasearch.trial.run import TrialWorker


def test_errors_of_python_of_a_gpu_and_of_the_cpu_are_told_from_others() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), caught.value):
        assert is_out_of_memory(error)
    for other in (RuntimeError("shapes do not fit"), ValueError("out of memory"), ArithmeticError("the loss is nan")):
        assert not is_out_of_memory(other)


def test_a_trial_says_that_it_ran_out_of_memory(
    make_spec: Callable[..., TrialSpec], worker: TrialWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("slasearch.trial.train.Trainer.run_gated", full)
    (report,) = worker.run(make_spec())
    assert isinstance(report, TrialReport)
    assert (report.state, report.out_of_memory) == ("fail", True)
    assert report.reason == "OutOfMemoryError: CUDA out of memory"

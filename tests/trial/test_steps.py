"""How steps are shared out, and how learning rates fall."""

import pytest

from slasearch.records import TrainingSpec
from slasearch.trial.train import StepPlan, plan_steps, rate


def training(**changes: object) -> TrainingSpec:
    return TrainingSpec(8, 1e-3, 1e-2, 0.0, "linear", **changes)  # type: ignore[arg-type]


def test_shares_are_of_all_steps() -> None:
    assert plan_steps(training(steps=100), 0.1, 0.4, 7, fixed=False) == StepPlan(warm=10, gated=60, finish=40)
    assert plan_steps(training(epochs=2.5), 0.2, 0.2, 8, fixed=False) == StepPlan(4, 16, 4)
    assert plan_steps(training(steps=100), 0.1, 0.4, 7, fixed=True) == StepPlan(0, 0, 100)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_short_trials_still_learn_their_gates(steps: int) -> None:
    plan = plan_steps(training(steps=steps), 0.9, 0.9, 1, fixed=False)
    assert plan.total == steps
    assert plan.gated - plan.warm >= 1
    assert plan.finish >= (1 if steps > 1 else 0)


def test_rates_start_at_the_peak_and_fall() -> None:
    assert [rate("linear", share) for share in (0, 0.25, 1)] == [1.0, 0.75, 0.0]
    assert [rate("cosine", share) for share in (0, 0.5, 1)] == pytest.approx([1.0, 0.5, 0.0])
    assert rate("constant", 0.9) == 1.0

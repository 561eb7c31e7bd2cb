import math
from collections import Counter

import numpy as np
import pytest

from slasearch.records import Example, TaskData, TaskSpec
from slasearch.tasks.metrics import score
from slasearch.tasks.sample import sampled, standard_error


def task(seed: int = 0) -> TaskData:
    examples = tuple(Example(f"e{number}", f"text {number}", int(number % 10 == 0)) for number in range(200))
    splits = {"train": examples, "gate": (), "validation": examples, "test": examples}
    return TaskData(TaskSpec("t", "file:unused", seed=seed), ("many", "few"), splits)


def ids(found: TaskData) -> set[str]:
    return {example.id for example in found.splits["validation"]}


def test_a_sample_has_the_labels_in_proportion_and_is_part_of_every_larger_one() -> None:
    quarter, half = sampled(task(), "validation", 0.25), sampled(task(), "validation", 0.5)
    assert Counter(example.label for example in quarter.splits["validation"]) == {0: 45, 1: 5}
    assert ids(quarter) < ids(half) < ids(task())
    assert ids(sampled(task(), "validation", 1.0)) == ids(task())
    assert quarter.splits["train"] == quarter.splits["test"] == task().splits["test"]
    assert len(sampled(task(), "validation", 0.001).splits["validation"]) == 1


def test_the_studys_seed_decides_the_sample() -> None:
    assert ids(sampled(task(), "validation", 0.25)) == ids(sampled(task(), "validation", 0.25))
    assert ids(sampled(task(), "validation", 0.25)) != ids(sampled(task(seed=1), "validation", 0.25))


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "mcc"])
@pytest.mark.parametrize("classes", [2, 5])
def test_the_standard_error_is_the_jackknifes(metric: str, classes: int) -> None:
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 40)
    predictions = np.where(rng.random(40) < 0.7, labels, rng.integers(0, classes, 40))
    labels[0], predictions[0] = classes + 3, 0  # a class of one example, which leaves with it
    without = [score(metric, np.delete(labels, i), np.delete(predictions, i)) for i in range(40)]
    expected = math.sqrt(39 / 40 * sum((value - np.mean(without)) ** 2 for value in without))
    assert standard_error(metric, labels, predictions) == pytest.approx(expected)


def test_the_error_of_an_accuracy_is_the_binomials() -> None:
    labels, predictions = np.zeros(100, int), np.repeat([0, 1], [80, 20])
    assert standard_error("accuracy", labels, predictions) == pytest.approx(math.sqrt(0.8 * 0.2 / 99))


def test_of_ones_own_metric_or_one_example_nothing_is_known() -> None:
    assert standard_error("recall_of_spam", [0, 1], [0, 1]) is None
    assert standard_error("accuracy", [0], [0]) is None
    assert standard_error("mcc", [0, 0, 0], [0, 0, 0]) == 0


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "mcc"])
def test_scores_of_samples_scatter_by_the_standard_error(metric: str) -> None:
    """Of 400 samples of 100 examples, 95 % of the intervals hold the score of the whole, give or take 4 points."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 20_000)
    predictions = np.where(rng.random(20_000) < 0.75, labels, rng.integers(0, 3, 20_000))
    whole, held = score(metric, labels, predictions), 0
    for _ in range(400):
        rows = rng.integers(0, 20_000, 100)
        error = standard_error(metric, labels[rows], predictions[rows])
        assert error is not None
        held += abs(score(metric, labels[rows], predictions[rows]) - whole) < 1.96 * error
    assert 0.91 < held / 400 < 0.985

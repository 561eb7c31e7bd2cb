"""Which searched fields act on a trial."""

import pytest

from slasearch.search.felt import acts_on

FIELDS = (
    "pool.kinds", "gates.temperature", "size_control.sparsity_weight", "training.learning_rate", "training.multitask",
    "training.kind_factors.lora", "training.kind_factors.bias", "conditions.train.typos.level",
)  # fmt: skip


@pytest.mark.parametrize(
    ("role", "felt"),
    [
        ("search", FIELDS),
        ("winner", FIELDS),
        ("control:shared", [name for name in FIELDS if name != "training.multitask"]),
        ("control:random", [name for name in FIELDS if not name.startswith(("gates.", "size_control."))]),
        ("control:lora", [FIELDS[3], FIELDS[4], FIELDS[5], FIELDS[7]]),
        ("control:bitfit", [FIELDS[3], FIELDS[4], FIELDS[6], FIELDS[7]]),
        ("control:linear_probe", [FIELDS[7]]),
        ("control:mine", [name for name in FIELDS if not name.startswith(("gates.", "size_control."))]),
    ],
)
def test_a_trial_feels_the_fields_that_change_something_in_it(role: str, felt: list[str]) -> None:
    assert [name for name in FIELDS if acts_on(role, name)] == list(felt)

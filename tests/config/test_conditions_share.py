import pytest
from pydantic import ValidationError

from slasearch.config.conditions import ConditionsConfig

MEASURED = [{"kind": "typos", "levels": [0.2]}]


def test_a_share_is_of_conditions_that_are_measured() -> None:
    assert ConditionsConfig().share == 1
    assert ConditionsConfig.model_validate({"measured": MEASURED, "share": 0.25}).share == 0.25
    with pytest.raises(ValidationError, match=r"expected 1, as no condition is measured, got 0\.25"):
        ConditionsConfig.model_validate({"share": 0.25})
    for share in (0, 1.5):
        with pytest.raises(ValidationError, match="share"):
            ConditionsConfig.model_validate({"measured": MEASURED, "share": share})

import numpy as np
import pandas as pd
import pytest
from designed import RATE, WEIGHT, level, study_of

from slasearch.analysis.coordinates import unit_coordinates
from slasearch.space.parameters import parameters


def test_fields_lie_where_they_were_sampled_and_unused_ones_where_they_are_put() -> None:
    fields = parameters(study_of({"optimise": {"trials": 1}}))
    names = [field.name for field in fields]
    assert sorted(names) == sorted([WEIGHT, RATE, level(0)])
    params = pd.DataFrame({WEIGHT: [1e-4, 1e-2, 1.0], level(0): [0.125, None, float("nan")]})
    unused = np.arange(9).reshape(3, 3) / 10
    unit = unit_coordinates(params, fields, unused=unused)
    weight, rate, noise = (names.index(name) for name in (WEIGHT, RATE, level(0)))
    assert unit[:, weight] == pytest.approx([0, 0.5, 1], abs=1e-6)
    assert unit[:, noise] == pytest.approx([0.25, *unused[1:, noise]])
    assert (unit[:, rate] == unused[:, rate]).all()
    assert (unused == np.arange(9).reshape(3, 3) / 10).all()

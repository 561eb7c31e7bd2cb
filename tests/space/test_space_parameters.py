"""Searched fields: names, distributions, order, conditions, values both ways, and asking Optuna for them."""

from collections.abc import Callable

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from slasearch.config.schema import StudyConfig
from slasearch.space import parameters, suggest
from slasearch.space.parameters import Parameter

Study = Callable[..., StudyConfig]


def by_name(config: StudyConfig) -> dict[str, Parameter]:
    return {parameter.name: parameter for parameter in parameters(config)}


def test_names_distributions_and_order(study: Study) -> None:
    found = {name: parameter.distribution for name, parameter in by_name(study()).items()}
    assert found == {
        "pool.kinds": CategoricalDistribution(['["lora"]', '["lora", "bias"]', '["bias"]']),
        "pool.ranks": CategoricalDistribution(["[1]", "[2, 4]"]),
        "gates.family": CategoricalDistribution(["sigmoid", "hard_concrete"]),
        "gates.temperature": FloatDistribution(0.5, 2.5),
        "size_control.sparsity_weight": FloatDistribution(0.01, 10.0, log=True),
        "training.batch_size": IntDistribution(8, 16),
        "conditions.train.typos.level": FloatDistribution(0, 0.4),
    }
    assert list(found) == [parameter.name for parameter in parameters(study())]


def test_a_field_comes_after_those_it_depends_on(study: Study) -> None:
    config = study(
        "training.schedule={categorical: [linear, cosine]}",
        "pool.ranks={categorical: [[1], [2]], when: {training.schedule: linear}}",
    )
    names = [parameter.name for parameter in parameters(config)]
    assert names[-3:] == ["training.schedule", "pool.ranks", "conditions.train.typos.level"]


def test_conditions_take_one_value_any_of_several_and_lists_that_are_choices(study: Study) -> None:
    ranks = by_name(study())["pool.ranks"]
    assert ranks.when == {"pool.kinds": ('["lora"]', '["lora", "bias"]')}
    assert ranks.active({"pool.kinds": '["lora"]'})
    assert not ranks.active({"pool.kinds": '["bias"]'})
    assert not ranks.active({})
    one = by_name(study("pool.ranks.when={pool.kinds: [lora, bias]}"))["pool.ranks"]
    assert one.when == {"pool.kinds": ('["lora", "bias"]',)}
    scalars = by_name(study("gates.temperature.when={gates.family: [sigmoid, hard_concrete]}"))["gates.temperature"]
    assert scalars.when == {"gates.family": ("sigmoid", "hard_concrete")}


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("pool.kinds", ("lora", "bias"), '["lora", "bias"]'),
        ("pool.ranks", (2, 4), "[2, 4]"),
        ("gates.family", "sigmoid", "sigmoid"),
        ("training.batch_size", 9, 9),
        ("conditions.train.typos.level", 0, 0.0),
        ("size_control.sparsity_weight", 10, 10.0),
    ],
)
def test_values_go_both_ways(study: Study, name: str, value: object, stored: object) -> None:
    parameter = by_name(study())[name]
    assert parameter.encode(value) == stored
    assert type(parameter.encode(value)) is type(stored)
    assert parameter.decode(stored) == value


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("pool.kinds", ("bias", "lora"), r'expected one of \["lora"\], \["lora", "bias"\], \["bias"\], got'),
        ("training.batch_size", 17, "expected a whole number from 8 to 16, got 17"),
        ("training.batch_size", 9.5, "expected a whole number from 8 to 16, got 9.5"),
        ("training.batch_size", True, "expected a whole number from 8 to 16, got True"),
        ("conditions.train.typos.level", 0.5, "expected a number from 0 to 0.4, got 0.5"),
        ("conditions.train.typos.level", "x", "expected a number from 0 to 0.4, got 'x'"),
    ],
)
def test_values_outside_the_distribution_are_refused(study: Study, name: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        by_name(study())[name].encode(value)


@given(u=st.floats(0, 1, exclude_max=True))
def test_any_share_of_a_distribution_lies_in_it(study: Study, u: float) -> None:
    for parameter in parameters(study()):
        stored = parameter.at(u)
        assert parameter.encode(parameter.decode(stored)) == stored


@given(u=st.floats(0, 1, exclude_max=True))
def test_the_share_of_a_value_gives_it_again(study: Study, u: float) -> None:
    for parameter in parameters(study()):
        stored = parameter.at(u)
        share = parameter.share(stored)
        if isinstance(parameter.distribution, FloatDistribution):
            assert share == pytest.approx(u, abs=1e-12)
            assert parameter.at(min(share, 1 - 1e-16)) == pytest.approx(stored)
        else:
            assert parameter.at(share) == stored, "the middle of the shares that give it"


def test_a_whole_number_may_come_from_a_column_of_floats(study: Study) -> None:
    """As of a field that only some trials have; what a study file says stays strict."""
    whole = [one for one in parameters(study()) if isinstance(one.distribution, IntDistribution)]
    assert whole
    for parameter in whole:
        stored = parameter.at(0.7)
        assert parameter.share(float(stored)) == parameter.share(stored)
        with pytest.raises(ValueError, match="whole number"):
            parameter.encode(float(stored))


def test_the_middle_is_geometric_on_a_log_scale(study: Study) -> None:
    found = by_name(study("size_control.sparsity_weight={log_float: [1e-4, 1e-2]}"))
    assert found["size_control.sparsity_weight"].middle == 0.001
    assert found["training.batch_size"].middle == 12
    assert found["conditions.train.typos.level"].middle == pytest.approx(0.2)
    assert found["pool.ranks"].middle == (1,)


def test_optuna_is_asked_for_active_fields_only(study: Study) -> None:
    config = study()
    search = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(40):
        trial = search.ask()
        params = suggest(trial, config)
        assert params == trial.params
        assert ("gates.temperature" in params) == (params["gates.family"] == "sigmoid")
        assert ("pool.ranks" in params) == (params["pool.kinds"] != '["bias"]')
        seen.add((params["gates.family"], params["pool.kinds"]))
    assert len(seen) == 6


def test_a_fixed_trial_takes_stored_values(study: Study) -> None:
    params = {
        "pool.kinds": '["bias"]',
        "gates.family": "hard_concrete",
        "size_control.sparsity_weight": 0.5,
        "training.batch_size": 8,
        "conditions.train.typos.level": 0.1,
    }
    assert suggest(optuna.trial.FixedTrial(params), study()) == params


def test_a_study_may_search_nothing(study: Study) -> None:
    config = study(
        "pool={ranks: [1]}",
        "gates={}",
        "size_control.sparsity_weight=1",
        "training.batch_size=8",
        "conditions.train=[]",
    )
    assert parameters(config) == ()
    assert suggest(optuna.create_study().ask(), config) == {}

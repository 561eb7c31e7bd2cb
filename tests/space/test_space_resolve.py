"""From choices to trial specs: every field, seeds, splits, conditions, inactive fields, controls, wrong choices."""

from collections.abc import Callable

import pytest

from slasearch.config.plain import from_plain, to_plain
from slasearch.config.schema import StudyConfig
from slasearch.errors import ConfigError
from slasearch.records import (
    BackboneSpec,
    ConditionSpec,
    EarlyStopSpec,
    GateSpec,
    PoolSpec,
    SeedPair,
    SizeSpec,
    SplitLimits,
    TaskSpec,
    TrainingSpec,
    TrialSpec,
)
from slasearch.space import resolve, seeds_for

Study = Callable[..., StudyConfig]

PARAMS = {
    "pool.kinds": '["lora", "bias"]',
    "pool.ranks": "[2, 4]",
    "gates.family": "sigmoid",
    "gates.temperature": 1.25,
    "size_control.sparsity_weight": 0.5,
    "training.batch_size": 8,
    "conditions.train.typos.level": 0.1,
}


def spec(config: StudyConfig, phase: str = "optimise", **changes: object) -> TrialSpec:
    params = {name: value for name, value in {**PARAMS, **changes}.items() if value is not None}
    return resolve(config, params, seeds=seeds_for(config, 0, phase), phase=phase)


def test_every_field_reaches_the_spec(study: Study) -> None:
    assert spec(study()) == TrialSpec(
        study="small",
        backbone=BackboneSpec("bundled:minilm", "fp32", "auto"),
        tasks=(
            TaskSpec("spam", "bundled:sms_spam", limits=SplitLimits(train=50, gate=5), seed=3),
            TaskSpec("bbc", "bundled:bbc_topic", limits=SplitLimits(gate=5), metric="mcc", weight=2.0, seed=3),
        ),
        pool=PoolSpec(
            ("attn.q", "attn.k", "attn.v", "attn.out", "ffn.in", "ffn.out"), ("lora", "bias"), (2, 4), layers=None
        ),
        gates=GateSpec("sigmoid", 0.05, 0.1, 0.9, 0.5, temperature=1.25),
        size=SizeSpec("penalty", sparsity_weight=0.5, ramp=0.2),
        training=TrainingSpec(8, 3e-3, 1e-2, 0.01, "linear", epochs=2.0),
        train_conditions=(
            ConditionSpec("typos", 0.1, "train"),
            ConditionSpec("embedding_gaussian", 0.25, "train", scale=2.0),
        ),
        measured=(
            ConditionSpec("typos", 0.1, "eval", seed=5),
            ConditionSpec("typos", 0.3, "eval", seed=5),
            ConditionSpec("embedding_gaussian", 0.2, "eval", scale=1.0),
        ),
        seeds=SeedPair(7, 11),
        robustness="worst",
        splits=("validation",),
    )


def test_a_spec_survives_json_and_is_the_same_twice(study: Study) -> None:
    one = spec(study())
    assert one == spec(study())
    assert from_plain(TrialSpec, to_plain(one)) == one


def test_seeds_of_confirm_never_meet_those_of_the_search(study: Study) -> None:
    config = study()
    assert seeds_for(config, 0, "design") == seeds_for(config, 0, "optimise") == SeedPair(7, 11)
    assert seeds_for(config, 2, "design") == SeedPair(9, 13)
    assert seeds_for(config, 0, "confirm") == SeedPair(1007, 1011)
    search = {seeds_for(config, repeat, "design") for repeat in range(1000)}
    assert not search & {seeds_for(config, repeat, "confirm") for repeat in range(1000)}


def test_only_confirm_scores_the_test_split(study: Study) -> None:
    assert spec(study(), "design").splits == ("validation",)
    assert spec(study(), "confirm").splits == ("validation", "test")


def test_the_search_measures_conditions_on_its_share_and_confirm_on_all(study: Study) -> None:
    config = study("conditions.share=0.25")
    assert [spec(config, phase).measured_share for phase in ("design", "optimise", "tune")] == [0.25] * 3
    assert spec(config, "confirm").measured_share == 1
    assert spec(study()).measured_share == 1


def test_controls_carry_their_name_and_size(study: Study) -> None:
    config = study()
    control = resolve(config, PARAMS, seeds=SeedPair(0, 0), phase="confirm", control="lora", control_size=1000)
    assert (control.control, control.control_size) == ("lora", 1000)


def test_a_paths_last_weight_is_the_one_the_trial_ends_at(study: Study) -> None:
    assert spec(study()).size.path == ()
    fixed = study("size_control={mode: penalty, path: [0.1, 0.5, 2]}")
    found = spec(fixed, **{"size_control.sparsity_weight": None}).size
    assert (found.path, found.sparsity_weight) == ((0.1, 0.5, 2.0), 2.0)
    searched = study("size_control={mode: penalty, path: {categorical: [[0.1], [0.1, 0.5]]}}")
    chosen = {"size_control.sparsity_weight": None, "size_control.path": "[0.1, 0.5]"}
    assert spec(searched, **chosen).size.path == (0.1, 0.5)


def test_early_stopping_is_off_unless_asked_for(study: Study) -> None:
    assert spec(study()).training.early_stop is None
    asked = spec(study("training.early_stop={patience: 2, min_delta: 0.01}"))
    assert asked.training.early_stop == EarlyStopSpec(2, 0.01)
    assert from_plain(TrialSpec, to_plain(asked)) == asked


def test_a_training_condition_at_level_0_is_none(study: Study) -> None:
    kinds = [condition.kind for condition in spec(study(), **{"conditions.train.typos.level": 0.0}).train_conditions]
    assert kinds == ["embedding_gaussian"]


@pytest.mark.parametrize(
    ("level", "drawn", "recurring"),
    [("0.1", None, True), ("{categorical: [0.1, 0.3]}", 0.1, True), ("{float: [0.0, 0.3]}", 0.1, False)],
)
def test_disturbed_inputs_recur_where_levels_are_few(
    study: Study, level: str, drawn: float | None, recurring: bool
) -> None:
    found = spec(study(f"conditions.train.0.level={level}"), **{"conditions.train.typos.level": drawn})
    assert found.train_conditions[0].level == 0.1
    assert found.recurring is recurring


def test_an_inactive_field_has_its_default(study: Study) -> None:
    hard = {"gates.family": "hard_concrete", "gates.temperature": None}
    bias = {"pool.kinds": '["bias"]', "pool.ranks": None}
    assert spec(study(), **hard).gates.temperature is None  # as the family has it
    assert spec(study(), **bias).pool == PoolSpec(spec(study()).pool.sites, ("bias",), (4,))
    assert spec(study(), **{**hard, "gates.temperature": 2.0}) == spec(study(), **hard)  # counts for nothing


def test_ranks_of_single_kinds(study: Study) -> None:
    config = study("pool={kinds: [lora, lora_xs], ranks: [1], kind_ranks: {lora_xs: [8, 16]}}")
    assert spec(config, **{"pool.kinds": None, "pool.ranks": None}).pool == PoolSpec(
        config.pool.sites, ("lora", "lora_xs"), (1,), kind_ranks=(("lora_xs", (8, 16)),)
    )


def test_ranks_and_factors_of_single_kinds_may_be_searched(study: Study) -> None:
    config = study(
        "pool={kinds: [lora, lora_xs], ranks: [1], kind_ranks: {lora_xs: {categorical: [[8], [16]]}}}",
        "training.kind_factors={lora_xs: {log_float: [1, 10]}}",
    )
    drawn = {"pool.kinds": None, "pool.ranks": None, "pool.kind_ranks.lora_xs": "[16]"}
    one = spec(config, **drawn, **{"training.kind_factors.lora_xs": 2.0})
    assert one.pool.kind_ranks == (("lora_xs", (16,)),)
    assert one.training.kind_factors == (("lora_xs", 2.0),)


def test_an_inactive_training_condition_is_off(study: Study) -> None:
    config = study("conditions.train.0.level.when={gates.family: sigmoid}")
    off = {"gates.family": "hard_concrete", "gates.temperature": None, "conditions.train.typos.level": None}
    assert [c.kind for c in spec(config).train_conditions] == ["typos", "embedding_gaussian"]
    assert [c.kind for c in spec(config, **off).train_conditions] == ["embedding_gaussian"]


def test_an_inactive_field_of_a_preset_has_the_presets_value(study: Study) -> None:
    config = study("pool={preset: mixed, kinds: {categorical: [[lora], [bias]], when: {gates.family: sigmoid}}}")
    off = {"gates.family": "hard_concrete", "gates.temperature": None, "pool.kinds": None, "pool.ranks": None}
    assert spec(config, **off).pool.kinds == ("lora", "bottleneck", "bias")


def test_a_budget_and_steps(study: Study) -> None:
    config = study(
        "size_control={mode: budget, parameters: {int: [2000, 9000]}, scope: per_task}",
        "training.epochs=",
        "training.steps=70",
        "pool.layers=[1, 3]",
        "objectives=[{name: score}]",
    )
    one = spec(config, **{"size_control.sparsity_weight": None, "size_control.parameters": 4000})
    assert one.size == SizeSpec("budget", budget=4000, scope="per_task")
    assert (one.training.epochs, one.training.steps) == (None, 70)
    assert one.pool.layers == (1, 3)
    assert one.robustness == "noisy_score"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training.batch_size": None}, "training.batch_size: expected a whole number from 8 to 16, got nothing"),
        ({"training.batch_size": 99}, "training.batch_size: expected a whole number from 8 to 16, got 99"),
        ({"training.lr": 1}, "training.lr: expected a searched field, got one that the study does not search"),
        ({"pool.kinds": '["foo"]'}, "pool.kinds: expected one of"),
    ],
)
def test_wrong_choices_are_config_errors(study: Study, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        spec(study(), **changes)
    assert any(words in line and line.startswith("study small: parameters: ") for line in caught.value.problems)


def test_an_unchecked_studys_impossible_choice_is_a_config_error(study: Study) -> None:
    config = study("training.batch_size={float: [8, 16]}")
    with pytest.raises(ConfigError, match=r"training.batch_size: expected a whole number, got 8.5"):
        spec(config, **{"training.batch_size": 8.5})

"""What the schema cannot see: distributions over wrong values, inert fields, conditions, designs, backbone, budget."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from slasearch.config.schema import StudyConfig
from slasearch.errors import ConfigError
from slasearch.space import check, load_checked
from slasearch.space.fit import WITHOUT_PAST
from slasearch.testing.tiny import TINY_FAMILIES, save_tiny, tiny_backbone
from slasearch.trial.controls.prefix import _argument

Study = Callable[..., StudyConfig]


def lines(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_checked(path, overrides)
    return caught.value.problems


@pytest.fixture
def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    return path


def test_a_sound_study_has_no_problem(file: Path, study: Study) -> None:
    assert check(study()) == []
    assert load_checked(file) == study()
    assert load_checked(file, ["training.batch_size=8"]) == study("training.batch_size=8")


HALVING = "phases.optimise.pruner={name: successive_halving, options: {%s}}"
TPE = "phases.optimise.sampler={name: tpe, options: {%s}}"


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("training.learning_rate={float: [0, 1]}", "a distribution over a number above 0, got one with 0"),
        ("training.batch_size={float: [8, 16]}", "a distribution over a whole number, got one with 8.0"),
        ("training.schedule={categorical: [linear, step]}", "over 'linear', 'cosine' or 'constant', got one with"),
        ("finalisation.share={float: [0.2, 1]}", "a distribution over a number below 1, got one with 1.0"),
        ("gates.family={categorical: [sigmoid, foo]}", "a distribution over a known gate family"),
        ("conditions.train.0.level={float: [0, 1.5]}", "a distribution over a share of words from 0 to 1, got one"),
        ("size_control={mode: penalty, path: {categorical: [[0.1], [2, 1]]}}", "over rising values, got one with"),
        ("pool.kinds={categorical: [lora, bias]}", 'a distribution over a list, got one with "lora"'),
        ("pool.layers={int: [0, 3]}", "a distribution over a list or 'all', got one with 0"),
        ("pool.sites={categorical: [[attn.q], [attn.z]]}", "a distribution over a known site"),
        ("training.epochs={float: [1, 2], when: {gates.family: sigmoid}}", "training.epochs.when: expected no `when`"),
        ("training.weight_decay={float: [0, 1], when: {gates.famly: sigmoid}}", "searched over a categorical, got"),
        ("training.weight_decay={float: [0, 1], when: {training.batch_size: 8}}", "searched over a categorical, got"),
        ("gates.temperature.when.gates.family=[sigmoid, tanh]", "one of sigmoid, hard_concrete, got"),
        ("gates.temperature.when.gates.family=[]", "gates.family: expected one of sigmoid, hard_concrete, so that"),
        ("pool.kinds.when={pool.ranks: [[1]]}", "conditions without a circle, got one that leads back to pool.kinds"),
        ("pool.kinds.when={pool.kinds: [[lora]]}", "conditions without a circle"),
        (
            "size_control={mode: penalty, sparsity_weight: 0, ramp: {float: [0, 1]}}",
            "ramp: expected a value, got",
        ),
        ("pool={kinds: [bias], ranks: {categorical: [[1], [2]]}}", "no kind of the pool (bias) takes its rank"),
        (
            "pool={kinds: [lora], ranks: {categorical: [[1], [2]]}, kind_ranks: {lora: [4]}}",
            "no kind of the pool (lora) takes its rank from it",
        ),
        ("pool={kinds: [lora, bias], kind_ranks: {bias: [4]}}", "kinds of the pool that have a rank (lora), got bias"),
        ("pool={kinds: [lora], kind_ranks: {prefix: [4]}}", "kinds of the pool that have a rank (lora), got prefix"),
        (
            "training.kind_factors={prefix: {log_float: [1, 9]}}",
            "training.kind_factors.prefix: expected a value, got a distribution, though no pool has the kind",
        ),
        ("pool.kind_ranks={foo: [4]}", "pool.kind_ranks: expected a known adapter kind"),
        ("pool={kinds: [lora], kind_ranks: {lora: [4, 4]}}", "expected different entries, got [4, 4]"),
        (
            "pool={kinds: [lora, lora_xs], kind_ranks: {lora_xs: [8, 385]}}",
            "kind_ranks.lora_xs: expected whole numbers from 1 to 384 (attn.k's narrower side, for lora_xs), got 385",
        ),
        (
            "pool={kinds: {categorical: [[bias], [lora]]}, ranks: [512]}",
            "(the backbone's hidden size), got 512",
        ),
        ("pool.ranks={categorical: [[1], [500]]}", "from 1 to 384 (the backbone's hidden size), got 500. Lower"),
        ("pool.layers=[2, 6]", "layer numbers from 0 to 5 (the backbone has 6), got 6"),
        ("pool.layers={categorical: [[2], [2, 7], all]}", "layer numbers from 0 to 5 (the backbone has 6), got 7"),
        ("pool.kinds=[lora]", "pool.ranks.when.pool.kinds: expected a field that is searched over a categorical, got"),
        ("backbone.id=bundled:foo", "a model that can be read, got 'bundled:foo'"),
        ("backbone.id=path:/no/such/folder", "a model that can be read, got 'path:/no/such/folder'"),
        ("pool.sites=[block]", "got kinds lora at block"),
        ("tasks.0.source=bundled:foo", "bundled:bbc_topic, bundled:bbc_headline, bundled:bbc_order, got bundled:foo"),
        (
            "gates.threshold={float: [0.1, 0.9]}",
            "threshold.when: expected when: {gates.family: [sigmoid]}, as no other",
        ),
        (
            "gates.threshold={float: [0.1, 0.9], when: {gates.family: [sigmoid, hard_concrete]}}",
            "[sigmoid]}, as no other",
        ),
        ("gates={threshold: {float: [0.1, 0.9]}}", "though no gate family (hard_concrete) has a threshold"),
        ("pool.kinds={categorical: [[foo], [bias]]}", "a distribution over a known adapter kind"),
        (
            "phases.optimise.sampler={name: qmc, options: {foo: 1}}",
            "options.foo: expected an option of qmc (it has none)",
        ),
        (
            TPE % "n_start: 1",
            "an option of tpe (n_startup_trials, n_ei_candidates), got n_st",
        ),
        (TPE % "n_ei_candidates: 0", "expected a whole number from 1 to 10000, got 0"),
        (TPE % "n_ei_candidates: 2.0", "expected a whole number from 1 to 10000, got 2.0"),
        (
            TPE % "n_ei_candidates: true",
            "expected a whole number from 1 to 10000, got true",
        ),
        (HALVING % "reduction_factor: 1", "options.reduction_factor: expected a whole number from 2 to 100, got 1"),
        (HALVING % "first_share: 0", "options.first_share: expected a number above 0 and below 1, got 0"),
        (HALVING % "first_share: 7", "options.first_share: expected a number above 0 and below 1, got 7"),
        ("phases.optimise={trials: 100001}", "phases.optimise.trials: expected a number of at most 100000, got 100001"),
        ("tasks.0.limits.gate=0", "tasks.0.limits.gate: expected a number above 0, as other tasks have gate examples"),
        ("tasks.1.source=file:none.csv", "tasks.1.source: expected an existing file or folder"),
    ],
)
def test_each_problem_names_the_override(file: Path, override: str, wanted: str) -> None:
    found = lines(file, override)
    assert any(wanted in line for line in found), found


def test_problems_have_the_lines_of_the_file(file: Path, text: str) -> None:
    file.write_text(text.replace("level: {float: [0, 0.4]}", "level: {float: [0, 2]}").replace("{int: [8", "{int: [0"))
    assert lines(file) == [
        f"{file}:17: training.batch_size: expected a distribution over a number of at least 1, got one with 0",
        f"{file}:21: conditions.train.0.level: "
        "expected a distribution over a share of words from 0 to 1, got one with 2.0",
    ]


BUDGET = "size_control={mode: budget, parameters: %s}"


@pytest.mark.parametrize("budget", ["383", "{int: [383, 9000]}", "{categorical: [9000, 383]}"])
def test_a_budget_below_the_cheapest_slot_is_refused(file: Path, budget: str) -> None:
    found = lines(file, BUDGET % budget)
    assert len(found) == 1
    assert found[0].endswith("expected at least the 1536 parameters of the cheapest slot of each pool, got 383")


def test_a_budget_above_every_cheapest_slot_is_fine(file: Path) -> None:
    assert load_checked(file, [BUDGET % 2000]).size_control.mode == "budget"


def test_a_threshold_is_searched_where_it_decides(file: Path) -> None:
    whole = "gates.threshold={float: [0.1, 0.9]}"
    assert load_checked(file, ["gates={family: sigmoid}", whole])
    assert load_checked(file, ["gates.threshold={float: [0.1, 0.9], when: {gates.family: sigmoid}}"])
    sometimes = "gates={family: {categorical: [sigmoid, sigmoid2], when: {pool.kinds: [[lora]]}}}"
    found = lines(file, sometimes.replace("sigmoid2", "hard_concrete"), whole)
    assert any("gates.threshold.when: expected when: {gates.family: [sigmoid]}" in line for line in found)


def test_a_threshold_under_a_budget_decides_where_tasks_share_what_is_paid(file: Path) -> None:
    whole, budget = "gates={family: sigmoid, threshold: {float: [0.1, 0.9]}}", BUDGET % 2000
    two = "tasks=[{name: a, source: 'bundled:sms_spam'}, {name: b, source: 'bundled:sms_spam'}]"
    assert load_checked(file, [whole, budget, two])
    (line,) = lines(file, whole, BUDGET % "2000, scope: per_task", two)
    assert "(sigmoid) has a threshold that such a budget heeds" in line
    (line,) = lines(file, whole, budget, "tasks=[{name: a, source: 'bundled:sms_spam'}]")
    assert "expected a value, got a distribution, though no gate family (sigmoid) has a threshold that" in line
    assert load_checked(file, [whole.replace("sigmoid", "straight_through"), budget])


def test_design_samplers_have_no_options(file: Path) -> None:
    found = lines(file, "phases.design={sampler: {name: qmc, options: {points: 4}}, points: 4}")
    assert len(found) == 1
    assert "phases.design.sampler.options.points: expected an option of qmc (it has none), got points" in found[0]


def test_a_pruner_needs_a_report_before_the_last(file: Path) -> None:
    found = lines(file, "training.reports=1", HALVING % "first_share: 0.5")
    assert len(found) == 1
    assert "training.reports: expected at least 2 with the pruner successive_halving" in found[0]
    assert load_checked(file, ["training.reports=1"]).training.reports == 1
    assert load_checked(file, ["training.reports=100", HALVING % "reduction_factor: 100, first_share: 0.99"])


@pytest.mark.parametrize("pruner", ["successive_halving", "hyperband"])
def test_a_pruner_whose_first_rung_no_report_reaches_is_refused(file: Path, pruner: str) -> None:
    halving = HALVING.replace("successive_halving", pruner)
    assert load_checked(file, ["training.reports=4", halving % "first_share: 0.75"])
    found = lines(file, "training.reports=4", halving % "first_share: 0.8")
    assert len(found) == 1
    expected = "at most 0.75, where the last of 4 reports stands that stops a trial (training.reports), got 0.8"
    assert found[0].endswith(f"phases.optimise.pruner.options.first_share: expected {expected}")


@pytest.mark.parametrize("pruner", ["successive_halving", "hyperband"])
def test_a_pruner_needs_a_report_between_the_warm_up_and_the_last(file: Path, pruner: str) -> None:
    halves = f"phases.optimise.pruner={{name: {pruner}}}", "training.reports=2", "finalisation.share=0.2"
    assert load_checked(file, [*halves, "gates.warm_up=0.49"])
    assert load_checked(file, [*halves, "gates.warm_up={float: [0.3, 0.6]}"]), "some trials may be stopped"
    for warm_up, least in (("0.5", "0.5"), ("{float: [0.55, 0.6]}", "0.55")):
        (found,) = lines(file, *halves, f"gates.warm_up={warm_up}")
        expected = f"less than 0.5, where the last of 2 reports stands at which {pruner} may stop a trial"
        assert found.endswith(f"gates.warm_up: expected {expected} (training.reports), got {least}")


def test_options_are_told_with_their_lines(file: Path, text: str) -> None:
    pruner = "    pruner:\n      name: successive_halving\n      options:\n        reduction_factor: 0\n"
    file.write_text(text.replace("  optimise: {trials: 3}\n", f"  optimise:\n    trials: 3\n{pruner}"))
    expected = "phases.optimise.pruner.options.reduction_factor: expected a whole number from 2 to 100, got 0"
    assert lines(file) == [f"{file}:{len(file.read_text().splitlines())}: {expected}"]


def test_a_pool_without_a_slot_is_refused(file: Path) -> None:
    found = lines(file, "pool={kinds: [bottleneck], sites: [attn.q]}")
    assert any("a kind that fits one of the sites, got kinds bottleneck at attn.q" in line for line in found)


SITES = "sites: {categorical: [[block], [attn.q]]}"


def test_pools_are_those_that_conditions_leave(file: Path) -> None:
    """Where kinds are not searched they are the default, lora, which fits attn.q and not block."""
    kinds = "kinds: {categorical: [[bottleneck], [bottleneck, parallel]], when: {pool.sites: [[block]]}}"
    assert load_checked(file, [f"pool={{{SITES}, {kinds}}}"])
    elsewhere = "kinds: {categorical: [[lora], [lora, bias]], when: {pool.sites: [[attn.q]]}}"
    found = lines(file, f"pool={{{SITES}, {elsewhere}}}")
    assert len(found) == 1
    assert "pool: expected a kind that fits one of the sites, got kinds lora at block" in found[0]


DESIGN = "phases.design={sampler: {name: %s}, %s}"


@pytest.mark.parametrize(
    ("sampler", "rest", "wanted"),
    [
        (
            "grid",
            "levels: {training.lr: [1]}",
            "levels.training.lr: expected the name of a searched field (pool",
        ),
        (
            "grid",
            "levels: {training.batch_size: [8, 99]}",
            "training.batch_size.1: expected a whole number from",
        ),
        ("grid", "levels: {training.batch_size: [8, 8]}", "expected different levels, got [8, 8]"),
        ("grid", "levels: {pool.ranks: [[3]]}", "expected one of [1], [2, 4], got [3]"),
        ("grid", "levels: {training.batch_size: [8]}, base: {training.batch_size: 8}", "a field that the grid varies"),
        ("grid", "levels: {training.batch_size: [8]}, base: {gates.family: x}", "base.gates.family: expected one of"),
        ("grid", "levels: {training.batch_size: [8]}, base: {foo: 1}", "base.foo: expected the name of a searched"),
        ("qmc", "points: 4, base: {training.batch_size: 8}", "no base with qmc"),
        ("qmc", "points: 65536, seeds: 2", "at most 100,000 trials, got 131,072"),
        ("one_at_a_time", "levels: {training.batch_size: [12]}", "a level other than the base 12, got none"),
        (
            "one_at_a_time",
            "levels: {gates.temperature: [1]}, base: {gates.family: hard_concrete}",
            "levels.gates.temperature: expected a field that is active at the base point",
        ),
    ],
)
def test_designs_name_searched_fields_and_values_that_they_hold(
    file: Path, sampler: str, rest: str, wanted: str
) -> None:
    found = lines(file, DESIGN % (sampler, rest))
    assert len(found) == 1
    assert wanted in found[0]


def test_a_huge_grid_is_counted_and_not_made(file: Path) -> None:
    levels = ", ".join(str(n / 1000) for n in range(390))
    rest = f"levels: {{conditions.train.typos.level: [{levels}], size_control.sparsity_weight: [{levels[5:]}]}}"
    assert any("at most 100,000 trials, got" in line for line in lines(file, DESIGN % ("grid", rest)))


def test_a_design_needs_something_to_vary(file: Path) -> None:
    nothing = ["pool={}", "gates={}", "size_control={mode: penalty}", "training.batch_size=8", "conditions.train=[]"]
    found = lines(file, *nothing, "phases.design={sampler: {name: qmc}, points: 2}")
    assert found[0].endswith("phases.design: expected a study that searches at least one field, got none")


def test_problems_of_all_sorts_come_together(file: Path) -> None:
    found = lines(file, "pool.layers=[9]", "tasks.0.source=bundled:foo", DESIGN % ("qmc", "points: 2, base: {foo: 1}"))
    assert [line.split(": ")[-2] for line in found] == ["tasks.0.source", "phases.design.base.foo", "pool.layers"]


CONTROLS = "phases.confirm={top: 1, seeds: 1, controls: [lora, %s]}"


@pytest.mark.parametrize("control", ["adalora", "prefix"])
def test_controls_whose_package_is_missing_are_refused_before_the_search(
    control: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_checked(file, [CONTROLS % control])
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "peft" else find(name, *more))
    (line,) = lines(file, CONTROLS % control)
    assert line.endswith(
        f"phases.confirm.controls: expected controls whose packages are installed, got {control} without the package "
        "peft. Run `pip install -e '.[peft]'`"
    )
    assert load_checked(file, [CONTROLS % "lora_xs"])


def test_prefix_tuning_is_refused_for_families_that_take_no_past(file: Path, tmp_path: Path) -> None:
    for family in TINY_FAMILIES:
        assert (_argument(tiny_backbone(family)) is None) == (family in WITHOUT_PAST), family
    save_tiny("distilbert", tmp_path / "model")
    small = [f"backbone.id=path:{tmp_path / 'model'}", "pool.layers=all"]
    (line,) = lines(file, *small, CONTROLS % "prefix")
    assert "expected controls for a distilbert backbone, which takes no past keys and values, got prefix. Name" in line
    assert load_checked(file, [*small, CONTROLS % "prefix_gated"])


def test_texts_longer_than_the_positions_are_refused(file: Path) -> None:
    assert load_checked(file, ["tasks.0.max_tokens=512"])
    (line,) = lines(file, "tasks.0.max_tokens=513")
    assert line.endswith("tasks.0.max_tokens: expected at most the 512 positions of the backbone, got 513")


def test_a_prefix_takes_positions_too(file: Path) -> None:
    budget = ["size_control={mode: budget, parameters: 9216}", CONTROLS % "prefix"]
    assert load_checked(file, [*budget, "tasks.0.max_tokens=510"])
    (line,) = lines(file, *budget, "tasks.0.max_tokens=511")
    assert "expected texts that leave 2 of the backbone's 512 positions to the prefix, got prefix beside" in line
    (line,) = lines(file, CONTROLS % "prefix", "tasks.0.max_tokens=512")
    assert "expected texts that leave 1 of" in line


def test_the_first_token_of_a_decoder_stands_for_nothing(file: Path, tmp_path: Path) -> None:
    save_tiny("gpt2", tmp_path / "model")
    small = [f"backbone.id=path:{tmp_path / 'model'}", "pool.layers=all"]
    assert load_checked(file, [*small, "backbone.pooling=last"])
    (line,) = lines(file, *small, "backbone.pooling=cls")
    assert "backbone.pooling: expected mean or last for a gpt2 backbone, whose first token sees no other" in line
    assert load_checked(file, ["backbone.pooling=cls"])

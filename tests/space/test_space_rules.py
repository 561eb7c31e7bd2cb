"""Fields that contradict each other are refused with what would go together, over every choice of the study."""

from collections.abc import Callable

import pytest

from slasearch.config.schema import StudyConfig
from slasearch.space import check

Study = Callable[..., StudyConfig]

BUDGET = ("size_control={mode: budget, parameters: 20000}",)
NO_GATE_SPLIT = ("tasks.0.limits.gate=0", "tasks.1.limits.gate=0")
BOTH = "{categorical: [continue, progressive]}"


def told(config: StudyConfig) -> list[str]:
    return [f"{'.'.join(str(step) for step in p.path)}: expected {p.expected}, got {p.got}" for p in check(config)]


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (("gates={family: budget}",), "gates.family: expected a family that works without a budget"),
        (("gates.family={categorical: [sigmoid, budget]}",), "gates.family: expected a family that works without"),
        (("finalisation.finish=progressive",), "finalisation.finish: expected continue or retrain under"),
        ((f"finalisation.finish={BOTH}",), "(progressive prunes to a budget), got progressive"),
        (("finalisation.ranking=saliency",), "finalisation.ranking: expected gate under size_control.mode penalty"),
        (
            ("tasks.0.metric=mcc", "objectives=[{name: score}, {name: robustness, measure: relative}]"),
            "objectives.1.measure: expected noisy_score, worst or curve_area where mcc is the score, which may be 0",
        ),
        (
            (*BUDGET, "finalisation={ranking: ablation, finish: progressive}"),
            "finalisation.ranking: expected gate or saliency with finish progressive",
        ),
        (
            (*BUDGET, "finalisation.ranking=ablation", f"finalisation.finish={BOTH}"),
            "finalisation.ranking: expected gate or saliency with finish progressive",
        ),
        (
            (*BUDGET, *NO_GATE_SPLIT, "finalisation.ranking=saliency"),
            "tasks.0.limits.gate: expected a number above 0, on which saliency ranks slots, got 0",
        ),
        (
            (*NO_GATE_SPLIT, "gates.learn_on=gate"),
            "tasks.0.limits.gate: expected a number above 0, on which gates learn (gates.learn_on), got 0",
        ),
        (("gates.warm_up=0.7",), "finalisation.share: expected a share below 0.3, so that gates learn after a warm-up"),
        (
            ("gates.warm_up={float: [0.1, 0.5]}", "finalisation.share={float: [0.2, 0.6]}"),
            "finalisation.share: expected a share below 0.5",
        ),
        (
            ("training={steps: 10}", "size_control={mode: penalty, path: {categorical: [[1], [0.1, 1, 2, 3]]}}"),
            "size_control.path: expected at most 3 values, as gates learn in 5 of 10 steps (raise training.steps)",
        ),
        (
            (*NO_GATE_SPLIT, "gates.learn_on={categorical: [auto, train]}"),
            "gates.learn_on: expected a value, got a distribution, though gates learn on train where tasks have no",
        ),
        (
            ("gates={family: proximal, temperature_schedule: {categorical: [linear, constant]}}",),
            "gates.temperature_schedule: expected a value, got a distribution, though no gate family (proximal) has a",
        ),
        (
            ("size_control={mode: penalty, sparsity_weight: 1, ramp: 0, schedule: {categorical: [linear, cubic]}}",),
            "size_control.schedule: expected a value, got a distribution, though a ramp of 0 ignores it",
        ),
        (
            ("size_control={mode: penalty, sparsity_weight: 0, schedule: {categorical: [linear, cubic]}}",),
            "size_control.schedule: expected a value, got a distribution, though a sparsity_weight of 0 ignores it",
        ),
        (
            ("size_control.path=[0.1, 1]",),
            "size_control.sparsity_weight: expected a value, got a distribution, though a path ignores it",
        ),
        (
            ("training.early_stop={patience: 2}", "training.reports=5"),
            "training.early_stop.patience: expected fewer than the 1 of 5 reports that come after finalisation",
        ),
        (
            ("pool={kinds: [bias], gating: {categorical: [slot, rank]}}",),
            "pool.gating: expected a value, got a distribution, though no kind of the pool (bias) is a sum",
        ),
        (
            ("pool={kinds: [bias], start: {categorical: [random, gradient]}}",),
            "pool.start: expected a value, got a distribution, though no kind of the pool (bias) projects its input",
        ),
        (
            ("gates.temperature_start={float: [1, 2]}", "gates.temperature_schedule=constant"),
            "gates.temperature_start: expected a value, got a distribution, though a constant",
        ),
        (
            ("gates.family={categorical: [sigmoid, proximal]}", "gates.temperature={float: [0.5, 1]}"),
            "gates.temperature.when: expected when: {gates.family: [sigmoid]}, as no other gate family has a",
        ),
        (
            ("gates={family: proximal, temperature_start: {float: [0.5, 1]}}",),
            "gates.temperature_start: expected a value, got a distribution, though no gate family (proximal) has",
        ),
        (
            (*BUDGET, "gates={family: budget, initial_openness: {float: [0.5, 0.9]}}"),
            "gates.initial_openness: expected a value, got a distribution, though no gate family (budget) has a start",
        ),
        (
            ("constraints=[{name: score, min: 80}]",),
            "constraints.0.min: expected a number of at most 1, the best that built-in metrics give, got 80",
        ),
        (
            ("constraints=[{name: score, min: 1}, {name: robustness, min: 1.01}]",),
            "constraints.1.min: expected a number of at most 1, the best that built-in metrics give, got 1.01",
        ),
        (
            (*BUDGET, "constraints=[{name: exported_parameters, min: 20001}]"),
            "constraints.0.min: expected a number of at most 20000, the largest budget, got 20001",
        ),
        (
            (
                "size_control={mode: budget, parameters: {int: [10000, 20000]}, scope: per_task}",
                "constraints=[{name: exported_parameters, min: 40001}]",
            ),
            "constraints.0.min: expected a number of at most 40000, the largest budget, got 40001",
        ),
        *(
            (
                ("tasks.1.metric=macro_f1", f"constraints=[{{name: {name}, max: -0.5}}]"),
                "constraints.0.max: expected a number of at least 0, the least that there is, got -0.5",
            )
            for name in ("score", "exported_parameters", "latency")
        ),
        (
            ("constraints=[{name: score, max: -1.5}]",),
            "constraints.0.max: expected a number of at least -1, the least that there is, got -1.5",
        ),
    ],
)
def test_contradictions_are_told(overrides: tuple[str, ...], wanted: str, study: Study) -> None:
    found = told(study(*overrides))
    assert len([line for line in found if wanted in line]) == 1, found


def test_one_task_has_nothing_to_mix(study: Study) -> None:
    one = study(
        'tasks=[{name: spam, source: "bundled:sms_spam"}]',
        "training.multitask={categorical: [joint, independent]}",
        "training.task_temperature={float: [1, 3]}",
    )
    assert [line for line in told(one) if "one task only" in line] == [
        "training.multitask: expected a value, got a distribution, though the study has one task only",
        "training.task_temperature: expected a value, got a distribution, though the study has one task only",
    ]


@pytest.mark.parametrize("name", ["fusion", "shared"])
def test_controls_about_several_tasks_need_them(name: str, study: Study) -> None:
    confirm = f"phases.confirm={{controls: [lora, {name}]}}"
    one = study('tasks=[{name: spam, source: "bundled:sms_spam"}]', confirm)
    assert f"one only, got {name}, which is about several" in "\n".join(told(one))
    assert told(study(confirm)) == []


@pytest.mark.parametrize(
    "overrides",
    [
        (*BUDGET, "gates={family: budget}"),
        (*BUDGET, "gates={family: {categorical: [sigmoid, budget]}}", f"finalisation.finish={BOTH}"),
        (
            *BUDGET,
            f"finalisation.finish={BOTH}",
            "finalisation.ranking={categorical: [gate, ablation], when: {finalisation.finish: continue}}",
        ),
        (*BUDGET, "finalisation={finish: progressive, ranking: saliency}"),
        ("gates.learn_on={categorical: [auto, train]}",),
        ("training={steps: 10}", "size_control={mode: penalty, path: [0.1, 1, 2]}"),
        (
            "tasks.1.metric=accuracy",
            "objectives=[{name: robustness, measure: relative}]",
            "constraints=[{name: robustness, min: 1.1}, {name: exported_parameters, min: 100000}]",
        ),
        (
            "size_control={mode: budget, parameters: {int: [10000, 20000]}}",
            "constraints=[{name: exported_parameters, min: 15000}, {name: score, min: 1}]",
        ),
    ],
)
def test_what_goes_together_is_not_refused(overrides: tuple[str, ...], study: Study) -> None:
    assert told(study(*overrides)) == []

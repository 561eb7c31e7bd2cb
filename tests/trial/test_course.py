"""Ways through a trial: gate families, rankings, ways to finish, tasks together or each by itself."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from slasearch.adapters.pool import Pool, candidate_slots
from slasearch.records import (
    EarlyStopSpec,
    FinalisationSpec,
    GateSpec,
    MetricRow,
    PoolSpec,
    Progress,
    SizeSpec,
    Slot,
    Structure,
    TrainingSpec,
    TrialReport,
    TrialSpec,
)
from slasearch.registry import GATES, KINDS
from slasearch.tasks.batches import Batch
from slasearch.testing.kinds import disturb_weights
from slasearch.trial.course import Course
from slasearch.trial.data import TrainingData
from slasearch.trial.evaluate import evaluate
from slasearch.trial.model import TaskModel, make_heads
from slasearch.trial.run import TrialWorker
from slasearch.trial.train import StepPlan, Trainer

Spec = Callable[..., TrialSpec]
Finish = Callable[..., TrialReport]

POOL = PoolSpec(("attn.v", "ffn.out"), ("lora", "bias"), (1, 2), layers=(4, 5))
TRAINING = TrainingSpec(8, 5e-3, 3e-2, 0.01, "linear", steps=20, reports=2)


def paths(report: TrialReport) -> dict[str, set[Slot]]:
    found: dict[str, set[Slot]] = {}
    for row in report.gates:
        found.setdefault(row.task, set()).update({row.slot} if row.open else set())
    return found


def size_of(slots: set[Slot], report: TrialReport) -> int:
    costs = {row.slot: row.parameters for row in report.gates}
    return sum(costs[slot] for slot in slots)


def gates(family: str, **changes: object) -> GateSpec:
    return GateSpec(family, 0.3, 0.1, 0.9, 0.5, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("finish_with", ["continue", "retrain", "progressive"])
@pytest.mark.parametrize("family", GATES.names())
def test_every_family_meets_the_budget_however_it_finishes(
    family: str, finish_with: str, make_spec: Spec, finish: Finish
) -> None:
    spec = make_spec(
        pool=POOL,
        gates=gates(family),
        size=SizeSpec("budget", budget=6000),
        training=TRAINING,
        finalisation=FinalisationSpec(finish=finish_with, share=0.4),  # type: ignore[arg-type]
    )
    report = finish(spec)
    assert report.state == "complete", report.reason
    union = set().union(*paths(report).values())
    assert 0 < size_of(union, report) == report.objectives["exported_parameters"] <= 6000
    costs = {cost.name: cost.value for cost in report.costs}
    assert costs["finalisation_gap"] == pytest.approx(report.objectives["score"] - costs["gated_score"])


@pytest.mark.parametrize("ranking", ["saliency", "ablation"])
def test_held_out_rankings_choose_other_structures(
    ranking: str, make_spec: Spec, finish: Finish, gate_worker: TrialWorker
) -> None:
    size = SizeSpec("budget", budget=5000, scope="per_task")
    specs = [
        make_spec(pool=POOL, gates=gates("sigmoid"), size=size, training=TRAINING, finalisation=FinalisationSpec(how))
        for how in ("gate", ranking)
    ]
    by_gate, by_ranking = (finish(spec, gate_worker) for spec in specs)
    assert all(size_of(slots, by_ranking) <= 5000 for slots in paths(by_ranking).values())
    assert paths(by_gate) != paths(by_ranking)
    assert paths(finish(specs[1], gate_worker)) == paths(by_ranking), "the same spec gives the same structure"


def test_progressive_may_rank_by_the_moving_saliency(make_spec: Spec, finish: Finish) -> None:
    end = FinalisationSpec("saliency", "progressive", 0.4)
    reports = [
        finish(make_spec(pool=POOL, size=SizeSpec("budget", budget=5000), training=TRAINING, finalisation=spec))
        for spec in (end, FinalisationSpec("gate", "progressive", 0.4))
    ]
    assert all(report.objectives["exported_parameters"] <= 5000 for report in reports)
    assert paths(reports[0]) != paths(reports[1])


def test_ranks_are_learned_where_each_component_has_a_gate(make_spec: Spec, finish: Finish) -> None:
    pool = PoolSpec(("attn.v", "ffn.out"), ("lora",), (4,), layers=(4, 5), gating="rank")
    spec = make_spec(
        pool=pool,
        gates=gates("hard_concrete"),
        size=SizeSpec("budget", budget=8000),
        training=TRAINING,
        finalisation=FinalisationSpec(finish="progressive", share=0.5),
    )
    report = finish(spec)
    assert {row.slot.rank for row in report.gates} == {1}
    assert {row.slot.index for row in report.gates} == {0, 1, 2, 3}
    union = set().union(*paths(report).values())
    ranks = {(s.layer, s.site): sum((o.layer, o.site) == (s.layer, s.site) for o in union) for s in union}
    assert set(ranks.values()) - {4}, f"some place must have lost components, got {ranks}"


def test_tasks_learn_paths_of_their_own_under_a_budget_each(make_spec: Spec, finish: Finish) -> None:
    spec = make_spec(
        pool=POOL,
        gates=gates("hard_concrete"),
        size=SizeSpec("budget", budget=3000, scope="per_task"),
        training=TRAINING,
    )
    report = finish(spec)
    found = paths(report)
    assert found["things"] != found["mood"]
    assert all(0 < size_of(slots, report) <= 3000 for slots in found.values())


def test_shared_gates_give_every_task_the_same_path(make_spec: Spec, finish: Finish) -> None:
    size = SizeSpec("budget", budget=5000)
    found = paths(finish(make_spec(pool=POOL, gates=gates("sigmoid", shared=True), size=size, training=TRAINING)))
    assert found["things"] == found["mood"]


@pytest.mark.parametrize("ranking", ["saliency", "ablation"])
@pytest.mark.parametrize("finish_by", ["continue", "retrain"])
def test_shared_gates_are_ranked_by_held_out_batches_of_all_tasks(
    ranking: str, finish_by: str, make_spec: Spec, finish: Finish, gate_worker: TrialWorker
) -> None:
    size = SizeSpec("budget", budget=5000, scope="per_task")
    end = FinalisationSpec(ranking, finish_by)  # type: ignore[arg-type]
    shared = gates("sigmoid", shared=True)
    report = finish(make_spec(pool=POOL, gates=shared, size=size, training=TRAINING, finalisation=end), gate_worker)
    assert paths(report)["things"] == paths(report)["mood"]
    assert report.objectives["exported_parameters"] <= 5000


def test_heads_keep_their_rate_and_modules_share_theirs_while_gates_learn(
    make_spec: Spec, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[tuple[float, float]] = []
    step = Trainer._weight_step

    def watched(trainer: Trainer, *args: Any) -> None:
        step(trainer, *args)
        heads, modules, *_ = trainer._optimizer.param_groups
        rates.append((heads["lr"] / heads["peak"], modules["lr"] / modules["peak"]))

    monkeypatch.setattr(Trainer, "_weight_step", watched)
    report = finish(make_spec(pool=POOL, size=SizeSpec("budget", budget=3000), training=TRAINING))
    assert report.state == "complete", report.reason
    shares = [module / head for head, module in rates]
    gated = round(0.6 * 20)
    whole = sum({row.slot: row.parameters for row in report.gates}.values())
    assert whole > 9000
    assert shares[:gated] == pytest.approx([3000 / whole] * gated)
    assert shares[gated:] == pytest.approx([1.0] * (20 - gated))
    assert [head for head, _ in rates] == pytest.approx([1 - number / 20 for number in range(20)])


def test_progressive_ranks_by_training_and_so_trains_on_gate_examples_from_the_start(
    make_spec: Spec, finish: Finish, gate_worker: TrialWorker
) -> None:
    """Nothing looks at the gate split where gates learn on the training examples: it need not wait."""
    size, seen = SizeSpec("budget", budget=5000), {}
    for name in ("progressive", "continue"):
        learn = dataclasses.replace(gates("sigmoid"), learn_on="train")
        end = FinalisationSpec("saliency", name)  # type: ignore[arg-type]
        course = Course(
            make_spec(pool=POOL, gates=learn, size=size, training=TRAINING, finalisation=end), gate_worker.resources
        )
        seen[name] = course._holds_out
    assert seen == {"progressive": False, "continue": True}


@pytest.mark.parametrize("control", [None, "lora", "random"])
def test_independent_tasks_share_no_slot(control: str | None, make_spec: Spec, finish: Finish) -> None:
    training = TrainingSpec(8, 5e-3, 3e-2, 0.01, "linear", steps=20, reports=2, multitask="independent")
    size = SizeSpec("budget", budget=8000)
    report = finish(make_spec(pool=POOL, size=size, training=training, control=control, control_size=8000))
    assert report.state == "complete", report.reason
    found = paths(report)
    assert found["things"]
    assert found["mood"]
    assert not found["things"] & found["mood"]
    # LoRA is rounded up by less than one unit.
    assert report.objectives["exported_parameters"] <= 8000 + (767 if control == "lora" else 0)


def test_kinds_may_learn_at_rates_of_their_own(make_spec: Spec, finish: Finish) -> None:
    base = TrainingSpec(8, 5e-3, 3e-2, 0.01, "linear", steps=10, reports=1)
    faster = TrainingSpec(8, 5e-3, 3e-2, 0.01, "linear", steps=10, reports=1, kind_factors=(("bias", 10.0),))
    losses = [
        [row.value for row in finish(make_spec(pool=POOL, training=t)).metrics if row.metric == "loss"]
        for t in (base, faster)
    ]
    assert losses[0] != losses[1]


def test_stalled_gates_and_a_lopsided_penalty_are_told(make_spec: Spec, finish: Finish) -> None:
    still = GateSpec("sigmoid", 1e-7, 0.1, 0.9, 0.5)
    report = finish(make_spec(pool=POOL, gates=still, size=SizeSpec("penalty", 1e6, ramp=0.0), training=TRAINING))
    kinds = {event.kind: event.message for event in report.events}
    assert "Gates moved by 0.0000 on average" in kinds["gate_health.stalled"]
    assert "only the penalty decides" in kinds["gate_health.penalty_ratio"]


def test_a_report_of_the_last_gated_step_is_the_gated_score_too(
    make_spec: Spec, worker: TrialWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[int | None] = []

    def counted(*args: object, step: int | None = None, **more: object) -> list[MetricRow]:
        evaluated.append(step)
        return evaluate(*args, step=step, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("slasearch.trial.course.evaluate", counted)
    scores = {}
    for reports in (1, 2):
        spec = make_spec(
            pool=POOL,
            gates=gates("hard_concrete"),
            training=dataclasses.replace(TRAINING, reports=reports),
            finalisation=FinalisationSpec(share=0.5),
        )
        *told, last = worker.run(spec)
        assert isinstance(last, TrialReport)
        assert last.state == "complete", last.reason
        scores[reports] = {cost.name: cost.value for cost in last.costs}["gated_score"]
        assert [item.score for item in told if isinstance(item, Progress)] == [scores[reports]] * (reports - 1)
    assert evaluated == [10, 10], "once where there is no report, and once as the report"
    assert scores[1] == scores[2]


def test_the_gated_model_is_not_scored_where_nobody_asks_for_the_gap(make_spec: Spec, finish: Finish) -> None:
    spec = make_spec(pool=POOL, training=TRAINING)
    asked, unasked = (
        finish(dataclasses.replace(spec, finalisation=FinalisationSpec(gap=gap))) for gap in (True, False)
    )
    names = [{cost.name for cost in report.costs} for report in (asked, unasked)]
    assert names[0] - names[1] == {"gated_score", "finalisation_gap"}
    assert unasked.objectives == asked.objectives


def test_moments_follow_a_gate_that_is_folded_in(make_spec: Spec, worker: TrialWorker) -> None:
    """They are those that the folded weights would have had all along."""
    spec = make_spec(training=TrainingSpec(8, 0.0, 3e-2, 0.0, "constant", steps=4, gradient_clip=1e9))
    backbone, tasks = worker.resources.backbone(spec.backbone), worker.resources.tasks(spec)
    names = [task.spec.name for task in tasks]
    slots = candidate_slots(PoolSpec(POOL.sites, KINDS.names(), (2,), layers=(5,)), layers=6)
    values = {slot: (0.1, 0.5, -2.0, 1.0)[number % 4] for number, slot in enumerate(slots)}
    structure = Structure(tuple((name, slots) for name in names))
    found = []
    for folded_before in (True, False):
        pool = Pool(slots, backbone.shapes.hosts, names, generator=torch.Generator().manual_seed(0))
        disturb_weights(pool)
        heads = make_heads(dict.fromkeys(names, 2), 384, generator=torch.Generator().manual_seed(0))
        with TaskModel(backbone, pool, heads) as model:
            data = worker.resources.training(tasks, ("train",), backbone, spec)
            trainer = Trainer(
                model,
                data,
                None,
                weights=[1.0, 1.0],
                training=spec.training,
                plan=StepPlan(0, 0, 4),
                generator=torch.Generator(),
            )
            z = torch.tensor([[values[slot] for slot in slots]] * 2)
            if folded_before:
                pool.keep(structure, values)
            for _ in range(4):
                trainer._weight_step(None if folded_before else z)
            if not folded_before:
                pool.keep(structure, values)
                trainer.fold_moments(values)
            moments = trainer.state_dict()["moments"]
            found.append([one[name] for one in moments if one for name in ("exp_avg", "exp_avg_sq")])
    assert len(found[0]) > 40
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3 * float(first.abs().max()))


def test_moments_of_a_gate_that_was_hardly_open_are_forgotten(make_spec: Spec, worker: TrialWorker) -> None:
    spec = make_spec()
    backbone, tasks = worker.resources.backbone(spec.backbone), worker.resources.tasks(spec)
    slot = Slot(5, "attn.v", "lora", 2)
    names = [task.spec.name for task in tasks]
    pool = Pool([slot], backbone.shapes.hosts, names, generator=torch.Generator().manual_seed(0))
    heads = make_heads(dict.fromkeys(names, 2), 384, generator=torch.Generator().manual_seed(0))
    with TaskModel(backbone, pool, heads) as model:
        data = worker.resources.training(tasks, ("train",), backbone, spec)
        plan = StepPlan(0, 0, 10)
        trainer = Trainer(
            model, data, None, weights=[1.0, 1.0], training=spec.training, plan=plan, generator=torch.Generator()
        )
        trainer._weight_step(None)
        trainer.fold_moments({slot: 0.0})
        trainer._weight_step(None)
        (module,) = pool.modules_of(slot)
        assert bool(torch.isfinite(module.get_parameter("up")).all())
        assert float(trainer._optimizer.state[module.get_parameter("up")]["step"]) == 1
        assert float(trainer._optimizer.state[module.get_parameter("down")]["step"]) == 2


def test_fresh_modules_are_aimed_by_all_that_they_will_be_trained_on(
    make_spec: Spec, finish: Finish, gate_worker: TrialWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, steps = [], []

    def watched(model: TaskModel, data: TrainingData, **more: Any) -> None:
        seen.append(data.examples)

    def lower(self: TrainingData, model: TaskModel, batch: Batch, steps_left: int) -> None:
        steps.append((self.examples, steps_left))

    monkeypatch.setattr("slasearch.trial.course.aim", watched)
    monkeypatch.setattr(TrainingData, "lower", lower)
    pool, end = dataclasses.replace(POOL, start="gradient"), FinalisationSpec("saliency", "retrain", 0.4)
    spec = make_spec(pool=pool, size=SizeSpec("budget", budget=5000), training=TRAINING, finalisation=end)
    assert finish(spec, gate_worker).state == "complete"
    train, both = seen
    assert train < both, "until finalisation gates are held to the others"
    gated, total = (next(left for examples, left in steps if examples == size) for size in seen)
    assert gated + total == TRAINING.steps, "what the first are worth keeping for ends where the gated steps do"


def test_a_loss_that_nobody_looked_at_is_found_where_the_trial_stops_early(
    make_spec: Spec, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device is asked now and then only: what it would have said counts before a trial is called complete."""

    def unseen(self: Trainer, loss: torch.Tensor) -> None:
        self._worst = torch.maximum(self._worst, torch.where(torch.isfinite(loss), 0.0, 1.0))

    monkeypatch.setattr(Trainer, "_watch", unseen)
    training = TrainingSpec(
        8, float("inf"), 3e-2, 0.01, "constant", steps=20, reports=10, early_stop=EarlyStopSpec(patience=1)
    )
    report = finish(make_spec(training=training, control="lora", control_size=9216))
    assert (report.state, report.reason) == ("fail", "diverged: a loss was not finite")

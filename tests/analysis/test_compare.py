from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from synthetic import TASKS, Plan

from slasearch.analysis.arm_words import winner_label
from slasearch.analysis.compare import Comparisons, compare
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.robustness import robustness_curves
from slasearch.analysis.roles import layout_label
from slasearch.analysis.tuning import Tuning, tuning_terms
from slasearch.config.constraints import ConstraintConfig
from slasearch.errors import ReportError
from slasearch.registry import CONTROL_VARIANTS


def test_differences_are_paired_by_seed_on_test(frames: StudyFrames) -> None:
    first = compare(frames)[0]
    test = frames.clean_scores("test")
    test = test[test["series"] == "tweets"].merge(frames.trials[["trial_id", "role", "repeat", "pair_of"]])
    mine = test[test["pair_of"] == first.winner_id].pivot(index="repeat", columns="role", values="value")
    expected = (mine["winner"] - mine["control:lora"]).to_numpy()
    found = first.difference("control:lora", "tweets")
    assert found.pairs == pytest.approx(tuple(expected))
    assert found.difference.mean == pytest.approx(expected.mean())
    assert found.p == pytest.approx(stats.ttest_1samp(expected, 0).pvalue)


def test_every_arm_shows_score_size_and_robustness(frames: StudyFrames) -> None:
    first = compare(frames)[0]
    assert [arm.role for arm in first.arms] == ["winner", "control:lora", "control:random", "control:linear_probe"]
    assert all([name for name, _ in arm.scores] == [MEAN, *TASKS] for arm in first.arms)
    assert first.controls[-1].parameters.mean == 0
    assert all(arm.complete == 3 and arm.robustness.n == 3 for arm in first.arms)


def test_linear_probe_without_a_pair_stands_beside_every_winner(frames: StudyFrames) -> None:
    found = compare(frames)
    assert len(found) > 1
    assert all(item.difference("control:linear_probe").difference.n == 3 for item in found)


def test_winners_are_labelled_by_what_they_are_best_at(frames: StudyFrames) -> None:
    assert [item.label for item in compare(frames)] == ["best by score", "best by size", "best by robustness"]


def test_a_lora_that_is_better_is_said_to_be(frames_of: Callable[[Plan], StudyFrames]) -> None:
    found = compare(frames_of(Plan(lora=0.1, seeds=5)))
    verdicts = {item.difference("control:lora").verdict for item in found}
    assert verdicts == {"worse"}
    assert all(item.difference("control:lora").difference.mean < 0 for item in found)


def test_holm_only_raises_p_and_only_on_the_mean(frames: StudyFrames) -> None:
    for item in compare(frames):
        for one in item.differences:
            if one.series == MEAN:
                assert one.p_holm is not None
                assert one.p is not None
                assert one.p_holm >= one.p
            else:
                assert one.p_holm is None


def test_an_interval_beside_zero_does_not_overrule_holm(frames: StudyFrames) -> None:
    differences = [one for item in compare(frames) for one in item.differences if one.series == MEAN]
    undecided = [one for one in differences if one.p_holm is not None and one.p_holm >= 0.05]
    assert undecided
    assert {one.verdict for one in undecided} == {"not told apart"}


def test_one_seed_allows_no_verdict(frames_of: Callable[[Plan], StudyFrames]) -> None:
    first = compare(frames_of(Plan(seeds=1)))[0]
    assert first.difference("control:lora").verdict == "no interval"
    assert any("one seed pair" in warning for warning in first.warnings)


def test_failed_control_runs_are_counted_and_unpaired(frames: StudyFrames) -> None:
    trials = frames.trials.copy()
    index = trials[trials["role"] == "control:lora"].index[0]
    trials.loc[index, "state"] = "fail"
    found = {item.winner_id: item for item in compare(replace(frames, trials=trials))}
    item = found[int(trials.loc[index, "pair_of"])]
    lora = next(arm for arm in item.arms if arm.role == "control:lora")
    assert (lora.failed, lora.complete) == (1, 2)
    assert item.difference("control:lora").difference.n == 2
    assert "LoRA: 1 of 3 runs failed and are in no pair" in item.warnings


def test_a_winner_is_named_by_every_objective_that_it_is_best_by(frames: StudyFrames) -> None:
    alike = replace(frames, trials=frames.trials.assign(robustness=frames.trials["score"]))
    first, second, third = compare(frames)
    assert [winner_label(frames, item.winner_id) for item in (first, second, third)] == [
        "best by score", "best by size", "best by robustness",
    ]  # fmt: skip
    assert winner_label(alike, first.winner_id) == "best by score, robustness"
    assert winner_label(alike, third.winner_id) == "among the best"
    score = float(frames.trials.set_index("trial_id").loc[first.winner_id, "score"])
    bound = ConstraintConfig(name="score", max=score - 1e-9)
    bounded = replace(frames, config=frames.config.model_copy(update={"constraints": [bound]}))
    assert winner_label(bounded, first.winner_id) == "among the best", "it does not keep the bound"
    settings = bounded.settings(bounded.search_trials("complete"), "score")
    best = settings[settings["score"] < score].sort_values("score")["trial_id"].iloc[-1]
    assert "score" in winner_label(bounded, int(best))


def test_unequal_sizes_are_pointed_out(frames: StudyFrames) -> None:
    trials = frames.trials.copy()
    trials.loc[trials["role"] == "control:lora", "exported_parameters"] *= 0.5
    first = compare(replace(frames, trials=trials))[0]
    (said,) = [text for text in first.warnings if text.startswith(f"of another size than trial {first.number}: LoRA 5")]
    assert "% smaller" in said


def test_comparison_without_confirm_is_refused(frames_of: Callable[[Plan], StudyFrames]) -> None:
    with pytest.raises(ReportError, match="Comparison with controls"):
        compare(frames_of(Plan(confirm=False)))


def test_scores_of_the_search_take_no_part(frames: StudyFrames) -> None:
    first = compare(frames)[0]
    search = frames.clean_scores("validation")
    value = search[(search["trial_id"] == first.winner_id) & (search["series"] == MEAN)]["value"].to_numpy()[0]
    assert not np.isclose(first.winner.score().mean, value, atol=1e-9)


# ---------------------------------------------------------------- how the controls were tuned


def tunings(plan: Plan, frames_of: Callable[[Plan], StudyFrames]) -> Comparisons:
    return compare(frames_of(plan))[0]


def test_tuned_controls_are_told_with_both_numbers_and_without_a_favour(
    frames_of: Callable[[Plan], StudyFrames],
) -> None:
    for item in compare(frames_of(Plan(tuning=5))):
        assert "controls were tuned with 5 trials each, the search with 67" in item.terms
        assert not any("favours the search" in clause for clause in item.terms)
        assert {tuning.trials for tuning in item.tunings.values()} == {5}


def test_untuned_controls_are_said_to_favour_the_search(frames: StudyFrames) -> None:
    (said,) = [clause for clause in compare(frames)[0].terms if "tuned" in clause]
    assert said.startswith("controls were tuned with 0 trials each, the search with 67: they train with the winner's")
    assert said.endswith("(learning rate included), which favours the search")


def test_the_layout_that_was_confirmed_is_named(frames_of: Callable[[Plan], StudyFrames]) -> None:
    frames = frames_of(Plan(tuning=len(CONTROL_VARIANTS["lora"])))
    trials = frames.trials
    for item in compare(frames):
        lora = item.tunings["control:lora"]
        mine = trials[(trials["role"] == "control:lora") & (trials["pair_of"] == item.winner_id)]
        tune = mine[mine["phase"] == "tune"]
        best = tune.loc[tune["score"].idxmax()]
        assert (lora.best, lora.variant) == (best["trial_id"], best["control_variant"])
        assert set(mine.loc[mine["phase"] == "confirm", "control_variant"]) == {lora.variant}
        assert lora.layouts == len(CONTROL_VARIANTS["lora"])
        assert item.picked == f"layouts picked on validation: LoRA ({layout_label(str(lora.variant))})"


def test_a_control_whose_tuning_failed_is_a_warning(frames_of: Callable[[Plan], StudyFrames]) -> None:
    item = tunings(Plan(tuning=5, broken=("random",)), frames_of)
    wanted = "Random structure: all 5 tuning trials failed, so it was trained with the winner's hyperparameters"
    assert wanted in item.warnings
    assert any(clause.endswith("which favours the search: a random structure") for clause in item.terms)


def test_layouts_that_were_not_tried_are_a_warning(frames_of: Callable[[Plan], StudyFrames]) -> None:
    item = tunings(Plan(tuning=2), frames_of)
    assert f"LoRA: 2 of its {len(CONTROL_VARIANTS['lora'])} layouts were tried in tuning" in item.warnings


def test_controls_tuned_otherwise_than_most_are_told_by_name() -> None:
    found = {
        "control:lora": Tuning(trials=24, complete=24, best=1),
        "control:random": Tuning(trials=24, complete=20, best=2),
        "control:bitfit": Tuning(trials=3, complete=3, best=3),
        "control:linear_probe": Tuning(needless=True),
    }
    assert list(tuning_terms(found, 30)) == [
        "controls were tuned with 24 trials each (BitFit with 3, the linear probe had nothing to tune), "
        "the search with 30",
        "settings picked by validation score",
    ]
    assert list(tuning_terms({}, 30)) == []


def test_it_is_said_by_what_settings_were_picked() -> None:
    found = {
        "control:lora": Tuning(trials=24, complete=24, best=1, goal="robustness"),
        "control:random": Tuning(trials=24, complete=20, best=2, goal="robustness"),
        "control:linear_probe": Tuning(needless=True),
    }
    alone = "settings picked by robustness on validation, by which alone their winner was chosen"
    assert list(tuning_terms(found, 24))[1:] == [alone]
    probed = {**found, "control:linear_probe": Tuning(trials=24, complete=24, best=3)}
    assert list(tuning_terms(probed, 24))[1:] == [f"{alone} (the linear probe by validation score)"]


def test_the_best_of_tuning_is_that_by_what_the_winner_was_chosen_by(
    frames_of: Callable[[Plan], StudyFrames],
) -> None:
    frames = frames_of(Plan(tuning=5))
    trials = frames.trials.copy()
    tune = trials["phase"] == "tune"
    trials.loc[tune, "robustness"] = 1 - trials.loc[tune, "score"]
    for item in compare(replace(frames, trials=trials)):
        goal = {"best by robustness": "robustness"}.get(item.label, "score")
        for role, tuning in item.tunings.items():
            mine = trials[tune & (trials["role"] == role)]
            mine = mine[(mine["pair_of"] == item.winner_id) | mine["pair_of"].isna()]
            expected = "score" if role == "control:linear_probe" else goal
            assert (tuning.goal, tuning.best) == (expected, mine.loc[mine[expected].idxmax(), "trial_id"])


def test_runs_with_earlier_settings_take_no_part(frames_of: Callable[[Plan], StudyFrames]) -> None:
    frames = frames_of(Plan(tuning=5))
    before = compare(frames)[0]
    trials = frames.trials.copy()
    mine = (trials["phase"] == "confirm") & (trials["pair_of"] == before.winner_id)
    first = trials[mine & (trials["role"] == "control:lora")].index[0]
    trials.loc[first, "control_variant"] = "a layout of less tuning"
    older = replace(frames, trials=trials)
    assert len(older.confirmed(before.winner_id)) == len(frames.confirmed(before.winner_id)) - 1
    after = compare(older)[0]
    assert after.difference("control:lora").pairs == before.difference("control:lora").pairs[1:]
    assert after.difference("control:random") == before.difference("control:random")
    robust = robustness_curves(older, before.winner_id)["typos"][0]
    assert {series.name: series.points[0].estimate.n for series in robust.series}["control:lora"] == 2


def test_a_control_that_was_not_compared_is_an_error_in_words(frames: StudyFrames) -> None:
    first = compare(frames)[0]
    assert first.difference("lora", "tweets") is first.difference("control:lora", "tweets")
    with pytest.raises(ReportError, match=r"\(lora, random, linear_probe\) and a series \(mean, .*\), got 'prefix'"):
        first.difference("prefix")

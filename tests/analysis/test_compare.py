from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from synthetic import TASKS, Plan

from slasearch.analysis.compare import compare
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.errors import ReportError


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


def test_unequal_sizes_are_pointed_out(frames: StudyFrames) -> None:
    trials = frames.trials.copy()
    trials.loc[trials["role"] == "control:lora", "exported_parameters"] *= 0.5
    warnings = compare(replace(frames, trials=trials))[0].warnings
    assert any(warning.startswith("LoRA: ") and "fewer parameters" in warning for warning in warnings)


def test_comparison_without_confirm_is_refused(frames_of: Callable[[Plan], StudyFrames]) -> None:
    with pytest.raises(ReportError, match="Comparison with controls"):
        compare(frames_of(Plan(confirm=False)))


def test_scores_of_the_search_take_no_part(frames: StudyFrames) -> None:
    first = compare(frames)[0]
    search = frames.clean_scores("validation")
    value = search[(search["trial_id"] == first.winner_id) & (search["series"] == MEAN)]["value"].to_numpy()[0]
    assert not np.isclose(first.winner.score().mean, value, atol=1e-9)

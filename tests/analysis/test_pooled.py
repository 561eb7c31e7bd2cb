"""A role beside the others, averaged over studies of different tasks, with intervals over seeds and test examples."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import TASKS, Plan, add_predictions, write_study

from slasearch.analysis.compare import compare
from slasearch.analysis.frames import StudyFrames, load_frames
from slasearch.analysis.intervals import holm
from slasearch.analysis.measure import Measure
from slasearch.analysis.pooled import compare_pooled
from slasearch.errors import ReportError
from slasearch.tasks.predictions import packed, unpacked

PLANS = {"one": Plan(seeds=6), "two": Plan(seeds=6, seed=1, lora=0.02, controls=("lora", "random"))}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StudyFrames]:
    """Two studies, which would not be comparable with one another: nothing says that their data are alike."""
    found = {}
    for name, plan in PLANS.items():
        url = f"sqlite:///{tmp_path_factory.mktemp('pooled') / 'study.db'}"
        write_study(url, name, plan)
        add_predictions(url)
        found[name] = load_frames(url, name)
    return found


def test_the_estimate_is_the_mean_of_the_studies_own_differences(stored: dict[str, StudyFrames]) -> None:
    found = compare_pooled(stored)
    assert [one.role for one in found.contrasts] == ["control:lora", "control:random"]
    for one in found.contrasts:
        own = [compare(frames)[0].difference(one.role).difference.mean for frames in stored.values()]
        assert [source.difference.estimate for source in one.sources] == pytest.approx(own)
        assert [source.first - source.second for source in one.sources] == pytest.approx(own)
        assert one.difference.estimate == pytest.approx(np.mean(own))
        assert one.difference.n == 12
        assert one.difference.df is not None
        assert one.difference.df > 5  # two studies and their examples tell more than one study of six pairs
        assert one.difference.low is not None
        assert one.difference.high is not None
        assert one.difference.low < one.difference.estimate < one.difference.high
    assert [one.p_holm for one in found.contrasts] == holm([one.difference.p for one in found.contrasts])
    assert found.contrast("random").standing == "better"
    assert "left out, as not every study has it: Linear probe of one" in found.warnings


def test_examples_widen_what_seeds_alone_would_say(stored: dict[str, StudyFrames]) -> None:
    """Nearly all runs err on the same examples, and which were asked is chance too."""
    one = compare_pooled({"one": stored["one"]}).contrast("lora")
    alone = compare(stored["one"])[0].difference("control:lora").difference
    assert alone.half_width is not None
    assert one.difference.high is not None
    assert one.difference.high - one.difference.estimate > alone.half_width


def test_a_control_may_be_compared_with_the_others(stored: dict[str, StudyFrames]) -> None:
    found = compare_pooled(stored, role="lora")
    assert [one.role for one in found.contrasts] == ["winner", "control:random"]
    mine = compare_pooled(stored).contrast("lora").difference
    assert found.contrast("winner").difference.estimate == pytest.approx(-mine.estimate)


def test_scores_under_a_condition_have_predictions_of_their_own(stored: dict[str, StudyFrames]) -> None:
    clean = compare_pooled(stored).contrast("lora").difference
    typos = compare_pooled(stored, measure=Measure(condition="typos", level=0.4)).contrast("lora").difference
    assert typos.estimate != clean.estimate
    assert typos.error != clean.error


def test_what_cannot_be_answered_is_refused(stored: dict[str, StudyFrames], tmp_path: Path) -> None:
    one = stored["one"]
    with pytest.raises(ReportError, match=r"expected the test split, whose predictions are kept, got validation\."):
        compare_pooled(stored, measure=Measure(split="validation"))
    with pytest.raises(ReportError, match=r"in two \(winner, lora, random\), got linear_probe\. Take one of these"):
        compare_pooled(stored, role="linear_probe")
    gone = replace(one, predictions=one.predictions.iloc[:0])
    with pytest.raises(ReportError, match=r"each test example of tweets, got none: it ran before these were kept"):
        compare_pooled({"one": gone})
    tasks = tuple(task.model_copy(update={"metric": "mine"}) for task in one.config.tasks)
    metrics = one.metrics.assign(metric=one.metrics["metric"].where(one.metrics["metric"] == "loss", "mine"))
    own = replace(one, config=one.config.model_copy(update={"tasks": tasks}), metrics=metrics)
    with pytest.raises(ReportError, match=r"accuracy, macro_f1 or mcc, got mine of 300 for tweets of one\."):
        compare_pooled({"one": own})
    trials = stored["two"].trials.assign(init_seed=range(len(stored["two"].trials)))
    with pytest.raises(ReportError, match=r"of two under the same seeds, got none\. Let the confirm phase run"):
        compare_pooled({"two": replace(stored["two"], trials=trials)})


def with_data(frames: StudyFrames, digests: dict[str, str]) -> StudyFrames:
    return replace(frames, study=replace(frames.study, data=json.dumps(digests)))


def test_the_same_data_twice_are_refused(stored: dict[str, StudyFrames]) -> None:
    one, two = (with_data(stored[name], {task: f"{name}-{task}" for task in TASKS}) for name in PLANS)
    assert compare_pooled({"one": one, "two": two}).contrasts == compare_pooled(stored).contrasts
    two = with_data(two, {**json.loads(str(two.study.data)), "bbc": "one-bbc"})
    with pytest.raises(ReportError, match=r"got the data of bbc in one and in two\. Leave one of them out"):
        compare_pooled({"one": one, "two": two})


def test_studies_of_other_sizes_count_alike_however_many_runs_they_have(stored: dict[str, StudyFrames]) -> None:
    sized = {}
    for size, (name, frames) in zip((9_216.0, 36_864.0), stored.items(), strict=True):
        trials = frames.trials.assign(exported_parameters=size)
        lora = trials[(trials["role"] == "control:lora") & (trials["phase"] == "confirm")]
        if name == "two":  # whose last runs of LoRA have failed
            trials.loc[lora.index[-2:], "state"] = "fail"
        sized[name] = replace(frames, trials=trials)
    found = compare_pooled(sized)
    assert found.parameters.mean == found.contrast("lora").parameters.mean == pytest.approx(18_432)
    assert not [warning for warning in found.warnings if "of another size" in warning]


def test_tasks_that_are_not_compared_may_have_the_same_data(stored: dict[str, StudyFrames]) -> None:
    one, two = (with_data(stored[name], {task: f"{name}-{task}" for task in TASKS}) for name in PLANS)
    two = with_data(two, {**json.loads(str(two.study.data)), "bbc": "one-bbc"})
    assert TASKS["bbc"][1] != "mcc"
    assert compare_pooled({"one": one, "two": two}, measure=Measure(metric="mcc")).contrasts


def test_tasks_from_one_source_are_told(stored: dict[str, StudyFrames]) -> None:
    """Other limits make other data of the same file, whose test examples may be the same."""
    one, two = (with_data(stored[name], {task: f"{name}-{task}" for task in TASKS}) for name in PLANS)
    (told, *_) = compare_pooled({"one": one, "two": two}).warnings
    assert told.startswith("one and two have tasks from bundled:")


def test_a_study_that_has_confirmed_other_trials_too_says_so(stored: dict[str, StudyFrames]) -> None:
    found = [text for text in compare_pooled(stored).warnings if "confirmed" in text]
    assert [text[: text.index(" (")].rstrip("0123456789") for text in found] == [
        f"{name} confirmed {len(compare(stored[name]))} trials; compared is trial " for name in PLANS
    ]
    chosen = compare_pooled(stored, trials={name: compare(stored[name])[1].number for name in PLANS})
    again = [text for text in chosen.warnings if "confirmed" in text]
    assert len({*found, *again}) == 4, "the other one of each is named, if that is compared"


def test_runs_on_other_examples_are_refused(stored: dict[str, StudyFrames]) -> None:
    one = stored["one"]
    rows = one.predictions.copy()
    first = rows.index[(rows["task"] == "bbc") & (rows["condition"] == "clean")][0]
    rows.at[first, "labels"] = packed(1 - unpacked(rows.at[first, "labels"]))
    with pytest.raises(ReportError, match=r"expected the same test examples of bbc in all runs of one, got others"):
        compare_pooled({"one": replace(one, predictions=rows)})


def test_frames_hold_predictions_of_confirmed_trials_alone(stored: dict[str, StudyFrames]) -> None:
    rows = stored["one"].predictions
    assert list(rows) == ["trial_id", "task", "condition", "level", "labels", "predicted"]
    assert set(rows["trial_id"]) == set(stored["one"].phase_trials("confirm", "complete")["trial_id"])
    assert set(rows["task"]) == set(TASKS)
    assert {len(unpacked(data)) for data in rows["predicted"]} == {300}

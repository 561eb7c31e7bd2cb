"""Arms of studies of several sizes and tasks, in the order in which they are read, and as curves."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import TASKS, Plan, write_study

from slasearch.analysis.by_size import arms_by_size, cautions_by_size
from slasearch.analysis.compare import compare
from slasearch.analysis.frames import StudyFrames, load_frames
from slasearch.analysis.measure import Measure
from slasearch.errors import ReportError
from slasearch.report.figures.sizes import write_sizes


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StudyFrames]:
    """Two studies of the same tasks, whose runs have a third of the size in the second, and one of one task alone."""
    found = {}
    for name, plan in (("large", Plan(seeds=4)), ("small", Plan(seeds=4, seed=1)), ("other", Plan(seeds=4, seed=2))):
        url = f"sqlite:///{tmp_path_factory.mktemp('sizes') / 'study.db'}"
        write_study(url, name, plan)
        frames = load_frames(url, name)
        found[name] = replace(frames, study=replace(frames.study, data=json.dumps(dict.fromkeys(TASKS, "digest"))))
    trials = found["small"].trials.assign(exported_parameters=found["small"].trials["exported_parameters"] / 3)
    config = found["other"].config
    return {
        **found,
        "small": replace(found["small"], trials=trials),
        "other": replace(found["other"], config=config.model_copy(update={"tasks": config.tasks[:1]})),
    }


def test_the_same_tasks_stand_together_and_the_smallest_first(stored: dict[str, StudyFrames]) -> None:
    arms = arms_by_size(stored)
    assert [arm.tasks for arm in arms] == [tuple(TASKS)] * 8 + [tuple(TASKS)[:1]] * 4
    assert [(arm.name.role, arm.name.study) for arm in arms[:4]] == [
        ("winner", "small"), ("winner", "large"), ("control:lora", "small"), ("control:lora", "large"),
    ]  # fmt: skip
    (compared, *_) = compare(stored["large"])
    of_large = {arm.name.role: arm for arm in arms if arm.name.study == "large"}
    for arm in compared.arms:
        assert of_large[arm.role].score == dict(arm.scores)["mean"]
        assert of_large[arm.role].parameters == arm.parameters


def test_scores_are_those_of_the_measure(stored: dict[str, StudyFrames]) -> None:
    clean, noisy = (
        {arm.name: arm.score.mean for arm in arms_by_size(stored, measure=measure)}
        for measure in (Measure(), Measure(condition="typos", level=0.4))
    )
    assert all(noisy[name] < clean[name] for name in clean if name.role == "winner")


def test_arms_bear_the_tasks_that_the_metric_leaves(stored: dict[str, StudyFrames]) -> None:
    studies = {name: stored[name] for name in ("large", "small")}
    arms = arms_by_size(studies, measure=Measure(metric="mcc"))
    assert {arm.tasks for arm in arms} == {("spam",)}


def test_a_study_that_confirmed_nothing_is_named(stored: dict[str, StudyFrames]) -> None:
    searched = stored["small"].trials[stored["small"].trials["phase"] != "confirm"]
    with pytest.raises(ReportError, match="complete trials of the confirm phase of small, got none"):
        arms_by_size({**stored, "small": replace(stored["small"], trials=searched)})


def test_the_same_arms_give_the_same_picture(stored: dict[str, StudyFrames], tmp_path: Path) -> None:
    arms = arms_by_size(stored)
    for name in ("one.svg", "two.svg"):
        write_sizes(arms, Measure(), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_other_data_are_no_other_size(stored: dict[str, StudyFrames]) -> None:
    small = stored["small"]
    moved = replace(small, study=replace(small.study, data=json.dumps(dict.fromkeys(TASKS, "another digest"))))
    with pytest.raises(ReportError, match="as in study large, got in small other data for"):
        arms_by_size({**stored, "small": moved})


def test_the_order_of_tasks_changes_nothing_and_another_backbone_is_told(stored: dict[str, StudyFrames]) -> None:
    small = stored["small"]
    backbone = small.config.backbone.model_copy(update={"id": "path:elsewhere"})
    update = {"tasks": small.config.tasks[::-1], "backbone": backbone}
    moved = {**stored, "small": replace(small, config=small.config.model_copy(update=update))}
    assert [(arm.name, arm.tasks) for arm in arms_by_size(moved)] == [
        (arm.name, arm.tasks) for arm in arms_by_size(stored)
    ]
    known = list(cautions_by_size(stored))
    assert "large confirmed 3 trials; compared is trial" in known[0]
    assert list(cautions_by_size(moved)) == ["small has another backbone: path:elsewhere, large bundled:minilm", *known]

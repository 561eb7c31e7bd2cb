"""Curves along sparsity paths, and whether they agree with trials of one λ each."""

from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import RATE
from synthetic_paths import LAMBDAS, along

from slasearch.analysis.frames import StudyFrames, load_frames
from slasearch.analysis.sparsity_path import ALONE, ALONG, has_path, path_agreement, path_curves
from slasearch.config.locations import Locations
from slasearch.config.schema import StudyConfig
from slasearch.errors import ReportError
from slasearch.records import TrialReport
from slasearch.search.study import StudySession


def test_both_kinds_stand_on_one_curve(frames: StudyFrames) -> None:
    found = along(frames)
    score, size = path_curves(found)
    for curve in (score, size):
        assert curve.levels == LAMBDAS
        assert [series.name for series in curve.series] == [ALONG, ALONE]
        assert all(point.estimate.n == 3 for series in curve.series for point in series.points)
        assert curve.named(ALONG).points == tuple(
            replace(point, trial_ids=other.trial_ids)
            for point, other in zip(curve.named(ALONE).points, curve.named(ALONG).points, strict=True)
        )
    assert [point.estimate.mean for point in score.named(ALONG).points] == pytest.approx([0.91, 0.86, 0.81])
    assert size.named(ALONE).points[0].estimate.geometric


def test_what_is_alike_agrees_and_what_is_not_does_not(frames: StudyFrames) -> None:
    alike = path_agreement(along(frames))
    assert [(item.response, item.weight) for item in alike] == [
        (response, level) for response in ("score", "exported_parameters") for level in LAMBDAS
    ]
    assert all(item.agrees for item in alike)
    other = path_agreement(along(frames, shift=0.05, factor=1.5))
    assert [item.agrees for item in other] == [False] * 6
    assert other[0].difference.mean == pytest.approx(0.055)
    assert other[3].difference.geometric
    assert other[3].difference.mean > 1.5


def test_a_difference_whose_spread_is_unknown_is_neither(frames: StudyFrames) -> None:
    found = along(frames, shift=0.05)
    single = replace(found, trials=found.trials[found.trials["repeat"] == 0])
    assert {item.agrees for item in path_agreement(single)} == {None}


def test_trials_whose_other_fields_differ_are_no_pairs(frames: StudyFrames) -> None:
    """As on a design that moves all fields at once: what a learning rate does is not put down to the path."""
    found = along(frames, shift=0.05)
    rates = found.params.assign(**{RATE: found.params["trial_id"] * 1e-5})
    assert path_agreement(replace(found, params=rates)) == ()


def test_without_a_path_there_is_no_curve(frames: StudyFrames) -> None:
    assert not has_path(frames)
    assert path_agreement(frames) == ()
    with pytest.raises(ReportError, match=r"complete trials of the search with `size_control\.path`, got none"):
        path_curves(frames)


PATH = [0.01, 0.1, 1.0]
PATHS = [PATH, *([weight] for weight in PATH)]


REAL = StudyConfig.model_validate(
    {
        "name": "paths",
        "tasks": [
            {
                "name": "spam",
                "source": "bundled:sms_spam",
                "metric": "mcc",
                "max_tokens": 16,
                "limits": {"train": 400, "validation": 300, "test": 10},
            }
        ],
        "pool": {
            "sites": ["attn.v", "attn.out", "ffn.in", "ffn.out"],
            "kinds": ["lora", "bias"],
            "ranks": [1],
            "layers": [5],
        },
        "gates": {"learning_rate": 0.4},
        "size_control": {"mode": "penalty", "path": {"categorical": PATHS}},
        "training": {"steps": 160, "batch_size": 8, "schedule": "constant", "reports": 1},
        "finalisation": {"share": 0.05},
        "phases": {"design": {"sampler": {"name": "grid"}, "levels": {"size_control.path": PATHS}, "seeds": 3}},
    }
)


def test_a_path_agrees_with_runs_of_its_own_for_each_weight(tmp_path: Path) -> None:
    """On real messages and the real backbone, over three seed pairs."""
    from slasearch.tasks.load import load_task
    from slasearch.trial.run import TrialWorker

    where = Locations(f"sqlite:///{tmp_path / 'study.db'}", tmp_path)
    session = StudySession.open(REAL, where)
    worker = None
    while not isinstance(ask := session.next(), str):
        worker = worker or TrialWorker([load_task(task) for task in ask.spec.tasks], cache=None, threads=1)
        session.started(ask.trial_id, ray_trial_id="r")
        *_, report = worker.run(ask.spec)
        assert isinstance(report, TrialReport)
        session.finish(ask.trial_id, report)
    session.close()
    frames = load_frames(where.storage_url, "paths")
    assert len(frames.search_trials("complete")) == 4 * 3
    _, size = path_curves(frames)
    means = [point.estimate.mean for point in size.named(ALONG).points]
    assert means == sorted(means, reverse=True)
    for point, later in zip(size.named(ALONG).points, size.named(ALONG).points[1:], strict=False):
        assert all(after <= 1.1 * before for before, after in zip(point.values, later.values, strict=True))
    agreement = path_agreement(frames)
    assert len(agreement) == 6
    assert all(item.agrees for item in agreement), agreement

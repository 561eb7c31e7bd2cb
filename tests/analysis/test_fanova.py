from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from designed import RATE, WEIGHT, Floats, ishigami, level, sobol_g, study_of, unit_of, write_trials

from slasearch.analysis.fanova import Fanova, _trees, fanova, variance_shares
from slasearch.analysis.frames import StudyFrames
from slasearch.config.schema import StudyConfig
from slasearch.errors import ReportError
from slasearch.space.parameters import parameters

CONFIG = study_of({"optimise": {"trials": 400, "sampler": {"name": "random"}}})


def log_response(unit: Floats) -> Floats:
    """λ does most of it, over its lower decades; on its linear axis these are a hundredth of the range."""
    return np.where(unit[:, 0] < 0.5, np.sin(4 * np.pi * unit[:, 0]), 0.0) + 0.6 * unit[:, 2]


def rows(
    config: StudyConfig, function: Callable[[Floats], Floats], count: int, *, sampler: str = "random", seed: int = 0
) -> list[dict[str, Any]]:
    generator, fields = np.random.default_rng(seed), parameters(config)
    params = [{field.name: field.at(generator.uniform()) for field in fields} for _ in range(count)]
    values = function(unit_of(fields, params)).tolist()
    return [
        {"phase": "optimise", "sampler": sampler, "params": one, "point": None, "repeat": 0, "score": value}
        | {"exported_parameters": float(np.exp(value)), "robustness": value}
        for one, value in zip(params, values, strict=True)
    ]


def shares(frames: StudyFrames, response: Any = "score") -> dict[str, float]:
    return shares_of(fanova(frames, response))


def shares_of(found: Fanova) -> dict[str, float]:
    return {index.field: index.estimate for index in found.fields}


def test_a_log_uniform_field_is_ranked_rightly_where_optuna_is_wrong(tmp_path: Path) -> None:
    made = rows(CONFIG, log_response, 300)
    found = shares(write_trials(tmp_path, CONFIG, made))
    # V(λ) = (1/2)/2 - 0 = .25, V(noise) = .36/12 = .03.
    assert found[WEIGHT] > 0.7
    assert found[level(0)] == pytest.approx(0.03 / 0.28, abs=0.08)
    space = {field.name: field.distribution for field in parameters(CONFIG)}
    study = optuna.create_study()
    study.add_trials(
        [optuna.trial.create_trial(params=row["params"], distributions=space, value=row["score"]) for row in made]
    )
    theirs = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(n_trees=16, seed=1)
    )
    assert theirs[level(0)] > theirs[WEIGHT]


def test_shares_are_the_closed_form() -> None:
    unit = np.random.default_rng(1).uniform(size=(2000, 3))
    found, r2 = variance_shares(unit, ishigami(unit), seed=1)
    assert found == pytest.approx([0.313905, 0.442411, 0.0], abs=0.06)
    assert r2 > 0.9
    unit = np.random.default_rng(1).uniform(size=(2000, 6))
    found, _ = variance_shares(unit, sobol_g(78, 12, 0.5, 2, 97, 33)(unit), seed=1)
    assert found == pytest.approx([0.000276, 0.010195, 0.765743, 0.191436, 0.000179, 0.001490], abs=0.06)


def test_linear_fields_are_ranked_as_optuna_does() -> None:
    unit = np.random.default_rng(4).uniform(size=(150, 3))
    values = ishigami(unit)
    space = {str(column): optuna.distributions.FloatDistribution(0.0, 1.0) for column in range(3)}
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={str(column): float(x) for column, x in enumerate(row)}, distributions=space, value=float(value)
            )
            for row, value in zip(unit, values, strict=True)
        ]
    )
    theirs = optuna.importance.FanovaImportanceEvaluator(n_trees=32, seed=1).evaluate(study)
    ours, _ = variance_shares(unit, values, seed=1)
    assert list(np.argsort(-ours)) == [int(name) for name in theirs]
    # A single tree spends some of its variance on noise, a forest less.
    assert ours == pytest.approx([theirs[str(column)] for column in range(3)], abs=0.15)


def test_adaptive_trials_are_said_to_be_such(tmp_path: Path) -> None:
    made = rows(CONFIG, log_response, 60, sampler="tpe")
    made += [{**row, "state": "pruned"} for row in rows(CONFIG, log_response, 5, seed=1)]
    found = fanova(write_trials(tmp_path, CONFIG, made))
    assert found.n == 60
    assert "no Sobol index" in found.method
    assert any("60 of 60 trials were placed by tpe" in text for text in found.warnings)
    assert any("5 trials were pruned" in text for text in found.warnings)


def test_intervals_hold_the_estimates_and_are_the_same_again(tmp_path: Path) -> None:
    frames = write_trials(tmp_path, CONFIG, rows(CONFIG, log_response, 100))
    found = fanova(frames)
    assert found == fanova(frames)
    assert all(0 <= index.low <= index.estimate <= index.high <= 1 for index in found.fields)
    assert [index.field for index in found.fields] == [WEIGHT, RATE, level(0)]
    assert shares(frames, "exported_parameters") == pytest.approx(shares(frames), abs=0.01)


def test_choices_whole_numbers_and_fields_that_are_switched_off(tmp_path: Path) -> None:
    config = study_of(
        {"optimise": {"trials": 1}},
        training={
            "schedule": {"categorical": ["linear", "cosine", "constant"]},
            "batch_size": {"int": [8, 11]},
            "weight_decay": {"float": [0.0, 0.1], "when": {"training.schedule": "cosine"}},
        },
    )
    names = [field.name for field in parameters(config)]
    schedule = names.index("training.schedule")
    made = rows(config, lambda unit: np.array([0.0, 1.0, 0.2])[(unit[:, schedule] * 3).astype(int)], 60)
    for row in made:
        if row["params"]["training.schedule"] != "cosine":
            del row["params"]["training.weight_decay"]
    found = shares(write_trials(tmp_path, config, made))
    assert found["training.schedule"] > 0.9
    assert max(share for name, share in found.items() if name != "training.schedule") < 0.05


def test_noise_is_said_to_be_noise(tmp_path: Path) -> None:
    noise = np.random.default_rng(8).normal(size=80)
    found = fanova(write_trials(tmp_path, CONFIG, rows(CONFIG, lambda unit: noise, 80)))
    assert found.r2 < 0.3
    assert any("the shares are of much noise" in text for text in found.warnings)


def test_repeats_under_other_seeds_are_no_further_settings(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    noise = generator.normal(size=32)
    made = rows(CONFIG, lambda unit: noise, 32)
    repeats = [{**row, "repeat": 1, "score": row["score"] + generator.normal() / 10} for row in made]
    found = fanova(write_trials(tmp_path, CONFIG, made + repeats))
    assert found.n == 32
    assert found.r2 < 0.3  # trees that have seen a setting's other repeat would know it: .6 and more
    again = [{**row, "repeat": repeat} for repeat in range(4) for row in made[:12]]
    with pytest.raises(ReportError, match="at least 30 settings with complete trials of the search, got 12"):
        fanova(write_trials(tmp_path / "few", CONFIG, again))


def test_few_trials_are_refused(tmp_path: Path) -> None:
    frames = write_trials(tmp_path, CONFIG, rows(CONFIG, log_response, 29))
    with pytest.raises(ReportError, match="at least 30 settings with complete trials of the search, got 29"):
        fanova(frames)


def test_nothing_that_varies_is_refused(tmp_path: Path) -> None:
    frames = write_trials(tmp_path, CONFIG, rows(CONFIG, lambda unit: np.ones(len(unit)), 40))
    with pytest.raises(ReportError, match="3 such fields and 1 different values at 40 settings"):
        fanova(frames)


def test_large_studies_are_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slasearch.analysis.fanova._LARGEST", 50)
    found = fanova(write_trials(tmp_path, CONFIG, rows(CONFIG, log_response, 80)))
    assert found.n == 50
    assert "50 of 80 settings, drawn by chance" in found.method


def test_forests_of_many_trials_are_small(tmp_path: Path) -> None:
    made = rows(CONFIG, log_response, 1_200)
    found = fanova(write_trials(tmp_path, CONFIG, made))
    assert "a forest of 48 trees over 1000 of 1,200 settings, drawn by chance, of the search" in found.method
    assert shares_of(found) == pytest.approx({WEIGHT: 0.25 / 0.28, RATE: 0.0, level(0): 0.03 / 0.28}, abs=0.02)
    assert [_trees(count) for count in (30, 375, 600, 1_000, 100_000)] == [128, 128, 80, 48, 48]


def test_intervals_hold_what_other_trials_of_the_study_give(tmp_path: Path) -> None:
    found = []
    for seed in range(10):
        folder = tmp_path / str(seed)
        folder.mkdir()
        found.append(fanova(write_trials(folder, CONFIG, rows(CONFIG, log_response, 120, seed=seed))))
    held = []
    for column in range(2):  # λ and the noise level, as neither is nothing
        mine = [one.fields[2 * column] for one in found]
        middle, spread = (float(f([index.estimate for index in mine])) for f in (np.mean, np.std))
        held += [index.low <= middle <= index.high for index in mine]
        widths = [index.high - index.low for index in mine]
        assert np.mean(widths) < 12 * spread, "no wider than three times what 95 % of them need"
    assert np.mean(held) >= 0.9

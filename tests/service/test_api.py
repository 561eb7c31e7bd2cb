"""The Python API before anything runs: what a study may be given as, and which data and metrics belong to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import slasearch
from slasearch.config.load import parse_study
from slasearch.config.locations import Locations
from slasearch.config.schema import StudyConfig
from slasearch.errors import ConfigError, RegistryError, TaskError
from slasearch.orchestrate import driver
from slasearch.registry import METRICS

STUDY: dict[str, Any] = {
    "name": "own",
    "tasks": [{"name": "texts", "source": "object:mine", "metric": "hits"}],
    "size_control": {"mode": "penalty", "sparsity_weight": {"float": (0.0, 1.0)}},
    "training": {"steps": 3},
    "phases": {"optimise": {"trials": 1}},
}
DATA = {"mine": {"train": [{"text": f"text {n}", "label": n % 2} for n in range(40)]}}


def hits(labels: np.ndarray, predictions: np.ndarray) -> float:
    return float((labels == predictions).mean())


Call = tuple[StudyConfig, Locations, dict[str, Any]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Call]:
    """What the driver is asked to run, in place of running it; metrics are forgotten afterwards."""
    asked: list[Call] = []

    def drive(config: StudyConfig, locations: Locations, **options: Any) -> None:
        asked.append((config, locations, options))

    monkeypatch.setattr(driver, "run_study", drive)
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))
    monkeypatch.setattr(METRICS, "extensions", set(METRICS.extensions))
    monkeypatch.chdir(tmp_path)
    return asked


def test_a_study_is_a_file_a_dict_or_a_config(calls: list[Call]) -> None:
    slasearch.run_study(STUDY, tasks=DATA, metrics={"hits": hits})
    text = yaml.safe_dump({**STUDY, "size_control": {"mode": "penalty", "sparsity_weight": {"float": [0.0, 1.0]}}})
    Path("own.yaml").write_text(text)
    slasearch.run_study("own.yaml", tasks=DATA)
    slasearch.run_study(Path("own.yaml"), tasks=DATA)
    slasearch.run_study(parse_study(text, "own"), tasks=DATA)
    configs = [config for config, _, _ in calls]
    assert all(isinstance(config, StudyConfig) for config in configs)
    assert configs == [configs[0]] * 4
    assert [options for _, _, options in calls] == [{"address": None, "data": {"texts": DATA["mine"]}}] * 4


def test_overrides_hold_for_every_form(calls: list[Call]) -> None:
    slasearch.run_study(
        STUDY, tasks=DATA, metrics={"hits": hits}, overrides=["training.steps=7"], storage="sqlite:///a.db"
    )
    slasearch.run_study(calls[0][0], tasks=DATA, overrides=["training.steps=9"], address="auto")
    assert [config.training.steps for config, _, _ in calls] == [7, 9]
    assert calls[0][1].storage_url == f"sqlite:///{Path.cwd() / 'a.db'}"
    assert calls[1][2]["address"] == "auto"


def test_every_problem_of_a_dict_is_told_at_once(calls: list[Call]) -> None:
    wrong = {**STUDY, "training": {"steps": 0}, "nmae": "x"}
    with pytest.raises(ConfigError) as raised:
        slasearch.run_study(wrong, tasks=DATA)
    assert {problem.partition(": expected")[0] for problem in raised.value.problems} == {
        "config: tasks.0.metric",
        "config: training.steps",
        "config: nmae",
    }
    assert calls == []


def test_two_tasks_may_read_the_same_data(calls: list[Call]) -> None:
    two = [{"name": name, "source": "object:mine", "label": name} for name in ("topic", "mood")]
    slasearch.run_study({**STUDY, "tasks": two}, tasks=DATA)
    assert calls[0][2]["data"] == {"topic": DATA["mine"], "mood": DATA["mine"]}


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (None, r"study own: expected in `tasks` mine, got nothing\. Give the data of each source object:NAME"),
        ({"texts": {}}, r"expected in `tasks` mine, got texts\."),
        ({**DATA, "other": {}}, r"expected in `tasks` mine, got mine, other\."),
    ],
)
def test_data_must_be_those_of_the_study(tasks: Any, message: str, calls: list[Call]) -> None:
    with pytest.raises(TaskError, match=message):
        slasearch.run_study(STUDY, tasks=tasks, metrics={"hits": hits})
    assert calls == []


def test_data_for_a_study_that_reads_its_own_are_refused(calls: list[Call]) -> None:
    bundled = {**STUDY, "tasks": [{"name": "spam", "source": "bundled:sms_spam"}]}
    with pytest.raises(TaskError, match="expected in `tasks` nothing, as no task's source is object:NAME, got mine"):
        slasearch.run_study(bundled, tasks=DATA)


def test_metrics_that_workers_cannot_import_are_refused(calls: list[Call]) -> None:
    with pytest.raises(RegistryError, match="expected a function at the top level of a module"):
        slasearch.run_study(STUDY, tasks=DATA, metrics={"hits": lambda labels, predictions: 1.0})
    with pytest.raises(RegistryError, match="metric 'accuracy': expected a new name"):
        slasearch.run_study(STUDY, tasks=DATA, metrics={"accuracy": hits})
    assert calls == []


def test_the_command_line_says_that_such_a_study_needs_python(tmp_path: Path) -> None:
    study = {**STUDY, "tasks": [{"name": "texts", "source": "object:mine"}], "size_control": {"mode": "penalty"}}
    study["training"] = {"steps": 3, "learning_rate": {"float": [0.001, 0.01]}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "slasearch", "run", "own.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "Run the study from Python: slasearch.run_study(…, tasks={'mine': {'train': …}})" in done.stderr


def test_metrics_are_registered_by_the_public_decorator_without_loading_torch() -> None:
    code = (
        "import sys, slasearch\n"
        "slasearch.register_metric\n"
        "heavy = {'torch', 'ray', 'transformers', 'optuna', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

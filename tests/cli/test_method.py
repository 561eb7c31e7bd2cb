"""The whole method by the command: every control from one study file, paths of several tasks, a searched structure."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slasearch.registry import CONTROLS

Command = Callable[..., Any]

STUDIES = Path(__file__).parents[2] / "studies"
JOINT = """\
name: joint
tasks:
  - {{name: spam, source: "bundled:sms_spam", max_tokens: 16, limits: {{train: 48, validation: 24, test: 24}}}}
  - {{name: topic, source: "bundled:bbc_topic", max_tokens: 16, limits: {{train: 48, validation: 25, test: 25}}}}
  - {{name: order, source: "bundled:bbc_order", max_tokens: 24, limits: {{train: 48, validation: 24, test: 24}}}}
pool: {{preset: granular, layers: [4, 5]}}
gates: {{learning_rate: 0.3}}
size_control: {{mode: budget, parameters: 4000, scope: per_task}}
training: {{steps: 12, batch_size: 12, reports: 1, learning_rate: {{log_float: [2.0e-3, 6.0e-3]}}}}
finalisation: {{finish: progressive, share: 0.4}}
conditions: {{measured: [{{kind: typos, levels: [0.2]}}]}}
phases:
  optimise: {{sampler: {{name: random}}, trials: 1}}
  confirm: {{top: 1, seeds: 1, tuning: 0, controls: [{controls}]}}
resources: {{max_concurrent_trials: 2}}
"""


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before, environment = Path.cwd(), dict(os.environ)
    for name in ("SLASEARCH_STORAGE", "SLASEARCH_HOME"):
        os.environ.pop(name, None)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory, command: Command) -> Iterator[Path]:
    """A folder in which a joint study of three tasks was run beside every control there is."""
    pytest.importorskip("peft", reason="some controls are PEFT's (extra peft)")
    folder = tmp_path_factory.mktemp("joint")
    (folder / "joint.yaml").write_text(JOINT.format(controls=", ".join(CONTROLS.names())))
    with working_in(folder):
        answer = command("run", "joint.yaml")
        assert answer.code == 0, answer.err
        yield folder


@pytest.mark.timeout(600)
def test_every_control_runs_from_one_study_file(joint: Path, command: Command) -> None:
    trials = json.loads(command("trials", "joint", "--json").out)
    roles = {trial["role"]: trial["state"] for trial in trials}
    assert roles == {role: "complete" for role in ("search", "winner", *(f"control:{n}" for n in CONTROLS.names()))}


def test_tasks_have_paths_of_their_own_and_the_report_shows_them(joint: Path, command: Command) -> None:
    winner = next(t for t in json.loads(command("trials", "joint", "--json").out) if t["role"] == "winner")
    label = winner["trial"]
    structure = json.loads(command("trials", "joint", "--structure", label, "--json").out)
    text = command("trials", "joint", "--structure", label).out
    assert all(task in text for task in ("spam", "topic", "order"))
    answer = command("report", "joint", "--out", "report", "--format", "html,csv,svg")
    assert answer.code == 0, answer.err
    page = (joint / "report" / "report.html").read_text()
    assert "path" in page.lower()
    paths = {task["task"]: {name for m in task["modules"] for name in m["slots"]} for task in structure["tasks"]}
    assert len(paths) == 3
    assert len({frozenset(slots) for slots in paths.values()}) > 1, "tasks differ in their paths"
    assert any(file.name.startswith("paths") for file in (joint / "report").rglob("*.svg"))


@pytest.mark.timeout(600)
def test_a_structure_of_the_structure_study_predicts_the_same_in_a_new_process(
    tmp_path: Path, command: Command
) -> None:
    small = (
        "tasks.0.limits={train: 64, gate: 16, validation: 32, test: 32}",
        "training.epochs=1.5",
        "training.reports=1",
        "phases.optimise={trials: 2, sampler: {name: random}}",
        "phases.confirm=",
        "conditions.measured=[]",
    )
    overrides = [word for change in small for word in ("--set", change)]
    texts = ["what a lovely morning", "stuck in traffic again", "the train leaves at nine"]
    with working_in(tmp_path):
        answer = command("run", str(STUDIES / "structure.yaml"), *overrides)
        assert answer.code == 0, answer.err
        answer = command("export", "structure", "--best", "score", "--out", "adapter", "--no-measure")
        assert answer.code == 0, answer.err
        asked = [word for text in texts for word in ("--text", text)]
        here = json.loads(command("predict", "adapter", "--task", "tweets", *asked, "--json").out)
        there = subprocess.run(
            [sys.executable, "-m", "slasearch", "predict", "adapter", "--task", "tweets", *asked, "--json"],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert json.loads(there.stdout) == here
        size = int(re.sub(r"\D", "", re.search(r"([\d,]+) exported parameters", answer.err)[1]))  # type: ignore[index]
        assert 0 < size <= 9216

"""`slasearch run` as a job of a Ray cluster."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ports import free_port
from separate_nodes import RAY, SeparateNodes
from small_study import rows

from slasearch.testing.tiny import save_tiny

STUDY = """
name: job
tasks: [{{name: letters, source: "file:letters.jsonl"}}]
backbone: {{id: "path:{backbone}"}}
pool: {{sites: [attn.q], kinds: [lora], ranks: [2]}}
size_control: {{mode: penalty, sparsity_weight: {{log_float: [0.01, 1.0]}}}}
training: {{steps: 8, batch_size: 8, learning_rate: 1.0e-2}}
phases: {{optimise: {{trials: 2, sampler: {{name: random}}}}}}
resources: {{max_concurrent_trials: 1}}
"""


@pytest.mark.parametrize("submitted", [False, True], ids=["process", "job"])
def test_the_command_of_a_job_needs_no_more_than_its_working_folder_and_a_place_for_results(
    tmp_path: Path, submitted: bool
) -> None:
    homes, work = tmp_path / "homes", tmp_path / "work"
    home = homes / "results"
    home.mkdir(parents=True)
    work.mkdir()
    lines = [json.dumps({"text": "ab" * (row % 5 + 1) + "xy"[row % 2], "label": "xy"[row % 2]}) for row in range(40)]
    (work / "letters.jsonl").write_text("\n".join(lines))
    (work / "mine.yaml").write_text(STUDY.format(backbone=save_tiny("bert", tmp_path / "bert")))
    command = [sys.executable, "-m", "slasearch", "run", "mine.yaml", "--address", "auto"]
    command += ["--storage", f"sqlite:///{home}/study.db"]
    port = free_port()
    nodes = SeparateNodes(homes, ["one"], dashboard=port if submitted else None)
    try:
        if submitted:
            address = ["--address", f"http://127.0.0.1:{port}"]
            command = [RAY, "job", "submit", *address, "--working-dir", ".", "--", *command]
        variables = os.environ | ({} if submitted else {"RAY_ADDRESS": nodes.address})
        done = subprocess.run(command, cwd=work, env=variables, capture_output=True, text=True, timeout=150)
    finally:
        nodes.end()
    shutil.rmtree(work)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 complete" in done.stdout
    assert rows(home, "SELECT state FROM sla_trial") == [("complete",)] * 2
    assert len(list((home / "artifacts").rglob("*.safetensors"))) == 2

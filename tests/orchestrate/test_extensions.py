"""A user's own kind reaches the workers; a Ray of our own lets no stranger in. Both in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from slasearch.errors import RegistryError
from slasearch.registry import KINDS, extension_modules

STUDY = """
name: own
tasks: [{name: spam, source: "bundled:sms_spam", max_tokens: 8, limits: {train: 16, validation: 8, test: 8}}]
pool: {sites: [attn.v], kinds: [shift], layers: [5]}
size_control: {mode: penalty, sparsity_weight: {float: [0.0, 1.0]}}
training: {steps: 3, batch_size: 8, reports: 1}
phases: {optimise: {trials: 1, sampler: {name: random}}}
"""

KIND = '''
import torch
from slasearch import register_kind
from slasearch.adapters.kinds.bias import Bias

@register_kind("shift", sites=("attn.v",), ranked=False, equation="b", source="a user", cost="d_out")
class Shift(Bias):
    """A bias by another name."""
'''

RUN = """
import sys
import shift_kind
import slasearch
summary = slasearch.run_study("own.yaml")
frames = slasearch.load_study("own")
print(summary.state, frames.trials["state"].tolist(), frames.trials["reason"].dropna().tolist())
"""

METRIC = """
def hits(labels, predictions):
    return 0.25 + 0.5 * (labels == predictions).mean()
"""

OWN_DATA = """
import json, sys
import hits_metric
import slasearch
study = json.loads(sys.argv[1])
data = {"train": [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(60)]}
summary = slasearch.run_study(study, tasks={"mine": data}, metrics={"hits": hits_metric.hits})
print(summary.state)
"""

READ = """
import slasearch
frames = slasearch.load_study("own")
print(frames.task_metrics, sorted(set(frames.metrics["metric"])), float(frames.scores["value"].iloc[0]) >= 0.25)
"""

STRANGER = """
import os, subprocess, sys
from pathlib import Path
from slasearch.orchestrate.local_ray import LOOPBACK, local_ray, require_token
require_token()
with local_ray(Path("records"), cpus=1, variables={}):
    import ray
    address = ray.get_runtime_context().gcs_address
    code = f"import ray; ray.init({address!r}, log_to_driver=False); print('let in')"
    own = dict(os.environ) | LOOPBACK  # without it Ray looks for a node at another address than 127.0.0.1
    stranger = {name: value for name, value in own.items() if not name.startswith("RAY_AUTH")}
    for name, environment in (("stranger", stranger), ("own", own)):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=90)
        print(name, "let in" in done.stdout, "InvalidAuthToken" in done.stderr or "token" in done.stderr.lower())
"""


def run(code: str, folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLASEARCH_"))}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_workers_know_the_kinds_that_a_user_registered(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(STUDY)
    (tmp_path / "shift_kind.py").write_text(KIND)
    assert run(RUN, tmp_path).splitlines()[-1] == "finished ['complete'] []"


def test_workers_have_a_users_own_data_and_metrics_and_others_can_read_the_study(tmp_path: Path) -> None:
    (tmp_path / "hits_metric.py").write_text(METRIC)
    study = yaml.safe_load(STUDY.replace("kinds: [shift]", "kinds: [bias]"))
    study["tasks"] = [{"name": "texts", "source": "object:mine", "max_tokens": 8, "metric": "hits"}]
    assert run(OWN_DATA, tmp_path, json.dumps(study)).splitlines()[-1] == "finished"
    assert run(READ, tmp_path).splitlines()[-1] == "{'texts': 'hits'} ['hits', 'loss'] True"


def test_a_stranger_cannot_use_our_ray(tmp_path: Path) -> None:
    lines = run(STRANGER, tmp_path).splitlines()
    assert lines[-2:] == ["stranger False True", "own True False"]


def test_what_a_script_itself_registers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extension_modules() == ()
    monkeypatch.setattr(KINDS, "extensions", {"__main__"})
    with pytest.raises(RegistryError, match="Move the registering code to a file of its own"):
        extension_modules()

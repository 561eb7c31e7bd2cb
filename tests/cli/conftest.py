"""One small real study, run once by the command itself, for every test of the verbs that read it."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from slasearch.cli import main as cli

STUDY = """\
name: tiny
tasks:
  - name: spam
    source: bundled:sms_spam
    max_tokens: 16
    limits: {train: 32, validation: 24, test: 24}
pool: {sites: [attn.q, ffn.out], kinds: [lora, bias], ranks: [1], layers: [4, 5]}
size_control: {mode: penalty, sparsity_weight: {log_float: [0.1, 1.0]}}
training: {steps: 4, batch_size: 8, reports: 1}
conditions: {measured: [{kind: typos, levels: [0.2]}]}
phases:
  design:
    sampler: {name: one_at_a_time}
    base: {size_control.sparsity_weight: 0.1}
    levels: {size_control.sparsity_weight: [0.1, 1.0]}
  confirm: {top: 1, seeds: 1, controls: [lora, linear_probe], tuning: 0}
"""


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit code and both streams."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


def call(*arguments: str) -> Answer:
    """Runs the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert isinstance(ended.value.code, int)
    return Answer(ended.value.code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def command() -> Command:
    """Runs the command in this process: `command("status", "--json")`."""
    return call


@pytest.fixture(scope="package")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Answer]]:
    """A folder in which the study was run, and what the run command answered."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.yaml").write_text(STUDY)
    before, environment = Path.cwd(), dict(os.environ)
    os.environ.pop("SLASEARCH_STORAGE", None)
    os.environ.pop("SLASEARCH_HOME", None)
    os.chdir(folder)
    try:
        yield folder, call("run", "tiny.yaml")
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)


@pytest.fixture
def study(finished: tuple[Path, Answer], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the finished study, as working folder."""
    monkeypatch.chdir(finished[0])
    return finished[0]

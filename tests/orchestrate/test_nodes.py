"""Studies on several machines that share nothing, some of which are lost or have other packages."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from separate_nodes import SeparateNodes, why_together
from small_study import LeavingWorker, SlowWorker, Watching, quiet, rows, small_study, states

import slasearch
from slasearch.config.locations import Locations
from slasearch.config.schema import BackboneConfig, StudyConfig
from slasearch.errors import ClusterError
from slasearch.orchestrate.driver import run_study
from slasearch.orchestrate.simulate import SimulatedWorker
from slasearch.search.summary import StudySummary
from slasearch.testing.tiny import save_tiny

apart = pytest.mark.skipif(bool(why_together()), reason=str(why_together()))
TRIALS = 60


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lies here is the driver's: nodes do not see it where they can be kept apart."""
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(scope="module")
def nodes(homes: Path) -> Iterator[SeparateNodes]:
    found = SeparateNodes(homes, ["one", "two"])
    yield found
    found.end()


def attempts(home: Path, condition: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """What came of each trial, by what it was."""
    columns = "params, init_seed, data_seed, state, score, exported_parameters"
    return {row[:3]: row[3:] for row in rows(home, f"SELECT {columns} FROM sla_trial {condition}")}


def test_a_node_that_is_killed_takes_along_only_what_it_runs(homes: Path, nodes: SeparateNodes) -> None:
    steady, struck = homes / "steady", homes / "struck"
    config, locations = small_study(steady, TRIALS)
    run_study(config, locations, address=nodes.address, progress=quiet(), worker_factory=SimulatedWorker)
    killed: list[int] = []

    def strike(summary: StudySummary) -> None:
        if summary.complete >= TRIALS // 3 and not killed:
            killed.append(summary.complete)
            nodes.kill("two")

    config, locations = small_study(struck, TRIALS)
    factory = partial(SimulatedWorker, seconds=0.2, payload=20_000)
    try:
        summary = run_study(config, locations, address=nodes.address, progress=Watching(strike), worker_factory=factory)
    finally:
        nodes.add("two")
    assert (summary.state, summary.complete, summary.failed) == ("finished", TRIALS, 0)
    assert summary.retried >= 1, "expected the node to have run a trial when it was killed"
    assert states(struck) == {"complete": TRIALS, "fail": summary.retried}
    assert attempts(struck, "WHERE state = 'complete'") == attempts(steady, "")
    lost = rows(struck, "SELECT id, attempt, reason FROM sla_trial WHERE state = 'fail' ORDER BY id")
    assert all(attempt == 1 and reason.startswith("worker lost: ") for _, attempt, reason in lost)
    again = rows(struck, "SELECT retry_of, attempt, reason FROM sla_trial WHERE retry_of IS NOT NULL ORDER BY retry_of")
    assert again == [(trial, 2, None) for trial, *_ in lost]
    assert len(list((struck / "artifacts").rglob("*.safetensors"))) == TRIALS


@apart
@pytest.mark.slow
def test_trials_train_where_the_drivers_files_are_not_and_begin_again_where_their_checkpoints_are_not(
    homes: Path, nodes: SeparateNodes, tmp_path: Path
) -> None:
    kept, moved = homes / "kept", homes / "moved"
    seen: dict[str, set[str]] = {"one": set(), "two": set()}
    killed: list[str] = []

    def look(summary: StudySummary) -> None:
        for name, files in seen.items():
            files |= {file.split("/")[0] for file in nodes.sees(name, kept)}

    def strike(summary: StudySummary) -> None:
        for (node,) in rows(moved, "SELECT node FROM sla_checkpoint LIMIT 1"):
            if not killed:
                killed.append(node)
                nodes.kill(node)

    try:
        for home, printer in ((kept, Watching(look)), (moved, Watching(strike))):
            config, locations = training_study(home, tmp_path, trials=2)
            run_study(config, locations, address=nodes.address, progress=printer, worker_factory=SlowWorker)
    finally:
        for node in killed:
            nodes.add(node)
    assert seen == {"one": {"cache", "checkpoints"}, "two": {"cache", "checkpoints"}}
    assert {path.name for path in kept.iterdir()} >= {"study.db", "texts.jsonl", "artifacts", "logs"}
    assert not (kept / "checkpoints").exists(), "expected the driver's folder to be another than the nodes'"
    assert (states(kept), states(moved)) == ({"complete": 2}, {"complete": 2, "fail": 1})
    assert attempts(moved, "WHERE state = 'complete'") == attempts(kept, "")
    ((told,),) = rows(moved, "SELECT message FROM sla_event WHERE kind = 'checkpoint.none'")
    (there,) = killed
    (here,) = {"one", "two"} - {there}
    assert f"on {there}, and no checkpoint of it can be read on {here}" in told
    for home in (kept, moved):
        assert len(list((home / "artifacts").rglob("*.safetensors"))) == 2


@apart
def test_checkpoints_that_a_lost_trial_has_left_on_a_node_are_removed_at_the_end(
    homes: Path, nodes: SeparateNodes, tmp_path: Path
) -> None:
    home = homes / "leaving"
    config, locations = small_study(home, 3, retries=1)
    seen: set[str] = set()

    def look(summary: StudySummary) -> None:
        for name in ("one", "two"):
            seen.update(nodes.sees(name, home / "checkpoints"))

    factory = partial(LeavingWorker, folder=tmp_path, losses=2, seconds=0.5)
    summary = run_study(config, locations, address=nodes.address, progress=Watching(look), worker_factory=factory)
    assert summary.retried + summary.failed == 2
    assert seen, "expected checkpoints on the nodes while the study ran"
    assert [nodes.sees(name, home / "checkpoints") for name in ("one", "two")] == [[], []]


def test_a_node_with_another_slasearch_computes_nothing(
    homes: Path, nodes: SeparateNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(slasearch.__file__).parent
    # Ray lets workers import from the driver's folders, where this slasearch may lie.
    monkeypatch.chdir(homes)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if Path(path or ".").resolve() != package.parent])
    shutil.copytree(package, tmp_path / "slasearch", ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "slasearch" / "__init__.py"
    source.write_text(source.read_text().replace(slasearch.__version__, "99.0"))
    home = homes / "other"
    config, locations = small_study(home, 40)  # so many that the third node gets some, however slowly it starts
    config = config.model_copy(update={"resources": config.resources.model_copy(update={"max_concurrent_trials": 3})})
    factory = partial(SimulatedWorker, seconds=1.0)
    run = partial(run_study, config, locations, address=nodes.address, progress=quiet(), worker_factory=factory)
    nodes.add("three", {"PYTHONPATH": str(tmp_path)})
    try:
        with pytest.raises(ClusterError, match=rf"expected slasearch {slasearch.__version__}, .* got 99\.0\. Install"):
            run()
    finally:
        nodes.kill("three")
    reasons = rows(home, "SELECT reason FROM sla_trial WHERE state = 'fail'")
    assert reasons
    assert {reason for (reason,) in reasons} == {"driver lost: the run command ended first"}
    summary = run()
    assert (summary.state, summary.complete, summary.failed) == ("finished", 40, 0)


def training_study(home: Path, shared: Path, trials: int) -> tuple[StudyConfig, Locations]:
    """A study that trains a tiny backbone from a folder that all nodes see, and saves a checkpoint at every step."""
    config, locations = small_study(home, trials)
    backbone = shared / "bert"
    if not backbone.exists():
        save_tiny("bert", backbone)
    resources = config.resources.model_copy(update={"checkpoint_minutes": 1e-9})
    training = config.training.model_copy(update={"steps": 16})
    changes = {"backbone": BackboneConfig(id=f"path:{backbone}"), "training": training, "resources": resources}
    return config.model_copy(update=changes), locations

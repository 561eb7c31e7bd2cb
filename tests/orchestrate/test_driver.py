"""Studies on a real Ray, with the real session and database, and workers that train nothing or misbehave."""

from __future__ import annotations

import gc
import io
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from small_study import HERE, FaultyWorker, LostOnceWorker, Watching, mark, quiet, rows, small_study, states

from slasearch.config.locations import Locations
from slasearch.config.schema import BackboneConfig, StudyConfig
from slasearch.errors import ClusterError, LeaseError, StorageError, StudyConflictError
from slasearch.orchestrate import driver
from slasearch.orchestrate.driver import QUIET, run_study
from slasearch.orchestrate.local_ray import environment, local_ray
from slasearch.orchestrate.progress import ProgressPrinter
from slasearch.orchestrate.simulate import SimulatedWorker
from slasearch.orchestrate.versions import installed
from slasearch.records import TrialReport
from slasearch.search.command import send
from slasearch.search.summary import StudySummary
from slasearch.storage.rows import Verb
from slasearch.storage.store import Store
from slasearch.testing.tiny import save_tiny


def test_a_trial_needs_a_node_that_is_large_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What two nodes have in all holds no trial that neither of them holds."""
    nodes = [{"Alive": True, "Resources": {"CPU": 3.0, "GPU": 1.0}} for _ in range(2)]
    nodes += [{"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)

    def at_a_time(**resources: float) -> int:
        config, _ = small_study(tmp_path, 1)
        wanted = config.resources.model_copy(update={"max_concurrent_trials": 16, **resources})
        return driver._concurrency(config.model_copy(update={"resources": wanted}), patience=0.0)

    assert at_a_time(cpus_per_trial=1) == 6
    assert at_a_time(cpus_per_trial=2) == 2
    assert at_a_time(cpus_per_trial=1, gpus_per_trial=0.5) == 4
    nodes[:2] = [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}} for _ in range(2)]
    assert at_a_time(cpus_per_trial=1, gpus_per_trial=0.2) == 10
    assert at_a_time(cpus_per_trial=1, gpus_per_trial=0.3) == 6
    nodes[:2] = [{"Alive": True, "Resources": {"CPU": 16.0, "GPU": 4.0}}]
    assert at_a_time(cpus_per_trial=1, gpus_per_trial=0.4) == 8, "a trial has no parts of two GPUs"
    assert at_a_time(cpus_per_trial=1, gpus_per_trial=0.6) == 4
    assert at_a_time(cpus_per_trial=1, gpus_per_trial=1.0) == 4
    nodes[:1] = [{"Alive": True, "Resources": {"CPU": 3.0, "GPU": 0.5}} for _ in range(2)]
    assert at_a_time(cpus_per_trial=1, gpus_per_trial=0.25) == 4
    for too_much in ({"cpus_per_trial": 4}, {"cpus_per_trial": 1, "gpus_per_trial": 1.0}):
        with pytest.raises(ClusterError, match="got 6 CPUs and 1 GPUs in all, and no node that is large enough"):
            at_a_time(**too_much)


def test_the_lease_is_renewed_while_data_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long is done aside; its result, and its error as it is, come back."""
    monkeypatch.setattr(driver, "RENEW_SECONDS", 0.05)
    renewed: list[float] = []
    session: Any = SimpleNamespace(renew=lambda: renewed.append(time.monotonic()))

    def slow() -> int:
        time.sleep(0.5)
        return 7

    def late() -> int:
        time.sleep(0.2)
        raise TimeoutError("the hub")

    assert driver._while_renewing(session, slow) == 7
    assert len(renewed) >= 3
    with pytest.raises(TimeoutError, match="the hub"):
        driver._while_renewing(session, late)
    session.renew = lambda: (_ for _ in ()).throw(LeaseError("taken over"))
    with pytest.raises(LeaseError, match="taken over"):
        driver._while_renewing(session, slow)


@pytest.fixture(scope="module", autouse=True)
def one_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with environment(QUIET), local_ray(tmp_path_factory.mktemp("ray"), cpus=2, variables=HERE):
        yield


def test_every_end_is_told_truthfully(tmp_path: Path) -> None:
    config, locations = small_study(tmp_path, 12, prune=True)
    faults = {5: "nan", 6: "raise", 7: "silent", 9: "bad", 10: "bad"}
    factory = partial(FaultyWorker, folder=tmp_path, faults=faults)
    summary = run_study(config, locations, progress=quiet(), worker_factory=factory)
    found = states(tmp_path)
    assert found["fail"] == 3
    assert found["pruned"] >= 2
    assert found == {"complete": 12 - 3 - found["pruned"], "pruned": found["pruned"], "fail": 3}
    assert states(tmp_path, "trials") == found
    assert (summary.state, summary.retried, summary.running, summary.waiting) == ("finished", 0, 0, 0)
    reasons = " | ".join(row[0] for row in rows(tmp_path, "SELECT reason FROM sla_trial WHERE state = 'fail'"))
    assert "RuntimeError: the worker broke" in reasons
    assert "nan" in reasons.lower()
    assert "without a report" in reasons
    logs = [(tmp_path / row[0]).read_text() for row in rows(tmp_path, "SELECT log FROM sla_trial WHERE state = 'fail'")]
    assert any("Traceback" in log and "the worker broke" in log for log in logs)
    scores = rows(tmp_path, "SELECT MIN(score) FROM sla_trial WHERE state = 'pruned'")
    assert scores == [(-10.0,)]


def test_adapters_go_where_the_study_says_and_a_place_that_refuses_is_noticed_first(tmp_path: Path) -> None:
    config, locations = small_study(tmp_path, 2)
    for place, reachable in (("nowhere://bucket", False), (str(tmp_path / "shared"), True)):
        resources = config.resources.model_copy(update={"storage_path": place})
        config = config.model_copy(update={"resources": resources})
        factory = partial(FaultyWorker, folder=tmp_path, faults={})
        if reachable:
            assert run_study(config, locations, progress=quiet(), worker_factory=factory).complete == 2
        else:
            with pytest.raises(StorageError, match=r"^nowhere://bucket: expected a store to write in, got: "):
                run_study(config, locations, progress=quiet(), worker_factory=factory)
            assert states(tmp_path) == {"waiting": 1}
    assert len(list((tmp_path / "shared").glob("small-*/*/*.safetensors"))) == 2
    assert not (tmp_path / "artifacts").exists()


def test_a_home_folder_that_refuses_is_noticed_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "load_task", lambda *_: pytest.fail("expected no data to be read"))
    config, where = small_study(tmp_path, 1)
    where = replace(where, home=tmp_path / "texts.jsonl")
    with pytest.raises(StorageError, match=r"texts\.jsonl/ray: expected to write here, got: Not a directory\."):
        run_study(config, where, progress=quiet())


def test_workers_are_reused_closed_between_trials_and_keep_nothing(tmp_path: Path) -> None:
    config, locations = small_study(tmp_path, 10, prune=True)
    held: dict[int, int] = {}

    def look(summary: StudySummary) -> None:
        if summary.ended not in held:
            held[summary.ended] = sum(isinstance(found, TrialReport) for found in gc.get_objects())

    factory = partial(FaultyWorker, folder=tmp_path, faults={8: "bad"})
    summary = run_study(config, locations, progress=Watching(look), worker_factory=factory)
    assert summary.complete + summary.pruned == 10
    assert len(rows(tmp_path, "SELECT DISTINCT worker FROM sla_trial")) <= 2
    assert len(list((tmp_path / "closed").iterdir())) == 10
    assert max(held.values()) <= 2, "expected ended trials to leave the driver's memory"
    assert not list((tmp_path / "ray").rglob("*.json")), "expected no experiment state of Ray's"
    assert len(list((tmp_path / "artifacts").rglob("*.safetensors"))) == summary.complete


def test_a_lost_worker_is_tried_again_with_the_same_parameters(tmp_path: Path) -> None:
    config, locations = small_study(tmp_path, 3)
    factory = partial(FaultyWorker, folder=tmp_path, faults={2: "exit"})
    summary = run_study(config, locations, progress=quiet(), worker_factory=factory)
    assert (summary.complete, summary.failed, summary.retried) == (3, 0, 1)
    again = "SELECT params, init_seed, data_seed FROM sla_trial WHERE "
    lost = rows(tmp_path, again + "state = 'fail'")
    assert lost == rows(tmp_path, again + "retry_of IS NOT NULL")
    assert rows(tmp_path, "SELECT attempt, state FROM sla_trial WHERE retry_of IS NOT NULL") == [(2, "complete")]
    ((reason,),) = rows(tmp_path, "SELECT reason FROM sla_trial WHERE state = 'fail'")
    assert reason.startswith("worker lost")


def test_a_trial_that_ran_out_of_memory_is_tried_again(tmp_path: Path) -> None:
    config, locations = small_study(tmp_path, 1)
    factory = partial(FaultyWorker, folder=tmp_path, faults={1: "memory"})
    summary = run_study(config, locations, progress=quiet(), worker_factory=factory)
    assert (summary.complete, summary.failed, summary.retried) == (1, 0, 1)
    ((reason,),) = rows(tmp_path, "SELECT reason FROM sla_trial WHERE state = 'fail'")
    assert reason == "out of memory: MemoryError: no room"


def test_a_lost_trial_goes_on_from_its_last_checkpoint_and_ends_as_if_it_had_not_been_lost(tmp_path: Path) -> None:
    backbone = BackboneConfig(id=f"path:{save_tiny('bert', tmp_path / 'bert')}")
    found: dict[str, list[tuple[Any, ...]]] = {}
    for name, begun in (("lost", 0), ("whole", 1)):
        home = tmp_path / name
        config, locations = small_study(home, 1)
        training = config.training.model_copy(update={"steps": 16})
        resources = config.resources.model_copy(update={"checkpoint_minutes": 1e-9})
        config = config.model_copy(update={"backbone": backbone, "training": training, "resources": resources})
        for _ in range(begun):
            mark(home / "begun")
        summary = run_study(config, locations, progress=quiet(), worker_factory=partial(LostOnceWorker, folder=home))
        assert (summary.complete, summary.retried) == (1, 1 - begun)
        assert not list((home / "checkpoints").rglob("*.json"))
        last = "WHERE trial_id = (SELECT max(id) FROM sla_trial) ORDER BY step, task, metric"
        found[name] = rows(home, f"SELECT task, condition, metric, step, value FROM sla_metric {last}")
    assert found["lost"] == found["whole"]
    home = tmp_path / "lost"
    assert rows(home, "SELECT attempt, state FROM sla_trial ORDER BY id") == [(1, "fail"), (2, "complete")]
    ((step,),) = rows(home, "SELECT max(step) FROM sla_checkpoint WHERE trial_id = 1")
    ((told,),) = rows(home, "SELECT message FROM sla_event WHERE kind = 'checkpoint.resumed'")
    assert int(told.split("step ")[1].split(",")[0]) >= step >= 1


def test_a_worker_that_is_always_lost_fails_after_its_retries(tmp_path: Path) -> None:
    config, locations = small_study(tmp_path, 1, retries=1)
    factory = partial(FaultyWorker, folder=tmp_path, faults={0: "exit"})
    summary = run_study(config, locations, progress=quiet(), worker_factory=factory)
    assert (summary.complete, summary.failed, summary.ran) == (0, 1, 2)
    assert rows(tmp_path, "SELECT attempt, state FROM sla_trial ORDER BY id") == [(1, "fail"), (2, "fail")]


def test_the_first_interrupt_lets_running_trials_end_and_the_study_goes_on_later(tmp_path: Path) -> None:
    config, locations = small_study(tmp_path, 8)

    def interrupt(summary: StudySummary) -> None:
        if summary.complete == 2 and not interrupts:
            interrupts.append(summary.running)
            os.kill(os.getpid(), signal.SIGINT)

    interrupts: list[int] = []
    factory = partial(SimulatedWorker, seconds=0.2)
    stopped = run_study(config, locations, progress=Watching(interrupt), worker_factory=factory)
    assert interrupts
    assert stopped.state == "stopped"
    assert stopped.stop_reason == "interrupted by Ctrl-C"
    assert 2 <= stopped.complete < 8
    assert (stopped.running, stopped.retried) == (0, 0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finished = run_study(config, locations, progress=quiet(), worker_factory=SimulatedWorker)
    assert (finished.state, finished.complete, finished.retried) == ("finished", 8, 0)


def test_an_interrupt_before_the_first_trial_stops_at_once(tmp_path: Path) -> None:
    config, locations = small_study(tmp_path, 3)
    factory = partial(FaultyWorker, folder=tmp_path, faults={})
    interrupt = Watching(lambda summary: os.kill(os.getpid(), signal.SIGINT))
    summary = run_study(config, locations, progress=interrupt, worker_factory=factory)
    assert (summary.state, summary.complete) == ("stopped", 0)
    assert not (tmp_path / "begun").exists()


def test_outside_the_main_thread_signals_stay_with_their_owner(tmp_path: Path) -> None:
    config, locations = small_study(tmp_path, 2)
    earlier = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with ThreadPoolExecutor(1) as pool:
        run = partial(run_study, progress=quiet(), worker_factory=SimulatedWorker)
        summary = pool.submit(run, config, locations).result()
    assert summary.complete == 2
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == earlier


def test_the_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    config, locations = small_study(tmp_path, 4)

    def interrupt(summary: StudySummary) -> None:
        if summary.running:
            os.kill(os.getpid(), signal.SIGTERM)

    began = time.monotonic()
    factory = partial(SimulatedWorker, seconds=60.0)
    summary = run_study(config, locations, progress=Watching(interrupt), worker_factory=factory)
    assert time.monotonic() - began < 20
    assert summary.stop_reason == "ended by SIGTERM"
    assert (summary.running, summary.complete, summary.state) == (0, 0, "stopped")
    assert "running" not in states(tmp_path)


def ask_while_it_runs(locations: Locations, verb: Verb, trials: Sequence[int] | None, *, at_once: bool = False) -> None:
    """What `slasearch cancel` does, without waiting for the answer: the driver is in this very thread."""
    with closing(Store(locations.storage_url)) as store:
        study = store.study("small")
    send(locations, study, verb, trials, at_once=at_once, wait=0)


def test_a_command_ends_one_running_trial_and_the_others_go_on(tmp_path: Path) -> None:
    config, locations = small_study(tmp_path, 3)
    config = config.model_copy(update={"resources": config.resources.model_copy(update={"max_concurrent_trials": 1})})
    asked: list[int] = []

    def cancel(summary: StudySummary) -> None:
        if summary.running and not asked:
            asked.extend(row[0] for row in rows(tmp_path, "SELECT id FROM sla_trial WHERE state = 'running'"))
            ask_while_it_runs(locations, "cancel", asked)

    factory = partial(FaultyWorker, folder=tmp_path, faults={1: "hang"})
    summary = run_study(config, locations, progress=Watching(cancel), worker_factory=factory)
    assert (summary.state, summary.complete, summary.failed, summary.retried) == ("finished", 2, 1, 0)
    assert rows(tmp_path, "SELECT id, reason FROM sla_trial WHERE state = 'fail'") == [(asked[0], "cancelled")]
    assert rows(tmp_path, "SELECT outcome FROM sla_request") == [("1 trial is cancelled",)]


def test_a_command_stops_the_study_at_once_and_it_goes_on_later(tmp_path: Path) -> None:
    config, locations = small_study(tmp_path, 2)
    asked: list[int] = []

    def cancel(summary: StudySummary) -> None:
        if summary.running and not asked:
            asked.append(summary.running)
            ask_while_it_runs(locations, "cancel", None, at_once=True)

    began = time.monotonic()
    factory = partial(SimulatedWorker, seconds=60.0)
    stopped = run_study(config, locations, progress=Watching(cancel), worker_factory=factory)
    assert time.monotonic() - began < 20
    assert (stopped.state, stopped.stop_reason, stopped.complete) == ("stopped", "cancelled by command", 0)
    finished = run_study(config, locations, progress=quiet(), worker_factory=SimulatedWorker)
    assert (finished.state, finished.complete) == ("finished", 2)


def test_a_lost_lease_ends_the_run_with_its_own_error(tmp_path: Path) -> None:
    config, locations = small_study(tmp_path, 50)

    def steal(summary: StudySummary) -> None:
        import sqlite3

        if summary.complete == 1:
            with sqlite3.connect(tmp_path / "study.db") as connection:
                other = """replace(holder, '"nonce": "', '"nonce": "another')"""
                connection.execute(f"UPDATE sla_lease SET token = token + 1, holder = {other}")

    factory = partial(SimulatedWorker, seconds=0.2)
    with pytest.raises(LeaseError):
        run_study(config, locations, progress=Watching(steal), worker_factory=factory)
    assert states(tmp_path)["complete"] <= 2


def test_other_data_under_the_same_study_are_refused(tmp_path: Path) -> None:
    config, locations = small_study(tmp_path, 2)
    run_study(config, locations, progress=quiet(), worker_factory=SimulatedWorker)
    more, _ = small_study(tmp_path, 3)
    table = tmp_path / "texts.jsonl"
    table.write_text(table.read_text().replace("text number", "other number"))
    with pytest.raises(StudyConflictError, match="texts"):
        run_study(more, locations, progress=quiet(), worker_factory=SimulatedWorker)
    assert states(tmp_path) == {"complete": 2, "waiting": 1}


def test_a_study_begins_from_an_earlier_ones_trials_says_so_and_refuses_other_data(tmp_path: Path) -> None:
    config, locations = small_study(tmp_path, 2)
    run_study(config, locations, progress=quiet(), worker_factory=SimulatedWorker)
    plain = config.model_dump(by_alias=True)
    plain["phases"]["optimise"] |= {"sampler": {"name": "tpe"}, "warm_start": {"study": "small"}}
    said = io.StringIO()
    begun, other = (StudyConfig.model_validate({**plain, "name": name}) for name in ("begun", "other"))
    summary = run_study(
        begun, locations, progress=ProgressPrinter(said, terminal=False), worker_factory=SimulatedWorker
    )
    assert "the sampler begins from 2 complete trials of study small\n" in said.getvalue()
    assert (summary.state, summary.planned, summary.complete) == ("finished", 2, 2)
    table = tmp_path / "texts.jsonl"
    table.write_text(table.read_text().replace("text number", "other number"))
    with pytest.raises(StudyConflictError, match=r"expected the data of study small, .* got other data for texts"):
        run_study(other, locations, progress=quiet(), worker_factory=SimulatedWorker)
    assert states(tmp_path) == {"complete": 4, "waiting": 1}


def test_another_torch_on_a_node_is_said_and_stored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "installed", lambda: replace(installed(), torch="0.1"))
    said = io.StringIO()
    for trials in (4, 8):
        config, locations = small_study(tmp_path, trials)
        printer = ProgressPrinter(said, terminal=False)
        summary = run_study(config, locations, progress=printer, worker_factory=SimulatedWorker)
        assert (summary.state, summary.complete) == ("finished", trials)
    ((told, trial),) = rows(tmp_path, "SELECT message, trial_id FROM sla_event WHERE kind = 'node.versions'")
    assert told.startswith(f"Node {socket.gethostname()} has torch {installed().torch} (driver: 0.1): ")
    assert trial is None
    assert said.getvalue().count(told) == 1


def test_a_trial_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    config, locations = small_study(tmp_path, 1)
    resources = config.resources.model_copy(update={"cpus_per_trial": 1000})
    large = config.model_copy(update={"resources": resources})
    with pytest.raises(ClusterError, match="expected a node with 1000 CPUs"):
        run_study(large, locations, progress=quiet(), worker_factory=SimulatedWorker)
    assert ray.is_initialized(), "expected a Ray that was there before to be left running"

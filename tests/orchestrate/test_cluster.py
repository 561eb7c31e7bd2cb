"""Clusters that somebody else runs."""

from __future__ import annotations

import io
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.exceptions import RaySystemError
from small_study import small_study, states

from slasearch.errors import ClusterError
from slasearch.orchestrate import driver
from slasearch.orchestrate.cluster import _knock, cluster
from slasearch.orchestrate.driver import run_study
from slasearch.orchestrate.progress import ProgressPrinter
from slasearch.orchestrate.simulate import SimulatedWorker


@pytest.fixture
def foreign() -> Iterator[Cluster]:
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield found
    found.shutdown()


def test_a_study_runs_on_a_cluster_and_leaves_it_running(tmp_path: Path, foreign: Cluster) -> None:
    config, locations = small_study(tmp_path, 3)
    printer = ProgressPrinter(io.StringIO(), terminal=False)
    factory = partial(SimulatedWorker, payload=200_000)
    summary = run_study(config, locations, address=foreign.address, progress=printer, worker_factory=factory)
    assert summary.complete == 3
    assert states(tmp_path) == {"complete": 3}
    assert printer.concurrency == 1, "expected as many trials at a time as the cluster has CPUs for"
    own = signal.getsignal(signal.SIGTERM)
    with cluster(foreign.address):
        assert signal.getsignal(signal.SIGTERM) is own, "a cluster's run ends its trials on SIGTERM, like any other"


def test_a_command_waits_for_the_first_machine_with_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, locations = small_study(tmp_path, 1)
    printer = ProgressPrinter(io.StringIO(), terminal=False)
    empty = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    run = partial(run_study, config, locations, address=empty.address, progress=printer)
    try:
        monkeypatch.setattr(driver, "JOIN_SECONDS", 1.0)
        with pytest.raises(ClusterError, match="got 0 CPUs and 0 GPUs in all"):
            run(worker_factory=SimulatedWorker)
        monkeypatch.setattr(driver, "JOIN_SECONDS", 60.0)
        with a_machine_that_joins(empty.address, after=3.0):
            assert run(worker_factory=SimulatedWorker).complete == 1
    finally:
        empty.shutdown()


@contextmanager
def a_machine_that_joins(address: str, *, after: float) -> Iterator[None]:
    """`ray start` in a process of its own: a node may only be added by a program's main thread."""
    ray = str(Path(sys.executable).parent / "ray")
    start = shlex.join([ray, "start", f"--address={address}", "--num-cpus=1", "--block"])
    machine = subprocess.Popen(
        ["/bin/sh", "-c", f"sleep {after:g}; exec {start}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        machine.terminate()
        machine.wait(30)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://10.0.0.1:10001", "a ray:// client would carry"),
        ("127.0.0.1:1", "expected a running Ray cluster at '127.0.0.1:1'"),
        ("nowhere", "expected a running Ray cluster at 'nowhere'"),
        ("127.0.0.1:99999999", "expected a running Ray cluster at '127.0.0.1:99999999'"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_told_within_seconds(address: str, said: str) -> None:
    began = time.monotonic()
    with pytest.raises(ClusterError, match=said), cluster(address):
        pass
    assert time.monotonic() - began < 10


def test_auto_is_what_rays_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://10.0.0.1:10001")
    with pytest.raises(ClusterError, match="a ray:// client would carry"), cluster("auto"):
        pass


def test_a_version_6_address_in_brackets_is_knocked_at() -> None:
    try:
        listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with listening:
        _knock(f"[::1]:{listening.getsockname()[1]}")


@pytest.mark.parametrize("fault", [RuntimeError("Version mismatch: 2.60 and 2.59"), RaySystemError("no token")])
def test_what_ray_says_of_a_cluster_is_no_traceback(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another Ray there, or a token that is missing here: neither can be made on one machine with one Ray."""

    def refuse(**_: object) -> None:
        raise fault

    monkeypatch.setattr(ray, "init", refuse)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with (
            pytest.raises(ClusterError, match=f"expected a running Ray cluster at '{address}', got: "),
            cluster(address),
        ):
            pass

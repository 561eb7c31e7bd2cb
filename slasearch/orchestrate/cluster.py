"""A Ray cluster that somebody else runs, and what is left on its nodes."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from slasearch.errors import ClusterError
from slasearch.orchestrate.interrupts import sigterm_kept

__all__ = ["cluster", "remove_on_all_nodes"]

CONNECT_SECONDS = 5.0
REMOVE_SECONDS = 20.0
"""How long nodes are waited for that are to remove folders."""


@contextmanager
def cluster(address: str) -> Iterator[None]:
    """Connects this process to a running Ray, and leaves that running at the end.

    Args:
        address: `auto` (what Ray's environment and files on this machine name) or `HOST:PORT`.

    Raises:
        ClusterError: It cannot be reached, or the address is a `ray://` one.
    """
    import ray
    from ray.exceptions import RayError

    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    if "://" in address:
        raise ClusterError(
            f"address: expected auto or HOST:PORT, got {address!r}. Run the command on a machine of the cluster "
            "(`ray job submit` does that); a ray:// client would carry the database's password into the cluster."
        )
    try:
        if address != "auto":
            _knock(address)
        with sigterm_kept():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, OverflowError, RuntimeError, RayError) as error:
        raise ClusterError(
            f"address: expected a running Ray cluster at {address!r}, got: {error}. "
            "Start one with `ray start --head`, or look at the address."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def remove_on_all_nodes(folders: Sequence[Path]) -> None:
    """Removes folders on this machine and on every other node of the Ray in use, as far as they answer in time."""
    if not folders:
        return
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    _remove(folders)
    remove = ray.remote(num_cpus=0, max_retries=0)(_remove)
    here = ray.get_runtime_context().get_node_id()
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    strategies = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    asked = [remove.options(scheduling_strategy=strategy).remote(folders) for strategy in strategies]
    if asked:
        ray.wait(asked, num_returns=len(asked), timeout=REMOVE_SECONDS)


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _knock(address: str) -> None:
    """Fails within seconds if nobody listens; Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")  # in which an address stands that has colons itself
    socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()

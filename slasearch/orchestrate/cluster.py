"""A Ray cluster that somebody else runs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from slasearch.errors import ClusterError

__all__ = ["cluster"]

CONNECT_SECONDS = 5.0


@contextmanager
def cluster(address: str) -> Iterator[None]:
    """Connects this process to a running Ray, and leaves that running at the end.

    Args:
        address: `auto` (what Ray's environment and files on this machine name) or `HOST:PORT`.

    Raises:
        ClusterError: It cannot be reached, or the address is a `ray://` one.
    """
    import ray

    if "://" in address:
        raise ClusterError(
            f"address: expected auto or HOST:PORT, got {address!r}. Run the command on a machine of the cluster "
            "(`ray job submit` does that); a ray:// client would carry the database's password into the cluster."
        )
    try:
        if address != "auto":
            _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"address: expected a running Ray cluster at {address!r}, got: {error}. "
            "Start one with `ray start --head`, or look at the address."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Fails within seconds if nobody listens; Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()

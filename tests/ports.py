"""Ports of this machine for tests."""

import contextlib
import secrets
import socket


def free_port() -> int:
    """A TCP port that nobody uses, and that the system gives to nobody meanwhile: it hands out those from 32768 on."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as found, contextlib.suppress(OSError):
            found.bind(("", port))
            return port

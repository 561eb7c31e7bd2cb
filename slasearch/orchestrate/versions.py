"""Whether a worker computes with the packages that the driver has, so that no node gives other results unnoticed."""

from __future__ import annotations

import importlib.metadata
import socket
from dataclasses import dataclass

import slasearch
from slasearch.records import Event
from slasearch.trial.code import code_digest

__all__ = ["Versions", "installed", "refusal", "warning"]


@dataclass(frozen=True)
class Versions:
    """The packages that decide what a trial computes, as one process has them; `code` is `code_digest` of this one.

    A build (`+cpu`, `+cu126`) is left out: the driver trains nothing, and needs no build for GPUs.
    """

    slasearch: str
    code: str
    torch: str
    transformers: str


def installed() -> Versions:
    """Those of this process."""
    torch, transformers = (importlib.metadata.version(name) for name in ("torch", "transformers"))
    return Versions(slasearch.__version__, code_digest(), torch.partition("+")[0], transformers)


def refusal(driver: Versions) -> str | None:
    """Why no trial may run in this process: it has another slasearch than the driver. None: it may."""
    here = installed()
    expected, got = driver.slasearch, here.slasearch
    if (got, here.code) == (expected, driver.code):
        return None
    if got == expected:  # of two commits, say
        expected, got = f"{expected} with code {driver.code[:8]}", f"{got} with code {here.code[:8]}"
    return (
        f"node {socket.gethostname()}: expected slasearch {expected}, as the driver has it, got {got}. "
        "Install the driver's version there and start that node's Ray again, or take the node out; then run the same "
        "command."
    )


def warning(driver: Versions) -> Event | None:
    """What else differs between this process and the driver, for the study's events."""
    here = installed()
    different = [
        f"{name} {getattr(here, name)} (driver: {getattr(driver, name)})"
        for name in ("torch", "transformers")
        if getattr(here, name) != getattr(driver, name)
    ]
    if not different:
        return None
    text = (
        f"Node {socket.gethostname()} has {' and '.join(different)}: its trials may give slightly other numbers than "
        "the same trials elsewhere. Install the same versions on all nodes."
    )
    return Event("node.versions", text, "warning")

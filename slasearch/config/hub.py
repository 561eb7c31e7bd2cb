"""Where the Hugging Face hub and its cache are, as the environment has it at the moment: the hub's own variables.

`HF_HUB_CACHE` or `HF_HOME` for the cache, `HF_HUB_OFFLINE` to use nothing else, `HF_ENDPOINT` for another server.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["hub_address", "hub_cache", "hub_offline"]


def hub_cache() -> Path:
    """The hub's cache on this machine, which may not exist yet."""
    if folder := os.environ.get("HF_HUB_CACHE"):
        return Path(folder).expanduser()
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get("HF_HOME") or base / "huggingface").expanduser() / "hub"


def hub_offline() -> bool:
    """Whether nothing may be downloaded."""
    values = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return any(value.upper() in ("1", "ON", "YES", "TRUE") for value in values)


def hub_address() -> str | None:
    """The server; None: the public one."""
    return os.environ.get("HF_ENDPOINT") or None

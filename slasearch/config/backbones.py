"""Ids of backbones, as they stand in study files and exports: `bundled:NAME`, `path:DIR`, `hub:ORG/NAME@REVISION`."""

from __future__ import annotations

import re

__all__ = ["checked_backbone", "hub_model"]

# No word starts with a dot: neither a name nor a revision can lead out of the cache's folders.
_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_HUB = re.compile(rf"hub:({_WORD}/{_WORD})(?:@({_WORD}(?:/{_WORD})*))?")


def checked_backbone(value: str) -> str:
    """`value`, if it is the id of a backbone; whether that one exists is not looked at.

    Raises:
        ValueError: It is not, or a model of the hub is not pinned. The text is in the words of a config error.
    """
    scheme, _, rest = value.partition(":")
    if scheme == "hub" and rest:
        hub_model(value)
    elif scheme not in ("bundled", "path") or not rest:
        raise ValueError(f"expected 'bundled:NAME', 'path:DIR' or 'hub:ORG/NAME@REVISION', got {value!r}")
    return value


def hub_model(value: str) -> tuple[str, str]:
    """Repository (`ORG/NAME`) and revision (a commit hash or a tag) of a `hub:` id.

    Raises:
        ValueError: The id has another form, or no revision, or the branch `main`, which moves.
    """
    found = _HUB.fullmatch(value)
    if found is None:
        raise ValueError(f"expected 'hub:ORG/NAME@REVISION', got {value!r}")
    repository, revision = found[1], found[2]
    if revision in (None, "main"):
        raise ValueError(
            f"expected 'hub:{repository}@REVISION' with a commit hash (40 hex digits) or a tag, got {value!r}. "
            "Pin one of them: a branch moves, and the study would mean another model later"
        )
    return repository, revision

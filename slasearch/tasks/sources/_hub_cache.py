"""Names of data sets on the Hugging Face hub, the cache on this machine, and downloads into it.

The environment has the hub's own variables, see `slasearch.config.hub`; `HF_TOKEN` is for private data sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from slasearch.config.hub import hub_address, hub_cache, hub_offline
from slasearch.errors import TaskError

__all__ = ["HUB_FORM", "HubId", "cached", "fetch"]

HUB_FORM = "hub:ORG/NAME[/CONFIG]@REVISION"
_PATIENCE = 10.0
"""How long a first answer of the hub may take, in seconds."""
_PART = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,95}"
_ID = re.compile(rf"(?P<repository>{_PART}/{_PART})(/(?P<config>{_PART}))?@(?P<revision>{_PART}(/{_PART})*)")


@dataclass(frozen=True)
class HubId:
    """A data set at one revision: `repository` as `ORG/NAME`, one of its configurations or None, and the revision."""

    repository: str
    revision: str
    config: str | None = None

    @classmethod
    def parse(cls, place: str) -> HubId:
        """Reads `ORG/NAME[/CONFIG]@REVISION`.

        Raises:
            ValueError: It has another form, or no revision, or the branch `main`, which moves.
        """
        match = _ID.fullmatch(place)
        if match is None or ".." in place:
            raise ValueError(f"expected {HUB_FORM} with a commit hash or a tag, got {f'hub:{place}'!r}")
        if match["revision"] == "main":
            raise ValueError(f"expected a commit hash or a tag after @, as a branch moves, got {f'hub:{place}'!r}")
        return cls(match["repository"], match["revision"], match["config"])

    def __str__(self) -> str:
        """As it stands in messages: `hub:ORG/NAME/CONFIG@REVISION`."""
        return f"hub:{self.repository}{f'/{self.config}' if self.config else ''}@{self.revision}"


def cached(hub: HubId) -> Path | None:
    """The folder of a revision in the cache, which may hold some of its files only; None if there is none."""
    repository = hub_cache() / f"datasets--{hub.repository.replace('/', '--')}"
    reference = repository / "refs" / hub.revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else hub.revision
    folder = repository / "snapshots" / commit
    return folder if folder.is_dir() else None


def fetch(hub: HubId, patterns: Iterable[str]) -> Path:
    """The folder of a revision, with the files that match one of the patterns: from the cache, else downloaded.

    Args:
        hub: The data set.
        patterns: Shell patterns of paths in the repository, in which `*` matches `/` too.

    Raises:
        TaskError: The files are not in the cache and cannot be downloaded.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        folder = snapshot_download(
            hub.repository,
            repo_type="dataset",
            revision=hub.revision,
            cache_dir=hub_cache(),
            local_files_only=hub_offline() or not _answers(),
            allow_patterns=list(patterns),
            endpoint=hub_address(),
        )
    except (OSError, ValueError, HTTPError) as error:
        raise TaskError(f"{hub}: expected a data set in the cache or on the hub, got {_reason(error)}") from error
    return Path(folder)


def _answers() -> bool:
    """Whether the hub does. One request tells at once what a download would learn from many retries."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        get_session().head(hub_address() or constants.ENDPOINT, timeout=_PATIENCE)
    except (OSError, HTTPError):
        return False
    return True


def _reason(error: Exception) -> str:
    """Why a download failed, and what to do."""
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, RepositoryNotFoundError):
        return "none of that name that you may read. Check the name, or run `hf auth login`."
    if isinstance(error, RevisionNotFoundError):
        return "no such revision. Look it up among the data set's commits."
    if isinstance(error, LocalEntryNotFoundError):
        return f"not all its files in {hub_cache()} and no connection. Run this once where there is a network."
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

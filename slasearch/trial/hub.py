"""Backbones of the Hugging Face Hub: the files of one revision, out of the cache or downloaded into it.

Only configuration, tokeniser and safetensors files, the model card and the licence are ever asked for: no code and no
pickled weights.
"""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import constants, get_session, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from slasearch.config.backbones import hub_model
from slasearch.config.hub import hub_address, hub_cache, hub_offline
from slasearch.errors import BackboneError

__all__ = ["hub_folder", "is_cached", "weight_files"]

_PATIENCE = 10.0
"""How long a first answer of the hub may take, in seconds."""
_CONFIG = "config.json"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spm.model", "sentencepiece.bpe.model")
_WANTED = [
    _CONFIG,
    _WEIGHTS,
    _INDEX,
    "model-*.safetensors",
    *_TOKENIZERS,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "README.md",
    "LICENSE*",
]


def hub_folder(backbone: str, *, weights: bool) -> Path:
    """The folder of a revision's files, named after its commit; only what is not in the cache is downloaded.

    Cache and server are those of `slasearch.config.hub`.

    Args:
        backbone: The id, `hub:ORG/NAME@REVISION`.
        weights: Whether weights and tokeniser are wanted too, beside the configuration.

    Raises:
        BackboneError: The id is not pinned, there is no such model, or neither cache nor network have it.
    """
    try:
        repository, revision = hub_model(backbone)
    except ValueError as error:
        raise BackboneError(f"backbone: {error}.") from None
    folder = _cached(repository, revision)
    if folder is not None and (not weights or _is_whole(folder)):
        return folder
    if hub_offline():
        raise BackboneError(
            f"backbone {backbone}: expected it in the cache, as HF_HUB_OFFLINE is set, got no "
            f"{'weights and tokeniser' if folder else 'files'} there. Unset it, or run `hf download {repository} "
            f"--revision {revision}` first."
        )
    try:
        _download(repository, revision, weights=weights)
    except (OSError, ValueError, HTTPError) as error:
        raise BackboneError(f"backbone {backbone}: {_reason(error, repository, revision)}") from error
    folder = _cached(repository, revision)
    if folder is None or (weights and not _is_whole(folder)):
        raise BackboneError(
            f"backbone {backbone}: expected config.json, safetensors weights and a tokeniser in the repository, got "
            "some of them at most. Pickled weights are never loaded: choose a revision with safetensors."
        )
    return folder


def is_cached(backbone: str, *, weights: bool) -> bool:
    """Whether `hub_folder` would find a model in the cache. Raises ValueError for an id that is none."""
    folder = _cached(*hub_model(backbone))
    return folder is not None and (not weights or _is_whole(folder))


def _download(repository: str, revision: str, *, weights: bool) -> None:
    cache, address = hub_cache(), hub_address()
    # One request first: without a network we hear of it at once, not after the many retries of a download.
    get_session().head(address or constants.ENDPOINT, timeout=_PATIENCE)
    if weights:
        snapshot_download(
            repository,
            revision=revision,
            cache_dir=cache,
            endpoint=address,
            allow_patterns=_WANTED,
            ignore_patterns=["*/*"],
        )
    else:
        hf_hub_download(repository, _CONFIG, revision=revision, cache_dir=cache, endpoint=address)


def _cached(repository: str, revision: str) -> Path | None:
    """The folder of a revision's files, if its configuration is in the cache."""
    config = try_to_load_from_cache(repository, _CONFIG, cache_dir=hub_cache(), revision=revision)
    return Path(config).parent if isinstance(config, str) else None


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers loads a saved model's weights from, in order, whether they are there or not."""
    names = {_WEIGHTS}
    if not (folder / _WEIGHTS).is_file() and (folder / _INDEX).is_file():
        names = set(json.loads((folder / _INDEX).read_bytes())["weight_map"].values())
    return [folder / name for name in sorted(names)]


def _is_whole(folder: Path) -> bool:
    """Whether all weights and a tokeniser are there."""
    weights = all(file.is_file() for file in weight_files(folder))
    return weights and any((folder / name).is_file() for name in _TOKENIZERS)


def _reason(error: Exception, repository: str, revision: str) -> str:
    """Why a download failed, and what to do."""
    if isinstance(error, RepositoryNotFoundError):
        return f"expected a model that you may read, got none at {repository}. Check the name, or run `hf auth login`."
    if isinstance(error, RevisionNotFoundError):
        return f"expected a commit hash or tag of {repository}, got {revision!r}. Look it up among its commits."
    if isinstance(error, HTTPError | LocalEntryNotFoundError) and not isinstance(error, HfHubHTTPError):
        return "expected a connection to the hub or a copy in the cache, got neither. Connect, or name a path:DIR."
    return f"expected to download it, got {' '.join(str(error).split())}"

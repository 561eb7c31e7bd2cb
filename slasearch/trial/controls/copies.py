"""What methods with modules of their own have in common: a private copy of the backbone, its linear maps, PEFT."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from slasearch.adapters.sites import Host, hosts_of
from slasearch.errors import MissingExtraError
from slasearch.records import SITES
from slasearch.trial.backbone import Backbone

__all__ = ["LINEAR_SITES", "hosts", "linear_modules", "load_peft", "private_copy", "seeded"]

LINEAR_SITES: tuple[str, ...] = tuple(site for site in SITES if site != "block")
"""Sites whose hosts are linear maps."""


def private_copy(backbone: Backbone) -> Backbone:
    """The same backbone with a model of its own, on the same device, frozen as the shared one is."""
    return replace(backbone, model=copy.deepcopy(backbone.model))


def load_peft(control: str) -> Any:
    """The package `peft`.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import peft
    except ImportError as error:
        text = f"control {control}: expected the package peft, got none. Run `pip install -e '.[peft]'`."
        raise MissingExtraError(text) from error
    return peft


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """For libraries that draw from torch's own generators: these start from `seed`, and go on afterwards as before."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def hosts(model: nn.Module, layers: int, sites: Sequence[str]) -> Iterator[tuple[str, Host]]:
    """The hosts of some sites in every layer, each with a name such as `3:attn.q:0` (layer, site, part)."""
    for layer in range(layers):
        for site in sites:
            for part, host in enumerate(hosts_of(model, layer, site)):
                yield f"{layer}:{site}:{part}", host


def linear_modules(model: nn.Module, layers: int) -> dict[str, nn.Module]:
    """Every linear module behind a site by its path in the model; a fused one once."""
    found = {id(host.module) for _, host in hosts(model, layers, LINEAR_SITES)}
    return {path: module for path, module in model.named_modules() if id(module) in found}

"""Prefix tuning (Li and Liang 2021, arXiv 2101.00190) as PEFT has it: learned keys and values before those of the text.

    attention(q, [P_k; K], [P_v; V])    in every layer

PEFT's prefix is handed to the backbone as past keys and values. That is done here in PEFT's place, because its own
forward pass for encoders drops the token types of text pairs. DistilBERT and DeBERTa take no past keys and values.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from slasearch.errors import ConfigError
from slasearch.records import TrialSpec
from slasearch.trial.backbone import Backbone, BackboneShapes
from slasearch.trial.controls._base import FOR_ALL_TASKS, Adaptation, ModelControl, register_control
from slasearch.trial.controls.copies import load_peft, private_copy, seeded
from slasearch.trial.controls.dealing import AT_LEAST

__all__ = ["Prefix", "prefix_tokens"]

_RATE = 10.0
_ARGUMENTS = ("cache", "past_key_values")
"""What newer and older versions of transformers call the past keys and values."""


@register_control(
    "prefix",
    summary="prefix tuning by PEFT: learned keys and values before those of the text in every layer, at ten times "
    "`training.learning_rate`. Not for DistilBERT and DeBERTa, which take no past keys and values: see `prefix_gated`. "
    f"{FOR_ALL_TASKS}",
    source="Li and Liang 2021, arXiv 2101.00190, in the package peft; the factor 10 ours: prefixes start at size 1",
    equation="attention(q, [P_k; K], [P_v; V])",
    size=AT_LEAST.format("token in all layers"),
)
class Prefix(ModelControl):
    """As many tokens as the size asks for, one at least."""

    def adapt(self, backbone: Backbone, spec: TrialSpec, *, steps: int, seed: int) -> Adaptation:
        """A copy of the backbone that is given a prefix; `spec.control_size` is what the prefix comes to."""
        peft = load_peft(self.name)
        argument = _argument(backbone.model)
        if argument is None:
            raise ConfigError(
                [
                    f"control prefix: expected a backbone that takes past keys and values, got one of the family "
                    f"{backbone.shapes.family}. Name prefix_gated instead."
                ]
            )
        tokens, positions = prefix_tokens(backbone.shapes, spec.control_size or 0), backbone.shapes.positions
        longest = max(task.max_tokens for task in spec.tasks)
        if positions is not None and longest + tokens > positions:
            raise ConfigError(
                [
                    f"control prefix: expected texts that leave {tokens} of the backbone's {positions} positions to "
                    f"the prefix, got tasks.max_tokens {longest}. Cut the texts or leave the control out."
                ]
            )
        own = private_copy(backbone)
        _compute_once(own.model)
        config = peft.PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=tokens)
        with seeded(seed):
            prefixed = _Prefixed(peft.get_peft_model(own.model, config), tokens, argument)
        return _PrefixAdaptation(replace(own, model=prefixed))


def prefix_tokens(shapes: BackboneShapes, parameters: int) -> int:
    """The fewest tokens in all layers that come to at least so many parameters; one at least."""
    keys = sum(host.d_out for site in ("attn.k", "attn.v") for host in shapes.hosts[site])
    return max(1, -(-parameters // (keys * shapes.layers)))


def _argument(model: nn.Module) -> str | None:
    """What the model calls past keys and values; None: it takes none."""
    known = inspect.signature(model.forward).parameters
    return next((name for name in _ARGUMENTS if name in known), None)


def _compute_once(model: nn.Module) -> None:
    """Turns gradient checkpointing off, which does not go with past keys and values."""
    for module in model.modules():
        if hasattr(module, "gradient_checkpointing"):
            module.gradient_checkpointing = False  # type: ignore[assignment]
    model.eval()


class _Prefixed(nn.Module):
    """The backbone with PEFT's prefix before every text."""

    def __init__(self, tuned: Any, tokens: int, argument: str) -> None:
        super().__init__()
        self._tuned, self._tokens, self._argument = tuned, tokens, argument
        self.config = tuned.get_base_model().config

    @property
    def prefix(self) -> nn.Parameter:
        """`tokens x (2·layers·width)`, as PEFT stores it."""
        (encoder,) = self._tuned.prompt_encoder.values()
        weight: nn.Parameter = encoder.embedding.weight
        return weight

    def get_input_embeddings(self) -> nn.Module:
        """The backbone's own."""
        embeddings: nn.Module = self._tuned.get_base_model().get_input_embeddings()
        return embeddings

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **others: Any) -> Any:
        """What the backbone gives, for the text's tokens alone."""
        seen = attention_mask.new_ones(len(input_ids), self._tokens)
        return self._tuned.get_base_model()(
            input_ids=input_ids,
            attention_mask=torch.cat((seen, attention_mask), dim=1),
            **{self._argument: self._tuned.get_prompt(len(input_ids))},
            **others,
        )


class _PrefixAdaptation(Adaptation):
    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        assert isinstance(backbone.model, _Prefixed)
        self._prefix = backbone.model.prefix
        self.rates = {"prefix": _RATE}

    def weights(self) -> dict[str, list[nn.Parameter]]:
        return {"prefix": [self._prefix]}

    def exported_parameters(self) -> int:
        return self._prefix.numel()

    def tensors(self) -> dict[str, Tensor]:
        return {"prefix": self._prefix}

"""What the arms of a comparison are called: winners and controls, in tables and within sentences."""

from __future__ import annotations

__all__ = ["control_name", "layout_label", "role_label", "role_phrase"]

_NAMES = {
    "winner": ("Searched structures", "the searched structures"),
    "control:lora": ("LoRA", "LoRA"),
    "control:lora_gradient": ("LoRA-grad", "LoRA that starts along the gradient"),
    "control:lora_r8": ("LoRA, rank 8", "LoRA of rank 8"),
    "control:adalora": ("AdaLoRA", "AdaLoRA"),
    "control:adalora_pool": ("AdaLoRA's rule, our pool", "AdaLoRA's rule over our pool"),
    "control:lora_xs": ("LoRA-XS", "LoRA-XS"),
    "control:prefix": ("Prefix tuning", "prefix tuning"),
    "control:prefix_gated": ("Gated prefixes", "gated prefixes"),
    "control:bottleneck": ("Bottlenecks everywhere", "bottlenecks everywhere"),
    "control:bitfit": ("BitFit", "BitFit"),
    "control:fusion": ("Fusion over tasks", "fusion over tasks"),
    "control:all_open": ("All gates open", "the pool with all gates open"),
    "control:random": ("Random structure", "a random structure"),
    "control:random_best": ("Best random structure", "the best random structure"),
    "control:shared": ("Shared structure", "one structure shared by all tasks"),
    "control:linear_probe": ("Linear probe", "the linear probe"),
    "control:full_fine_tuning": ("Full fine-tuning", "full fine-tuning"),
}

_LAYOUTS = {
    "qv": "q and v",
    "qv_last": "q and v, upper half",
    "linear_last": "last layers",
    "linear_first": "first layers",
    "linear_even": "even spread",
    "attn_out": "attn.out",
}


def control_name(role: str) -> str:
    """`lora` of `control:lora`."""
    return role.removeprefix("control:")


def role_label(role: str) -> str:
    """A winner's or a control's name as it stands in tables and figures: `Searched structures`, `LoRA`."""
    words = control_name(role).replace("_", " ")
    return _NAMES[role][0] if role in _NAMES else words[:1].upper() + words[1:]


def role_phrase(role: str) -> str:
    """The same within a sentence, with its article: `LoRA`, `a random structure`, `the control my baseline`."""
    return _NAMES[role][1] if role in _NAMES else f"the control {control_name(role).replace('_', ' ')}"


def layout_label(variant: str) -> str:
    """A control's layout: `last layers` of `linear_last`, `no. 7` of a structure that is known by its number."""
    return f"no. {variant}" if variant.isdecimal() else _LAYOUTS.get(variant, variant.replace("_", " "))

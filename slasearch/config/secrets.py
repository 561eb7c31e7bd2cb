"""Secrets in URIs, which no message may show: a user with a password, or a parameter of such a name."""

from __future__ import annotations

import re

__all__ = ["holds_secret", "masked"]

_USER = re.compile(r"(://[^@:]*:).*@", re.DOTALL)
_PARAMETER = re.compile(r"([?&][^=&]*(?:secret|password|token|key|sig)[^=&]*=)[^&\s'\"]*", re.IGNORECASE)


def holds_secret(text: str) -> bool:
    """Whether something in a text looks like a URI with a secret in it."""
    return bool(_USER.search(text) or _PARAMETER.search(text))


def masked(text: str) -> str:
    """The text with `***` for what looks like a secret; up to the last @, as a password may have one too."""
    return _PARAMETER.sub(r"\1***", _USER.sub(r"\1***@", text))

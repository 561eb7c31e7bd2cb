"""Which searched fields act on a trial: a control carries the values of all of them, whether it feels them or not."""

from __future__ import annotations

from slasearch.registry import CONTROL_KINDS, SEARCHING_CONTROLS, UNFELT_FIELDS

__all__ = ["FELT", "acts_on"]

FELT = ("training.", "conditions.train.")
"""How the names of searched fields begin that act on controls too."""

_KIND_RATES = "training.kind_factors."


def acts_on(role: str, field: str) -> bool:
    """Whether a searched field changes something in trials of this role.

    A control that takes none of the study's pool has no use for the pool's fields, nor for rates of other kinds; one
    without gates of its own has none for gates, finalisation and size control.
    """
    control = role.removeprefix("control:")
    if field in UNFELT_FIELDS.get(control, ()):
        return False
    if control == role or control in SEARCHING_CONTROLS:
        return True
    if control not in CONTROL_KINDS:
        return field.startswith((*FELT, "pool."))
    kind = field.removeprefix(_KIND_RATES)
    return field.startswith(FELT) and (kind == field or kind in CONTROL_KINDS[control])

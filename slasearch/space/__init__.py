"""What a sampler may choose: the searched fields of a study as Optuna distributions, and trials made of choices.

Words: a *stored* value is what Optuna keeps (numbers, and choices as they are, lists as JSON text such as `[1, 4]`);
`params` maps names of searched fields to stored values, and holds the active fields only.

A field is active unless it has a `when` that the other choices do not meet. An inactive field is as if the study file
did not mention it: it has its default, and a training condition is off.
"""

from slasearch.space.check import check, checked, load_checked
from slasearch.space.design import DesignPoint, design_points
from slasearch.space.fit import downloads
from slasearch.space.options import option_problems
from slasearch.space.parameters import Parameter, parameters, suggest
from slasearch.space.resolve import resolve, seeds_for
from slasearch.space.unit_designs import saltelli_unit

__all__ = [
    "DesignPoint",
    "Parameter",
    "check",
    "checked",
    "design_points",
    "downloads",
    "load_checked",
    "option_problems",
    "parameters",
    "resolve",
    "saltelli_unit",
    "seeds_for",
    "suggest",
]

"""Pydantic's errors in our words: the field as it stands in the file, what was expected there, what was got."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from slasearch.config.document import Path, Problem
from slasearch.config.fields import did_you_mean
from slasearch.config.schema import StudyConfig
from slasearch.config.secrets import masked

__all__ = ["problems_of", "shown"]

_WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "missing": lambda _: "a value",
    "greater_than": lambda c: f"a number above {c['gt']:.10g}",
    "greater_than_equal": lambda c: f"a number of at least {c['ge']:.10g}",
    "less_than": lambda c: f"a number below {c['lt']:.10g}",
    "less_than_equal": lambda c: f"a number of at most {c['le']:.10g}",
    "finite_number": lambda _: "a finite number",
    "int_type": lambda _: "a whole number",
    "int_from_float": lambda _: "a whole number",
    "float_type": lambda _: "a number",
    "bool_type": lambda _: "true or false",
    "string_type": lambda _: "text",
    "tuple_type": lambda _: "a list",
    "dict_type": lambda _: "a mapping of fields",
    "model_type": lambda _: "a mapping of fields",
    "model_attributes_type": lambda _: "a mapping of fields",
    "literal_error": lambda c: str(c["expected"]),
    "too_short": lambda c: f"at least {c['min_length']} entries",
    "too_long": lambda c: f"at most {c['max_length']} entries",
    "string_pattern_mismatch": lambda c: f"text that matches {c['pattern']}",
}


_OTHER_WORDS = ("low", "high", "log", "min", "max", "uniform", "loguniform", "log_uniform")
"""What other programs call the parts of a distribution."""


def problems_of(error: ValidationError, data: Any) -> list[Problem]:
    """Every problem of a validation, in the order of the schema, one for each field.

    Args:
        error: What `StudyConfig` raised on `data`.
        data: The plain content of the study file.
    """
    found = [problem for detail in error.errors(include_url=False) for problem in _translate(detail, data)]
    paths = [problem.path for problem in found]
    merged: dict[tuple[Path, str], list[str]] = {}
    for path, expected, got in found:
        if any(other[: len(path)] == path and len(other) > len(path) for other in paths):
            continue  # a union's other branches: the deepest problem is the one that the author can act on
        words = merged.setdefault((path, got), [])
        if expected not in words:
            words.append(expected)
    return [Problem(path, " or ".join(words), got) for (path, got), words in merged.items()]


def shown(value: Any) -> str:
    """A value as the file would have it, without secrets, cut to 80 characters."""
    if value is None:
        return "nothing"
    text = masked(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= 80 else f"{text[:77]}…"


def _translate(detail: ErrorDetails, data: Any) -> Iterator[Problem]:
    path, value = _resolve(detail["loc"], data, missing=detail["type"] == "missing")
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":
        for line in str(context["error"]).splitlines():
            yield _own_words(line, path, data)
    elif detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        mode = value.get("mode") if isinstance(value, dict) else value
        yield Problem((*path, "mode"), "'penalty' or 'budget'", shown(mode))
    elif detail["type"] == "extra_forbidden":
        yield _unknown_field(path, data)
    elif detail["loc"][-1:] == ("[key]",):  # `splits` alone has fixed keys
        got = f"{shown(path[-1])}. Our name stands before the source's, such as {{validation: dev}}"
        yield Problem(path, f"{context['expected']} as a key", got)
    else:
        words = _WORDS.get(detail["type"])
        expected = words(context) if words else f"another value ({detail['msg']})"
        yield Problem(path, expected, "nothing" if detail["type"] == "missing" else shown(value))


def _resolve(location: tuple[int | str, ...], data: Any, *, missing: bool) -> tuple[Path, Any]:
    """The path in the file, and the value there: what pydantic adds for its unions is no key of the data."""
    path: Path = ()
    for number, step in enumerate(location, start=1):
        known = step in data if isinstance(data, dict) else isinstance(data, tuple) and step in range(len(data))
        if known:
            data = data[step]
        if known or (missing and number == len(location)):
            path = (*path, step)
    return path, data


def _own_words(line: str, path: Path, data: Any) -> Problem:
    """A validator's own `[PATH: ]expected …, got …`."""
    match = re.fullmatch(r"(?:([a-z0-9_.]+): )?expected (.*), got (.*?)", line, re.DOTALL)
    if match is None:
        return Problem(path, f"another value ({line})", shown(_resolve(path, data, missing=False)[1]))
    elsewhere, expected, got = match.groups()
    if elsewhere:
        path = tuple(int(step) if step.isdigit() else step for step in elsewhere.split("."))
    return Problem(path, expected, got)


def _unknown_field(path: Path, data: Any) -> Problem:
    names = [field.alias or name for model in _models_at(path[:-1], data) for name, field in model.model_fields.items()]
    hint = did_you_mean(str(path[-1]), names)
    if "log_float" in names and path[-1] in _OTHER_WORDS:
        hint = ". Write a range as {float: [low, high]}, {log_float: [low, high]} or {int: [low, high]}"
    return Problem(path, f"one of {', '.join(dict.fromkeys(names))}", f"an unknown field{hint}")


def _models_at(path: Path, data: Any) -> list[type[BaseModel]]:
    """The models that may stand at a path: more than one only where a `mode` tells them apart."""
    models: list[type[BaseModel]] = [StudyConfig]
    for step in path:
        data = data[step]
        fields = [field for model in models if (field := _by_name(model, step)) is not None]
        if fields:  # else the step is a position, or a key of a mapping, whose values the models are
            models = [model for annotation in fields for model in _models_in(annotation)]
    if isinstance(data, dict) and len(models) > 1:
        fitting = [m for m in models if data.get("mode") in get_args(_by_name(m, "mode"))]
        return fitting or models
    return models


def _by_name(model: type[BaseModel], name: str | int) -> Any:
    for field_name, field in model.model_fields.items():
        if name in (field_name, field.alias):
            return field.annotation
    return None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]

"""`--set a.b=c`: changes to a study file from the command line, made in its tree before it is validated."""

from __future__ import annotations

from collections.abc import Sequence

from slasearch.config.document import MAX_DEPTH, Document, Node, Path, Problem, parse_document, problem_line
from slasearch.config.secrets import holds_secret
from slasearch.errors import ConfigError

__all__ = ["apply_overrides"]

_DOTTED = (("phases", "design", "levels"), ("phases", "design", "base"), ("when",))
"""Ends of paths to mappings whose keys are dotted paths themselves: the rest of an override's path is one key there."""


def apply_overrides(document: Document, overrides: Sequence[str]) -> None:
    """Sets each `a.b=c` in the tree, later ones last; what cannot be set becomes a problem of the document.

    The value is read as YAML. A number in the path is the position of a list's entry (`tasks.0.limits.train=10`).
    Mappings on the way are created; whether such fields exist is for the schema to say.
    """
    for override in overrides:
        name, equals, text = override.partition("=")
        origin = f"--set {name}=***" if holds_secret(text) else f"--set {override}"
        if not equals or not all(name.split(".")):
            wrong = Problem((), "FIELD=VALUE, such as training.epochs=3", repr(override))
            document.problems.append(problem_line(origin, wrong))
            continue
        try:
            value = parse_document(text, origin, origin=origin)
        except ConfigError as error:
            document.problems += error.problems
            continue
        document.problems += value.problems
        steps = _steps(name)
        if len(steps) > MAX_DEPTH:
            problem: Problem | None = Problem((), f"at most {MAX_DEPTH} levels of nesting", f"{len(steps)}")
        else:
            problem = _set(document.root, steps, value.root)
        if problem is not None:
            document.problems.append(problem_line(origin, problem))


def _steps(name: str) -> tuple[str, ...]:
    steps = tuple(name.split("."))
    for length in range(1, len(steps)):
        if any(steps[:length][-len(end) :] == end for end in _DOTTED):
            return (*steps[:length], ".".join(steps[length:]))
    return steps


def _set(node: Node, steps: tuple[str, ...], value: Node) -> Problem | None:
    path: Path = ()
    for step, last in zip(steps, (*[False] * (len(steps) - 1), True), strict=True):
        if isinstance(node.value, list):
            if not node.value:
                whole = ".".join(map(str, path))
                return Problem(path, "an entry to change", f"an empty list. Set it whole, as {whole}=[…]")
            if not (step.isdecimal() and int(step) < len(node.value)):
                return Problem((*path, step), f"the position of an entry from 0 to {len(node.value) - 1}", repr(step))
            position = int(step)
            path = (*path, position)
            if last:
                node.value[position] = value
            node = node.value[position]
        else:
            if not isinstance(node.value, dict):  # a scalar gives way: the schema judges what comes of it
                node.value, node.origin = {}, value.origin
            path = (*path, step)
            if last:
                node.value[step] = value
            elif step not in node.value:
                node.value[step] = Node({}, value.origin)
            node = node.value[step]
    return None

"""Whether a study's tasks and backbone are there, and every pool that it may build fits backbone and budget.

Reads names, paths and shapes, never data or weights.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from slasearch.config.document import Problem
from slasearch.config.schema import BudgetSize, StudyConfig
from slasearch.errors import BackboneError, ConfigError, MissingExtraError
from slasearch.records import BackboneSpec, PoolSpec
from slasearch.registry import KINDS, PEFT_CONTROLS, SOURCES
from slasearch.space.parameters import Parameter
from slasearch.space.resolve import pool_spec
from slasearch.space.substitute import combinations

if TYPE_CHECKING:
    from slasearch.trial.backbone import BackboneShapes

__all__ = ["WITHOUT_PAST", "backbone_problems", "control_problems", "downloads", "source_problems"]

_MOST_POOLS = 256
WITHOUT_PAST = ("distilbert", "deberta-v2")
"""Families that take no past keys and values, as prefix tuning by peft needs them."""


def source_problems(config: StudyConfig) -> Iterator[Problem]:
    """Tasks whose source has nothing of that name, or whose package is not installed; nothing is downloaded."""
    for number, task in enumerate(config.tasks):
        scheme, _, place = task.source.partition(":")
        source = SOURCES.get(scheme)
        problem = source.problem(place)
        if problem is not None:
            yield Problem(("tasks", number, "source"), *problem)
        if task.splits and not source.splits:
            expected = f"no names of splits, as a task from {scheme}: has none of its own"
            yield Problem(("tasks", number, "splits"), expected, ", ".join(task.splits.values()))


def control_problems(config: StudyConfig) -> Iterator[Problem]:
    """Controls whose package is not installed: they would fail one by one once the search has ended."""
    controls = [] if config.phases.confirm is None else config.phases.confirm.controls
    lacking = [name for name in controls if name in PEFT_CONTROLS]
    if lacking and importlib.util.find_spec("peft") is None:
        got = f"{', '.join(lacking)} without the package peft. Run `pip install -e '.[peft]'`"
        yield Problem(("phases", "confirm", "controls"), "controls whose packages are installed", got)


def downloads(config: StudyConfig) -> list[str]:
    """What a run would download first: backbone and data sets that the hub's cache does not have."""
    waiting = []
    if not _at_hand(config.backbone.id, weights=True):
        waiting.append(config.backbone.id)
    for task in config.tasks:
        scheme, _, place = task.source.partition(":")
        waiting.append(SOURCES.get(scheme).download(place, task.splits) or "")
    return [name for name in dict.fromkeys(waiting) if name]


def _at_hand(backbone: str, *, weights: bool) -> bool:
    """Whether a backbone's files (or its configuration alone) can be read without a download."""
    if not backbone.startswith("hub:"):
        return True
    from slasearch.trial.hub import is_cached

    return is_cached(backbone, weights=weights)


def backbone_problems(config: StudyConfig, found: tuple[Parameter, ...], *, download: bool) -> list[Problem]:
    """What does not fit, over every pool that a trial may have (the first 256 combinations of its fields).

    Args:
        config: The study.
        found: Its searched fields.
        download: Whether a hub's model that is not in the cache has its configuration downloaded. Else it is unknown,
            and nothing is said of it.
    """
    from slasearch.trial.backbone import read_shapes

    if not download and not _at_hand(config.backbone.id, weights=False):
        return []
    try:
        shapes = read_shapes(BackboneSpec(**config.backbone.model_dump()))
    except (BackboneError, MissingExtraError) as error:
        return [Problem(("backbone", "id"), "a model that can be read", f"{config.backbone.id!r}: {error}")]
    problems: dict[Problem, None] = {}
    needed = 0
    fields = [parameter.name for parameter in found if parameter.path[0] == "pool"]
    for fixed in itertools.islice(combinations(config, found, fields), _MOST_POOLS):
        pool = pool_spec(fixed.pool)
        beyond = list(_beyond(pool, shapes))
        cheapest = None if beyond else _cheapest(pool, shapes)
        if not beyond and cheapest is None:
            got = f"kinds {', '.join(pool.kinds)} at {', '.join(pool.sites)}"
            beyond = [Problem(("pool",), "a kind that fits one of the sites", got)]
        problems.update(dict.fromkeys(beyond))
        needed = max(needed, cheapest or 0)
    budgets = _budgets(config, found)
    problems.update(dict.fromkeys((*_too_long(config, shapes), *_misfit(config, shapes, max(budgets, default=0)))))
    if min(budgets, default=needed) < needed:
        expected = f"at least the {needed} parameters of the cheapest slot of each pool"
        problems[Problem(("size_control", "parameters"), expected, str(min(budgets)))] = None
    return list(problems)


def _too_long(config: StudyConfig, shapes: BackboneShapes) -> Iterator[Problem]:
    """Tasks whose texts may have more tokens than the backbone has positions."""
    for number, task in enumerate(config.tasks):
        if shapes.positions is not None and task.max_tokens > shapes.positions:
            expected = f"at most the {shapes.positions} positions of the backbone"
            yield Problem(("tasks", number, "max_tokens"), expected, str(task.max_tokens))


def _misfit(config: StudyConfig, shapes: BackboneShapes, budget: int) -> Iterator[Problem]:
    """Pooling and controls that the backbone cannot have; `budget` is the largest, 0 under a penalty."""
    from slasearch.adapters.sites import FAMILIES
    from slasearch.trial.controls.prefix import prefix_tokens

    if config.backbone.pooling == "cls" and FAMILIES[shapes.family].decoder:
        expected = f"mean or last for a {shapes.family} backbone, whose first token sees no other"
        yield Problem(("backbone", "pooling"), expected, "cls")
    confirm = config.phases.confirm
    if confirm is None or "prefix" not in confirm.controls:
        return
    if shapes.family in WITHOUT_PAST:
        expected = f"controls for a {shapes.family} backbone, which takes no past keys and values"
        yield Problem(("phases", "confirm", "controls"), expected, "prefix. Name prefix_gated instead")
        return
    tokens, longest = prefix_tokens(shapes, budget), max(task.max_tokens for task in config.tasks)
    if shapes.positions is not None and longest <= shapes.positions < longest + tokens:
        expected = f"texts that leave {tokens} of the backbone's {shapes.positions} positions to the prefix"
        got = f"prefix beside tasks.max_tokens {longest}. Cut the texts or leave it out"
        yield Problem(("phases", "confirm", "controls"), expected, got)


def _beyond(pool: PoolSpec, shapes: BackboneShapes) -> Iterator[Problem]:
    """What the backbone does not have."""
    for layer in pool.layers or ():
        if layer >= shapes.layers:
            expected = f"layer numbers from 0 to {shapes.layers - 1} (the backbone has {shapes.layers})"
            yield Problem(("pool", "layers"), expected, str(layer))
    for path, kinds, ranks in _ranks(pool):
        widest, what = min(((shapes.hidden, "the backbone's hidden size"), *_narrow(kinds, pool.sites, shapes)))
        for rank in ranks:
            if rank > widest:
                expected = f"whole numbers from 1 to {widest} ({what})"
                yield Problem(path, expected, f"{rank}. Lower the rank or choose a wider backbone")
    for site in pool.sites:
        if site not in shapes.hosts:
            expected = f"sites of a {shapes.family} backbone ({', '.join(shapes.hosts)})"
            yield Problem(("pool", "sites"), expected, site)


def _ranks(pool: PoolSpec) -> Iterator[tuple[tuple[str, ...], list[str], tuple[int, ...]]]:
    """Fields that hold ranks, the kinds they are for, and the ranks."""
    own = dict(pool.kind_ranks)
    yield ("pool", "ranks"), [kind for kind in pool.kinds if kind not in own], pool.ranks
    for kind, ranks in own.items():
        yield ("pool", "kind_ranks", kind), [kind], ranks


def _narrow(kinds: Sequence[str], sites: Sequence[str], shapes: BackboneShapes) -> Iterator[tuple[int, str]]:
    """Largest ranks of kinds that live between singular vectors of their hosts' weights, and why."""
    for entry in (KINDS.get(kind) for kind in kinds):
        if entry.reads_weight:
            for site in set(sites) & set(entry.sites) & set(shapes.hosts):
                width = min(min(host.d_in, host.d_out) for host in shapes.hosts[site])
                yield width, f"{site}'s narrower side, for {entry.name}"


def _cheapest(pool: PoolSpec, shapes: BackboneShapes) -> int | None:
    """Parameters of the cheapest slot; None if the pool has no slot."""
    from slasearch.adapters.pool import slot_costs

    try:
        costs = slot_costs(pool, shapes.hosts, layers=shapes.layers)
    except ConfigError:
        return None
    return min(cost.parameters for cost in costs.values())


def _budgets(config: StudyConfig, found: tuple[Parameter, ...]) -> tuple[int, ...]:
    """The budget, or the ends of those that are searched; none under a penalty."""
    for parameter in found:
        if parameter.name == "size_control.parameters":
            return tuple(int(end) for end in parameter.ends)
    size = config.size_control
    return (size.parameters,) if isinstance(size, BudgetSize) and isinstance(size.parameters, int) else ()

"""How controls of equal size come to it: ranks dealt to places, round after round, until the size is reached."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

__all__ = ["AT_LEAST", "deal", "evenly_spaced"]

AT_LEAST = "at least the size compared at, by less than the cheapest further {}"
"""The rule of `deal` as it stands in tables: rounding favours the control."""

P = TypeVar("P", bound=Hashable)


def deal(
    places: Sequence[P],
    size: int,
    cost: Callable[[P, int], int],
    *,
    least: int = 1,
    most: Callable[[P], int] | None = None,
) -> dict[P, int]:
    """A rank for each place that gets one.

    Each round raises every place by one rank, in order, wherever that still fits. When nothing fits, the cheapest raise
    is made all the same, that of the lowest rank if several are: the sum exceeds `size` by less than it.

    Args:
        places: Where modules may sit, the most wanted first.
        size: Parameters to come to; 0 gives nothing.
        cost: Parameters of a module at a place, by its rank ≥ 1; grows with the rank.
        least: The rank with which a place begins.
        most: The largest rank of a place; None: any.
    """
    ranks: dict[P, int] = {}
    left = size
    while left > 0:
        prices = _prices(places, ranks, cost, least, most)
        if not prices:
            break
        if min(prices.values()) > left:
            last = min(prices, key=lambda place: (prices[place], ranks.get(place, 0)))
            prices, left = {last: prices[last]}, prices[last]
        for place, price in prices.items():
            if price <= left:
                ranks[place] = ranks[place] + 1 if place in ranks else least
                left -= price
    return ranks


def _prices(
    places: Sequence[P],
    ranks: dict[P, int],
    cost: Callable[[P, int], int],
    least: int,
    most: Callable[[P], int] | None,
) -> dict[P, int]:
    """What it costs to raise each place once more; places at their largest rank are left out."""
    prices = {}
    for place in places:
        now = ranks.get(place, 0)
        following = now + 1 if now else least
        if most is None or following <= most(place):
            prices[place] = cost(place, following) - (cost(place, now) if now else 0)
    return prices


def evenly_spaced(layers: int, count: int) -> list[int]:
    """`count` of the layers at equal distances, the last one always among them."""
    return [round((number + 1) * layers / count) - 1 for number in range(count)]

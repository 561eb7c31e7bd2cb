"""Places for labels of points: beside them where there is room, further off with a line to the point where not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Place", "Point", "place_labels"]

Point = tuple[float, float]
Line = tuple[Point, Point]
Box = tuple[float, float, float, float]

_DIRECTIONS = (0, 180, 90, 270, 30, 150, 330, 210, 60, 120, 300, 240, 15, 165, 345, 195, 75, 105, 285, 255)
_DISTANCES = (0.0, 5, 12, 20, 30, 42, 56, 72, 90, 110, 135, 165, 200)
_LED = 5.0
"""From this distance on a line leads from the label to its point."""

_OVER_BAR, _OVER_POINT, _OVER_LINE = 14.0, 10.0, 8.0
"""How much further away a label rather goes than over a bar; its line rather than over a point, or another line."""

_ON = 4.0
"""Pixels within which a line is on a bar."""

_TURNS = 6
"""How often labels are placed anew, those without a place first."""


@dataclass(frozen=True)
class Place:
    """The centre of a label, and whether a line leads to its point."""

    x: float
    y: float
    led: bool


def place_labels(
    points: Sequence[Point],
    sizes: Sequence[Point],
    area: Point,
    bars: Sequence[Line] = (),
    *,
    others: Sequence[Point] = (),
    radius: float = 5.0,
) -> list[Place | None]:
    """Places labels so that none covers another, a point, or another's line, and all are inside the area.

    What matters most should come first: the first choose their place first, unless others then find none.

    Args:
        points: Where the points lie, in pixels from the lower left corner.
        sizes: Width and height of each label in pixels.
        area: Width and height within which labels stay.
        bars: Lines that labels keep off where they can.
        others: Points without a label, which none covers either.
        radius: Half the size of a point's marker in pixels.

    Returns:
        A place for each label, None for one that fits nowhere.
    """
    markers = [_around(point, radius, radius) for point in (*points, *others)]
    order = list(range(len(points)))
    best: list[Place | None] = []
    for _ in range(_TURNS):
        found = _in_turn([(points[index], sizes[index]) for index in order], area, bars, markers, radius)
        places = [place for _, place in sorted(zip(order, found, strict=True), key=lambda pair: pair[0])]
        if not best or places.count(None) < best.count(None):
            best = places
        without = [index for index in order if places[index] is None]
        if not without:
            break
        order = [*without, *(index for index in order if index not in without)]
    return best


def _in_turn(
    labels: Sequence[tuple[Point, Point]],
    area: Point,
    bars: Sequence[Line],
    markers: Sequence[Box],
    radius: float,
) -> list[Place | None]:
    """The nearest place for each label that those before it leave free."""
    boxes: list[Box] = []
    lines: list[Line] = []
    places: list[Place | None] = []
    for point, size in labels:
        best, cost = None, math.inf
        for place, box in _candidates(point, size, radius):
            line = (point, (place.x, place.y)) if place.led else None
            if not _fits(box, line, area, [*boxes, *markers], boxes, lines):
                continue
            found = math.dist(point, _nearest(point, box)) + _OVER_BAR * sum(_crosses(bar, box) for bar in bars)
            if line:
                found += _OVER_POINT * (sum(_crosses(line, marker) for marker in markers) - 1)
                found += _OVER_LINE * sum(_meet(line, other) for other in lines)
                found += _OVER_BAR * sum(_along(line, bar) for bar in bars)
            if found < cost:
                best, cost = (place, box, line), found
        places.append(best[0] if best else None)
        if best:
            boxes.append(best[1])
            lines.extend([best[2]] if best[2] else [])
    return places


def _candidates(point: Point, size: Point, radius: float) -> Iterator[tuple[Place, Box]]:
    for distance in _DISTANCES:
        for degrees in _DIRECTIONS:
            right, up = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
            away = radius + 1 + distance
            x = point[0] + away * right + max(-1.0, min(1.0, 1.6 * right)) * size[0] / 2
            y = point[1] + away * up + max(-1.0, min(1.0, 1.6 * up)) * size[1] / 2
            yield Place(x, y, distance >= _LED), _around((x, y), size[0] / 2 + 1, size[1] / 2)


def _fits(
    box: Box,
    line: Line | None,
    area: Point,
    taken: Sequence[Box],
    boxes: Sequence[Box],
    lines: Sequence[Line],
) -> bool:
    inside = box[0] >= 0 and box[1] >= 0 and box[2] <= area[0] and box[3] <= area[1]
    if not inside or any(_overlap(box, other) for other in taken) or any(_crosses(other, box) for other in lines):
        return False
    return line is None or not any(_crosses(line, other) for other in boxes)


def _around(centre: Point, width: float, height: float) -> Box:
    return centre[0] - width, centre[1] - height, centre[0] + width, centre[1] + height


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _nearest(point: Point, box: Box) -> Point:
    return min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3])


def _crosses(line: Line, box: Box) -> bool:
    """Whether any of the line lies in the box (Liang and Barsky 1984)."""
    (x, y), (end_x, end_y) = line
    first, last = 0.0, 1.0
    for step, low, high in ((end_x - x, box[0] - x, box[2] - x), (end_y - y, box[1] - y, box[3] - y)):
        if step == 0:
            if low > 0 or high < 0:
                return False
            continue
        near, far = sorted((low / step, high / step))
        first, last = max(first, near), min(last, far)
    return first < last


def _meet(one: Line, other: Line) -> bool:
    """Whether two lines cross."""
    return _sides(one, other) and _sides(other, one)


def _sides(line: Line, ends: Line) -> bool:
    """Whether the ends lie on different sides of the line."""
    (x, y), (to_x, to_y) = line
    left, right = ((to_x - x) * (end_y - y) - (to_y - y) * (end_x - x) for end_x, end_y in ends)
    return left * right < 0


def _along(line: Line, bar: Line) -> bool:
    """Whether the middle of the line lies on the bar, as it does where both run the same way."""
    (x, y), (end_x, end_y) = bar
    middle = (line[0][0] + line[1][0]) / 2, (line[0][1] + line[1][1]) / 2
    length = math.dist(*bar) ** 2
    share = ((middle[0] - x) * (end_x - x) + (middle[1] - y) * (end_y - y)) / length if length else 0.0
    share = min(1.0, max(0.0, share))
    return math.dist(middle, (x + share * (end_x - x), y + share * (end_y - y))) < _ON

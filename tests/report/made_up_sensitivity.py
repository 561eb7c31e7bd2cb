"""Made-up analyses of a design for tests of their figures: any number of fields, one response or three."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from types import SimpleNamespace

from slasearch.analysis.coordinates import DesignResponse
from slasearch.analysis.counts import Counts
from slasearch.analysis.curves import Level, Scale
from slasearch.analysis.morris import Effect, MorrisScreening
from slasearch.analysis.shape import ResponseLine, ResponseSurface
from slasearch.analysis.sobol import Index, PairIndex, SobolIndices

RESPONSES: tuple[DesignResponse, ...] = ("score", "exported_parameters", "robustness")
METHOD = (
    "partial dependence: the field set to each level at 126 points of the design, averaged; single lines: 20 of these "
    "points; band: 95 %, what the surrogate is unsure of; Gaussian process with a Matérn 5/2 kernel (R² 0.87)"
)
KINDS = ('["lora"]', '["lora", "bottleneck"]', '["lora", "bottleneck", "prefix", "ia3"]')
FIELDS: dict[str, tuple[Scale, tuple[Level, ...]]] = {
    "size_control.sparsity_weight": ("log", (0.01, 10.0)),
    "training.learning_rate": ("log", (1e-4, 3e-3)),
    "conditions.train.typos.level": ("linear", (0.0, 0.3)),
    "gates.temperature": ("linear", (0.3, 1.0)),
    "pool.kinds": ("category", KINDS),
    "training.batch_size": ("linear", (8.0, 64.0)),
    "training.head_learning_rate": ("log", (1e-5, 1e-1)),
    "gates.family": ("category", ("hard_concrete", "sigmoid")),
    "training.weight_decay": ("log", (1e-6, 0.1)),
    "training.epochs": ("linear", (1.0, 4.0)),
    "gates.learning_rate": ("log", (0.01, 0.03)),
    "gates.warm_up": ("linear", (0.0, 0.5)),
    "gates.initial_openness": ("linear", (0.05, 0.95)),
    "gates.threshold": ("linear", (0.1, 0.9)),
    "finalisation.share": ("linear", (0.0, 0.5)),
    "conditions.train.embedding_gaussian.level": ("log", (0.001, 1.0)),
    "conditions.train.label_flips.level": ("linear", (0.0, 0.4)),
    "conditions.train.neighbour.level": ("linear", (0.0, 0.4)),
    "size_control.ramp": ("linear", (0.0, 0.8)),
    "training.label_smoothing_of_the_auxiliary_objective": ("linear", (0.0, 0.2)),
}


def results(fields: int, responses: int = 3, *, pairs: bool = True, seed: int = 1) -> SimpleNamespace:
    """What the figures read of a report's results."""
    names, chosen = list(FIELDS)[:fields], RESPONSES[:responses]
    config = SimpleNamespace(
        tasks=[SimpleNamespace(metric="macro_f1"), SimpleNamespace(metric="accuracy")],
        objectives=[SimpleNamespace(name="robustness", measure="noisy_score")],
    )
    return SimpleNamespace(
        frames=SimpleNamespace(config=config),
        counts_of=lambda *_: Counts(126, 0, 2, 0, 1),
        sobol=tuple(sobol(response, names, random.Random(f"{seed} {response}"), pairs=pairs) for response in chosen),
        screenings=tuple(screening(response, names, random.Random(f"{seed} {response}")) for response in chosen),
        lines=tuple(
            line(response, name, random.Random(f"{seed} {response} {name}")) for response in chosen for name in names
        ),
        surfaces=tuple(surface(response, x, y) for response in chosen for x, y in itertools.pairwise(names[:5])),
    )


def weights(fields: int, dice: random.Random) -> list[float]:
    """Importances that fall off as they do: two or three fields matter, most do not."""
    found = [math.exp(-0.55 * rank) * dice.uniform(0.6, 1.4) for rank in range(fields)]
    dice.shuffle(found)
    return [value / sum(found) for value in found]


def sobol(response: DesignResponse, names: Sequence[str], dice: random.Random, *, pairs: bool) -> SobolIndices:
    alone = weights(len(names), dice)
    shares = list(zip(names, alone, strict=True))
    first = [Index(name, 0.72 * share, 0.72 * share - 0.05, 0.72 * share + 0.06) for name, share in shares]
    total = [Index(name, 0.95 * share, 0.95 * share - 0.05, 0.95 * share + 0.07) for name, share in shares]
    second = [
        PairIndex((one, other), share := 0.9 * alone[i] * alone[j], share - 0.02, share + 0.02)
        for i, one in enumerate(names)
        for j, other in enumerate(names)
        if i < j
    ]
    return SobolIndices(
        response, tuple(first), tuple(total), tuple(second) if pairs else (), 126, "surrogate", 0.87,
        "Saltelli's estimators on a Gaussian process of the design's trials, in the space in which they were sampled",
        ("2 trials of the design failed and are not in it",),
    )  # fmt: skip


def screening(response: DesignResponse, names: Sequence[str], dice: random.Random) -> MorrisScreening:
    scale = {"score": 0.2, "exported_parameters": 3.0, "robustness": 0.15}[response]
    effects = []
    for name, share in zip(names, weights(len(names), dice), strict=True):
        size = scale * share
        mu = dice.choice([-1.0, 1.0, 0.2]) * size
        effects.append(Effect(name, size, 0.8 * size, 1.25 * size, mu, size * dice.uniform(0.2, 1.5)))
    return MorrisScreening(response, tuple(effects), 10, 10 * (len(names) + 1), "Morris 1991, Campolongo 2007")


def levels(name: str, count: int) -> tuple[Level, ...]:
    """All choices, or so many levels of a range, evenly where it was sampled."""
    scale, ends = FIELDS[name]
    if scale == "category":
        return ends
    low, high = (float(end) for end in ends)
    shares = [index / (count - 1) for index in range(count)]
    if scale == "log":
        return tuple(low * (high / low) ** share for share in shares)
    return tuple(low + share * (high - low) for share in shares)


def line(response: DesignResponse, name: str, dice: random.Random) -> ResponseLine:
    found = levels(name, 21)
    height, bend, middle = 0.15 * dice.random() ** 3, dice.uniform(0.5, 3), dice.random()
    shares = [index / max(1, len(found) - 1) for index in range(len(found))]
    mean = [0.78 + height * (1 - bend * (share - middle) ** 2) for share in shares]
    half = [0.008 + 0.02 * (share - 0.5) ** 2 for share in shares]
    ice = [
        [value + shift + tilt * share * height for value, share in zip(mean, shares, strict=True)]
        for shift, tilt in ((dice.gauss(0, 0.015), dice.gauss(0, 0.4)) for _ in range(30))
    ]

    def unit(value: float) -> float:
        return value if response != "exported_parameters" else math.exp(10 * value + 2)

    return ResponseLine(
        response, name, FIELDS[name][0], found,
        tuple(unit(value) for value in mean),
        tuple(unit(value - width) for value, width in zip(mean, half, strict=True)),
        tuple(unit(value + width) for value, width in zip(mean, half, strict=True)),
        tuple(tuple(unit(value) for value in one) for one in ice),
        METHOD,
    )  # fmt: skip


def surface(response: DesignResponse, x: str, y: str) -> ResponseSurface:
    """Best where both are in the middle; unsure in the upper right corner."""
    across, up = levels(x, 20), levels(y, 20)
    counts = response == "exported_parameters"

    def at(i: int, j: int) -> tuple[float, float]:
        right, top = j / (len(across) - 1), i / (len(up) - 1)
        value = 0.85 - 0.3 * (right - 0.5) ** 2 - 0.3 * (right - top) ** 2
        half = 0.01 + 0.25 * max(0.0, right + top - 1.4)
        return (math.exp(10 * value + 2), math.exp(10 * half)) if counts else (value, half)

    cells = [[at(i, j) for j in range(len(across))] for i in range(len(up))]
    return ResponseSurface(
        response, x, y, FIELDS[x][0], FIELDS[y][0], across, up,
        tuple(tuple(value for value, _ in row) for row in cells),
        tuple(tuple(half for _, half in row) for row in cells),
        METHOD,
    )  # fmt: skip

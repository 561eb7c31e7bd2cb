"""Search per hour: slasearch beside the stack that a user would build (Ray Tune, OptunaSearch, HF Trainer, PEFT).

Equal work: both sides run the same trials, a LoRA of rank 8 on q and v of some layers at given learning rates, on the
same examples, for as many epochs, with as many evaluations. Each side is a command of its own, timed from its start to
its end; sides take turns within a repetition, in an order that rotates. Ratio = trials per hour of ours over theirs.

With `--until-best`: the wall time of a study with reuse until a trial has the best validation score that
the stock stack has after 30 trials, beside the stock stack's own wall time. Its search at full depth also serves the
`--modes` that compare with one: ours then runs the trials that the stock stack's TPE chose.

    python benchmarks/search_speed.py [--repeats N] [--modes full,half,…] [--stock usual,tuned,usual_bf16,…]
                                      [--pooling mean] [--precision bf16] [--json FILE]
    python benchmarks/search_speed.py --until-best [--trials 30] [--modes half_against_full,…] [--json FILE]
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from kit import Journal, arguments, described, finish, machine, median, outcome, spread, timed_child
from scipy import stats
from stock import VARIANTS
from workload import TWEETS, Workload

LAYERS = {"full": (0, 1, 2, 3, 4, 5), "half": (3, 4, 5), "third": (4, 5)}
STUDY = Path(__file__).with_name("until_best.yaml")
UNTIL_BEST_TARGET = 10.0
SCORE_MARGIN = 0.01
"""Scores that differ by less than a point are as good."""


@dataclass(frozen=True)
class Mode:
    """A comparison: what both sides adapt, and the ratio that is wanted."""

    ours: str
    stock: str
    target: float | None
    noise: bool = False


MODES = {
    "full": Mode("full", "full", 2.0),
    "half": Mode("half", "half", 3.5),
    "third": Mode("third", "third", 5.0),
    "half_against_full": Mode("half", "full", 5.0),
    "third_against_full": Mode("third", "full", 8.0),
    "noise_full": Mode("full", "full", None, noise=True),
    "noise_half": Mode("half", "half", None, noise=True),
}


@dataclass(frozen=True, order=True)
class Arm:
    """One search: `ours`, or a variant of the stock stack."""

    side: str
    layers: str
    noise: bool

    @property
    def name(self) -> str:
        """As it stands in journals."""
        return f"{self.side} {self.layers}{' noise' if self.noise else ''}"


# ---------------------------------------------------------------- equal work


def equal_work(journal: Journal, work: Workload, modes: Sequence[str], stock: Sequence[str], repeats: int) -> Any:
    """For each mode and each variant of the stock stack the ratios of all repetitions, and the scores of both."""
    arms = sorted({arm for mode in modes for arm in _arms(MODES[mode], stock)})
    found: dict[Arm, list[dict[str, Any]]] = {arm: [] for arm in arms}
    for repeat in range(repeats):
        rates = drawn_rates(work, repeat)
        for arm in arms[repeat % len(arms) :] + arms[: repeat % len(arms)]:
            its = replace(work, layers=LAYERS[arm.layers], noise=arm.noise, rates=rates, seed=repeat)
            found[arm].append(journal.piece(f"{repeat}: {arm.name}", lambda its=its, arm=arm: _run(arm.side, its)))
    return {
        f"{mode} / {variant}": _compared(
            MODES[mode], list(zip(*(found[arm] for arm in _arms(MODES[mode], [variant])), strict=True))
        )
        for mode in modes
        for variant in stock
    }


def _arms(mode: Mode, stock: Sequence[str]) -> list[Arm]:
    return [Arm("ours", mode.ours, mode.noise), *(Arm(variant, mode.stock, mode.noise) for variant in stock)]


def drawn_rates(work: Workload, repeat: int) -> list[float]:
    """The learning rates of a repetition's trials, log-uniform."""
    source = random.Random(1000 + repeat)
    low, high = map(math.log, work.rate_range)
    return [math.exp(source.uniform(low, high)) for _ in range(work.trials)]


def _run(side: str, work: Workload) -> dict[str, Any]:
    if side == "ours":
        return timed_child("ours.py", {"work": asdict(work)}, threads=work.threads)
    return timed_child("stock.py", {"work": asdict(work), "variant": side}, threads=work.threads)


def _compared(mode: Mode, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Of pairs of ours and theirs the ratios, and whether trials of the same rate come out alike."""
    ratios = [per_hour(mine) / per_hour(theirs) for mine, theirs in pairs]
    difference = spread(
        [
            mine[rate] - theirs[rate]
            for mine, theirs in ((_scores(mine), _scores(theirs)) for mine, theirs in pairs)
            for rate in mine.keys() & theirs.keys()
        ]
    )
    return {
        "target": mode.target,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "ours": _side([mine for mine, _ in pairs]),
        "stock": _side([theirs for _, theirs in pairs]),
        "paired_score_difference": difference,
        **agreement(difference),
    }


def agreement(difference: Mapping[str, float]) -> dict[str, Any]:
    """The 95 % t-interval of a mean paired difference (None of fewer than two pairs), and what it says of `scores`.

    They `agree` if it lies within `SCORE_MARGIN` of zero, `differ` if it reaches further and leaves out zero; what else
    there is, more pairs would tell: `not told`.
    """
    if difference["n"] < 2:
        return {"score_interval": None, "scores": "not told"}
    half = float(stats.t.ppf(0.975, difference["n"] - 1)) * difference["sd"] / math.sqrt(difference["n"])
    low, high = difference["mean"] - half, difference["mean"] + half
    agree = max(-low, high) <= SCORE_MARGIN
    return {
        "score_interval": [low, high],
        "scores": "agree" if agree else "differ" if low > 0 or high < 0 else "not told",
    }


def _side(runs: list[dict[str, Any]]) -> dict[str, Any]:
    trials = [trial for run in runs for trial in run["trials"]]
    return {
        "trials_per_hour": statistics.median(per_hour(run) for run in runs),
        "wall_s": [run["wall_s"] for run in runs],
        "trial_s": statistics.median(trial["seconds"] for trial in trials),
        "evaluate_s": statistics.median(trial["evaluate_s"] for trial in trials),
        "score": spread([trial["score"] for trial in trials]),
        "failed": sum(run["failed"] for run in runs),
    }


def per_hour(run: Mapping[str, Any]) -> float:
    """Trials that ended well in an hour of wall time, the start of the command included."""
    return 3600 * len(run["trials"]) / run["wall_s"]


def _scores(run: Mapping[str, Any]) -> dict[str, float]:
    return {f"{trial['rate']:.6g}": trial["score"] for trial in run["trials"]}


# ---------------------------------------------------------------- until the stock stack's best


def until_best(
    journal: Journal, work: Workload, study: Path, modes: Sequence[str], stock: Sequence[str], repeats: int
) -> dict[str, Any]:
    """For each variant of the stock stack: its wall time, and that of our study until it has the same score.

    And for each mode that compares with full depth its ratios, our searches repeating the trials of the other side's.
    """
    found: dict[str, list[dict[str, float | None]]] = {variant: [] for variant in stock}
    pairs: dict[tuple[str, str], list[tuple[dict[str, Any], dict[str, Any]]]] = {
        (mode, variant): [] for mode in modes for variant in stock
    }
    for repeat in range(repeats):
        its = replace(work, seed=repeat)
        for variant in stock:
            theirs = journal.piece(f"{repeat}: {variant} whole", lambda its=its, variant=variant: _run(variant, its))
            best = max(theirs["trials"], key=lambda trial: trial["score"])
            settings = {"work": asdict(its), "study": str(study), "target": best["score"]}
            ours = journal.piece(
                f"{repeat}: ours until {variant}, {sha256(study.read_bytes()).hexdigest()[:8]}",
                lambda settings=settings: timed_child("ours.py", settings, threads=work.threads),
            )
            found[variant].append(_until(ours, theirs, best))
            rates = [trial["rate"] for trial in theirs["trials"]]
            for mode in modes:
                same = replace(its, layers=LAYERS[MODES[mode].ours], rates=rates)
                ours = journal.piece(
                    f"{repeat}: ours {MODES[mode].ours} as {variant}", lambda same=same: _run("ours", same)
                )
                pairs[mode, variant].append((ours, theirs))
    equal = {f"{mode} / {variant}": _compared(MODES[mode], rows) for (mode, variant), rows in pairs.items()}
    return equal | {
        f"until best / {variant}": {
            "target": UNTIL_BEST_TARGET,
            "ratio": median(row["ratio"] for row in rows),
            "ratio_to_first_best": median(row["ratio_to_first_best"] for row in rows),
            "reached": sum(row["ours_s"] is not None for row in rows),
            "repeats": rows,
        }
        for variant, rows in found.items()
    }


def _until(ours: Mapping[str, Any], theirs: Mapping[str, Any], best: Mapping[str, Any]) -> dict[str, float | None]:
    """A repetition. A trial that ties with the best and ends later is not the first to have the score."""
    first = min(trial["ended"] for trial in theirs["trials"] if trial["score"] == best["score"]) - theirs["spawned"]
    mine = None if ours["reached"] is None else ours["reached"] - ours["spawned"]
    return {
        "score": best["score"],
        "stock_s": theirs["wall_s"],
        "stock_first_s": first,
        "ours_s": mine,
        "ours_trials": float(len(ours["trials"]) + ours["pruned"]),
        "ratio": None if mine is None else theirs["wall_s"] / mine,
        "ratio_to_first_best": None if mine is None else first / mine,
    }


# ---------------------------------------------------------------- results


def table(found: Mapping[str, Any]) -> str:
    """The result for people."""
    work = found["settings"]["work"]
    lines = [
        described(found["machine"]),
        f"{work['source']}: {work['trials']} trials, {work['concurrency']} at a time; {work['train']} examples, "
        f"{work['epochs']} epochs, {work['validation']} validation texts, {work['pooling']} pooling; "
        f"median of {found['repeats']} repetitions",
    ]
    return "\n".join(lines + [_line(name, row, found["verdicts"][name]) for name, row in found["pairs"].items()])


def _line(name: str, row: Mapping[str, Any], verdict: str) -> str:
    ratio = "none" if row["ratio"] is None else f"{row['ratio']:.2f}"
    wanted = "" if row["target"] is None else f" (target {row['target']:g}: {verdict})"
    if "reached" in row:
        seconds = ", ".join(
            f"{one['stock_s']:.0f} s to {'never' if one['ours_s'] is None else format(one['ours_s'], '.0f') + ' s'}"
            for one in row["repeats"]
        )
        first = "none" if row["ratio_to_first_best"] is None else f"{row['ratio_to_first_best']:.2f}"
        return f"{name:28} {ratio:>6} x{wanted}; {first} x of the time of its best trial's end; {seconds}"
    ours, stock, difference = row["ours"], row["stock"], row["paired_score_difference"]
    scores = " / ".join(f"{side['score']['mean']:.3f} ± {side['score']['sd']:.3f}" for side in (ours, stock))
    interval = "" if row["score_interval"] is None else " [{:+.3f}, {:+.3f}]".format(*row["score_interval"])
    return (
        f"{name:28} {ratio:>6} x{wanted}: {ours['trials_per_hour']:.0f} / {stock['trials_per_hour']:.0f} trials an "
        f"hour; scores {row['scores'].replace('differ', 'DIFFER')}: {scores}, paired difference "
        f"{difference['mean']:+.3f}{interval}"
    )


def main() -> int:
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--modes", help=f"some of {','.join(MODES)} (default: all; none with --until-best)")
    parser.add_argument("--stock", default="usual,tuned", help=f"some of {','.join(VARIANTS)}")
    parser.add_argument("--task", default=f"tweets={TWEETS}", help="NAME=SOURCE or NAME=FOLDER (default: %(default)s)")
    parser.add_argument("--text-pair", help="column of the second text of a pair (default: there is none)")
    parser.add_argument("--trials", type=int, default=Workload.trials, help="trials of a search (default: %(default)s)")
    parser.add_argument("--pooling", choices=("mean", "cls"), default=Workload.pooling, help="of both sides")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of our side")
    parser.add_argument("--until-best", action="store_true")
    parser.add_argument("--study", type=Path, default=STUDY, help="our study for --until-best")
    options = parser.parse_args()
    work = _workload(options)
    stock = options.stock.split(",")
    modes = _modes(parser, options)
    if options.smoke:
        stock, options.repeats = ["tuned"], 1
    settings = {"work": asdict(work)}
    about = machine(options.device, work.threads)
    journal = Journal(options, settings)
    if options.until_best:
        pairs = until_best(journal, work, options.study, modes, stock, options.repeats)
    else:
        pairs = equal_work(journal, work, modes, stock, options.repeats)
    found = {
        "benchmark": "search_speed",
        "machine": about,
        "settings": settings | ({"study": options.study.read_text("utf-8")} if options.until_best else {}),
        "repeats": options.repeats,
        "stock": {name: VARIANTS[name] for name in stock},
        "pairs": pairs,
        "verdicts": {name: outcome(row["ratio"], row["target"], smoke=options.smoke) for name, row in pairs.items()},
    }
    return finish(found, table(found), journal, options.json)


def _modes(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[str]:
    """The comparisons that are asked for; with `--until-best` the stock stack is at full depth and without noise."""
    clean_full = {name for name, mode in MODES.items() if mode.stock == "full" and not mode.noise}
    known = clean_full if options.until_best else set(MODES)
    default = [] if options.until_best else ["third"] if options.smoke else list(MODES)
    chosen = default if options.modes is None else options.modes.split(",")
    if not known.issuperset(chosen):
        parser.error(f"--modes: expected some of {', '.join(sorted(known))}; got {options.modes}")
    return chosen


def _workload(options: argparse.Namespace) -> Workload:
    place = options.task.partition("=")[2]
    source = place if place.split(":")[0] in ("bundled", "file", "hub") else f"file:{Path(place).resolve()}"
    small = {"train": 32, "validation": 32, "epochs": 1} if options.smoke else {}
    where = {"device": options.device, "pooling": options.pooling, "precision": options.precision}
    return Workload(
        source=source, text_pair=options.text_pair, trials=1 if options.smoke else options.trials, **where, **small
    )


if __name__ == "__main__":
    sys.exit(main())

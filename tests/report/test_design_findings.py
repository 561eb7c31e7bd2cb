"""Sentences on what a design says of all its fields: shares, screening, shapes; and the five of a whole design."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from synthetic import RATE, WEIGHT
from synthetic_designs import write_design

from slasearch.analysis.frames import StudyFrames, load_frames
from slasearch.analysis.morris import Effect, MorrisScreening, morris_screening
from slasearch.analysis.shape import ResponseLine, ResponseSurface
from slasearch.analysis.sobol import Index, PairIndex, SobolIndices
from slasearch.analysis.surrogate import fit_surrogate
from slasearch.errors import ReportError
from slasearch.report.finding import some
from slasearch.report.findings import findings
from slasearch.report.labels import fraction, number, short_factor, with_ends
from slasearch.report.results import Results, analyse
from slasearch.report.screening_findings import _screening, screening_findings
from slasearch.report.shape_findings import shape_findings
from slasearch.report.share_findings import share_findings
from slasearch.report.summary import five, others

NOISE, TYPOS = "conditions.train.embedding_gaussian.level", "conditions.train.typos.level"


def said(found: Any, topic: str | None = None) -> list[str]:
    return [item.text for item in found if topic in (None, item.topic)]


# ---------------------------------------------------------------- shares of variance


def indices(**changes: Any) -> SobolIndices:
    first = (Index(WEIGHT, 0.1, 0.04, 0.16), Index(RATE, 0.62, 0.55, 0.69), Index(NOISE, 0.02, -0.02, 0.06),
             Index(TYPOS, 0.0, -0.02, 0.02))  # fmt: skip
    total = (Index(WEIGHT, 0.19, 0.1, 0.28), Index(RATE, 0.71, 0.63, 0.79), Index(NOISE, 0.07, 0.01, 0.13),
             Index(TYPOS, 0.01, -0.01, 0.03))  # fmt: skip
    second = (PairIndex((WEIGHT, RATE), 0.09, 0.03, 0.15), PairIndex((WEIGHT, NOISE), 0.01, -0.01, 0.03))
    item = SobolIndices("score", first, total, second, 128, "surrogate", 0.912, "method", ("2 trials failed",))
    return replace(item, **changes)


def shares(item: SobolIndices) -> list[str]:
    return said(share_findings(SimpleNamespace(sobol=(item,))))  # type: ignore[arg-type]


def test_shares_are_told_with_their_intervals_and_what_is_not_told_is_said_so() -> None:
    text, caution = shares(indices())
    assert text == (
        "Of what sparsity weight λ, learning rate, embedding noise in training and 1 more do to the score over this "
        "design, learning rate explains .62 [.55, .69] alone and .71 [.63, .79] with its interactions; "
        "sparsity weight λ .10 [.04, .16] alone and .19 [.10, .28] with its interactions; "
        "embedding noise in training .07 [.01, .13] with its interactions, alone not told from nothing; "
        "sparsity weight λ × learning rate together .09 [.03, .15]; "
        "not told from nothing: typos in training. "
        "(Gaussian process of 128 trials, R² .91 at points held out.)"
    )
    assert caution == "2 trials failed."
    idle = shares(indices(warnings=(f"{RATE} does not vary over the design",)))[1]
    assert idle == "Learning rate does not vary over the design."


def test_pairs_are_named_only_where_they_are_told() -> None:
    no_pair = tuple(replace(pair, low=-0.01) for pair in indices().second)
    assert "; no two are told to act together; not told from nothing: " in shares(indices(second=no_pair))[0]
    without = shares(indices(second=(), r2=None, source="direct"))[0]
    assert "together" not in without
    assert without.endswith("(From 128 trials, without a surrogate.)")
    many = tuple(replace(indices().second[0], fields=(RATE, f"x.f{place}")) for place in range(5))
    pairs = "learning rate × f0 together .09 [.03, .15], learning rate × f1 together .09 [.03, .15] and 3 more; not"
    assert pairs in shares(indices(second=many))[0]


def test_a_design_that_tells_no_share_says_so() -> None:
    nothing = {
        part: tuple(replace(one, estimate=0.0, low=-0.1, high=0.1) for one in getattr(indices(), part))
        for part in ("first", "total", "second")
    }
    text, _ = shares(indices(**nothing))
    assert "over this design, the share of none is told from nothing; no two are told to act together. (" in text
    assert "explains" not in text


def test_of_many_fields_three_are_named() -> None:
    names = [f"x.field_{place}" for place in range(8)]
    told = tuple(Index(name, 0.2 - 0.02 * place, 0.01, 0.3) for place, name in enumerate(names))
    text, _ = shares(indices(first=told, total=told, second=()))
    assert text.startswith("Of what field 0, field 1, field 2 and 5 more do to the score over this design, field 0 ")
    assert "; 5 more at most .14 each with their interactions. (" in text
    alone = shares(indices(first=told[:1], total=told[:1], second=()))[0]
    assert alone.startswith("Of what field 0 does to the score")


def test_numbers_of_sentences() -> None:
    assert [fraction(value) for value in (0.62, -0.03, 1.02, 0.999, -0.001, 0.0)] == [
        ".62", "−.03", "1.02", "1.00", ".00", ".00",
    ]  # fmt: skip
    assert [number(0.8424), number(-0.01, signed=True), number(0.01, 2, signed=True), number(math.nan)] == [
        "0.842", "−0.010", "+0.01", "–",
    ]  # fmt: skip
    assert with_ends(fraction, 0.62, 0.55, 0.69) == ".62 [.55, .69]"
    assert [some(list("abc")), some(list("abcde")), some(list("abc"), 2)] == [
        "a, b and c", "a, b, c and 2 more", "a, b and 1 more",
    ]  # fmt: skip


# ---------------------------------------------------------------- screening


def screened(*effects: Effect, response: Any = "score", repeats: int = 3) -> MorrisScreening:
    return MorrisScreening(response, effects, 8, 96, "method", repeats=repeats)


EFFECTS = (
    Effect(WEIGHT, 0.12, 0.09, 0.15, -0.12, 0.01, floor=0.01, p_moves=0.001, p_bends=0.9),
    Effect(RATE, 0.05, 0.03, 0.07, 0.005, 0.06, floor=0.01, p_moves=0.001, p_bends=0.003),
    Effect(NOISE, 0.011, 0.006, 0.016, 0.01, 0.012, floor=0.01, p_moves=0.3, p_bends=0.4),
    Effect(TYPOS, 0.0, 0.0, 0.0, 0.0, 0.0, floor=0.01, p_moves=1.0, p_bends=1.0),
)


def test_screening_tells_what_moves_what_bends_and_what_does_nothing() -> None:
    assert _screening(screened(*EFFECTS)) == (
        "On average, each over its whole range, sparsity weight λ lowers the score by 0.120 [0.090, 0.150] and "
        "learning rate changes it by 0.050 [0.030, 0.070]; acting with others or bending: learning rate (σ/μ* 1.2); "
        "not told to do anything beyond what seeds do: embedding noise in training and typos in training. "
        "(8 Morris trajectories, 96 trials, means over 3 seed pairs; seeds alone would change it by 0.010.)"
    )


def test_what_bends_a_little_is_not_said_to_bend() -> None:
    """Surely more than seeds do, and yet a small part of the effect."""
    slight = replace(EFFECTS[0], sigma=0.05, p_bends=0.001)
    assert "none is told to act with others or to bend" in _screening(screened(slight, *EFFECTS[2:]))


def test_without_repeats_fields_stand_in_their_order_and_only_zero_is_nothing() -> None:
    once = [replace(effect, floor=0.0, p_moves=None, p_bends=None) for effect in EFFECTS]
    assert _screening(screened(*once, repeats=1)) == (
        "Mean sizes of effects on the score, what seeds do in them: sparsity weight λ 0.120 [0.090, 0.150], learning "
        "rate 0.050 [0.030, 0.070] and embedding noise in training 0.011 [0.006, 0.016]; no effect in any trajectory: "
        "typos in training. (8 Morris trajectories, 96 trials; with one seed pair nothing is told from what seeds do.)"
    )
    assert _screening(screened(once[3], repeats=1)).startswith("No effect in any trajectory: typos in training. (8")


def test_effects_on_a_size_are_factors() -> None:
    log = [replace(EFFECTS[0], mu_star=math.log(4), low=math.log(3), high=math.log(5), mu=-math.log(4)), EFFECTS[1]]
    up = replace(EFFECTS[2], p_moves=0.01)
    text = _screening(screened(*log, up, response="exported_parameters"))
    assert "sparsity weight λ divides the size by 4.00 [3.00, 5.00]" in text
    assert "learning rate changes it by a factor of 1.05 [1.03, 1.07]" in text
    assert "embedding noise in training multiplies it by 1.01 [1.01, 1.02]" in text
    untold = [replace(one, p_moves=None, p_bends=None) for one in log]
    once = _screening(screened(*untold, response="exported_parameters", repeats=1))
    assert once.startswith(
        "Mean sizes of effects on the size, as factors, what seeds do in them: sparsity weight λ 4.00"
    )


def test_choices_have_no_direction_and_no_range() -> None:
    choice = Effect("pool.ranks", 0.03, 0.024, 0.036, 0.03, 0.0, choice=True, p_moves=0.01, p_bends=0.5)
    assert _screening(screened(choice)).startswith(
        "On average over its whole range or from one choice to another, ranks in the pool changes the score by 0.030 "
        "[0.024, 0.036]"
    )


def test_many_effects_are_counted_and_none_is_said_to_be_none() -> None:
    many = [
        Effect(f"x.field_{place}", 0.2 - 0.01 * place, 0.05, 0.3, 0.2 - 0.01 * place, 0.0, p_moves=0.01, p_bends=1.0)
        for place in range(6)
    ]
    text = _screening(screened(*many))
    assert " and 3 more change it by at most 0.170; none is told to act with others or to bend. (" in text
    assert "not told to do anything" not in text
    nothing = _screening(screened(*EFFECTS[2:]))
    assert nothing.startswith("No field is told to move the score. (8 Morris")


@pytest.fixture(scope="module")
def morris(tmp_path_factory: pytest.TempPathFactory) -> StudyFrames:
    url = f"sqlite:///{tmp_path_factory.mktemp('morris') / 'study.db'}"
    write_design(url, "morris", 16, seeds=3)
    return load_frames(url, "synthetic")


def test_a_design_on_which_nothing_acts_tells_nothing(morris: StudyFrames) -> None:
    trials = morris.trials.sort_values("trial_id")
    noise = np.random.default_rng(11).normal(0, 0.02, len(trials))
    frames = replace(morris, trials=trials.assign(score=0.05 * trials["repeat"] + noise))
    idle = said(screening_findings(SimpleNamespace(screenings=(morris_screening(frames),))))  # type: ignore[arg-type]
    assert idle[0].startswith("No field is told to move the score. ")


def test_the_five_of_a_morris_design_say_what_moves_the_score(morris: StudyFrames) -> None:
    results = analyse(morris)
    first = five(results, findings(results))
    assert [item.topic for item in first[:2]] == ["Sensitivity", "Disturbance"]
    effects = {effect.field: effect for effect in results.screenings[0].effects}
    strongest = max(effects.values(), key=lambda effect: effect.mu_star)
    shown = with_ends(number, strongest.mu_star, strongest.low, strongest.high)
    assert f"{short_factor(strongest.field)} " in first[0].text
    assert f"the score by {shown}" in first[0].text
    bending = first[0].text.partition("acting with others or bending: ")[2]
    assert "learning rate (σ/μ* " in bending
    assert "16 Morris trajectories, 288 trials, means over 3 seed pairs" in first[0].text
    assert sum(item.topic == "Sensitivity" for item in first) == 3, "score, size and robustness"
    assert {*first, *others(results, findings(results))} == {
        item for item in findings(results) if item.kind == "result"
    }


# ---------------------------------------------------------------- shapes


def line(mean: tuple[float, ...], half: float, **changes: Any) -> ResponseLine:
    found = ResponseLine(
        "score", RATE, "log", (0.0003, 0.001, 0.003, 0.01), mean, tuple(value - half for value in mean),
        tuple(value + half for value in mean), (), "method",
    )  # fmt: skip
    return replace(found, **changes)


def shapes(*lines: ResponseLine, surfaces: tuple[ResponseSurface, ...] = (), sobol: Any = ()) -> list[str]:
    return said(shape_findings(SimpleNamespace(lines=lines, surfaces=surfaces, sobol=sobol)))  # type: ignore[arg-type]


def test_a_shape_is_told_by_its_ends_and_the_range_that_is_as_good() -> None:
    assert shapes(line((0.79, 0.83, 0.842, 0.8), 0.01)) == [
        "Learning rate: averaged over the other fields the score is best at 0.003, 0.842 [0.832, 0.852], and lowest at "
        "0.0003, 0.790 [0.780, 0.800]; from 0.001 to 0.003 its interval reaches that of the best."
    ]
    assert shapes(line((0.79, 0.83, 0.842, 0.8), 0.03)) == [], "nothing is told apart"
    (rising,) = shapes(line((0.7, 0.75, 0.8, 0.9), 0.01))
    assert "best at 0.01, an end of its range, 0.900 [0.890, 0.910]," in rising
    assert "reaches that of the best" not in rising


def test_of_sizes_fewest_are_best_and_choices_have_no_range() -> None:
    sizes = line((9000.0, 7000.0, 3000.0, 2900.0), 200.0, response="exported_parameters")
    (text,) = shapes(sizes)
    fewest = "2\u202f900 [2\u202f700, 3\u202f100]"
    assert f"exported parameters are fewest at 0.01, an end of its range, {fewest}, and most" in text
    assert "from 0.003 to 0.01" in text
    choices = line((0.7, 0.79, 0.8), 0.01, field="pool.ranks", scale="category", levels=("[1]", "[4]", "[1, 4]"))
    assert shapes(choices) == [
        "Ranks in the pool: averaged over the other fields the score is best at 1 + 4, 0.800 [0.790, 0.810], and "
        "lowest at 1, 0.700 [0.690, 0.710]."
    ]


def test_two_fields_act_together_only_where_that_is_told() -> None:
    """A direct design says nothing of pairs unless it was asked to."""
    pair = replace(indices().second[0], fields=(RATE, WEIGHT), low=0.03)
    for second, begin in (
        ((pair,), "act together: the score is best"),
        ((), "Over "),
        ((replace(pair, low=0.0),), None),
    ):
        found = [
            text for text in shapes(surfaces=(surface(),), sobol=(indices(second=second),)) if "caution" not in text
        ]
        assert len(found) == (begin is not None)
        assert all(begin in text for text in found)


def test_the_three_fields_that_do_most_have_a_sentence() -> None:
    lines = [line((0.7, 0.7 + 0.1 * place, 0.7, 0.7), 0.001, field=f"x.f{place}") for place in range(1, 6)]
    assert [text[:2] for text in shapes(*lines)] == ["F5", "F4", "F3"]


def surface(half: float = 0.01) -> ResponseSurface:
    mean = ((0.7, 0.75, 0.85), (0.75, 0.8, 0.75), (0.84, 0.75, 0.6))
    return ResponseSurface(
        "score", WEIGHT, RATE, "log", "log", (0.01, 0.1, 1.0), (0.0003, 0.002, 0.01), mean, ((half,) * 3,) * 3,
        "method", ("a caution",),
    )  # fmt: skip


def test_pairs_that_act_together_are_told_where_they_are_best() -> None:
    told = (indices(),)
    assert shapes(surfaces=(surface(),), sobol=told) == [
        "Sparsity weight λ and learning rate act together: the score is best at 1 and 0.0003, 0.850 [0.840, 0.860], "
        "and lowest at 1 and 0.01, 0.600 [0.590, 0.610]; the best sparsity weight λ is 1 where learning rate is "
        "0.0003, and 0.01 where it is 0.01.",
        "A caution.",
    ]
    assert shapes(surfaces=(surface(0.2),), sobol=told) == ["A caution."]
    untold = replace(indices(), second=tuple(replace(pair, low=-0.1) for pair in indices().second))
    assert shapes(surfaces=(surface(),), sobol=(untold,)) == ["A caution."]


def test_a_grid_tells_its_best_pair_of_levels_but_not_that_they_act_together() -> None:
    text = shapes(surfaces=(surface(),))[0]
    assert text.startswith("Over sparsity weight λ and learning rate the score is best at 1 and 0.0003, 0.850")
    assert shapes(surfaces=(surface(math.nan),)) == ["A caution."], "one seed pair has no intervals"
    assert shapes(surfaces=(replace(surface(), together=False),)) == ["A caution."], "its surrogate does not tell"
    assert " act together: " in shapes(surfaces=(replace(surface(), together=True),))[0]


# ---------------------------------------------------------------- a whole design


@pytest.fixture(scope="module")
def space_filling(tmp_path_factory: pytest.TempPathFactory) -> Results:
    url = f"sqlite:///{tmp_path_factory.mktemp('qmc') / 'study.db'}"
    write_design(url, "qmc", 64)
    return analyse(load_frames(url, "synthetic"))


def test_the_five_of_a_space_filling_design_carry_its_message(space_filling: Results) -> None:
    first = five(space_filling, findings(space_filling))
    assert [item.topic for item in first[:4]] == ["Sensitivity", "Interactions", "Shape", "Disturbance"]
    score = next(item for item in space_filling.sobol if item.response == "score")
    pair = max(score.second, key=lambda one: one.estimate)
    assert pair.fields == (WEIGHT, RATE)
    assert pair.low > 0
    share = with_ends(fraction, pair.estimate, pair.low, pair.high)
    assert f"sparsity weight λ × learning rate together {share}" in first[0].text
    assert score.r2 is not None
    assert first[0].text.endswith(f"(Gaussian process of 64 trials, R² {fraction(score.r2)} at points held out.)")
    assert first[1].text.startswith("Sparsity weight λ and learning rate act together: the score is best at ")
    assert {*first, *others(space_filling, findings(space_filling))} == {
        item for item in findings(space_filling) if item.kind == "result"
    }


def test_too_few_points_are_not_mended_by_seeds(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    write_design(url, "qmc", 8, seeds=2)
    with pytest.raises(ReportError, match=r"got 8\. Raise `phases\.design\.points` \(of a grid: its levels\) and run"):
        fit_surrogate(load_frames(url, "synthetic"))


def test_each_sentence_stands_once(space_filling: Results) -> None:
    texts = said(findings(space_filling))
    assert len(texts) == len(set(texts))

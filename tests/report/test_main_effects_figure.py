"""The forest of main effects: markers and bars are the analysis' numbers in both forms, and words say what they are."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from slasearch.analysis.counts import Counts
from slasearch.analysis.main_effects import FieldEffect, LevelEffect, MainEffects
from slasearch.report.figures import main_effects
from slasearch.report.figures._base import ReportFigure
from slasearch.report.findings import findings
from slasearch.report.results import Results

START = FieldEffect(
    "pool.start",
    (LevelEffect("gradient", 0.01, 0.004, 0.016, 20), LevelEffect("random", -0.01, -0.016, -0.004, 20)),
    0.002,
    0.004,
)
RATE = FieldEffect(
    "training.learning_rate",
    (LevelEffect(0.0015, -0.004, -0.012, 0.004, 40), LevelEffect(0.006, 0.004, -0.004, 0.012, 40)),
    0.3,
    0.3,
)
FOUND = MainEffects("score", (START, RATE), 40, 20, 0.012, 0.66)


def figure_of(*found: MainEffects) -> ReportFigure:
    results = SimpleNamespace(main_effects=found, counts_of=lambda *_: Counts(40, 0, 0, 0, 1))
    (figure,) = main_effects.figures(results)  # type: ignore[arg-type]
    return figure


def test_markers_and_bars_are_the_numbers() -> None:
    figure = figure_of(FOUND)
    (ax,) = figure.draw().axes
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == ["start: gradient", "start: random", "learning rate: 0.0015", "learning rate: 0.006"]
    bars = [collection.get_segments()[0] for collection in ax.collections]
    wanted = [end for field in FOUND.fields for level in field.levels for end in (level.low, level.high)]
    assert [place[0] for bar in bars for place in bar] == pytest.approx(wanted)
    (panel,) = figure.panels()
    (trace,) = panel.figure.data
    assert list(trace.x) == [0.01, -0.01, -0.004, 0.004]
    assert list(trace.error_x.array) == pytest.approx([0.006, 0.006, 0.008, 0.008])


def test_lists_that_begin_alike_have_rows_of_their_own() -> None:
    lists = [
        f'["{name}"]' for name in ('attn.q", "attn.k", "attn.v", "attn.out', 'attn.q", "attn.k", "attn.v", "ffn.out')
    ]
    sites = FieldEffect("pool.sites", tuple(LevelEffect(one, 0.01, 0.0, 0.02, 20) for one in lists), 0.5, 0.5)
    figure = figure_of(replace(FOUND, fields=(sites,)))
    (ax,), (panel,) = figure.draw().axes, figure.panels()
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert len(set(labels)) == 2
    assert all(len(label) <= 40 for label in labels)
    assert list(panel.figure.data[0].y) == [0, 1]
    assert list(panel.figure.layout.yaxis.ticktext) == labels
    assert panel.figure.data[0].text[1] == "sites in the pool: attn.q + attn.k + attn.v + ffn.out"


def test_what_is_told_from_nothing_is_filled() -> None:
    (ax,) = figure_of(FOUND).draw().axes
    faces = [line.get_markerfacecolor() for line in ax.lines if line.get_marker() == "o"]
    assert faces[0] == faces[1] != "white"
    assert faces[2:] == ["white", "white"]


def test_table_and_words_hold_the_numbers() -> None:
    figure = figure_of(FOUND)
    row = figure.table.set_index(["field", "level"]).loc[("pool.start", "gradient")]
    assert (row["effect"], row["low"], row["high"], row["n"], row["p_holm"]) == (0.01, 0.004, 0.016, 20, 0.004)
    text = figure.note.replace("\n", " ").replace("\u00a0", " ")
    assert "score: 40 points, 20 degrees of freedom left, R² 0.66, residuals ± 0.012" in text
    assert "start (p 0.004): gradient +0.01, random -0.01" in figure.alt


def test_without_a_design_there_is_no_figure() -> None:
    assert main_effects.figures(SimpleNamespace(main_effects=())) == []  # type: ignore[arg-type]


def test_a_sentence_names_what_is_told(results: Results) -> None:
    nothing = replace(FOUND, response="robustness", fields=(RATE,))
    told = [item.text for item in findings(replace(results, main_effects=(FOUND, nothing)))]
    assert (
        "Main effects on score, the level that adds most to its field's mean: start gradient +0.01 [+0.004, +0.016] "
        "(n = 40 points, additive model, R² 0.66)." in told
    )
    assert any(
        text.startswith("Main effects on robustness") and "no field is told from nothing" in text for text in told
    )

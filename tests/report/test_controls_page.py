"""What a report says and draws of many controls, and of how they were tuned."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from matplotlib.figure import Figure
from synthetic import Plan

from slasearch.analysis.compare import compare
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.roles import layout_label, role_label, role_phrase
from slasearch.registry import CONTROL_VARIANTS, CONTROLS
from slasearch.report.card_tables import comparison_section
from slasearch.report.compare_text import winner_tables
from slasearch.report.figures import comparison, robustness, sensitivity
from slasearch.report.findings import findings
from slasearch.report.html import _tiles, render
from slasearch.report.labels import arm_label, p_label
from slasearch.report.results import Results, analyse
from slasearch.report.style import role_marks
from slasearch.report.table import result_table
from slasearch.report.tables import controls_tables, tuning_table

NAMES = CONTROLS.names()
ROLES = tuple(f"control:{name}" for name in NAMES)
MANY = Plan(controls=NAMES, tuning=6, seeds=2, broken=("prefix",), optimise=12)


@pytest.fixture(scope="module")
def many(results_of: Callable[[Plan], Results]) -> Results:
    """A study with every control that there is, each tuned."""
    return results_of(MANY)


def said(results: Results, topic: str) -> str:
    return " ".join(item.text for item in findings(results) if item.topic == topic)


# ---------------------------------------------------------------- names and marks


@pytest.mark.parametrize("role", ROLES)
def test_every_control_has_a_name_and_a_place_in_a_sentence(role: str) -> None:
    assert not role_phrase(role).startswith("the control "), "add it to slasearch.analysis.roles"
    assert role_label(role)[:1].isupper()
    assert len(role_label(role)) <= 24


def test_names_of_controls_differ_and_unknown_ones_are_called_controls() -> None:
    assert len({role_label(role) for role in ROLES}) == len({role_phrase(role) for role in ROLES}) == len(ROLES)
    assert (role_phrase("control:my_rule"), role_label("control:my_rule")) == ("the control my rule", "My rule")


def test_layouts_are_named_in_words() -> None:
    for variants in CONTROL_VARIANTS.values():
        labels = [layout_label(variant) for variant in variants]
        assert len(set(labels)) == len(labels)
        assert not any("_" in label for label in labels)
    assert layout_label("7") == "no. 7"


def test_every_control_has_a_mark_of_its_own() -> None:
    marks = role_marks(["winner", *ROLES, "control:mine", "control:other"])
    known = [marks[role] for role in ("winner", *ROLES)]
    assert len({mark.symbol for mark in known}) == len(known)
    assert len({str(mark.marker) for mark in known}) == len(known)
    assert len({(mark.color, mark.symbol) for mark in marks.values()}) == len(marks)


# ---------------------------------------------------------------- tables


def test_tables_state_how_many_trials_tuned_the_controls_and_the_search(many: Results) -> None:
    searched = many.comparisons[0].searched
    wanted = f"ontrols were tuned with 6 trials each, the search with {searched}"
    for table in controls_tables(many):
        assert wanted in table.note
        trials = {row[0]: row[table.columns.index("trials to choose from")] for row in table.rows}
        assert trials["Searched structures"] == str(searched)
        assert trials["AdaLoRA"] == "6"
    assert wanted in said(many, "Controls")


def test_the_result_table_fits_a_terminal_with_every_control(database_of: Callable[[Plan], str], many: Results) -> None:
    text = result_table(database_of(MANY), "synthetic")
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    for arm in many.comparisons[0].controls:
        assert any(line.startswith(f"  {arm_label(arm)}  ") for line in lines)
    assert "controls were tuned with 6 trials each" in " ".join(lines).lower()
    assert "Prefix tuning: all 6 tuning trials failed" in " ".join(lines)


def test_the_tuning_table_shows_what_was_picked(many: Results) -> None:
    table = tuning_table(many)
    assert table is not None
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    trials = many.frames.trials.set_index("trial_id")
    for item in many.comparisons:
        tuning = item.tunings["control:lora"]
        (row,) = [row for row in rows if (row["tuning"], row["beside"]) == ("LoRA", f"trial {item.number}")]
        assert row["layout"] == layout_label(str(tuning.variant))
        value = trials.loc[tuning.best, tuning.goal]
        assert row["best on validation by"] == f"{tuning.goal} {value:.3f}"
        assert tuning.goal == ("robustness" if item.label == "best by robustness" else "score")
        rate = many.frames.params.set_index("trial_id").loc[tuning.best, "training.learning_rate"]
        assert row["learning rate"] == f"{rate:.3g}"
    assert [row["tuning"] for row in rows].count("Linear probe") == 1, "once for all winners"
    assert not any(row["tuning"] == "Prefix tuning" for row in rows), "none of its trials is complete"
    assert f"<caption>{table.title}</caption>" in render(many, [])


def test_without_tuning_there_is_no_such_table(results: Results) -> None:
    assert tuning_table(results) is None


def test_a_control_whose_runs_all_failed_has_no_numbers(frames_of: Callable[[Plan], StudyFrames]) -> None:
    frames = frames_of(MANY)
    trials = frames.trials.copy()
    gone = (trials["phase"] == "confirm") & (trials["role"] != "winner")
    trials.loc[gone, "state"] = "fail"
    trials.loc[gone, ["score", "exported_parameters", "robustness"]] = math.nan
    results = analyse(replace(frames, trials=trials))
    assert not any(tile.label.startswith("Minus") for tile in _tiles(results))
    shown = [figure.alt for figure in comparison.figures(results)]
    shown += [
        str(panel.figure.layout.yaxis.ticktext) for figure in comparison.figures(results) for panel in figure.panels()
    ]
    shown += [str(table.cells) for table in winner_tables("synthetic", results.comparisons)]
    shown += [str(table.rows) for table in controls_tables(results)]
    assert not re.search(r"\bnan\b", " ".join(shown))


# ---------------------------------------------------------------- sentences


def test_each_verdict_is_said_once_with_all_its_controls(many: Results) -> None:
    for item in many.comparisons:
        (text,) = [one.text for one in findings(many) if f"trial {item.number}'s settings" in one.text]
        verdicts = {item.difference(role).verdict for role in ROLES}
        words = {"better": " beat ", "worse": " are beaten by ", "not told apart": " are not told apart from "}
        for verdict, phrase in words.items():
            assert text.count(phrase) == (verdict in verdicts)
        assert all(f"{role_phrase(role)} (" in text for role in ROLES)


def test_sentences_about_robustness_name_the_ends_of_many_controls(many: Results, results: Results) -> None:
    text = said(many, "Robustness")
    assert f"of {len(ROLES)} controls least: " in text
    assert text.count("a drop of") == 3 * 2
    assert "least:" not in said(results, "Robustness")


def test_a_control_without_a_rate_is_not_called_the_one_that_loses_most(many: Results) -> None:
    """A clean score that is not above 0 has no rate: of a linear probe at an MCC of 0 it is not known."""
    drops = tuple(drop for drop in many.drops[0].drops if drop.role != ROLES[0])
    text = said(replace(many, drops=(replace(many.drops[0], drops=drops),)), "Robustness")
    assert f"of {len(ROLES) - 1} controls least: " in text
    assert "; 1 control without a rate: their clean score is not above 0, or a score is missing" in text
    assert text.count("a drop of") == 3 * 2


def test_the_drop_of_a_sentence_is_that_of_the_figure_and_the_table(results: Results) -> None:
    """The mean of the runs' and tasks' own rates: the ratio of mean scores is another number."""
    for drop in results.drops[0].of("winner"):
        if drop.level == max(level for condition, level in results.drops[0].conditions if condition == drop.condition):
            half = drop.rate.half_width
            assert half is not None
            assert f", a drop of {100 * drop.rate.mean:.1f} ± {100 * half:.1f} %" in said(results, "Robustness")


def test_runs_that_are_still_to_come_are_counted(frames_of: Callable[[Plan], StudyFrames]) -> None:
    frames = frames_of(Plan())
    last = frames.trials[frames.trials["role"] == "control:random"].tail(1)
    waiting = frames.trials.assign(state=frames.trials["state"].mask(frames.trials.index.isin(last.index), "waiting"))
    results = analyse(replace(frames, trials=waiting))
    (item,) = [one for one in results.comparisons if one.winner_id == last["pair_of"].iloc[0]]
    assert "paired by seed pair over 2 to 3 repeats" in item.method
    assert item.warnings == ("Random structure: 2 of 3 runs so far, and as many pairs",)
    assert "2 to 3 pairs of seeds" in said(results, "Controls")


def test_other_sizes_are_one_caution_a_winner(many: Results) -> None:
    for item in many.comparisons:
        (text,) = [warning for warning in item.warnings if warning.startswith("of another size")]
        assert "full fine-tuning " in text
        assert "times as large" in text


def test_the_tile_shows_the_strongest_control(many: Results) -> None:
    item = many.comparisons[0]
    best = max(item.controls, key=lambda arm: arm.score().mean)
    assert f"Minus {role_label(best.role)} (".replace("'", "&#39;") in render(many, [])


# ---------------------------------------------------------------- figures


def apart(figure: Figure) -> bool:
    """Whether no two texts at the rows of an axis overlap: names on the left, numbers on the right."""
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for ax in figure.axes:
        for texts in (ax.get_yticklabels(), ax.texts):
            boxes = sorted((text.get_window_extent(renderer) for text in texts if text.get_text()), key=lambda b: b.y0)
            if any(lower.y1 > upper.y0 + 0.5 for lower, upper in itertools.pairwise(boxes)):
                return False
    return True


def test_the_comparison_is_a_figure_for_each_winner_and_no_text_overlaps(many: Results, results: Results) -> None:
    drawn = comparison.figures(many)
    assert [figure.name for figure in drawn] == [
        "comparison",
        *(f"comparison_{item.number}" for item in many.comparisons[1:]),
    ]
    assert len(comparison.figures(results)) == 1, "few controls: one figure with a panel for each winner"
    for figure, item in zip(drawn, many.comparisons, strict=True):
        picture = figure.draw()
        assert picture.get_size_inches()[1] < 11, "fits a page"
        assert apart(picture)
        (ax,) = picture.axes
        labels = [text.get_text().split("\n")[0] for text in ax.get_yticklabels()]
        assert labels == [arm_label(arm) for arm in item.controls]
        means = figure.table[(figure.table["what"] == "mean") & (figure.table["series"] == MEAN)]
        assert list(means["control"]) == list(ROLES)
        assert "tune:" in figure.note


def test_robustness_of_many_controls_stays_inside_its_figure(many: Results) -> None:
    picture = robustness.figures(many)[0].draw()
    (legend,) = picture.legends
    box = legend.get_window_extent()
    assert box.x0 >= -1
    assert box.x1 <= picture.bbox.width + 1
    assert len(legend.get_texts()) == 1 + len(ROLES)
    (line,) = [line for line in picture.axes[0].lines if line.get_linewidth() > 2]
    assert len(picture.axes[0].lines) == 1 + len(ROLES)
    assert line.get_zorder() == max(found.get_zorder() for found in picture.axes[0].lines), "the winner is on top"


def test_the_card_of_a_study_of_one_task_adjusts_as_the_report_does(frames_of: Callable[[Plan], StudyFrames]) -> None:
    """The task's own numbers are the mean's there, but without Holm's adjustment."""
    frames = frames_of(Plan(controls=("lora", "random", "bitfit"), seeds=3))
    config = frames.config.model_copy(update={"tasks": frames.config.tasks[:1]})
    task = config.tasks[0].name
    (item, *_) = compare(replace(frames, config=config))
    card: Any = SimpleNamespace(tasks=[SimpleNamespace(name=task)])
    rows = [line.split(" | ") for line in comparison_section(card, item) if " | " in line]
    adjusted = {role_label(one.control): one for one in item.differences if one.series == MEAN}
    shown = {row[0].removeprefix("| "): row for row in rows if row[0].removeprefix("| ") in adjusted}
    assert shown.keys() == adjusted.keys()
    for label, one in adjusted.items():
        assert shown[label][-2] == p_label(one).removeprefix("p ")
        assert shown[label][-1].removesuffix(" |") == one.evidence.standing
    table = comparison.comparison_table((item,), {MEAN: task})
    told = [one.evidence.standing for one in adjusted.values()]
    assert "non-inferior" in told
    assert table.loc[table["what"] == "mean", "verdict"].tolist() == told
    assert all(standing in comparison._spoken(item) for standing in told)
    several = "\n".join(comparison_section(card, compare(frames)[0]))
    assert f"Test scores ({task}" in several, "of several tasks the card's own"


def test_one_task_is_shown_once_and_by_its_name(frames_of: Callable[[Plan], StudyFrames]) -> None:
    frames = frames_of(Plan())
    tasks = [task for task in frames.config.tasks if task.name == "spam"]
    metrics = frames.metrics[frames.metrics["task"] == "spam"]
    alone = replace(frames, config=frames.config.model_copy(update={"tasks": tuple(tasks)}), metrics=metrics)
    results = analyse(alone, whole_design=False)
    for table in controls_tables(results):
        assert table.columns[:3] == ("test scores", "spam", "exported parameters")
        assert all(len(row) == len(table.columns) for row in table.rows)
    (figure,) = comparison.figures(results)
    assert [item.label for item in figure.legend] == ["spam"]
    assert set(figure.table["series"]) == {"spam"}
    means = figure.table[figure.table["what"] == "mean"]
    assert len(means) == sum(len(item.controls) for item in results.comparisons)
    assert means["p_holm"].notna().all()
    assert len(figure.panels()[0].figure.data) == 2, "pairs, and their mean"
    assert figure.alt.startswith("Differences of test scores, spam. ")
    for figure in (*sensitivity.figures(results), *robustness.figures(results)):
        assert [item.label for item in figure.legend if item.series == MEAN] == (
            ["spam"] if figure.name.startswith("sensitivity") else []
        )
        assert "mean of tasks" not in figure.alt + figure.note
        assert set(figure.table["series"]) <= {"spam", "winner", *ROLES}
        assert not any(panel.title == "mean of tasks" for panel in figure.panels())
    for curve in (*results.design["score"], *results.measured):
        assert [series.name for series in curve.series] == [MEAN]
    for curves in results.robustness.values():
        assert [curve.response for curve in curves] == [MEAN]

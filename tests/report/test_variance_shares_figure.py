"""The figure of fANOVA: its bars are the analysis' numbers, and it says what they are and are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import pandas as pd
import pytest
from made_up_sensitivity import FIELDS, RESPONSES
from matplotlib.patches import Rectangle
from synthetic import Plan
from test_sensitivity_figures import collisions

from slasearch.analysis.coordinates import DesignResponse
from slasearch.analysis.counts import Counts
from slasearch.analysis.fanova import Fanova, fanova
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.sobol import Index
from slasearch.report.figures import importance, variance_shares
from slasearch.report.figures._base import ReportFigure
from slasearch.report.labels import short_factor
from slasearch.report.results import Results, analyse
from slasearch.report.share_findings import forest_findings

METHOD = "functional ANOVA of a forest; 95 % jackknife intervals; over the whole ranges"
PLACED = "40 of 60 trials were placed by tpe where it expected good ones"


def shares(response: DesignResponse, estimates: Sequence[float], *warnings: str) -> Fanova:
    fields = tuple(
        Index(name, share, max(0.0, share - 0.05), min(1.0, share + 0.06))
        for name, share in zip(FIELDS, estimates, strict=False)
    )
    return Fanova(response, fields, 60, 0.91, METHOD, warnings)


def figure_of(*found: Fanova) -> ReportFigure:
    results = SimpleNamespace(shares=found, counts_of=lambda *_: Counts(60, 4, 2, 0, 1))
    (figure,) = variance_shares.figures(results)  # type: ignore[arg-type]
    return figure


def words(text: str) -> str:
    return text.replace("\u00a0", " ").replace("\n", " ")


def test_the_axis_holds_every_share_and_interval() -> None:
    figure = figure_of(shares("score", (0.95, 0.01, 0.0)))
    assert figure.draw().axes[0].get_xlim() == (0.0, 1.0)
    assert figure.panels()[0].figure.layout.xaxis.range == (0.0, 1.0)
    assert "cut off" not in words(figure.note)


def test_bars_have_the_lengths_of_the_shares_the_largest_first() -> None:
    score, size = shares("score", (0.1, 0.5, 0.02)), shares("exported_parameters", (0.7, 0.2, 0.0))
    figure = figure_of(score, size)
    order = ["size_control.sparsity_weight", "training.learning_rate", "conditions.train.typos.level"]
    picture = figure.draw()
    names = [text.get_text().replace("\n", " ") for text in picture.axes[0].get_yticklabels()]
    assert names == [short_factor(name) for name in order]
    for ax, panel, wanted in zip(picture.axes, figure.panels(), ((0.1, 0.5, 0.02), (0.7, 0.2, 0.0)), strict=True):
        assert [bar.get_width() for bar in ax.patches if isinstance(bar, Rectangle)] == pytest.approx(wanted)
        (trace,) = panel.figure.data
        assert list(trace.x) == pytest.approx(wanted)
        assert list(trace.error_x.array) == pytest.approx([0.06] * 3)
        assert list(trace.error_x.arrayminus) == pytest.approx([min(0.05, share) for share in wanted])
    assert [panel.title for panel in figure.panels()] == ["Score", "Log size"]


def test_table_note_and_words_hold_the_numbers() -> None:
    figure = figure_of(shares("score", (0.1, 0.5, 0.02), PLACED), shares("robustness", (0.4, 0.2, 0.1), PLACED))
    row = figure.table.set_index(["response", "field"]).loc["score", "training.learning_rate"]
    assert row.to_dict() == {"share": 0.5, "low": 0.45, "high": 0.56, "n": 60, "r2": 0.91}
    note = words(figure.note)
    assert "score: n = 60, forest R² 0.91; robustness: n = 60, forest R² 0.91" in note
    assert note.count(PLACED) == note.count("95 % jackknife intervals") == 1
    assert "60 complete, 4 pruned, 2 failed" in note
    assert "Score: learning rate 50 % (45 % to 56 %); sparsity weight λ 10 %" in figure.alt
    assert "all alone 62 %." in figure.alt


def test_a_warning_of_one_response_says_of_which() -> None:
    poor = "the forest predicts trials that it has not seen with R² 0.10"
    note = words(figure_of(shares("score", (0.1, 0.5), poor), shares("robustness", (0.4, 0.2))).note)
    assert f"score: {poor}" in note


def test_it_and_ped_anova_are_told_apart(results: Results) -> None:
    (top,), (moved,) = importance.figures(results), variance_shares.figures(results)
    assert top.section == moved.section == "importance"
    assert "PED-ANOVA" in top.title
    assert "not of variance" in top.caption
    assert "fANOVA" in moved.title
    assert "not what leads to the best" in moved.caption
    assert moved.draw().axes[0].get_xlabel() == "Share of variance"
    assert top.draw().axes[-1].get_xlabel() == "Importance for reaching the top (share)"


def test_the_study_s_figure_is_its_analysis(results: Results) -> None:
    assert [item.response for item in results.shares] == ["score", "exported_parameters", "robustness"]
    assert results.shares[0] == fanova(results.frames, "score")
    (figure,) = variance_shares.figures(results)
    table = pd.DataFrame(results.shares[0].fields)
    assert figure.table.loc[figure.table["response"] == "score", "share"].tolist() == table["estimate"].tolist()
    note = words(figure.note)
    assert "trials were placed by tpe where it expected good ones" in note
    assert "no Sobol index" in note
    pictures = []
    for _ in range(2):
        out = BytesIO()
        figure.draw().savefig(out, format="png", metadata={"Software": None})
        pictures.append(out.getvalue())
    assert pictures[0] == pictures[1]


def test_a_sentence_names_what_is_told_from_nothing() -> None:
    found = replace(shares("score", (0.1, 0.5, 0.02)), r2=0.91)
    poor = replace(found, response="robustness", r2=0.31)
    (one, other) = forest_findings(SimpleNamespace(shares=(found, poor)))  # type: ignore[arg-type]
    assert (one.topic, one.kind, other.kind) == ("Importance", "result", "caution")
    assert one.text == (
        "Of what the fields do to the score over their whole ranges: learning rate .50 [.45, .56] and sparsity weight "
        "λ .10 [.05, .16] alone. (fANOVA, a forest of 60 settings, R² .91 at settings left out.)"
    )
    assert other.text.endswith("(fANOVA, a forest of 60 settings, R² .31 at settings left out, so it knows little.)")


def test_twenty_fields_fit_a_page() -> None:
    falling = [0.4 / (1 + rank) for rank in range(20)]
    for count in (1, 3):
        figure = figure_of(*(shares(response, falling) for response in RESPONSES[:count]))
        picture = figure.draw()
        assert collisions(picture) == []
        assert picture.get_size_inches()[1] < 11
        assert len(figure.table) == 20 * count
        assert "14 more with at most 6 %" in figure.alt


def test_too_few_trials_give_one_reason_and_no_figure(frames_of: Callable[[Plan], StudyFrames]) -> None:
    results = analyse(frames_of(Plan(design=False, confirm=False)))
    assert results.shares == ()
    assert variance_shares.figures(results) == []
    reasons = [reason for reason in results.missing if reason.startswith("Shares of variance")]
    assert reasons == [
        "Shares of variance: expected at least 30 settings with complete trials of the search, got 22. Raise the "
        "number of trials, or of points of the design, and run again."
    ]


def test_result_tables_of_a_command_do_without(frames: StudyFrames) -> None:
    found = analyse(frames, whole_design=False)
    assert found.shares == ()
    assert len(found.importances) == 3

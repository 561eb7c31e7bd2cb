"""Figures of cost, history and performance drop, on the synthetic study and on a large one."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from synthetic import BASE, LEVELS, START, TASKS, WEIGHT, Plan

from slasearch.analysis.drops import performance_drops
from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.ledger import cost_ledger
from slasearch.analysis.pareto import hypervolume
from slasearch.report.figures import (
    drops,
    learning,
    ledger,
    parallel,
    pareto,
    pareto_robustness,
    timeline,
)
from slasearch.report.figures import hypervolume as hypervolume_figure
from slasearch.report.figures._base import ReportFigure
from slasearch.report.results import Results
from slasearch.report.settings import best_settings

KINDS: tuple[Any, ...] = (
    timeline, ledger, learning, drops, hypervolume_figure, parallel, pareto, pareto_robustness,
)  # fmt: skip
NAMES = [
    "timeline", "ledger", "learning", "learning_search", "drops", "hypervolume", "parallel", "pareto",
    "pareto_robustness",
]  # fmt: skip


@pytest.fixture(scope="module")
def found(results: Results) -> dict[str, ReportFigure]:
    """Every figure of these kinds of the whole synthetic study, by its name."""
    return {figure.name: figure for kind in KINDS for figure in kind.figures(results)}


@pytest.fixture(scope="module")
def drawn(drawn: dict[str, Figure]) -> dict[str, Figure]:
    """Of the printed figures those of these kinds."""
    return {name: drawn[name] for name in NAMES}


def test_every_figure_is_there_and_says_its_counts_and_describes_itself(
    found: dict[str, ReportFigure], drawn: dict[str, Figure]
) -> None:
    assert list(found) == NAMES
    for name, figure in found.items():
        assert len(figure.alt) > 40, name
        assert "complete" in figure.note, name
        assert drawn[name].get_supxlabel() == figure.note
        assert len(figure.table) > 0, name
        assert "nan" not in f"{figure.note} {figure.alt}".lower(), name


def test_figures_are_the_same_bytes_twice(found: dict[str, ReportFigure], drawn: dict[str, Figure]) -> None:
    for name in NAMES:
        pictures = []
        for figure in (drawn[name], found[name].draw()):
            out = BytesIO()
            figure.savefig(out, format="png", metadata={"Software": None})
            pictures.append(out.getvalue())
        assert pictures[0] == pictures[1], name


def test_nothing_is_clipped(drawn: dict[str, Figure]) -> None:
    for name, figure in drawn.items():
        for ax in figure.axes:
            box = ax.get_tightbbox()
            assert box is not None
            if ax.axison:
                inside = (box.x0, box.y0, figure.bbox.width - box.x1, figure.bbox.height - box.y1)
                assert min(inside) >= -2, name


def test_interactive_forms_have_a_height_and_their_legends_name_series(found: dict[str, ReportFigure]) -> None:
    for name, figure in found.items():
        panels = figure.panels()
        groups = {trace.legendgroup for panel in panels for trace in panel.figure.data}
        assert {item.series for item in figure.legend} <= groups, name
        for panel in panels:
            assert panel.figure.layout.height >= 100
            assert "NaN" not in panel.figure.to_json()


def test_time_line_has_a_bar_for_each_attempt_and_a_mark_for_each_that_was_lost(
    found: dict[str, ReportFigure], frames: StudyFrames
) -> None:
    (panel,) = found["timeline"].panels()
    bars = [trace for trace in panel.figure.data if trace.type == "bar"]
    assert {bar.legendgroup: len(bar.y) for bar in bars} == frames.trials["phase"].value_counts().to_dict()
    marks = [trace for trace in panel.figure.data if trace.type == "scatter"]
    assert [len(trace.y) for trace in marks] == [4, 2, 1]
    assert found["timeline"].table["slot"].max() == 2
    assert "worker use: 91 % of 2 slots over 9.88 min" in found["timeline"].note.replace("\u00a0", " ")


def test_time_line_of_many_trials_stays_small_and_cuts_pauses(results: Results) -> None:
    count = 6_000
    start = START + np.arange(count) * 2.0 + np.where(np.arange(count) >= 3_000, 86_400.0, 0.0)
    trials = pd.DataFrame(
        {
            "trial_id": np.arange(count) + 1, "number": np.arange(count, dtype=float), "phase": "optimise",
            "role": "search", "attempt": 1, "state": np.where(np.arange(count) % 3 == 0, "fail", "complete"),
            "retry_of": np.nan, "started_at": start, "ended_at": start + 7.0, "worker": np.nan,
        }
    )  # fmt: skip
    many = SimpleNamespace(
        ledger=cost_ledger(replace(results.frames, trials=trials)), counts=results.counts, counts_of=results.counts_of
    )
    (figure,) = timeline.figures(many)
    (panel,) = figure.panels()
    bars = next(trace for trace in panel.figure.data if trace.type == "bar")
    assert len(bars.y) == 8
    hours = many.ledger.wall_seconds / 3600
    assert max(np.add(bars.base, bars.x)) == pytest.approx(hours), "a pause takes no time of the axis"
    assert [line.x0 for line in panel.figure.layout.shapes] == [pytest.approx(hours / 2)]
    assert panel.figure.layout.xaxis.title.text == "Running time, pauses cut out (h)"
    assert sum(int(text.split()[0]) for text in bars.text) == count
    assert max(base + length for base, length in zip(bars.base, bars.x, strict=True)) < 3.5
    assert len(panel.figure.layout.shapes) == 1
    assert "pauses of more than 10 min are cut out (dashed): 1" in figure.note.replace("\u00a0", " ").replace("\n", " ")
    assert len(panel.figure.to_json()) < 400_000
    assert isinstance(figure.draw(), Figure)


def test_ledger_sums_up(found: dict[str, ReportFigure], frames: StudyFrames) -> None:
    table = found["ledger"].table
    last = table.iloc[-1]
    assert last["attempts"] == len(frames.trials)
    assert last["device_seconds"] == pytest.approx(table["device_seconds"].iloc[:-1].sum())
    assert last["lora_runs"] == pytest.approx(len(frames.trials))
    (panel,) = found["ledger"].panels()
    bars = {trace.legendgroup: trace for trace in panel.figure.data if trace.type == "bar"}
    assert set(bars) == {"train", "evaluate", "pruned", "failed", "lost"}
    labels = [label.split("<br>")[0] for label in bars["train"].y]
    assert labels == ["design", "optimise", "confirm: winners", "confirm: controls", "all"]
    assert bars["train"].y[-1].endswith("18 min = 98 LoRA runs")
    assert sum(bar.x[-1] for bar in bars.values()) == pytest.approx(1078 / 60)
    assert bars["pruned"].x[1] == pytest.approx(44 / 60)
    assert "a LoRA run: 11 s, the median of 9 confirmed ones" in " ".join(found["ledger"].note.split())


def test_learning_figures_hold_the_curves(found: dict[str, ReportFigure], frames: StudyFrames) -> None:
    table = found["learning"].table
    assert set(table["winner"]) == {47, 60, 12}
    final = table[(table["step"] == 120) & (table["what"] == "trial")]
    scores = frames.trials.set_index("trial_id")["score"]
    assert final["value"].tolist() == pytest.approx(scores.loc[final["trial_id"]].tolist())
    assert len(found["learning"].panels()) == 3
    search = found["learning_search"].table
    assert search["number"].iloc[0] == frames.search_trials("complete").sort_values("score")["number"].iloc[-1]
    lines = [trace for trace in found["learning_search"].panels()[0].figure.data if trace.legendgroup == "best"]
    assert list(lines[0].y)[:3] == pytest.approx(search["score"].iloc[:3].tolist())


def test_drops_are_drawn_in_percent(found: dict[str, ReportFigure]) -> None:
    table = found["drops"].table
    winner = table[(table["winner"] == 60) & (table["what"] == "mean") & (table["series"] == MEAN)]
    titles = [panel.title for panel in found["drops"].panels()]
    assert titles == ["mean of tasks", "searched structures minus control", *TASKS]
    rates, differences = (panel.figure for panel in found["drops"].panels()[:2])
    mine = next(trace for trace in rates.data if trace.legendgroup == "winner")
    assert list(mine.x) == pytest.approx((100 * winner[winner["role"] == "winner"]["value"]).tolist())
    other = next(trace for trace in differences.data if trace.legendgroup == "control:random")
    assert list(other.x) == pytest.approx((100 * winner[winner["role"] == "control:random"]["difference"]).tolist())
    assert table.groupby(["winner", "role", "series"])["worst"].sum().eq(1).all()
    assert "Searched structures: most under embedding noise at 0.5" in found["drops"].alt


def test_of_many_arms_only_the_winner_has_bars(frames_of: Callable[[Plan], StudyFrames]) -> None:
    controls = ("lora", "adalora", "bitfit", "random", "shared", "all_open", "linear_probe")
    frames = frames_of(Plan(controls=controls))
    more = SimpleNamespace(
        drops=performance_drops(frames), frames=frames, counts_of=lambda *_: SimpleNamespace(text=lambda: "9 complete")
    )
    (figure,) = drops.figures(more)
    height = figure.draw().get_size_inches()[1]
    assert height < 6
    assert "(of controls in the table)" in figure.note.replace("\n", " ")
    visible = {trace.legendgroup: trace.error_x.visible for trace in figure.panels()[0].figure.data}
    assert [role for role, barred in visible.items() if barred] == ["winner"]
    assert len(visible) == 8


def test_hypervolume_states_its_reference(found: dict[str, ReportFigure], results: Results) -> None:
    figure = found["hypervolume"]
    assert results.front is not None
    volume = hypervolume(results.front)
    words = figure.note.replace("\n", " ").replace("\u00a0", " ")
    assert f"reference point: score {volume.reference[0]:.3f}" in words
    assert "parameters, robustness" in words
    (panel,) = figure.panels()
    assert panel.figure.data[0].y[-1] == pytest.approx(volume.values[-1])
    assert len(panel.figure.data[1].x) == volume.on_front.sum()
    assert figure.table["hypervolume"].is_monotonic_increasing


def test_winners_have_seed_bars_on_the_front(found: dict[str, ReportFigure], results: Results) -> None:
    assert results.front is not None
    points = results.front.confirmed
    table = found["pareto"].table
    assert table["confirmed_score"].notna().sum() == len(points) == 3
    row = table[table["trial_id"] == points[0].trial_id].iloc[0]
    score = points[0].estimates[0]
    assert (row["confirmed_score"], row["confirmed_score_high"]) == pytest.approx((score.mean, score.high))
    for name in ("pareto", "pareto_robustness"):
        diamonds = found[name].panels()[0].figure.data[-1]
        assert diamonds.marker.symbol == "diamond"
        assert list(diamonds.x) == pytest.approx([point.estimates[1].mean for point in points])
        assert all(value > 0 for value in diamonds.error_y.array)
    assert "diamonds: winners run again over 3 seeds" in " ".join(found["pareto"].note.split()).replace("\u00a0", " ")


def test_two_objectives_have_no_robustness_figure(results_of: Callable[[Plan], Results]) -> None:
    more = results_of(Plan(measured=False))
    assert pareto_robustness.figures(more) == []
    assert drops.figures(more) == []
    assert [figure.name for figure in pareto.figures(more)] == ["pareto"]
    (figure,) = hypervolume_figure.figures(more)
    assert "robustness" not in figure.note


def test_parallel_axes_lie_as_fields_were_sampled(found: dict[str, ReportFigure], frames: StudyFrames) -> None:
    (panel,) = found["parallel"].panels()
    names = [note.text for note in panel.figure.layout.annotations if note.text.startswith("<b>")]
    assert names[:2] == ["<b>Ranks in the pool</b>", "<b>Sparsity weight λ</b>"]
    assert names[-3:] == ["<b>Score</b>", "<b>Exported parameters</b>", "<b>Robustness</b>"]
    labels = [note.text for note in panel.figure.layout.annotations]
    assert labels[1:4] == ["1", "4", "1 + 4"]
    assert labels[5:8] == ["0.01", "0.1", "1"]
    row = names.index("<b>Sparsity weight λ</b>")
    best = next(trace for trace in panel.figure.data if trace.legendgroup == "best")
    table = found["parallel"].table
    assert best.x[row] == pytest.approx((np.log10(table[WEIGHT].iloc[0]) + 2) / 2)
    scores = table["score"]
    assert best.x[len(names) - 3] == pytest.approx((scores.iloc[0] - scores.min()) / (scores.max() - scores.min()))
    assert table["trial_id"].iloc[0] == best_settings(frames)["trial_id"].iloc[0]
    assert "of the setting that is best by its mean over seed pairs" in " ".join(found["parallel"].note.split())
    assert len(table) == len(frames.search_trials("complete"))
    assert set(LEVELS) <= set(table.columns)
    assert (table[WEIGHT] == BASE[WEIGHT]).sum() > 10


def test_parallel_thins_many_lines_and_keeps_the_best(results: Results) -> None:
    frames = results.frames
    search = frames.search_trials("complete")
    copies = pd.concat([search.assign(trial_id=search["trial_id"] + 10_000 * k, score=search["score"] - 1e-4 * k)
                        for k in range(40)], ignore_index=True)  # fmt: skip
    params = pd.concat([frames.params.assign(trial_id=frames.params["trial_id"] + 10_000 * k) for k in range(40)])
    many = replace(frames, trials=copies, params=params.reset_index(drop=True))
    (figure,) = parallel.figures(SimpleNamespace(frames=many, counts_of=results.counts_of))  # type: ignore[arg-type]
    assert 300 < len(figure.table) <= parallel.MOST
    ordered = copies.sort_values(["score", "trial_id"], ascending=[False, True])["trial_id"].tolist()
    ordered.insert(0, ordered.pop(ordered.index(best_settings(many)["trial_id"].iloc[0])))
    assert figure.table["trial_id"].tolist()[: parallel.ALWAYS] == ordered[: parallel.ALWAYS]
    assert f"{len(figure.table)} of {len(copies)} complete trials" in figure.note.replace("\u00a0", " ")
    lines = [found for found in figure.draw().axes[0].collections if isinstance(found, LineCollection)]
    assert sum(len(found.get_segments()) for found in lines if len(found.get_segments()) > 3) >= len(figure.table) - 1


def test_a_study_of_failures_has_its_costs_and_no_results(results_of: Callable[[Plan], Results]) -> None:
    more = results_of(Plan(fail=True))
    assert [figure.name for kind in KINDS for figure in kind.figures(more)] == ["timeline", "ledger"]
    assert "no confirmed LoRA run" in ledger.figures(more)[0].note.replace("\n", " ")

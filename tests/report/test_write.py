import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from synthetic import Plan

from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.errors import ReportError, StudyNotFoundError
from slasearch.report.figures import sensitivity
from slasearch.report.figures._base import ReportFigure
from slasearch.report.results import Results
from slasearch.report.style import FORMATS, INK, save, series_marks, style
from slasearch.report.write import write_report

NAMES = [
    "comparison", "drops", "robustness_typos", "robustness_embedding_gaussian", "sensitivity_score",
    "sensitivity_change", "sensitivity_size", "sensitivity_robustness", "sensitivity_measured", "pareto",
    "pareto_robustness", "hypervolume",
    "parallel", "gates", "paths_47", "paths_60", "paths_12", "importance", "variance_shares", "learning",
    "learning_search", "ledger", "timeline", "history",
]  # fmt: skip


def test_every_figure_in_every_format_with_its_numbers(written: Path) -> None:
    for name in NAMES:
        for suffix in FORMATS:
            assert (written / "figures" / f"{name}.{suffix}").stat().st_size > 5_000
        table = pd.read_csv(written / "data" / f"{name}.csv")
        assert len(table) == len(pd.read_parquet(written / "data" / f"{name}.parquet")) > 0
    assert {path.suffix for path in (written / "figures").iterdir()} == {f".{suffix}" for suffix in FORMATS}
    assert (written / "report.html").is_file()


def test_pictures_carry_no_date_and_svgs_no_outside_link(written: Path) -> None:
    for path in (written / "figures").glob("*.svg"):
        text = path.read_text()
        assert "<dc:date>" not in text
        assert 'href="http' not in text


def test_png_is_the_same_twice(drawn: dict[str, Figure], written: Path, tmp_path: Path) -> None:
    with style():
        save(drawn["pareto"], tmp_path / "pareto.png", "png")
    assert (tmp_path / "pareto.png").read_bytes() == (written / "figures" / "pareto.png").read_bytes()


def test_pdf_has_no_date_and_is_the_same_twice(drawn: dict[str, Figure], tmp_path: Path) -> None:
    with style():
        for name in ("one", "two"):
            save(drawn["pareto"], tmp_path / f"{name}.pdf", "pdf")
    one = (tmp_path / "one.pdf").read_bytes()
    assert one.startswith(b"%PDF")
    assert b"CreationDate" not in one
    assert one == (tmp_path / "two.pdf").read_bytes()


def test_csv_numbers_are_the_printed_figures(results: Results, drawn: dict[str, Figure], written: Path) -> None:
    table = pd.read_csv(written / "data" / "sensitivity_score.csv")
    axes = next(ax for ax in drawn["sensitivity_score"].axes if ax.get_xlabel().startswith("Sparsity weight"))
    mine = table[table["factor"] == "size_control.sparsity_weight"]
    for series, mark in series_marks(results.frames.tasks).items():
        line = next(line for line in axes.lines if to_rgba(line.get_color()) == to_rgba(mark.color))
        means = mine[(mine["series"] == series) & (mine["what"] == "mean")]
        assert np.asarray(line.get_xdata(), float) == pytest.approx(means["level"].astype(float).to_numpy())
        assert np.asarray(line.get_ydata(), float) == pytest.approx(means["value"].to_numpy())
        points = next(
            dots for dots in axes.collections
            if len(dots.get_offsets()) == 15 and to_rgba(mark.color) in {tuple(c) for c in dots.get_facecolors()}
        )  # fmt: skip
        trials = mine[(mine["series"] == series) & (mine["what"] == "trial")]
        assert sorted(points.get_offsets()[:, 1].tolist()) == pytest.approx(sorted(trials["value"]))


def test_csv_numbers_are_the_interactive_figures(figures: dict[str, ReportFigure], written: Path) -> None:
    table = pd.read_csv(written / "data" / "robustness_typos.csv")
    panel = figures["robustness_typos"].panels()[0].figure
    means = table[(table["response"] == MEAN) & (table["series"] == "winner") & (table["what"] == "mean")]
    lines = [trace for trace in panel.data if trace.mode == "lines+markers" and trace.legendgroup == "winner"]
    assert list(lines[0].y) == pytest.approx(means["value"].tolist())
    assert lines[0].error_y.visible
    assert np.add(lines[0].y, lines[0].error_y.array) == pytest.approx(means["high"].to_numpy())
    assert np.subtract(lines[0].y, lines[0].error_y.arrayminus) == pytest.approx(means["low"].to_numpy())

    front = pd.read_csv(written / "data" / "pareto.csv")
    cloud = figures["pareto"].panels()[0].figure.data[1]
    shown = np.array(sorted(zip(cloud.x, cloud.y, strict=True)))
    assert shown == pytest.approx(
        front.sort_values(["exported_parameters", "score"])[["exported_parameters", "score"]].to_numpy()
    )


def test_every_task_has_bars_from_three_seed_pairs(results_of: Callable[[Plan], Results]) -> None:
    for seeds, words in ((2, "of the mean of tasks"), (3, "bars: 95 % t-intervals ·")):
        figures = {figure.name: figure for figure in sensitivity.figures(results_of(Plan(seeds=seeds)))}
        figure = figures["sensitivity_score"].draw()
        bars = [found for axis in figure.axes for found in axis.collections if found.get_alpha() == 0.22]
        colours = {to_rgba(bar.get_color()[0])[:3] for bar in bars}
        assert len(colours) == (1 if seeds == 2 else 4)
        assert words in " ".join(figures["sensitivity_score"].note.split())


def test_bars_of_sizes_are_positive_on_their_logarithmic_axis(results_of: Callable[[Plan], Results]) -> None:
    figures = {figure.name: figure for figure in sensitivity.figures(results_of(Plan(seeds=2)))}
    table = figures["sensitivity_size"].table
    assert (table.loc[table["what"] == "mean", "low"].dropna() > 0).all()
    assert "t-intervals of the logarithm" in " ".join(figures["sensitivity_size"].note.split())
    for panel in figures["sensitivity_size"].panels():
        assert panel.figure.layout.yaxis.type == "log"
        for trace in panel.figure.data:
            assert all(value > 0 for value in trace.y)
            if trace.error_y.arrayminus is not None:
                assert (np.subtract(trace.y, trace.error_y.arrayminus) > 0).all()


def test_difference_figure_shows_the_csv(drawn: dict[str, Figure], written: Path) -> None:
    table = pd.read_csv(written / "data" / "comparison.csv")
    texts = [text.get_text() for ax in drawn["comparison"].axes for text in ax.texts]
    means = table[(table["what"] == "mean") & (table["series"] == MEAN)]
    for value, verdict in zip(means["value"], means["verdict"], strict=True):
        shown = f"{value:+.3f}".replace("-", "−")
        assert any(text.startswith(shown) and text.endswith(verdict) for text in texts)


def test_every_figure_says_its_counts_and_describes_itself(
    figures: dict[str, ReportFigure], drawn: dict[str, Figure]
) -> None:
    for figure in figures.values():
        assert len(figure.alt) > 40, figure.name
        assert "complete" in figure.note or figure.section == "structure"
        assert drawn[figure.name].get_supxlabel() == figure.note


def test_nothing_is_clipped(drawn: dict[str, Figure]) -> None:
    for name, figure in drawn.items():
        for ax in figure.axes:
            box = ax.get_tightbbox()
            if box is not None and ax.axison:
                inside = (box.x0, box.y0, figure.bbox.width - box.x1, figure.bbox.height - box.y1)
                assert min(inside) >= -2, name


def test_log_factors_are_drawn_on_log_axes(drawn: dict[str, Figure]) -> None:
    axes = drawn["sensitivity_score"].axes
    scales = {ax.get_xlabel().split("\n")[0].split(" (")[0]: ax.get_xscale() for ax in axes}
    assert scales["Sparsity weight λ"] == "log"
    assert scales["Typos in training"] == "linear"


def test_the_mean_is_drawn_in_ink() -> None:
    assert series_marks(["a"])[MEAN].color == INK


def test_methods_file_names_every_figure_and_finding(written: Path) -> None:
    methods = json.loads((written / "data" / "methods.json").read_text())
    assert set(methods["figures"]) == set(NAMES)
    assert methods["trials"] == "91 complete, 4 pruned, 2 failed, 1 lost and repeated"
    assert any(item["topic"] == "Controls" for item in methods["findings"])


def test_trials_file_has_a_row_for_every_attempt(written: Path, frames: StudyFrames) -> None:
    trials = pd.read_csv(written / "data" / "trials.csv")
    assert len(trials) == len(frames.trials)
    assert {"state", "reason", "pool.ranks", "training.learning_rate"} <= set(trials.columns)
    tested = frames.clean_scores("test")
    means = tested[tested["series"] == MEAN].set_index("trial_id")["value"]
    found = trials.set_index("trial_id")["test_score"].dropna()
    assert set(trials.loc[trials["test_score"].notna(), "phase"]) == {"confirm"}
    assert found.to_dict() == pytest.approx(means.to_dict())


def test_figures_that_there_are_no_more_are_removed(database_of: Callable[[Plan], str], tmp_path: Path) -> None:
    formats = ("svg", "json")
    before = write_report(database_of(Plan()), "synthetic", tmp_path, formats)
    (tmp_path / "other" / "data").mkdir(parents=True)
    (tmp_path / "other" / "data" / "methods.json").write_text('{"figures": [1, "../x"]}', encoding="utf-8")
    assert write_report(database_of(Plan()), "synthetic", tmp_path / "other", ("json",)), "another's file is no matter"
    shutil.rmtree(tmp_path / "other")
    own = tmp_path / "figures" / "mine.svg"
    own.write_text("", encoding="utf-8")
    after = write_report(database_of(Plan(confirm=False)), "synthetic", tmp_path, formats)
    assert {path.name for path in before} - {path.name for path in after} > {"comparison.svg", "comparison.json"}
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted([*after, own])


def test_unknown_format_study_and_folder_are_refused(database_of: Callable[[Plan], str], tmp_path: Path) -> None:
    url = database_of(Plan())
    with pytest.raises(ReportError, match=r"expected some of html, png.*got bmp"):
        write_report(url, "synthetic", tmp_path, ("html", "bmp"))
    with pytest.raises(ReportError, match="got none"):
        write_report(url, "synthetic", tmp_path, ())
    with pytest.raises(StudyNotFoundError):
        write_report(url, "other", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="expected a folder that can be written"):
        write_report(url, "synthetic", tmp_path / "file", ("html",))

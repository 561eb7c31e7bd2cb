"""Figures of global sensitivity analyses: they show the numbers they are given, and no text covers another."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import made_up_sensitivity as made_up
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.text import Text

from slasearch.report.figures import screening, shapes, sobol, surfaces
from slasearch.report.figures._base import ReportFigure
from slasearch.report.figures._fields import field_axis, wrapped
from slasearch.report.figures._placing import place_labels
from slasearch.report.labels import short_factor, thousands
from slasearch.report.results import Results
from slasearch.report.style import FORMATS, save, style

KINDS = {"sobol": sobol, "screening": screening, "shapes": shapes, "surfaces": surfaces}


def figures_of(kind: str, results: SimpleNamespace) -> list[ReportFigure]:
    module: SimpleNamespace = KINDS[kind]  # type: ignore[assignment]
    found: list[ReportFigure] = module.figures(results)
    return found


def results_of(fields: int, responses: int = 3, *, pairs: bool = True) -> Results:
    return made_up.results(fields, responses, pairs=pairs)  # type: ignore[return-value]


def texts_of(figure: Figure) -> list[Text]:
    """Every text that is seen: of tick labels those inside their axis."""
    hidden = set()
    for ax in figure.axes:
        for axis, ends in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not ax.axison or not min(ends) - 1e-9 <= tick.get_loc() <= max(ends) + 1e-9:
                    hidden |= {tick.label1, tick.label2}
        if not ax.axison:
            hidden |= {ax.xaxis.label, ax.yaxis.label}
    found = figure.findobj(lambda item: isinstance(item, Text) and item not in hidden)
    return [text for text in found if isinstance(text, Text) and text.get_visible() and text.get_text().strip()]


def collisions(figure: Figure) -> list[str]:
    """Texts that cover each other, or reach out of the figure."""
    shown = [(text.get_text(), text.get_window_extent()) for text in texts_of(figure)]
    width, height = figure.bbox.width, figure.bbox.height
    found = [
        f"{name!r} reaches out"
        for name, box in shown
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
    ]
    for (name, box), (other, beside) in itertools.combinations(shown, 2):
        across = min(box.x1, beside.x1) - max(box.x0, beside.x0)
        up = min(box.y1, beside.y1) - max(box.y0, beside.y0)
        if across > 1 and up > 1:
            found.append(f"{name!r} on {other!r}")
    return found


# ---------------------------------------------------------------- all kinds


@pytest.mark.parametrize("fields", [3, 8, 20])
@pytest.mark.parametrize("kind", KINDS)
def test_figures_are_legible_and_fit_a_page(kind: str, fields: int) -> None:
    for responses in (1, 3):
        for figure in figures_of(kind, made_up.results(fields, responses)):
            picture = figure.draw()
            assert collisions(picture) == [], figure.name
            assert picture.get_size_inches()[1] < 11
            assert "failed" in figure.note
            assert figure.section == "sensitivity"
            for panel in figure.panels():
                assert panel.figure.to_json()


@pytest.mark.parametrize("kind", KINDS)
def test_without_results_there_is_no_figure(kind: str) -> None:
    empty = SimpleNamespace(sobol=(), screenings=(), lines=(), surfaces=())
    assert figures_of(kind, empty) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_results_give_the_same_bytes(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    written = []
    for turn in range(2):
        figure = figures_of(kind, made_up.results(3, 1))[0]
        with style():
            for suffix in FORMATS:
                save(figure.draw(), folder / f"{turn}.{suffix}", suffix)
        written.append(
            [(folder / f"{turn}.{suffix}").read_bytes() for suffix in FORMATS]
            + [panel.figure.to_json() for panel in figure.panels()]
        )
    assert written[0] == written[1]


def test_names_of_figures_differ() -> None:
    names = [figure.name for kind in KINDS for figure in figures_of(kind, made_up.results(3))]
    assert names == [
        "sobol", "sobol_pairs", "screening", "shape_score", "shape_size", "shape_robustness",
        "surface_score", "surface_size", "surface_robustness",
    ]  # fmt: skip


# ---------------------------------------------------------------- Sobol indices


def test_bars_have_the_lengths_of_the_indices() -> None:
    results = results_of(8, 2)
    (figure, _) = sobol.figures(results)
    ordered = sorted(
        [index.field for index in results.sobol[0].total],
        key=lambda name: -max(i.estimate for item in results.sobol for i in item.total if i.field == name),
    )
    picture = figure.draw()
    assert [text.get_text().replace("\n", " ") for text in picture.axes[0].get_yticklabels()] == [
        short_factor(name) for name in ordered
    ]
    for ax, panel, item in zip(picture.axes, figure.panels(), results.sobol, strict=True):
        wanted = [{index.field: index for index in kind} for kind in (item.first, item.total)]
        lengths = [bar.get_width() for bar in ax.patches if isinstance(bar, Rectangle)]
        expected = [one[name].estimate for one in wanted for name in ordered]
        assert lengths == pytest.approx(expected)
        for trace, one in zip(panel.figure.data, wanted, strict=True):
            assert list(trace.x) == pytest.approx([one[name].estimate for name in ordered])
            assert list(trace.error_x.array) == pytest.approx([one[n].high - one[n].estimate for n in ordered])
            assert list(trace.y) == list(range(8))


def test_note_table_and_words_of_sobol_indices_hold_the_numbers() -> None:
    results = results_of(8, 1)
    (figure, pairs) = sobol.figures(results)
    item = results.sobol[0]
    note = figure.note.replace("\xa0", " ").replace("\n", " ")
    assert "score: n = 126, surrogate R² 0.87" in note
    assert "2 trials of the design failed" in note
    assert len(figure.table) == 8
    row = figure.table.set_index("field").loc["pool.kinds"]
    index = next(one for one in item.first if one.field == "pool.kinds")
    assert (row["first"], row["first_low"], row["first_high"]) == (index.estimate, index.low, index.high)
    top = max(item.total, key=lambda one: one.estimate)
    assert f"{short_factor(top.field)} {0.72 / 0.95 * top.estimate * 100:.0f} % alone" in figure.alt
    assert f"{top.estimate * 100:.0f} % with others" in figure.alt
    assert "2 more with at most" in figure.alt
    best = max(item.second, key=lambda pair: pair.estimate)
    assert f"{short_factor(best.fields[0])} × {short_factor(best.fields[1])}" in figure.caption
    assert len(pairs.table) == 28
    assert "the 12 largest of 28 pairs" in pairs.note.replace("\xa0", " ")
    assert len(pairs.panels()[0].figure.data[0].x) == 12


def test_without_pairs_there_is_no_figure_of_pairs() -> None:
    (figure,) = sobol.figures(results_of(3, 3, pairs=False))
    assert "Strongest" not in figure.caption


def test_pairs_that_are_not_told_apart_from_0_are_not_named() -> None:
    results = results_of(3, 1)
    (item,) = results.sobol
    pairs = tuple(replace(pair, estimate=-0.001, low=-0.02, high=0.02) for pair in item.second)
    results.sobol = (replace(item, second=pairs),)  # type: ignore[misc]
    first, second = sobol.figures(results)
    assert first.caption.endswith("No pair is told apart from 0.")
    assert "0 % (−2 % to 2 %)" in second.alt
    assert "−0" not in second.alt


# ---------------------------------------------------------------- Morris screening


@pytest.mark.parametrize("fields", [3, 8, 20])
def test_every_field_that_matters_has_its_name_at_its_point(fields: int) -> None:
    for responses in (1, 3):
        results = results_of(fields, responses)
        (figure,) = screening.figures(results)
        picture = figure.draw()
        for ax, item in zip(picture.axes, results.screenings, strict=False):
            origin, *labels = [text.get_text().replace("\n", " ").replace("\xa0", " ") for text in ax.texts]
            most, widest = max(one.mu_star for one in item.effects), max(one.sigma for one in item.effects)
            moving = [one for one in item.effects if one.mu_star >= 0.05 * most or one.sigma >= 0.05 * widest]
            assert {short_factor(one.field) for one in moving} == set(labels)
            resting = {short_factor(one.field) for one in item.effects if one not in moving}
            assert set(filter(None, origin.removeprefix("at the origin: ").split(", "))) == resting
            assert ax.get_title(loc="right") == ""


def test_without_spread_the_points_lie_on_the_axis() -> None:
    results = results_of(3, 1)
    still = [replace(one, mu_star=size, sigma=1e-17) for one, size in zip(
        results.screenings[0].effects, (1.0, 0.5, 0.0), strict=True
    )]  # fmt: skip
    results.screenings = (replace(results.screenings[0], effects=tuple(still)),)  # type: ignore[misc]
    (ax,) = screening.figures(results)[0].draw().axes
    assert ax.get_ylim()[1] > 0.04
    assert "at the origin" in ax.texts[0].get_text() or len(ax.texts) == 4


def test_what_has_no_room_is_counted() -> None:
    results = results_of(3, 1)
    many = replace(results.screenings[0], effects=tuple(
        replace(results.screenings[0].effects[0], field=f"x.field_number_{index}") for index in range(120)
    ))  # fmt: skip
    results.screenings = (many,)  # type: ignore[misc]
    (ax,) = screening.figures(results)[0].draw().axes
    assert ax.get_title(loc="right") == f"{120 - len(ax.texts) + 1} without a name: see the table"


def test_points_lie_at_mu_star_and_sigma() -> None:
    results = results_of(8, 1)
    (figure,) = screening.figures(results)
    (panel,) = figure.panels()
    effects = {short_factor(one.field): one for one in results.screenings[0].effects}
    line, *traces = panel.figure.data
    assert list(line.x) == list(line.y), "σ = μ*"
    seen = 0
    for trace in traces:
        for x, y, custom in zip(trace.x, trace.y, trace.customdata, strict=True):
            one = effects[custom[0]]
            assert (x, y) == (one.mu_star, one.sigma)
            way = "both" if abs(one.mu) < 0.5 * one.mu_star else "up" if one.mu > 0 else "down"
            assert trace.legendgroup == way
            seen += 1
    assert seen == 8
    assert {item.series for item in figure.legend} == {trace.legendgroup for trace in traces}
    offsets = [collection.get_offsets() for collection in figure.draw().axes[0].collections]
    drawn = {(float(p[0]), float(p[1])) for found in offsets for p in np.asarray(found) if len(found) == 1}
    assert drawn >= {(one.mu_star, one.sigma) for one in effects.values()}
    row = figure.table.set_index("field").loc["gates.family"]
    assert row["trajectories"] == 10
    assert row["n"] == 90


@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(st.tuples(st.floats(0, 300), st.floats(0, 200)), min_size=1, max_size=20),
    width=st.floats(20, 120),
)
def test_placed_labels_cover_neither_each_other_nor_a_point(points: list[tuple[float, float]], width: float) -> None:
    sizes = [(width, 12.0)] * len(points)
    places = place_labels(points, sizes, (300, 200))
    boxes = [(place.x - width / 2, place.y - 6, place.x + width / 2, place.y + 6) for place in places if place]
    for box in boxes:
        assert box[0] >= 0
        assert box[1] >= 0
        assert box[2] <= 300
        assert box[3] <= 200
        assert not any(box[0] < x < box[2] and box[1] < y < box[3] for x, y in points)
    for one, other in itertools.combinations(boxes, 2):
        assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]
    assert places[0] is not None or len(points) > 1


def test_a_label_stands_beside_its_point_where_there_is_room() -> None:
    (place,) = place_labels([(100, 100)], [(40, 12)], (300, 200))
    assert place is not None
    assert (place.x, place.y, place.led) == (100 + 6 + 20, 100, False)
    assert place_labels([(10, 5)], [(400, 12)], (300, 200)) == [None]


# ---------------------------------------------------------------- shapes


def test_lines_are_drawn_on_the_axis_on_which_the_field_was_sampled() -> None:
    results = results_of(5, 1)
    (figure,) = shapes.figures(results)
    lines = {short_factor(line.field): line for line in results.lines}
    panels = {panel.figure.layout.xaxis.title.text.partition(" (")[0].lower(): panel for panel in figure.panels()}
    for name, line in lines.items():
        title = next(found for found in panels if found.startswith(name.lower()))
        single, *_, mean = panels[title].figure.data
        if line.scale == "log":
            assert list(mean.x) == pytest.approx([math.log10(float(level)) for level in line.levels])
        elif line.scale == "category":
            assert list(mean.x) == [0, 1, 2]
            assert mean.mode == "markers"
            assert mean.error_y.visible
        else:
            assert list(mean.x) == pytest.approx(list(line.levels))
        assert list(mean.y) == pytest.approx(list(line.mean))
        assert sum(x is None for x in single.x) == 30
    spans = [max(line.mean) - min(line.mean) for line in (lines[n] for n in _order(figure, lines))]
    assert spans == sorted(spans, reverse=True), "the largest effect first"


def _order(figure: ReportFigure, lines: dict[str, object]) -> list[str]:
    titles = [panel.figure.layout.xaxis.title.text.lower() for panel in figure.panels()]
    return [next(name for name in lines if title.startswith(name.lower())) for title in titles]


def test_printed_lines_and_bands_hold_the_numbers() -> None:
    results = results_of(1, 3)
    for figure, line in zip(shapes.figures(results), results.lines, strict=True):
        ax = figure.draw().axes[0]
        assert ax.get_yscale() == ("log" if line.response == "exported_parameters" else "linear")
        (mean,) = ax.lines
        assert list(mean.get_ydata()) == pytest.approx(list(line.mean))
        band = ax.collections[1].get_paths()[0].vertices
        assert band[:, 1].min() == pytest.approx(min(line.low))
        assert band[:, 1].max() == pytest.approx(max(line.high))
        assert ax.get_ylim()[0] < min(line.low)
        table = figure.table
        assert len(table) == 21 * 31
        assert list(table.loc[table["what"] == "mean", "value"]) == list(line.mean)
        assert table["point"].max() == 29
        best = max(line.mean)
        assert (thousands(best) if line.response == "exported_parameters" else f"{best:.3g}") in figure.alt


def test_choices_are_in_the_table_as_choices() -> None:
    figure = shapes.figures(results_of(5, 1))[0]
    rows = figure.table[(figure.table["field"] == "pool.kinds") & (figure.table["what"] == "mean")]
    assert list(rows["choice"]) == list(made_up.KINDS)
    assert rows["level"].isna().all()


# ---------------------------------------------------------------- surfaces


def test_maps_show_averages_fade_what_is_unsure_and_star_the_best() -> None:
    results = results_of(3, 3)
    for figure in surfaces.figures(results):
        mine = [one for one in results.surfaces if figure.name.endswith(made_up_stem(one.response))]
        counts = mine[0].response == "exported_parameters"
        means = np.concatenate([np.ravel(one.mean) for one in mine])
        scale = np.log(means.max() / means.min()) if counts else means.max() - means.min()
        picture = figure.draw()
        for ax, panel, one in zip(picture.axes, figure.panels(), mine, strict=False):
            (mesh,) = [found for found in ax.collections if isinstance(found, QuadMesh)]
            assert np.asarray(mesh.get_array()).ravel() == pytest.approx(np.ravel(one.mean))
            assert mesh.norm.vmin == means.min()
            assert mesh.norm.vmax == means.max()
            half = np.asarray(one.unsure)
            faded = (np.log(half) if counts else half) > scale / 4
            assert 0 < faded.sum() < faded.size
            veil, hatch = [found for found in ax.patches if isinstance(found, PathPatch)]
            assert len(veil.get_path().vertices) == len(hatch.get_path().vertices) == 5 * faded.sum()
            assert hatch.get_hatch()
            heat, cover, marks, star = panel.figure.data
            drawn = np.asarray(heat.z, float)
            assert (10**drawn if counts else drawn) == pytest.approx(np.asarray(one.mean))
            assert sum(value is not None for row in cover.z for value in row) == len(marks.x) == faded.sum()
            mean = np.asarray(one.mean)
            row, column = np.unravel_index(mean.argmin() if counts else mean.argmax(), mean.shape)
            axes = [
                field_axis(one.x_field, one.x_levels, one.x_scale),
                field_axis(one.y_field, one.y_levels, one.y_scale),
            ]
            assert (star.x[0], star.y[0]) == (axes[0].places[column], axes[1].places[row])
        assert len(figure.table) == sum(len(one.x_levels) * len(one.y_levels) for one in mine)
        assert "% of the map is unsure" in figure.alt
        assert ("fewest" if counts else "best") in figure.alt


def made_up_stem(response: str) -> str:
    return "size" if response == "exported_parameters" else response


def test_a_map_that_is_known_everywhere_is_not_hatched() -> None:
    results = made_up.results(3, 1)
    sure = tuple(replace(one, unsure=tuple((0.001,) * len(row) for row in one.mean)) for one in results.surfaces)
    results.surfaces = sure
    (figure,) = figures_of("surfaces", results)
    picture = figure.draw()
    assert not [patch for ax in picture.axes for patch in ax.patches if isinstance(patch, PathPatch)]
    assert [text.get_text() for text in picture.legends[0].get_texts()] == ["best on average"]
    assert "unsure" not in figure.alt
    assert not figure.table["faded"].any()


def test_points_of_a_grid_without_a_result_stay_empty() -> None:
    results = made_up.results(3, 1)
    (one, _) = results.surfaces
    nan = float("nan")
    mean = ((nan, *one.mean[0][1:]), *one.mean[1:])
    results.surfaces = (replace(one, mean=mean, unsure=tuple((nan,) * len(row) for row in mean)),)
    (figure,) = figures_of("surfaces", results)
    (ax, _) = figure.draw().axes
    (mesh,) = [found for found in ax.collections if isinstance(found, QuadMesh)]
    assert np.ma.getmaskarray(mesh.get_array()).sum() == 1
    assert not [patch for patch in ax.patches if isinstance(patch, PathPatch)]
    assert not any(word in figure.alt for word in ("nan", "unsure"))
    assert figure.table["mean"].isna().sum() == 1


# ---------------------------------------------------------------- axes


@pytest.mark.parametrize(
    ("ends", "labels"),
    [
        ((1e-4, 3e-3), ["0.0001", "0.0002", "0.0005", "0.001", "0.002"]),
        ((0.01, 10), ["0.01", "0.1", "1", "10"]),
        ((1e-8, 1), ["1e-8", "1e-6", "0.0001", "0.01", "1"]),
        ((0.1, 1), ["0.1", "0.2", "0.5", "1"]),
        ((0.011, 0.016), ["0.012", "0.014", "0.016"]),
    ],
)
def test_ticks_of_a_logarithmic_field(ends: tuple[float, float], labels: list[str]) -> None:
    axis = field_axis("training.learning_rate", ends, "log")
    assert axis.places == pytest.approx([math.log10(end) for end in ends])
    assert list(axis.tick_labels) == labels
    assert [10**tick for tick in axis.ticks] == pytest.approx([float(label) for label in labels])


def test_a_narrow_axis_has_fewer_ticks() -> None:
    assert field_axis("training.learning_rate", (1e-4, 3e-3), "log", 20).tick_labels == ("0.0001", "0.001")
    assert field_axis("x.y", (0.0, 0.3), "linear", 12).tick_labels == ("0", "0.2")


def test_ticks_of_whole_numbers_are_whole() -> None:
    assert all(label.isdigit() for label in field_axis("training.epochs", (1.0, 2.0, 3.0, 4.0), "linear").tick_labels)


def test_choices_are_named_in_words_and_cut_where_they_are_long() -> None:
    axis = field_axis("pool.kinds", made_up.KINDS, "category")
    assert axis.tick_labels == ("lora", "lora + bottleneck", "lora + bottleneck +…")
    assert axis.edges == [-0.5, 0.5, 1.5, 2.5]
    assert axis.ends == (-0.5, 2.5)


def test_cells_meet_in_the_middle_between_levels() -> None:
    assert field_axis("x.y", (0.0, 1.0, 3.0), "linear").edges == [-0.5, 0.5, 2.0, 4.0]
    assert field_axis("x.y", (2.0,), "linear").edges == [1.5, 2.5]


def test_long_labels_take_lines_and_keep_their_unit() -> None:
    assert wrapped("Learning rate of the heads (per step)", 20) == "Learning rate of the\nheads\n(per step)"
    assert wrapped("Score (F1)", 20) == "Score (F1)"


def test_pictures_can_be_written() -> None:
    for kind in KINDS:
        out = BytesIO()
        figures_of(kind, made_up.results(3, 1))[0].draw().savefig(out, format="png")
        assert out.getvalue().startswith(b"\x89PNG")

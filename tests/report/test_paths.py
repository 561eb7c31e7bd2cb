"""The figure of paths, its tables and its text, from one task and two layers to eight tasks and twenty-four layers."""

import re
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from slasearch.analysis.paths import TrialPaths, paths_of
from slasearch.analysis.structure import Steadiness, WinnerPaths
from slasearch.records import SITES, GateRow, Slot
from slasearch.registry import KINDS, UNRANKED_KINDS
from slasearch.report.figures import paths as figure_module
from slasearch.report.figures._base import ReportFigure
from slasearch.report.figures._path_grid import kind_marks, path_grid, route
from slasearch.report.findings import findings
from slasearch.report.path_tables import path_tables
from slasearch.report.path_text import path_data, path_text
from slasearch.report.results import Results
from slasearch.report.style import PAPER

ALL_KINDS = ("lora", "lora_xs", "bottleneck", "parallel", "prefix", "ia3", "scale", "bias")


def pool(layers: int, sites: Sequence[str], kinds: Sequence[str], copies: int = 1) -> list[Slot]:
    """Every kind at every site; with `copies` more than 1 that many rank-one slots each, else one of rank 4."""
    slots = []
    for layer in range(layers):
        for site in sites:
            for kind in kinds:
                forms = [(1, index) for index in range(copies)] if copies > 1 else [(4, 0)]
                slots += [Slot(layer, site, kind, *form) for form in ([(1, 0)] if kind in UNRANKED_KINDS else forms)]
    return slots


def winner(tasks: int, slots: Sequence[Slot], share: float = 0.3, runs: int = 3) -> WinnerPaths:
    random = Random(1)
    names = [f"task-{index}" for index in range(tasks)]
    rows = [GateRow(name, slot, 0.5, 0.5, random.random() < share, 100) for name in names for slot in slots]
    paths = paths_of(rows, names, label="c3")
    steady = [
        Steadiness(path.task, {slot: 1.0 for module in path.modules for slot in module.slots}, 0.5)
        for path in paths.tasks
    ]
    return WinnerPaths(12, paths, tuple(steady), runs, "run c3, the best of 3 by validation score")


def figure_of(item: WinnerPaths) -> ReportFigure:
    return figure_module._figure(item, " (best by score)")


CASES = {
    "one task, two layers": lambda: winner(1, pool(2, SITES[:2], ("lora",))),
    "three tasks": lambda: winner(3, pool(6, SITES[:6], ("lora", "bottleneck", "bias"))),
    "rank-gated": lambda: winner(3, pool(4, SITES[:6], ("lora",), copies=12), share=0.9),
    "every kind": lambda: winner(2, pool(3, SITES, ALL_KINDS)),
    "eight tasks, twenty-four layers": lambda: winner(8, pool(24, SITES, ("lora", "bias")), share=0.1),
    "an unknown kind": lambda: winner(2, pool(2, SITES[:2], ("aaa", "bbb"))),
    "tasks without a module": lambda: winner(3, pool(2, SITES[:2], ("lora",)), share=0.12),
}


@pytest.fixture(scope="module", params=CASES)
def item(request: pytest.FixtureRequest) -> WinnerPaths:
    return CASES[request.param]()


@pytest.fixture(scope="module")
def drawn(item: WinnerPaths) -> Figure:
    return figure_of(item).draw()


def test_every_task_has_a_panel_with_its_numbers(item: WinnerPaths, drawn: Figure) -> None:
    panels = [ax for ax in drawn.axes if ax.axison]
    assert [ax.get_title(loc="left") for ax in panels] == [path.task for path in item.paths.tasks]
    for ax, path in zip(panels, item.paths.tasks, strict=True):
        texts = [text.get_text() for text in ax.texts]
        size = f"{path.slots} slot{'s' * (path.slots > 1)} · {path.parameters:,} parameters".replace(",", "\u202f")
        assert (size if path.slots else "no slot: head only") in texts


def test_every_open_module_has_a_mark_filled_by_who_shares_it(item: WinnerPaths, drawn: Figure) -> None:
    marks, grid = kind_marks(item.paths.kinds), path_grid(item.paths)
    for ax, path in zip([ax for ax in drawn.axes if ax.axison], item.paths.tasks, strict=True):
        points = [found for found in ax.collections if len(found.get_offsets()) == 1]
        assert len(points) == len(path.modules)
        for point, module in zip(points, path.modules, strict=True):
            color = marks[module.kind].color.lower()
            assert to_hex(point.get_edgecolor()[0]) == color
            fill = to_hex(point.get_facecolor()[0])
            assert {"all": fill == color, "own": fill == PAPER, "some": fill not in (color, PAPER)}[module.sharing]
            assert np.asarray(point.get_offsets())[0][1] == grid.rows[module.layer]


def test_marks_stay_within_their_places_and_apart(item: WinnerPaths, drawn: Figure) -> None:
    for ax in drawn.axes:
        points = [found for found in ax.collections if len(found.get_offsets()) == 1]
        if not points:
            continue
        places = ax.transData.transform([np.asarray(point.get_offsets())[0] for point in points])
        radius = max(float(np.sqrt(point.get_sizes()[0])) for point in points) / 2 * drawn.dpi / 72
        distances = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(len(places))
        assert distances.min() >= 1.9 * radius


def test_nothing_is_cut_off_and_titles_do_not_touch(item: WinnerPaths, drawn: Figure) -> None:
    boxes = []
    for ax in (ax for ax in drawn.axes if ax.axison):
        box = ax.get_tightbbox()
        assert box is not None
        assert min(box.x0, box.y0, drawn.bbox.width - box.x1, drawn.bbox.height - box.y1) >= -2
        boxes.append(box)
    for index, one in enumerate(boxes):
        for other in boxes[index + 1 :]:
            overlap = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(overlap) <= 2
    (legend,) = drawn.legends
    assert legend.get_window_extent().x1 <= drawn.bbox.width


def test_charts_hold_the_same_modules(item: WinnerPaths) -> None:
    figure = figure_of(item)
    panels = figure.panels()
    assert len(panels) == len(item.paths.tasks)
    for panel, path in zip(panels, item.paths.tasks, strict=True):
        hovers = [text for trace in panel.figure.data if trace.hovertemplate for text in trace.customdata]
        shown = {re.sub(r"<br>.*", "", text) for text in hovers}
        assert shown == {f"layer {found.layer}, {found.site}: {found.text}" for found in path.modules}
    groups = {trace.legendgroup for panel in panels for trace in panel.figure.data if trace.legendgroup}
    assert groups <= {entry.series for entry in figure.legend}


def test_the_line_meets_every_open_place_and_rises(item: WinnerPaths) -> None:
    grid = path_grid(item.paths)
    for path in item.paths.tasks:
        line = route(grid, path.modules)
        heights = [y for _, y in line]
        assert heights == sorted(heights)
        for module in path.modules:
            x, y = grid.at(module)
            crossed = [
                (a, b)
                for a, b in pairwise(line)
                if abs(a[1] - y) + abs(b[1] - y) < 0.7 and min(a[0], b[0]) - 0.4 <= x <= max(a[0], b[0]) + 0.4
            ]
            assert crossed, (path.task, module)


def test_the_table_has_a_row_for_each_open_slot(item: WinnerPaths) -> None:
    table = figure_of(item).table
    assert len(table) == sum(path.slots for path in item.paths.tasks)
    counts = table.groupby(["layer", "site", "kind", "rank", "index"])["task"].nunique()
    merged = table.set_index(["layer", "site", "kind", "rank", "index"])["tasks_open"]
    assert (merged == counts.reindex(merged.index)).all()


def test_the_description_names_every_task(item: WinnerPaths) -> None:
    figure = figure_of(item)
    assert all(f"{path.task}: " in figure.alt for path in item.paths.tasks)
    assert "run c3" in " ".join(figure.note.split())
    assert ("outlined" in figure.caption) == (len(item.paths.tasks) > 1)


def test_kinds_have_marks_of_their_own() -> None:
    assert set(ALL_KINDS) == set(KINDS.names())
    marks = kind_marks(ALL_KINDS)
    assert len({mark.marker for mark in marks.values()}) == len({mark.symbol for mark in marks.values()}) == 8
    assert len({mark.color for mark in marks.values()}) == 8
    assert kind_marks(("aaa", "bbb"))["aaa"] != kind_marks(("aaa", "bbb"))["bbb"]


# ---------------------------------------------------------------- of a study


def test_a_study_shows_each_winner(results: Results) -> None:
    found = figure_module.figures(results)
    assert [figure.name for figure in found] == [f"paths_{item.number}" for item in results.comparisons]
    assert all(f"({item.label})" in figure.title for figure, item in zip(found, results.comparisons, strict=True))
    assert found[0].table["runs_open"].between(1 / 3, 1).all()


def test_tables_tell_parameters_layers_and_overlap(results: Results) -> None:
    tasks, overlap, *_ = path_tables(results)
    paths = results.paths[0].paths
    cells = pd.DataFrame(tasks.rows, columns=list(tasks.columns)).set_index("task")
    for path in paths.tasks:
        row = cells.loc[path.task]
        assert row["slots"] == str(path.slots)
        assert row["parameters"].replace("\u202f", "") == str(path.parameters)
        assert row["lowest layer"] == str(path.layers[0])
        assert sum(int(row[name]) for name in ("shared by all", "by some", "its own")) == path.slots
    assert cells.loc["all tasks", "slots"] == str(paths.slots)
    square = {row[0]: row[1:] for row in overlap.rows}
    pair = paths.overlap[0]
    assert square[pair.other][0] == square[pair.one][1] == f"{pair.shared} ({pair.jaccard:.2f})"


def test_gate_health_is_a_caution_with_its_numbers(results: Results) -> None:
    trials = results.frames.trials
    gated = trials[(trials["state"] == "complete") & trials["role"].isin(["search", "winner"])]
    (warning,) = results.health
    assert warning.total == len(gated)
    said = [item.text for item in findings(results) if item.kind == "caution" and "ate health" in item.text]
    assert said == [f"Gate health: {warning.count} of {warning.total} trials all open — No gate closed by itself."]


# ---------------------------------------------------------------- as text


def small(*tasks: str) -> TrialPaths:
    lora, wide, bias = Slot(0, "attn.q", "lora", 1), Slot(0, "attn.q", "lora", 2), Slot(1, "ffn.out", "bias", 1)
    opened = {"a": {lora, wide, bias}, "b": {bias}, "c": set()}
    rows = [GateRow(t, slot, 0.5, 0.5, slot in opened[t], 1000) for t in tasks for slot in (lora, wide, bias)]
    return paths_of(rows, tasks, label="7")


def test_text_is_a_grid_of_layers_and_sites() -> None:
    assert path_text(small("a", "b", "c")) == (
        "trial 7: 3 slots, 3\u202f000 parameters in all\n"
        "\n"
        "a: 3 slots, 3\u202f000 parameters; 0 shared by all, 1 by some, 2 its own\n"
        "layer  attn.q    ffn.out\n"
        "    1            bias\n"
        "    0  lora r3*\n"
        "\n"
        "b: 1 slot, 1\u202f000 parameters; 0 shared by all, 1 by some, 0 its own\n"
        "layer  attn.q  ffn.out\n"
        "    1          bias\n"
        "    0  ·\n"
        "\n"
        "c: no slot, only its head was trained\n"
        "layer  attn.q  ffn.out\n"
        "    1          ·\n"
        "    0  ·\n"
        "\n"
        "shared slots, of those of either, and their ratio (Jaccard)\n"
        "a and b     1 of 3    0.33\n"
        "a and c     0 of 3    0.00\n"
        "b and c     0 of 1    0.00\n"
        "\n"
        "* this task alone   · all candidates closed\n"
    )


def test_text_of_one_task_speaks_of_no_other() -> None:
    text = path_text(small("a"))
    assert text.startswith("trial 7: 3 slots, 3\u202f000 parameters\n\na: 3 slots, 3\u202f000 parameters\n")
    assert "*" not in text
    assert "shared" not in text


def test_modules_stand_below_each_other_where_the_terminal_is_narrow() -> None:
    paths = winner(2, pool(2, SITES[:6], ("lora", "bottleneck", "bias")), share=0.9).paths
    wide, narrow = path_text(paths, width=400), path_text(paths, width=100)
    assert " + " in wide
    assert " + " not in narrow
    assert max(map(len, narrow.splitlines())) <= 100
    assert narrow.count("bias") == wide.count("bias")


def test_data_holds_what_the_text_says() -> None:
    data = path_data(small("a", "b"))
    assert (data["trial"], data["slots"], data["parameters"]) == ("7", 3, 3000)
    first = data["tasks"][0]
    assert first["modules"][0] == {
        "layer": 0, "site": "attn.q", "kind": "lora", "rank": 3, "parameters": 2000, "sharing": "own",
        "slots": ["0:attn.q:lora:r1:0", "0:attn.q:lora:r2:0"],
    }  # fmt: skip
    assert data["overlap"] == [{"one": "a", "other": "b", "shared": 1, "together": 3, "jaccard": pytest.approx(1 / 3)}]

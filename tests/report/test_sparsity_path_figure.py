from io import BytesIO

import pytest
from synthetic_paths import along

from slasearch.analysis.frames import StudyFrames
from slasearch.report.figures._base import ReportFigure
from slasearch.report.figures.all import all_figures
from slasearch.report.results import Results, analyse

AGREES = "the path agrees with runs of that λ within the 95 % interval"
DIFFERS = "differs from runs of one λ at 0.01, 0.1, 1"


@pytest.mark.parametrize(("shift", "factor", "verdict"), [(0.0, 1.0, AGREES), (0.05, 1.5, DIFFERS)])
def test_a_path_is_drawn_beside_runs_of_one_weight_with_a_verdict(
    frames: StudyFrames, shift: float, factor: float, verdict: str
) -> None:
    results = analyse(along(frames, shift, factor))
    found = {figure.name: figure for figure in all_figures(results) if figure.name.startswith("sparsity_path")}
    assert list(found) == ["sparsity_path_score", "sparsity_path_size"]
    for figure in found.values():
        assert verdict in " ".join(figure.note.split())
        assert [item.label for item in figure.legend] == ["stages of one run", "a run for each λ"]
        assert set(figure.table["series"]) == {"path", "one λ"}
        out = BytesIO()
        figure.draw().savefig(out, format="png")
        assert out.getvalue().startswith(b"\x89PNG")
        assert len(figure.panels()) == 1


def test_a_study_without_a_path_has_no_such_figure(results: Results, figures: dict[str, ReportFigure]) -> None:
    assert not any("sparsity_path" in name for name in figures)
    assert not any("sparsity paths" in reason for reason in results.missing)

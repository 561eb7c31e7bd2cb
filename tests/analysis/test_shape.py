import math
from pathlib import Path

import numpy as np
import pytest
from designed import RATE, WEIGHT, Floats, ishigami, level, sampled, study_of, write_design

from slasearch.analysis.axes import axes_of
from slasearch.analysis.coordinates import design_coordinates
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.shape import ResponseLine, lines_of, response_lines, response_surfaces, surfaces_of
from slasearch.analysis.surrogate import Surrogate, indices_of, surrogate_of
from slasearch.errors import ReportError

GRID = {"sampler": {"name": "grid"}, "levels": {WEIGHT: [1e-4, 1e-2, 1.0], RATE: [1e-4, 1e-2]}}


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    return surrogate_of(sampled(ishigami, 3, 128, seed=2), "score")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> StudyFrames:
    """A score that rises with log λ, and with a choice; sizes are its exponential."""
    config = study_of(
        {"design": {"sampler": {"name": "qmc"}, "points": 64}},
        training={"schedule": {"categorical": ["linear", "cosine", "constant"]}, "batch_size": {"int": [4, 6]}},
    )
    effect = np.array([0.0, 1.0, 0.4])
    return write_design(
        tmp_path_factory.mktemp("mixed"), config, lambda unit: 5 + unit[:, 0] + effect[(unit[:, 3] * 3).astype(int)]
    )


def line(lines: tuple[ResponseLine, ...], field: str) -> ResponseLine:
    return next(one for one in lines if one.field == field)


def test_a_grid_over_a_field_that_a_choice_switches_off_is_none_of_two_fields(tmp_path: Path) -> None:
    """Points without the field have no level of it, and nothing is missing."""
    names = ("gates.family", "gates.threshold")
    config = study_of(
        {"design": {"sampler": {"name": "grid"}, "levels": {names[0]: ["sigmoid", "proximal"], names[1]: [0.2, 0.8]}}},
        gates={
            "family": {"categorical": ["sigmoid", "proximal"]},
            "threshold": {"float": [0.1, 0.9], "when": {names[0]: "sigmoid"}},
        },
    )
    frames = write_design(tmp_path, config, lambda unit: unit.sum(axis=1))
    axes = axes_of(design_coordinates(frames, "score", ("grid",), what="test"))
    assert set(axes.names) == set(names)
    assert [len(levels) for column in axes.varied if (levels := axes.levels[column]) is not None] == [2, 2]
    with pytest.raises(ReportError):
        response_surfaces(frames)


def test_partial_dependence_is_the_expectation(surrogate: Surrogate) -> None:
    lines = lines_of(surrogate)
    assert [one.field for one in lines] == [WEIGHT, RATE, level(0)]
    u = np.linspace(0, 1, 25)
    x = np.pi * (2 * u - 1)
    truth = {
        WEIGHT: np.sin(x) * (1 + 0.1 * np.pi**4 / 5) + 3.5,
        RATE: 7 * np.sin(x) ** 2,
        level(0): np.full(25, 3.5),
    }
    for field, expected in truth.items():
        found = line(lines, field)
        inner = slice(2, 23)
        assert np.array(found.mean)[inner] == pytest.approx(expected[inner], abs=0.1)
        low, high = np.array(found.low), np.array(found.high)
        assert np.all(low <= np.array(found.mean))
        assert np.all(np.array(found.mean) <= high)


def test_levels_lie_on_the_axis_on_which_a_field_was_sampled(surrogate: Surrogate) -> None:
    lines = lines_of(surrogate)
    weights, noises = line(lines, WEIGHT), line(lines, level(0))
    assert (weights.scale, noises.scale) == ("log", "linear")
    assert np.array(weights.levels, dtype=float) == pytest.approx(np.geomspace(1e-4, 1.0, 25), rel=1e-5)
    assert np.array(noises.levels, dtype=float) == pytest.approx(np.linspace(0, 0.5, 25), rel=1e-5)


def test_single_lines_show_what_the_average_hides(surrogate: Surrogate) -> None:
    found = line(lines_of(surrogate), level(0))
    assert len(found.ice) == 20
    assert all(len(one) == len(found.levels) for one in found.ice)
    assert max(np.ptp(one) for one in found.ice) > 4 * np.ptp(found.mean)


def test_choices_and_whole_numbers_stand_at_their_values(mixed: StudyFrames) -> None:
    lines = response_lines(mixed, "score")
    schedule, batch = line(lines, "training.schedule"), line(lines, "training.batch_size")
    assert schedule.levels == ("linear", "cosine", "constant")
    assert schedule.scale == "category"
    assert np.array(schedule.mean) - schedule.mean[0] == pytest.approx([0.0, 1.0, 0.4], abs=0.05)
    assert batch.levels == (4, 5, 6)
    assert np.ptp(batch.mean) < 0.05


def test_sizes_are_taken_back_from_the_logarithm(mixed: StudyFrames) -> None:
    sizes, scores = (line(response_lines(mixed, kind), WEIGHT) for kind in ("exported_parameters", "score"))
    assert np.array(sizes.mean) == pytest.approx(np.exp(scores.mean), rel=1e-6)
    assert np.array(sizes.ice) == pytest.approx(np.exp(scores.ice), rel=1e-6)
    assert np.array(sizes.high) / np.array(sizes.mean) == pytest.approx(np.array(sizes.mean) / np.array(sizes.low))


def test_surfaces_of_the_pairs_that_do_most_together(surrogate: Surrogate) -> None:
    found = surfaces_of(surrogate, indices_of(surrogate))
    assert len(found) == 3
    first = found[0]
    assert (first.x_field, first.y_field) == (WEIGHT, level(0))
    x, z = (np.pi * (2 * np.linspace(0, 1, 15) - 1) for _ in range(2))
    truth = 3.5 + np.sin(x)[None, :] * (1 + 0.1 * z[:, None] ** 4)
    assert np.array(first.mean).shape == truth.shape
    inner = (slice(2, 13), slice(2, 13))
    assert np.array(first.mean)[inner] == pytest.approx(truth[inner], abs=0.3)
    assert (np.array(first.unsure) > 0).all()
    assert "surrogate" in first.method


def test_a_grid_of_two_fields_shows_its_measured_means(tmp_path: Path) -> None:
    config = study_of({"design": {**GRID, "seeds": 3}})
    frames = write_design(
        tmp_path, config, lambda unit: unit[:, 0] + unit[:, 1], blocks=(-1.0, 0.0, 1.0), failed=[(0, 0), (0, 1), (0, 2)]
    )
    (found,) = response_surfaces(frames, "score")
    assert found.method.startswith("measured means at the points of the grid; 3 seed pairs")
    assert (found.x_field, found.y_field) == (WEIGHT, RATE)
    assert (found.x_levels, found.y_levels) == ((1e-4, 1e-2, 1.0), (1e-4, 1e-2))
    assert math.isnan(found.mean[0][0])
    assert found.mean[0][1:] == pytest.approx((0.5, 1.0))
    assert found.mean[1] == pytest.approx((1.0, 1.5, 2.0))
    assert found.unsure[1] == pytest.approx([4.302653 / math.sqrt(3)] * 3)
    assert "1 of 6 points of the grid have no complete trial" in found.warnings


THREE = {**GRID["levels"], level(0): [0.0, 0.1, 0.2, 0.4]}


def three(unit: Floats) -> Floats:
    """No two of the fields act together."""
    return np.asarray(unit[:, 0] + 0.5 * unit[:, 1])


def test_the_noise_of_a_grid_is_not_taken_for_a_response(tmp_path: Path) -> None:
    config = study_of({"design": {"sampler": {"name": "grid"}, "levels": THREE, "seeds": 2}})
    frames = write_design(tmp_path, config, three, noise=0.25)
    found = response_surfaces(frames, "score")
    assert len(found) == 3
    assert not any(one.together for one in found)
    noise = np.random.default_rng(3).normal(0, 0.25, 48).std()
    for one in found:
        cells = np.asarray(one.mean).size
        assert np.min(one.unsure) > 0.5 * 1.96 * noise / math.sqrt(48 / cells)


def test_with_one_seed_pair_nothing_is_known_at_the_points_of_a_grid(tmp_path: Path) -> None:
    config = study_of({"design": {"sampler": {"name": "grid"}, "levels": THREE}})
    frames = write_design(tmp_path, config, three, noise=0.02)
    found = response_surfaces(frames, "score")
    assert all(np.isnan(one.unsure).all() and not np.isnan(one.mean).any() for one in found)
    assert all("one seed pair: no intervals" in one.warnings for one in found)
    assert all(np.isnan(one.high).all() for one in response_lines(frames, "score"))


@pytest.mark.parametrize("second", [1, 4])
def test_nor_while_the_second_seed_pair_has_only_begun(tmp_path: Path, second: int) -> None:
    config = study_of({"design": {"sampler": {"name": "grid"}, "levels": THREE, "seeds": 2}})
    waiting = [(point, 1) for point in range(second, math.prod(map(len, THREE.values())))]
    frames = write_design(tmp_path, config, three, noise=0.02, failed=waiting)
    found = response_surfaces(frames, "score")
    assert all(np.isnan(one.unsure).all() and not np.isnan(one.mean).any() for one in found)
    assert all("hardly any point has several seed pairs yet: no intervals" in one.warnings for one in found)


def test_a_measured_grid_of_sizes_with_one_seed_pair(tmp_path: Path) -> None:
    frames = write_design(tmp_path, study_of({"design": GRID}), lambda unit: 2 + unit[:, 0])
    (found,) = response_surfaces(frames, "exported_parameters")
    assert found.mean[0] == pytest.approx(np.exp([2.0, 2.5, 3.0]))
    assert all(math.isnan(value) for row in found.unsure for value in row)
    assert "one seed pair: no intervals" in found.warnings


def test_no_surrogate_no_shape(tmp_path: Path) -> None:
    config = study_of({"design": {"sampler": {"name": "qmc"}, "points": 32}})
    frames = write_design(tmp_path, config, lambda unit: np.zeros(len(unit)), noise=1.0)
    for analysis in (response_lines, response_surfaces):
        with pytest.raises(ReportError, match="does not know"):
            analysis(frames, "score")

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from designed import (
    ISHIGAMI_FIRST,
    ISHIGAMI_TOTAL,
    RATE,
    WEIGHT,
    Floats,
    ishigami,
    level,
    sampled,
    sobol_g,
    study_of,
    write_design,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from slasearch.analysis.axes import axes_of
from slasearch.analysis.coordinates import design_coordinates
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.gaussian import cross_validated, fit_process, negative_log_likelihood
from slasearch.analysis.points import point_noise, points_of
from slasearch.analysis.sobol import SobolIndices
from slasearch.analysis.surrogate import fit_surrogate, indices_of, surrogate_indices, surrogate_of
from slasearch.errors import ReportError
from slasearch.space.parameters import parameters

QMC = {"design": {"sampler": {"name": "qmc"}, "points": 64}}


def errors(found: SobolIndices, first: tuple[float, ...], total: tuple[float, ...]) -> list[float]:
    pairs = [*zip(found.first, first, strict=True), *zip(found.total, total, strict=True)]
    return [abs(index.estimate - truth) for index, truth in pairs]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> StudyFrames:
    """128 points of the Ishigami function in a database, two seed pairs each, with noise a twentieth of the spread."""
    config = study_of({"design": {"sampler": {"name": "qmc"}, "points": 128, "seeds": 2}})
    return write_design(tmp_path_factory.mktemp("path"), config, ishigami, noise=0.2, blocks=(-0.3, 0.3))


@pytest.mark.parametrize("seed", range(4))
def test_ishigami_from_128_points(seed: int) -> None:
    found = indices_of(surrogate_of(sampled(ishigami, 3, 128, seed=seed), "score"))
    assert max(errors(found, ISHIGAMI_FIRST, ISHIGAMI_TOTAL)) < 0.01
    together = {pair.fields: pair.estimate for pair in found.second}
    assert together[WEIGHT, level(0)] == pytest.approx(0.243684, abs=0.05)
    assert together[WEIGHT, RATE] == pytest.approx(0.0, abs=0.05)


def test_ishigami_from_a_database(path: StudyFrames) -> None:
    found = surrogate_indices(path, "score")
    assert [index.field for index in found.first] == [WEIGHT, RATE, level(0)]
    assert max(errors(found, ISHIGAMI_FIRST, ISHIGAMI_TOTAL)) < 0.1
    assert (found.n, found.source) == (256, "surrogate")
    assert found.r2 is not None
    assert found.r2 > 0.8
    assert f"R² {found.r2:.2f}" in found.method
    assert all(index.low <= index.estimate <= index.high for index in (*found.first, *found.total, *found.second))


def test_same_database_same_numbers(path: StudyFrames) -> None:
    assert surrogate_indices(path, "score") == surrogate_indices(path, "score")


def test_sobol_g_of_six_fields() -> None:
    coordinates = sampled(sobol_g(78, 12, 0.5, 2, 97, 33), 6, 128, seed=1)
    found = indices_of(surrogate_of(coordinates, "score"))
    first = (0.000276, 0.010195, 0.765743, 0.191436, 0.000179, 0.001490)
    total = (0.000329, 0.012143, 0.795970, 0.220313, 0.000214, 0.001778)
    assert max(errors(found, first, total)) < 0.05


def test_sobol_g_of_eight_fields() -> None:
    coordinates = sampled(sobol_g(0, 1, 4.5, 9, 99, 99, 99, 99), 8, 128, seed=1)
    found = indices_of(surrogate_of(coordinates, "score"))
    first = (0.716192, 0.179048, 0.023676, 0.007162, *[0.000072] * 4)
    total = (0.787144, 0.242198, 0.034317, 0.010460, *[0.000105] * 4)
    assert max(errors(found, first, total)) < 0.05


def test_noise_alone_is_refused(tmp_path: Path) -> None:
    frames = write_design(tmp_path, study_of(QMC), lambda unit: np.zeros(len(unit)), noise=1.0)
    with pytest.raises(ReportError, match=r"Surrogate of score: .* R² of at least 0\.5, got .* does not know"):
        fit_surrogate(frames, "score")


def test_too_few_points_are_refused(tmp_path: Path) -> None:
    config = study_of({"design": {"sampler": {"name": "qmc"}, "points": 8, "seeds": 4}})
    with pytest.raises(ReportError, match=r"at least 16 points .* got 8\. Raise `phases.design.points`"):
        fit_surrogate(write_design(tmp_path, config, ishigami), "score")


def test_many_fields_ask_for_more_points(tmp_path: Path) -> None:
    config = study_of({"design": {"sampler": {"name": "qmc"}, "points": 16}}, levels=3)
    with pytest.raises(ReportError, match="at least 20 points"):
        fit_surrogate(write_design(tmp_path, config, ishigami), "score")


def test_a_response_that_does_not_vary_is_refused(tmp_path: Path) -> None:
    frames = write_design(tmp_path, study_of(QMC), lambda unit: np.full(len(unit), 0.25))
    with pytest.raises(ReportError, match=r"a response that varies, got 0\.25 at all 64 points"):
        fit_surrogate(frames, "score")


def test_designs_on_lines_are_refused(frames: StudyFrames) -> None:
    with pytest.raises(ReportError, match="qmc or saltelli or grid, got one_at_a_time"):
        fit_surrogate(frames, "score")


def test_size_is_analysed_on_its_logarithm(tmp_path: Path) -> None:
    frames = write_design(tmp_path, study_of(QMC), lambda unit: 3 + 4 * unit[:, 0])
    surrogate = fit_surrogate(frames, "exported_parameters")
    assert surrogate.predict(np.array([[0.5, 0.5, 0.5]]))[0] == pytest.approx([5.0], abs=0.02)
    assert indices_of(surrogate).total[0].estimate == pytest.approx(1.0, abs=0.02)


def test_a_field_that_a_grid_leaves_out_has_index_0(tmp_path: Path) -> None:
    levels = {WEIGHT: [1e-4, 1e-3, 1e-2, 0.1, 1.0], RATE: [1e-4, 1e-3, 3e-3, 1e-2]}
    config = study_of({"design": {"sampler": {"name": "grid"}, "levels": levels}})
    frames = write_design(tmp_path, config, lambda unit: (unit[:, 0] - 0.5) ** 2 + 0.2 * unit[:, 1])
    found = surrogate_indices(frames, "score")
    # Each level of a grid is as likely, whatever its distance to the next: five at 0, ¼, … of the log range.
    shares = np.array([np.var((np.linspace(0, 1, 5) - 0.5) ** 2), np.var(0.2 * np.array([0, 0.5, 0.73856, 1]))])
    for index, truth in zip(found.first, [*(shares / shares.sum()), 0.0], strict=True):
        assert index.estimate == pytest.approx(truth, abs=0.03)
    assert (found.total[2].estimate, found.total[2].low, found.total[2].high) == (0.0, 0.0, 0.0)
    assert [pair.fields for pair in found.second] == [(WEIGHT, RATE)]
    assert any(f"{level(0)} does not vary" in text for text in found.warnings)


def test_choices_have_no_order(tmp_path: Path) -> None:
    config = study_of(
        {"design": {"sampler": {"name": "qmc"}, "points": 96}},
        training={"schedule": {"categorical": ["linear", "cosine", "constant"]}, "batch_size": {"int": [8, 11]}},
    )

    def function(unit: Floats) -> Floats:
        batch, schedule = unit[:, 1], unit[:, 3]
        return np.array([0.0, 1.0, 0.2])[(schedule * 3).astype(int)] + 0.8 * batch

    found = surrogate_indices(write_design(tmp_path, config, function), "score")
    shares = np.array([np.var([0.0, 1.0, 0.2]), np.var(0.8 * np.array([0.125, 0.375, 0.625, 0.875]))])
    truth = dict(zip(("training.schedule", "training.batch_size"), shares / shares.sum(), strict=True))
    for index in found.first:
        assert index.estimate == pytest.approx(truth.get(index.field, 0.0), abs=0.04)


def test_a_field_that_is_switched_off_does_nothing(tmp_path: Path) -> None:
    decay = {"float": [0.0, 0.1], "when": {"training.multitask": "joint"}}
    config = study_of(
        {"design": {"sampler": {"name": "qmc"}, "points": 96}},
        training={"multitask": {"categorical": ["joint", "independent"]}, "weight_decay": decay},
    )
    names = [field.name for field in parameters(config)]
    weight_decay, multitask = names.index("training.weight_decay"), names.index("training.multitask")

    def function(unit: Floats) -> Floats:
        return np.where(unit[:, multitask] < 0.5, unit[:, weight_decay], 0.3)

    surrogate = fit_surrogate(write_design(tmp_path, config, function), "score")
    off = np.full((9, len(names)), 0.5)
    off[:, multitask], off[:, weight_decay] = 0.75, np.linspace(0, 1, 9)
    assert np.ptp(surrogate.predict(off)[0]) < 1e-9
    total = {index.field: index.estimate for index in indices_of(surrogate).total}
    # V(y) = E V(y | choice) + V(E(y | choice)) = (1/12)/2 + (.2/2)²; the first term is all that the decay does.
    assert total["training.weight_decay"] == pytest.approx((1 / 24) / (1 / 24 + 0.01), abs=0.05)
    assert total[WEIGHT] == pytest.approx(0.0, abs=0.03)


def test_what_a_seed_pair_adds_does_not_shift_a_point(tmp_path: Path) -> None:
    config = study_of({"design": {"sampler": {"name": "qmc"}, "points": 32, "seeds": 3}})
    lost = [(4, 0), (9, 2), (9, 1)]
    frames = write_design(tmp_path, config, lambda unit: unit[:, 0], blocks=(-5.0, 1.0, 4.0), failed=lost)
    coordinates = design_coordinates(frames, "score", ("qmc",), what="Test")
    points = points_of(coordinates)
    unit, means = points.unit, points.means
    assert len(unit) == 32
    assert means - unit[:, 0] == pytest.approx(np.full(32, (means - unit[:, 0]).mean()), abs=1e-6)
    assert any("3 trials of the design failed" in text for text in fit_surrogate(frames, "score").warnings)


def test_what_seeds_leave_in_a_mean_is_known_from_repeats(tmp_path: Path) -> None:
    """Levels of seed pairs are no noise of points: they shift all of them alike."""
    config = study_of({"design": {"sampler": {"name": "qmc"}, "points": 256, "seeds": 3}})
    seeds = {"noise": 0.3, "blocks": (-5.0, 1.0, 4.0), "failed": [(4, 0)]}
    frames = write_design(tmp_path, config, lambda unit: unit[:, 0], **seeds)
    found = design_coordinates(frames, "score", ("qmc",), what="Test")
    noises = point_noise(points_of(found))
    assert noises is not None
    assert noises.mean() == pytest.approx(0.3**2 / 3, rel=0.1)
    alone = found.repeats == 0
    once = replace(found, **{name: getattr(found, name)[alone] for name in ("unit", "values", "points", "repeats")})
    assert point_noise(points_of(once)) is None
    few = alone | ((found.repeats == 1) & (found.points < 8))  # one degree of freedom is taken off for the seed pair
    once = replace(found, **{name: getattr(found, name)[few] for name in ("unit", "values", "points", "repeats")})
    assert points_of(once).freedom == 6
    assert point_noise(points_of(once)) is None, "so few repeats hardly tell of it"


def test_a_process_does_not_run_through_noise_that_is_known() -> None:
    """Twelve values of noise alone, which the likelihood takes for a response."""
    x = np.linspace(0, 1, 12)[:, None]
    values = np.random.default_rng(9).normal(0, 0.1, 12)
    assert fit_process(x, values).predict(x)[1].max() < 0.02
    process = fit_process(x, values, least=0.01)
    assert (process.scale * process.noise) ** 2 >= 0.01 - 1e-9
    partial = cross_validated(x, values, process, least=0.01)[2]
    assert all((one.scale * one.noise) ** 2 >= 0.01 - 1e-9 for one in partial)


def test_twins_of_a_block_do_not_tell_what_is_held_out(tmp_path: Path) -> None:
    """Noise along one field: points of a block that lie at one place of it have one value, and none of it is known."""
    config = study_of({"design": {"sampler": {"name": "saltelli"}, "points": 16}})
    values: dict[float, float] = {}
    random = np.random.default_rng(0)

    def noise(unit: Floats) -> Floats:
        return np.array([values.setdefault(round(at, 9), random.normal()) for at in unit[:, 0].tolist()])

    with pytest.raises(ReportError, match=r"expected a cross-validated R² of at least 0\.5, got -"):
        fit_surrogate(write_design(tmp_path, config, noise), "score")
    few = study_of({"design": {"sampler": {"name": "saltelli"}, "points": 4}})
    (tmp_path / "few").mkdir()
    with pytest.raises(ReportError, match="expected at least 8 base points of the Saltelli design"):
        fit_surrogate(write_design(tmp_path / "few", few, lambda unit: unit[:, 0]), "score")


def test_a_process_knows_how_unsure_it_is() -> None:
    generator = np.random.default_rng(2)
    x = generator.uniform(size=(40, 2))
    values = np.sin(6 * x[:, 0]) + x[:, 1] + generator.normal(0, 0.1, 40)
    process, r2, _ = cross_validated(x, values, fit_process(x, values))
    assert r2 > 0.8
    new = generator.uniform(size=(400, 2))
    mean, deviation = process.predict(new)
    assert process.mean(new) == pytest.approx(mean)
    inside = np.abs(np.sin(6 * new[:, 0]) + new[:, 1] - mean) < 1.96 * deviation
    assert 0.85 < inside.mean() <= 1
    cross = process.kernel(new, process.x)
    alone, sure = process.conditioned(cross[:1], process.kernel.variance)
    assert (alone[0], sure[0]) == pytest.approx((mean[0], deviation[0]))
    average, unsure = process.conditioned(cross.mean(axis=0, keepdims=True), process.kernel(new, new).mean())
    assert average[0] == pytest.approx(mean.mean())
    assert unsure[0] < deviation.mean()


@pytest.mark.parametrize("columns", [1, 3])
def test_the_slope_of_the_likelihood_is_its_slope(columns: int) -> None:
    generator = np.random.default_rng(columns)
    x, values = generator.uniform(size=(12, columns)), generator.normal(size=12)
    first, second = np.tril_indices(12)
    squares = ((x[first] - x[second]) ** 2).T
    logs = np.log(generator.uniform(0.2, 2, 2 * columns + 2))
    _, slope = negative_log_likelihood(logs, squares, values)
    for place, step in enumerate(1e-5 * np.eye(2 * columns + 2)):
        up, down = (negative_log_likelihood(logs + sign * step, squares, values)[0] for sign in (1, -1))
        assert slope[place] == pytest.approx((up - down) / 2e-5, abs=1e-6)


def test_the_likelihood_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    x, values = np.sort(generator.uniform(size=(20, 1)), axis=0), generator.normal(size=20)
    first, second = np.tril_indices(20)
    loss, _ = negative_log_likelihood(np.log([0.7, 1.5, 0.2, 0.3]), ((x[first] - x[second]) ** 2).T, values)
    kernel = ConstantKernel(0.7) * (ConstantKernel(1.0) + ConstantKernel(1.5) * RBF(0.2)) + WhiteKernel(0.3)
    known = GaussianProcessRegressor(kernel, alpha=1e-8, optimizer=None).fit(x, values)
    assert -loss == pytest.approx(known.log_marginal_likelihood_value_, rel=1e-9)
    process = fit_process(x, values)
    kernel = process.kernel
    again = ConstantKernel(kernel.size) * (
        ConstantKernel(1.0) + ConstantKernel(kernel.effect[0]) * RBF(kernel.length_scale[0])
    )
    known = GaussianProcessRegressor(
        again + WhiteKernel(process.noise**2), alpha=1e-8, optimizer=None, normalize_y=True
    ).fit(x, values)
    new = generator.uniform(size=(9, 1))
    assert process.mean(new) == pytest.approx(known.predict(new), abs=1e-6)


def test_a_saltelli_design_has_a_surrogate_too(tmp_path: Path) -> None:
    config = study_of({"design": {"sampler": {"name": "saltelli"}, "points": 16}})
    found = fit_surrogate(write_design(tmp_path, config, lambda unit: unit[:, 0] + unit[:, 1] * unit[:, 2]), "score")
    assert len(found.points) == 80
    assert found.mean(np.array([[0.3, 0.2, 0.9]])) == pytest.approx([0.48], abs=0.02)


def test_large_designs_are_thinned(path: StudyFrames, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slasearch.analysis.surrogate._LARGEST", 100)
    assert "100 of 128 points" in fit_surrogate(path, "score").method


def test_axes_of_a_design_without_a_grid_are_whole(path: StudyFrames) -> None:
    axes = axes_of(design_coordinates(path, "score", ("qmc",), what="Test"))
    assert axes.varied == (0, 1, 2)
    assert axes.spread(0, 5) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert [axes.value(0, place) for place in axes.spread(0, 5)] == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1.0])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_intervals_hold_the_truth_in_nine_of_ten_designs() -> None:
    truth = np.array([*ISHIGAMI_FIRST, *ISHIGAMI_TOTAL])
    held = []
    for seed in range(100):
        exact = sampled(ishigami, 3, 96, seed=seed)
        noise = np.random.default_rng(seed).normal(0, 0.5, 96)
        found = indices_of(surrogate_of(replace(exact, values=exact.values + noise), "score"))
        held.append(
            [index.low <= true <= index.high for index, true in zip((*found.first, *found.total), truth, strict=True)]
        )
    assert np.mean(held, axis=0).min() >= 0.9

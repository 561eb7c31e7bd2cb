import numpy as np
import optuna
import pytest
from session_kit import RATE, WEIGHT, study

from slasearch.config.schema import SamplerConfig
from slasearch.search.pruners import MedianPruner, NoPruner, SuccessiveHalving
from slasearch.search.samplers import make_sampler, sampler_seed
from slasearch.space import parameters, suggest


def judge_all(pruner, scores, share=0.5):
    return [pruner.judge(trial, share, score, prunable=True) for trial, score in enumerate(scores)]


def test_none_never_stops_a_trial():
    assert judge_all(NoPruner(), [0.9, 0.1, 0.0]) == [False] * 3


def test_median_asks_optuna_only_where_a_trial_may_stop():
    asked = []
    pruner = MedianPruner(lambda trial: asked.append(trial) is None)
    assert pruner.judge(1, 0.5, 0.1, prunable=True) is True
    assert pruner.judge(2, 0.5, 0.1, prunable=False) is False
    assert pruner.judge(3, 1.0, 0.1, prunable=True) is False
    assert asked == [1]


def test_halving_keeps_the_best_third_of_those_seen_at_a_rung():
    pruner = SuccessiveHalving(reduction_factor=3, first_share=0.5)
    #                             few: go on    2nd of 3  best   2nd of 5  4th of 6  2nd of 7
    assert judge_all(pruner, [0.5, 0.6, 0.55, 0.9, 0.7, 0.56, 0.8]) == [False, False, True, False, False, True, False]


def test_halving_judges_a_trial_once_at_each_rung():
    pruner = SuccessiveHalving(reduction_factor=2, first_share=0.25)
    judge_all(pruner, [0.9, 0.8], share=0.25)
    assert pruner.judge(7, 0.2, 0.0, prunable=True) is False  # no rung yet
    assert pruner.judge(7, 0.25, 0.85, prunable=True) is False  # second of three, half go on
    assert pruner.judge(7, 0.4, 0.0, prunable=True) is False  # between rungs
    assert pruner.judge(7, 0.5, 0.0, prunable=True) is False  # alone at the second rung
    assert pruner.judge(8, 0.5, 0.9, prunable=True) is False
    assert pruner.judge(9, 0.5, 0.5, prunable=True) is False  # second of three there
    assert pruner.judge(10, 0.6, 0.1, prunable=True) is True  # third of four, at its first report past the rung
    assert pruner.judge(11, 1.0, 0.0, prunable=True) is False  # at the end there is nothing to save


def test_halving_counts_reports_that_may_not_be_stopped_and_earlier_curves():
    curves = {1: [(0.25, 0.5), (0.5, 0.9)], 2: [(0.5, 0.8)]}
    pruner = SuccessiveHalving(reduction_factor=2, first_share=0.5, curves=curves)
    assert pruner.judge(3, 0.5, 0.1, prunable=False) is False
    assert pruner.judge(4, 0.5, 0.85, prunable=True) is False
    assert pruner.judge(5, 0.5, 0.2, prunable=True) is True


@pytest.mark.parametrize(
    ("factor", "first", "rungs"), [(3, 0.25, [0.25, 0.75]), (2, 0.25, [0.25, 0.5]), (3, 1 / 9, [1 / 9, 1 / 3])]
)
def test_halving_has_its_rungs_below_the_whole_budget(factor, first, rungs):
    assert SuccessiveHalving(factor, first)._rungs == pytest.approx(rungs)


def test_halving_saves_training_and_keeps_the_best():
    """100 trials with noisy curves: about half of the reports are saved, and one of the three best reaches the end."""
    rng = np.random.default_rng(0)
    quality = rng.uniform(0.5, 0.9, 100)
    pruner = SuccessiveHalving()
    reports, ended = 0, []
    for trial in range(100):
        for share in (0.25, 0.5, 0.75, 1.0):
            reports += 1
            score = quality[trial] * (1 - 0.3 * (1 - share)) + rng.normal(0, 0.01)
            if pruner.judge(trial, share, score, prunable=True):
                break
        else:
            ended.append(trial)
    assert reports < 220
    assert set(ended) & set(np.argsort(quality)[-3:])


SPACE = study(optimise=1)


def draws(name, count, seed=0, **options):
    """Parameters of the first trials, each by a sampler made anew."""
    memory = optuna.create_study(directions=["maximize", "minimize"])
    found = []
    for index in range(count):
        memory.sampler = make_sampler(
            SamplerConfig(name=name, options=options), seed=seed, number=index, index=index, space=parameters(SPACE)
        )
        trial = memory.ask()
        found.append(suggest(trial, SPACE))
        memory.tell(trial, [found[-1][WEIGHT], 1.0])
    return found


@pytest.mark.parametrize("name", ["tpe", "random", "qmc"])
def test_the_studys_seed_decides_every_draw(name):
    assert draws(name, 6) == draws(name, 6)
    assert draws(name, 6) != draws(name, 6, seed=1)
    assert len({str(draw) for draw in draws(name, 6)}) == 6


def test_qmc_fills_each_dimension_evenly():
    rates = [np.log(draw[RATE]) for draw in draws("qmc", 16)]
    low, high = np.log(1e-4), np.log(1e-2)
    cells = sorted(int(16 * (rate - low) / (high - low)) for rate in rates)
    assert cells == list(range(16))


def test_tpe_takes_its_options():
    sampler = make_sampler(
        SamplerConfig(name="tpe", options={"n_startup_trials": 3}), seed=0, number=0, index=0, space=()
    )
    assert sampler._n_startup_trials == 3


def test_seeds_differ_by_study_and_number():
    assert len({sampler_seed(seed, number) for seed in range(20) for number in range(20)}) == 400

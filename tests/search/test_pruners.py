import numpy as np
import optuna
import pytest
from session_kit import RATE, WEIGHT, progress, report, study, trials_of

from slasearch.config.schema import SamplerConfig
from slasearch.search.pruners import Hyperband, MedianPruner, NoPruner, Report, SuccessiveHalving, curves, share_done
from slasearch.search.samplers import make_sampler, sampler_seed
from slasearch.search.study import StudySession
from slasearch.space import parameters, suggest


def judge(pruner, trial, share, score, *, warm=True, prunable=True):
    return pruner.judge(trial, Report(share, score, warm), prunable=prunable)


def judge_all(pruner, scores, share=0.5):
    return [judge(pruner, trial, share, score) for trial, score in enumerate(scores)]


PRUNERS = {
    "median": lambda: MedianPruner(lambda trial: True),
    "successive_halving": lambda: SuccessiveHalving(first_share=0.5),
    "hyperband": lambda: Hyperband(first_share=0.5),
}


def in_first_bracket(count):
    pruner = Hyperband(first_share=0.5)
    return [trial for trial in range(100) if pruner.bracket(trial) == 0][:count]


def test_none_never_stops_a_trial():
    assert judge_all(NoPruner(), [0.9, 0.1, 0.0]) == [False] * 3


@pytest.mark.parametrize("make", PRUNERS.values(), ids=PRUNERS)
def test_nothing_is_stopped_in_its_warm_up_at_its_end_or_where_it_may_not_be(make):
    pruner = make()
    trials = in_first_bracket(9)
    for trial in trials[:3]:
        judge(pruner, trial, 0.5, 0.9, prunable=False)
    assert judge(pruner, trials[3], 0.5, 0.1, warm=False) is False
    assert judge(pruner, trials[4], 0.5, 0.1, prunable=False) is False
    assert judge(pruner, trials[5], 1.0, 0.1) is False
    assert judge(pruner, trials[6], 0.5, 0.05) is True


def test_median_asks_optuna_only_where_a_trial_may_stop():
    asked = []
    pruner = MedianPruner(lambda trial: asked.append(trial) is None)
    assert judge(pruner, 1, 0.5, 0.1) is True
    assert judge(pruner, 2, 0.5, 0.1, prunable=False) is False
    assert judge(pruner, 3, 0.5, 0.1, warm=False) is False
    assert judge(pruner, 4, 1.0, 0.1) is False
    assert asked == [1]


def test_halving_keeps_the_best_third_of_those_seen_at_a_rung():
    pruner = SuccessiveHalving(reduction_factor=3, first_share=0.5)
    #                             few: go on    2nd of 3  best   2nd of 5  4th of 6  2nd of 7
    assert judge_all(pruner, [0.5, 0.6, 0.55, 0.9, 0.7, 0.56, 0.8]) == [False, False, True, False, False, True, False]


def test_halving_judges_a_trial_once_at_each_rung():
    pruner = SuccessiveHalving(reduction_factor=2, first_share=0.25)
    judge_all(pruner, [0.9, 0.8], share=0.25)
    assert judge(pruner, 7, 0.2, 0.0) is False  # no rung yet
    assert judge(pruner, 7, 0.25, 0.85) is False  # second of three, half go on
    assert judge(pruner, 7, 0.4, 0.0) is False  # between rungs
    assert judge(pruner, 7, 0.5, 0.0) is False  # alone at the second rung
    assert judge(pruner, 8, 0.5, 0.9) is False
    assert judge(pruner, 9, 0.5, 0.5) is False  # second of three there
    assert judge(pruner, 10, 0.6, 0.1) is True  # third of four, at its first report past the rung
    assert judge(pruner, 11, 1.0, 0.0) is False  # at the end there is nothing to save


def test_halving_counts_trials_that_may_not_be_stopped_and_earlier_ones():
    earlier = {1: [Report(0.25, 0.5), Report(0.5, 0.9)], 2: [Report(0.5, 0.8)]}
    pruner = SuccessiveHalving(reduction_factor=2, first_share=0.5, earlier=earlier)
    assert judge(pruner, 3, 0.5, 0.1, prunable=False) is False
    assert judge(pruner, 4, 0.5, 0.85) is False
    assert judge(pruner, 5, 0.5, 0.2) is True


def test_a_rung_that_is_reached_in_the_warm_up_knows_nothing_of_the_trial():
    """Its score with every gate open neither raises the bar for others nor shields it at the next rung."""
    pruner = SuccessiveHalving(reduction_factor=2, first_share=0.25)
    for trial in range(4):
        assert judge(pruner, trial, 0.25, 0.99, warm=False) is False
    assert judge(pruner, 4, 0.25, 0.5) is False  # alone at the first rung
    assert judge(pruner, 5, 0.25, 0.6) is False  # the better of two
    assert judge(pruner, 0, 0.4, 0.1) is False  # warm now, but the first rung lies behind it
    assert judge(pruner, 4, 0.5, 0.8) is False
    assert judge(pruner, 5, 0.5, 0.9) is False
    assert judge(pruner, 0, 0.5, 0.7) is True


@pytest.mark.parametrize(
    ("factor", "first", "rungs"), [(3, 0.25, [0.25, 0.75]), (2, 0.25, [0.25, 0.5]), (3, 1 / 9, [1 / 9, 1 / 3])]
)
def test_halving_has_its_rungs_below_the_whole_budget(factor, first, rungs):
    assert SuccessiveHalving(factor, first).rungs == pytest.approx(rungs)


def noisy_search(pruner, trials, seed=0):
    """Trials with noisy curves: how many reports were made, who came to the end, and how good each is."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(0.5, 0.9, trials)
    reports, ended = 0, []
    for trial in range(trials):
        for share in (0.25, 0.5, 0.75, 1.0):
            reports += 1
            if judge(pruner, trial, share, quality[trial] * (1 - 0.3 * (1 - share)) + rng.normal(0, 0.01)):
                break
        else:
            ended.append(trial)
    return reports, ended, quality


def test_halving_saves_training_and_keeps_the_best():
    """100 trials with noisy curves: about half of the reports are saved, and one of the three best reaches the end."""
    reports, ended, quality = noisy_search(SuccessiveHalving(), 100)
    assert reports < 220
    assert set(ended) & set(np.argsort(quality)[-3:])


@pytest.mark.parametrize("reports", [2, 3, 4, 7])
def test_trials_of_every_length_reach_each_place_of_a_report(reports):
    """A report comes after a whole step: at 189 steps the first of four comes before a quarter, at 375 behind it."""
    for steps in range(reports, 400):
        due = [round(steps / reports * number) for number in range(1, reports)]
        assert [share_done(step, steps, reports) for step in due] == [number / reports for number in range(1, reports)]
    assert share_done(399, 399, reports) == 1


def test_halving_compares_trials_of_other_lengths_at_equal_shares():
    pruner = SuccessiveHalving(reduction_factor=3, first_share=0.25)
    for trial in range(6):  # .5 at a quarter of 189 steps, .7 at half
        judge(pruner, trial, share_done(47, 189, 4), 0.5)
        judge(pruner, trial, share_done(94, 189, 4), 0.7)
    assert judge(pruner, 6, share_done(94, 375, 4), 0.6) is False


def test_hyperband_saves_less_than_halving_and_more_than_nothing():
    halving, _, _ = noisy_search(SuccessiveHalving(), 100)
    reports, ended, quality = noisy_search(Hyperband(), 100)
    assert halving < reports < 340
    assert set(ended) & set(np.argsort(quality)[-3:])


def test_brackets_have_the_papers_shares_in_every_block_and_no_rhythm():
    """η = 3 from a quarter on: rungs at 25 % and 75 %, so ⌈3/3·9⌉, ⌈3/2·3⌉ and ⌈3/1·1⌉ of every 17 trials."""
    pruner = Hyperband(reduction_factor=3, first_share=0.25)
    found = [pruner.bracket(trial) for trial in range(5 * 17)]
    blocks = [found[start : start + 17] for start in range(0, len(found), 17)]
    assert all([block.count(bracket) for bracket in range(3)] == [9, 5, 3] for block in blocks)
    assert len({tuple(block) for block in blocks}) == 5
    assert [Hyperband().bracket(trial) for trial in range(5 * 17)] == found


def test_each_bracket_judges_from_its_own_rung_on_and_its_own_trials():
    pruner = Hyperband(reduction_factor=2, first_share=0.25)
    members = [[trial for trial in range(99) if pruner.bracket(trial) == bracket] for bracket in range(3)]
    stopped = {}
    for bracket, trials in enumerate(members):
        for trial, score in zip(trials[:2], (0.8, 0.9), strict=True):
            assert not any(judge(pruner, trial, share, score) for share in (0.25, 0.5))
        shares = (0.25, 0.5, 0.75)
        for place, share in enumerate(shares):
            if judge(pruner, trials[2], share, 0.1):
                stopped[bracket] = shares[place]
                break
    assert stopped == {0: 0.25, 1: 0.5}


def test_hyperband_goes_on_from_what_was_reported_before():
    trials = in_first_bracket(4)
    earlier = {trial: [Report(0.5, 0.9)] for trial in trials[:3]}
    pruner = Hyperband(first_share=0.5, earlier=earlier)
    assert judge(pruner, trials[3], 0.5, 0.2) is True
    assert judge(Hyperband(first_share=0.5), trials[3], 0.5, 0.2) is False


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


def test_a_trial_that_was_lost_and_tried_again_counts_once(where):
    """At the rung stand .9 and .8: of two, both are too few to stop one. With .9 twice .8 would be stopped."""
    pruner = {"name": "successive_halving", "options": {"reduction_factor": 3, "first_share": 0.25}}
    config = study(optimise=4, sampler={"name": "random"}, pruner=pruner, objectives=("score",))
    session = StudySession.open(config, where)

    def begin():
        ask = session.next()
        session.started(ask.trial_id, ray_trial_id="r")
        return ask

    def at_rung(ask, score):
        return session.progress(ask.trial_id, progress(4, score, of=16))

    lost = begin()
    assert at_rung(lost, 0.9) is False
    session.lost(lost.trial_id, "node gone")
    again = begin()
    assert again.attempt == 2
    assert at_rung(again, 0.9) is False
    assert at_rung(begin(), 0.8) is False
    rows, reports = trials_of(where), session._store.reports(session._study.id)
    found = curves(rows, reports, config.training.reports)
    assert {number: len(curve) for number, curve in found.items()} == {0: 2, 2: 1}
    session.close()
    session = StudySession.open(config, where)
    assert at_rung(begin(), 0.7) is False, "a restart counts no trial twice either: .7 is one of three"
    session.close()


def test_the_median_asks_of_the_attempt_that_runs(where):
    config = study(
        optimise=3,
        sampler={"name": "random"},
        pruner={"name": "median", "options": {"n_startup_trials": 1}},
        objectives=("score",),
    )
    session = StudySession.open(config, where)
    for number in range(2):
        ask = session.next()
        session.started(ask.trial_id, ray_trial_id="r")
        stop = session.progress(ask.trial_id, progress(4, 0.9 - 0.5 * number))
        if number == 0:
            assert stop is False
            session.finish(ask.trial_id, report(ask))
    assert stop is True
    session.lost(ask.trial_id, "node gone")
    again = session.next()
    session.started(again.trial_id, ray_trial_id="r")
    assert session.progress(again.trial_id, progress(4, 0.95)) is False, "the lost attempt's score is not its own"
    session.close()

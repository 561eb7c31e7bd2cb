"""What controls were tuned by, read from a stored study."""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
from synthetic import WEIGHT, Plan

from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.goals import confirmed_winners, goals_of
from slasearch.search.winners import chosen, goals, searched
from slasearch.storage.store import Store


def test_without_robustness_among_the_objectives_nothing_is_to_be_told(
    frames_of: Callable[[Plan], StudyFrames],
) -> None:
    assert goals_of(frames_of(Plan(measured=False))) == {}


def test_goals_read_from_frames_are_those_of_the_search(
    frames: StudyFrames, database_of: Callable[[Plan], str]
) -> None:
    store = Store(database_of(Plan()))
    rows = store.trials(store.study("synthetic").id)
    store.close()
    expected = goals(chosen(frames.config.objectives, searched(rows), 1))
    assert goals_of(frames) == expected
    assert sorted(expected.values()) == ["robustness", "score", "score", "score"]


def test_an_earlier_winners_goal_is_that_of_its_time(frames_of: Callable[[Plan], StudyFrames]) -> None:
    frames = frames_of(Plan(tuning=2))
    (robust,) = [winner for winner, goal in goals_of(frames).items() if goal == "robustness"]
    later = frames.trials[frames.trials["trial_id"] == robust].assign(
        trial_id=10_000, score=0.1, robustness=1.0, exported_parameters=10**7
    )
    params = frames.params[frames.params["trial_id"] == robust].assign(trial_id=10_000, **{WEIGHT: 0.77})
    grown = replace(frames, trials=pd.concat([frames.trials, later]), params=pd.concat([frames.params, params]))
    found = goals_of(grown)
    assert (found[robust], found[10_000]) == ("robustness", "robustness")


def test_a_winner_that_the_search_has_overtaken_stands_last(frames: StudyFrames) -> None:
    first, *others = confirmed_winners(frames)
    better = frames.trials[frames.trials["trial_id"] == first].assign(trial_id=10_000, score=0.999, robustness=0.999)
    better["exported_parameters"] = 1.0
    params = frames.params[frames.params["trial_id"] == first].assign(trial_id=10_000, **{WEIGHT: 0.77})
    grown = replace(frames, trials=pd.concat([frames.trials, better]), params=pd.concat([frames.params, params]))
    assert confirmed_winners(grown) == [first, *others], "expected the order of confirming where none stands any more"
    confirmed = frames.phase_trials("confirm")
    again = confirmed[(confirmed["pair_of"] == first) & (confirmed["role"] == "winner")]
    again = again.assign(trial_id=range(20_000, 20_000 + len(again)), pair_of=10_000.0)
    own = pd.concat(
        [frames.params[frames.params["trial_id"] == first].assign(trial_id=one) for one in again["trial_id"]]
    )
    grown = replace(grown, trials=pd.concat([grown.trials, again]), params=pd.concat([grown.params, own]))
    assert confirmed_winners(grown) == [10_000, first, *others]

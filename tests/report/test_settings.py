"""The best of a search whose settings were tried under several seed pairs."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from slasearch.analysis.frames import StudyFrames
from slasearch.config.constraints import ConstraintConfig
from slasearch.report.figures import parallel
from slasearch.report.findings import findings
from slasearch.report.html import _tiles
from slasearch.report.results import Results
from slasearch.report.settings import best_settings
from slasearch.report.summary import _search
from slasearch.report.tables import best_trials


@pytest.fixture(scope="module")
def lucky(frames: StudyFrames) -> StudyFrames:
    """Point 1 of the design scores .9 under each of three seed pairs; point 2 scores .99 once, .5 otherwise."""
    trials = frames.trials.copy()
    trials.loc[trials["phase"] == "optimise", "score"] = 0.4
    design = trials["phase"] == "design"
    trials.loc[design, "score"] = 0.4
    trials.loc[design & (trials["point"] == 1), "score"] = [0.9, 0.91, 0.89]
    trials.loc[design & (trials["point"] == 2), "score"] = [0.5, 0.99, 0.5]
    return replace(frames, trials=trials)


@pytest.fixture(scope="module")
def found(results: Results, lucky: StudyFrames) -> Results:
    return replace(results, frames=lucky)


def test_a_setting_counts_by_its_mean_and_is_called_by_its_best_trial(lucky: StudyFrames, found: Results) -> None:
    first, second = best_settings(lucky).head(2).to_dict("records")
    assert (first["point"], first["pairs"], first["repeat"]) == (1, 3, 1)
    assert first["score"] == pytest.approx(0.9)
    mine = lucky.trials[(lucky.trials["phase"] == "design") & (lucky.trials["point"] == 1)]
    assert first["exported_parameters"] == pytest.approx(mine["exported_parameters"].mean())
    assert (second["point"], second["repeat"]) == (2, 1)
    assert second["score"] == pytest.approx(1.99 / 3)
    table = best_trials(found)
    assert table is not None
    assert table.columns[:5] == ("trial", "phase", "score", "parameters", "seed pairs")
    assert table.rows[0][:3] == (f"{first['number']:g}", "design", "0.900")
    assert table.rows[0][4] == "3"
    assert table.note.startswith("Numbers are means over a setting's seed pairs")


def test_one_seed_pair_each_leaves_the_table_of_trials(lucky: StudyFrames, found: Results) -> None:
    once = replace(found, frames=replace(lucky, trials=lucky.trials[lucky.trials["repeat"] == 0]))
    table = best_trials(once)
    assert table is not None
    assert table.title == f"Best 10 of {len(once.frames.search_trials('complete'))} complete trials by validation score"
    assert "seed pairs" not in table.columns
    assert table.note == ""


def test_a_finalist_counts_by_all_its_trials_and_stands_before_one_lucky_trial(lucky: StudyFrames) -> None:
    """Two of the settings with one trial were tried again: .95 and .92 became .80 and .85; .93 was not."""
    once = lucky.trials[(lucky.trials["repeat"] == 0) & (lucky.trials["phase"] == "design")].copy()
    once = once[once["state"] == "complete"].iloc[:3].assign(score=[0.95, 0.92, 0.93])
    again = once.iloc[[0, 1]].assign(
        trial_id=[30_000, 30_001], phase="tune", role="finalist", score=[0.65, 0.78], init_seed=77, data_seed=78
    )
    ids = once["trial_id"].tolist()
    params = lucky.params.set_index("trial_id")
    own = params.loc[ids[:2]].set_axis([30_000, 30_001]).rename_axis("trial_id").reset_index()
    found = best_settings(
        replace(
            lucky,
            trials=pd.concat([once, again], ignore_index=True),
            params=pd.concat([lucky.params, own], ignore_index=True),
        )
    )
    assert found["trial_id"].tolist() == [ids[1], ids[0], ids[2]]
    assert found["score"].tolist() == pytest.approx([0.85, 0.80, 0.93])
    assert found["pairs"].tolist() == [2, 2, 1]


def test_the_best_line_and_the_best_tile_are_of_the_best_setting(lucky: StudyFrames, found: Results) -> None:
    first = best_settings(lucky).iloc[0]
    (figure,) = parallel.figures(found)
    assert figure.table["trial_id"].iloc[0] == first["trial_id"]
    assert figure.table["score"].tolist()[:2] == [0.91, 0.99], "all others by their own score"
    tile, _ = _tiles(replace(found, comparisons=()))
    assert (tile.value, tile.detail) == ("0.900", f"trial {first['number']:g}, 3 seed pairs")


def test_the_best_tile_keeps_the_constraints_on_average(lucky: StudyFrames, found: Results) -> None:
    """Its best trial breaks the bound, a sibling keeps it, and so do both on average; without any there is no tile."""
    first = best_settings(lucky).iloc[0]
    trials = lucky.trials.copy()
    trials.loc[trials["state"] == "complete", "exported_parameters"] = 100
    trials.loc[trials["trial_id"] == first["trial_id"], "exported_parameters"] = 110
    for most, words in ((105, f"trial {first['number']:g}, 3 seed pairs"), (99, None)):
        bound = ConstraintConfig(name="exported_parameters", max=most)
        frames = replace(lucky, trials=trials, config=lucky.config.model_copy(update={"constraints": (bound,)}))
        tiles = _tiles(replace(found, comparisons=(), frames=frames, front=None))
        assert [tile.detail for tile in tiles[:1]] == ([] if words is None else [words])


def test_what_a_winner_scored_in_the_search_is_the_mean_over_its_seed_pairs(found: Results, lucky: StudyFrames) -> None:
    first = best_settings(lucky).iloc[0]
    item = replace(found.comparisons[0], winner_id=int(first["trial_id"]), number=int(first["number"]))
    runs = lucky.trials.copy()
    winner = runs["pair_of"] == found.comparisons[0].winner_id
    runs.loc[winner, "pair_of"] = first["trial_id"]
    (told,) = _search(replace(found, comparisons=(item,), frames=replace(lucky, trials=runs)))
    assert f"trial {item.number} scored 0.900 over 3 seed pairs in the search and 0." in told.text


def test_what_leads_to_the_best_is_said_of_settings(results: Results) -> None:
    told = [item.text for item in findings(results) if item.topic == "Importance" and "For reaching" in item.text]
    assert [text.partition(" (n = ")[2] for text in told] == [f"{one.n} settings)." for one in results.importances]

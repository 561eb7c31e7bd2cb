from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from synthetic import TASKS, Plan

from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.structure import gate_map, winner_paths
from slasearch.errors import ReportError


def test_map_is_the_mean_of_open_slots(frames: StudyFrames) -> None:
    found = gate_map(frames)
    first = frames.trials.loc[frames.trials["role"] == "winner"].iloc[0]["pair_of"]
    runs = frames.trials[(frames.trials["role"] == "winner") & (frames.trials["pair_of"] == first)]["trial_id"]
    gates = frames.gates[frames.gates["trial_id"].isin(runs)]
    cell = gates[
        (gates["task"] == "spam") & (gates["layer"] == 4) & (gates["site"] == "ffn.in") & (gates["kind"] == "lora")
    ]
    place = found.places.index("ffn.in lora")
    assert found.frequency[1, found.layers.index(4), place] == pytest.approx(cell["open"].astype(float).mean())
    assert found.openness[1, found.layers.index(4), place] == pytest.approx(cell["openness"].mean())
    assert (found.tasks, found.layers, found.n) == (tuple(TASKS), (3, 4, 5), 3)


def test_places_stand_in_the_order_of_a_forward_pass(frames: StudyFrames) -> None:
    sites = list(dict.fromkeys(place.split()[0] for place in gate_map(frames).places))
    assert sites == ["attn.q", "attn.v", "attn.out", "ffn.in", "ffn.out"]


def test_places_without_a_slot_are_empty(frames: StudyFrames) -> None:
    gates = frames.gates[~((frames.gates["layer"] == 3) & (frames.gates["kind"] == "bias"))]
    found = gate_map(replace(frames, gates=gates))
    missing = np.isnan(found.frequency[:, 0, :])
    assert missing.any(axis=0).tolist() == [place.endswith("bias") for place in found.places]


def test_stability_and_overlap_are_jaccard_indices(frames: StudyFrames) -> None:
    found = gate_map(frames)
    assert [task for task, _ in found.stability] == list(TASKS)
    assert all(value is not None and 0 < value < 1 for _, value in found.stability)
    assert [(one, other) for one, other, _ in found.overlap] == [
        ("tweets", "spam"), ("tweets", "bbc"), ("spam", "bbc"),
    ]  # fmt: skip
    same = replace(frames, gates=frames.gates.assign(open=True))
    assert all(value == 1 for _, value in gate_map(same).stability)


def test_controls_are_no_winners_where_every_run_of_the_winner_failed(frames_of: Callable[[Plan], StudyFrames]) -> None:
    lost, plain = frames_of(Plan(lost=True)), frames_of(Plan(confirm=False))
    assert (lost.phase_trials("confirm", "complete")["role"] == "control:lora").any()
    found = gate_map(lost)
    assert (found.number, found.method) == (gate_map(plain).number, gate_map(plain).method)
    (paths,) = winner_paths(lost)
    assert (paths.number, paths.method) == (found.number, found.method)


def test_without_confirm_the_best_trial_of_the_best_setting_is_shown(frames_of: Callable[[Plan], StudyFrames]) -> None:
    frames = frames_of(Plan(confirm=False))
    found = gate_map(frames)
    complete = frames.search_trials("complete").set_index("trial_id")
    settings = frames.configurations.loc[complete.index]
    best = complete[settings == complete["score"].groupby(settings).mean().idxmax()]
    assert found.number == best.loc[best["score"].idxmax(), "number"]
    assert (found.n, found.stability[0][1]) == (1, None)
    assert "one seed pair" in found.method


def test_no_gates_are_refused(frames_of: Callable[[Plan], StudyFrames]) -> None:
    with pytest.raises(ReportError, match="Gate map"):
        gate_map(frames_of(Plan(fail=True)))


def test_each_winner_shows_its_best_run_on_validation(frames: StudyFrames) -> None:
    winners = frames.trials[frames.trials["role"] == "winner"]
    found = winner_paths(frames)
    assert [item.number for item in found] == [frames.number_of(one) for one in winners["pair_of"].unique()]
    for item, (_, runs) in zip(found, winners.groupby("pair_of", sort=False), strict=True):
        best = runs.loc[runs["score"].idxmax()]
        assert item.paths.label == f"c{best['number']:.0f}"
        gates = frames.gates[(frames.gates["trial_id"] == best["trial_id"]) & frames.gates["open"]]
        assert [path.slots for path in item.paths.tasks] == [int((gates["task"] == task).sum()) for task in TASKS]
        assert item.paths.parameters == gates.drop_duplicates("slot")["parameters"].sum()
        assert item.n == 3


def test_steadiness_is_the_share_of_runs_in_which_a_slot_is_open(frames: StudyFrames) -> None:
    item = winner_paths(frames)[0]
    winner = frames.trials.loc[frames.trials["role"] == "winner", "pair_of"].iloc[0]
    runs = frames.trials[(frames.trials["role"] == "winner") & (frames.trials["pair_of"] == winner)]["trial_id"]
    spam = next(found for found in item.steadiness if found.task == "spam")
    mine = frames.gates[frames.gates["trial_id"].isin(runs) & (frames.gates["task"] == "spam")]
    shares = mine.groupby("slot")["open"].mean()
    assert {slot.name: share for slot, share in spam.shares.items()} == pytest.approx(shares[shares > 0].to_dict())
    assert spam.always == int((shares == 1).sum())
    assert spam.agreement == pytest.approx(dict(gate_map(frames).stability)["spam"])


def test_without_confirm_the_paths_of_the_best_trial_are_shown(frames_of: Callable[[Plan], StudyFrames]) -> None:
    frames = frames_of(Plan(confirm=False))
    (item,) = winner_paths(frames)
    assert (item.number, item.paths.label, item.n) == (gate_map(frames).number, str(item.number), 1)
    assert [found.agreement for found in item.steadiness] == [None] * 3
    assert winner_paths(frames_of(Plan(fail=True))) == ()

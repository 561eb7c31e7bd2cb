"""Noise on embeddings and weights: what the contract cannot know."""

import numpy as np
import pytest
from perturb_kit import gaussian, noise

from slasearch.perturb import embedding_change, weight_change
from slasearch.records import ConditionSpec


def test_gaussian_noise_has_the_share_and_the_scale_that_are_asked_for():
    ids = [f"e{number}" for number in range(400)]
    added = gaussian(0.3, ids, [10] * 400, scale=0.5)
    disturbed = added.any(axis=2)
    assert disturbed.mean() == pytest.approx(0.3, abs=0.03)
    assert added[disturbed].std() == pytest.approx(0.5, abs=0.01)
    assert added[disturbed].mean() == pytest.approx(0, abs=0.01)
    assert gaussian(1.0, ids, [10] * 400).std() == pytest.approx(1.0, abs=0.01)
    assert gaussian(1.0, ids, [10] * 400, rms=0.05).std() == pytest.approx(0.05, abs=0.001)


def test_noise_does_not_depend_on_padding_or_neighbours():
    alone = gaussian(0.5, ["b"], [4], width=4)
    among = gaussian(0.5, ["a", "b"], [10, 4], width=10)
    assert np.array_equal(among[1, :4], alone[0])
    assert not among[1, 4:].any()


def test_special_tokens_are_spared_and_take_no_draw_from_the_others():
    everywhere = gaussian(1.0, ["a"], [10])
    spared = gaussian(1.0, ["a"], [10], special=(0, 9))
    assert not spared[0, [0, 9]].any()
    assert np.array_equal(spared[0, 1:9], everywhere[0, 1:9])


def test_equal_ids_of_two_tasks_get_different_noise_in_one_batch():
    condition = ConditionSpec("embedding_gaussian", 1.0, "eval")
    ordinary = np.ones((2, 5), bool)
    added = embedding_change(["a", "a"], [5, 5], ordinary, 8, condition, rms=1.0, tasks=["x", "y"]).added
    assert not np.array_equal(added[0], added[1])


def test_neftune_is_uniform_to_alpha_over_the_root_of_length_times_width_whatever_the_rms():
    ids = [f"e{number}" for number in range(200)]
    for length, rms in ((10, 1.0), (5, 0.01)):
        added = noise("neftune", 15.0, ids, [length] * 200, rms=rms).added[:, :length]
        bound = 15 / np.sqrt(length * 32)
        assert np.abs(added).max() <= bound * (1 + 1e-6)
        assert np.abs(added).mean() == pytest.approx(bound / 2, rel=0.02)
        assert added.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)


def test_token_dropout_zeroes_a_share_of_the_tokens_and_adds_nothing():
    ids = [f"e{number}" for number in range(400)]
    change = noise("token_dropout", 0.3, ids, [8] * 400, special=(0,))
    assert change.added is None
    assert set(np.unique(change.factor)) == {0.0, 1.0}
    assert 1 - change.factor[:, 1:8].mean() == pytest.approx(0.3, abs=0.03)
    assert (change.factor[:, 0] == 1).all()
    assert (change.factor[:, 8:] == 1).all()


def test_weight_noise_is_normal_and_goes_in_one_direction():
    low, high = (weight_change("s", "w", (200, 50), ConditionSpec("weight_noise", s, "eval")) for s in (0.1, 2.0))
    assert np.allclose(high, 20 * low, rtol=1e-5)
    assert high.std() == pytest.approx(2, rel=0.02)
    assert high.mean() == pytest.approx(0, abs=0.06)
    other = weight_change("s", "v", (200, 50), ConditionSpec("weight_noise", 2.0, "eval"))
    assert abs(np.corrcoef(high.ravel(), other.ravel())[0, 1]) < 0.05

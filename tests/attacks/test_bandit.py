"""The bandit by hand, and what may not break it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.bandit import Bandit, Moments

ALL = np.array([True, True, True])


def test_the_first_policy_is_uniform():
    np.testing.assert_allclose(Bandit(np.zeros(3)).policy(ALL), 1 / 3)


def test_a_step_by_hand():
    """H_a += (1 - pi_a) r / N_a, the others -= pi_b r / N_a."""
    bandit = Bandit(np.zeros(3))
    policy = bandit.policy(ALL)
    bandit.reward(policy, np.array([1]), np.array([3.0]))
    np.testing.assert_allclose(bandit.preference, [-1, 2, -1])
    bandit.reward(policy, np.array([1]), np.array([3.0]))  # drawn twice: half the step
    np.testing.assert_allclose(bandit.preference, [-1.5, 3, -1.5])
    assert bandit.drawn.tolist() == [0, 2, 0]
    np.testing.assert_allclose(
        bandit.policy(ALL), np.exp([-1.5, 3, -1.5]) / np.exp([-1.5, 3, -1.5]).sum()
    )


def test_closed_actions_are_not_drawn():
    np.testing.assert_allclose(
        Bandit(np.array([5.0, 0.0, 0.0])).policy(np.array([False, True, True])), [0, 0.5, 0.5]
    )


def test_huge_preferences_stay_finite():
    np.testing.assert_allclose(
        Bandit(np.array([1e6, 0.0, -1e6])).policy(ALL), [1, 0, 0], atol=1e-300
    )


def test_what_pays_is_drawn_more_often():
    rng, bandit, moments = np.random.default_rng(0), Bandit(np.zeros(3)), Moments()
    for _ in range(40):
        policy = bandit.policy(ALL)
        actions = rng.choice(3, size=8, p=policy)
        bandit.reward(policy, actions, moments.standardised(np.array([0.1, 0.9, 0.2])[actions]))
    assert bandit.policy(ALL)[1] > 0.9


def test_the_first_single_reward_and_equal_rewards_say_nothing():
    moments = Moments()
    assert moments.standardised(np.array([7.0])).tolist() == [0.0]
    assert moments.standardised(np.array([7.0, 7.0])).tolist() == [0.0, 0.0]


parts = st.lists(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5), min_size=1, max_size=5
).filter(lambda parts: np.std(np.concatenate(parts)) > 1e-3)


@settings(deadline=None)
@given(parts)
def test_moments_are_those_of_all_values_so_far(parts):
    moments = Moments()
    for part in parts:
        last = moments.standardised(np.array(part))
    everything = np.concatenate(parts)
    assert moments.mean == pytest.approx(everything.mean(), abs=1e-6)
    np.testing.assert_allclose(
        last, (np.array(parts[-1]) - everything.mean()) / everything.std(), atol=1e-5
    )

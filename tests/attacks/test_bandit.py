"""The bandit by hand, and what may not break it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attacks.bandit import Bandit, Moments

ALL = np.array([True, True, True])


def test_policies_by_hand():
    for preference, closed, expected in (
        ([0.0, 0.0, 0.0], [], [1 / 3] * 3),
        ([5.0, 0.0, 0.0], [0], [0, 0.5, 0.5]),
        ([1e6, 0.0, -1e6], [], [1, 0, 0]),
    ):
        still = np.array([action not in closed for action in range(3)])
        found = Bandit(np.array(preference)).policy(still)
        np.testing.assert_allclose(found, expected, atol=1e-300)


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


parts = st.lists(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=4), min_size=1, max_size=4
).filter(lambda parts: np.std(np.concatenate(parts)) > 1e-3)


@given(parts)
def test_moments_are_those_of_all_values_so_far(parts):
    moments = Moments()
    for part in parts:
        last = moments.standardised(np.array(part))
    everything = np.concatenate(parts)
    assert Moments().standardised(np.array([7.0, 7.0])).tolist() == [0.0, 0.0]  # say nothing
    assert moments.mean == pytest.approx(everything.mean(), abs=1e-6)
    np.testing.assert_allclose(
        last, (np.array(parts[-1]) - everything.mean()) / everything.std(), atol=1e-5
    )

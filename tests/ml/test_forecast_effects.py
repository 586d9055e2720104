"""Estimates of differing certainty, pooled: how much their truths vary and what they say together."""

from __future__ import annotations

import numpy as np
import pytest

from ml.forecast.effects import pooled, variance_between


@pytest.mark.parametrize("between", [0.0, 0.1, 2.0])
def test_how_much_truths_vary_is_found_and_their_mean_errs_by_what_it_says(between):
    rng = np.random.default_rng(0)
    noise = rng.gamma(2, 0.2, (2_000, 30))
    truth = 3 + rng.normal(0, np.sqrt(between), noise.shape)
    estimate = truth + rng.normal(0, np.sqrt(noise))
    found = variance_between(estimate, noise)
    assert found.mean() == pytest.approx(between, rel=0.1, abs=0.03)
    mean, error = pooled(estimate, noise, np.full(len(estimate), between))
    assert mean.mean() == pytest.approx(3, abs=0.02)
    assert ((mean - 3) ** 2 / error).mean() == pytest.approx(1, abs=0.1)


def test_an_estimate_with_infinite_noise_says_nothing():
    estimate, noise = np.array([[1.0, 3.0, 50.0], [2.0, 9.0, 9.0], [7.0, 7.0, 7.0]]), np.full((3, 3), np.inf)
    noise[0, :2] = noise[1, 0] = 0.5
    between = variance_between(estimate, noise)
    # Two estimates: (x1 - x2)^2 / 2 less their noise. One, or none, says nothing of how truths vary.
    assert between == pytest.approx([1.5, 0, 0])
    mean, error = pooled(estimate, noise, between)
    assert mean == pytest.approx([2, 2, 0])
    assert error == pytest.approx([1, 0.5, np.inf])

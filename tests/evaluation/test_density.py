"""Densities of latents: their samples have the distribution that they were fitted to."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from ae_jax.evaluation.density import draw, fit_density

RNG = np.random.default_rng(0)
MIX = np.array([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [-0.3, 0.2, 2.0]])
Z = np.float32(RNG.normal(size=(3000, 3)) @ MIX.T + [1, -2, 5])


def test_one_component_is_the_gaussian_of_the_moments():
    density = fit_density(Z)
    mean, covariance = Z.mean(0, np.float64), np.cov(np.float64(Z), rowvar=False, bias=True)
    expected = multivariate_normal(mean, covariance).logpdf(Z[:50])
    np.testing.assert_allclose(density.score_samples(np.float64(Z[:50])), expected, rtol=1e-4)
    drawn = draw(density, 50_000)
    assert drawn.shape == (50_000, 3) and drawn.dtype == np.float32
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(drawn, rowvar=False), covariance, rtol=0.05, atol=0.03)


def test_a_mixture_finds_its_parts():
    centers = np.array([[-10.0, 0.0], [10.0, 5.0]])
    part = RNG.choice(2, size=2000, p=[0.25, 0.75])
    density = fit_density(centers[part] + RNG.normal(size=(2000, 2)), 2)
    drawn = draw(density, 20_000)
    left = drawn[:, 0] < 0
    np.testing.assert_allclose(left.mean(), 0.25, atol=0.03)
    np.testing.assert_allclose(drawn[left].mean(0), centers[0], atol=0.15)
    np.testing.assert_allclose(drawn[~left].mean(0), centers[1], atol=0.15)
    assert 0.15 < left[:200].mean() < 0.35  # in random order


def test_draws_are_those_of_the_seed():
    density = fit_density(Z, 2, seed=3)
    np.testing.assert_array_equal(draw(density, 9, seed=1), draw(density, 9, seed=1))
    assert (draw(density, 9, seed=1) != draw(density, 9, seed=2)).all()


def test_dead_units_stay_dead():
    z = np.column_stack([Z, np.zeros(len(Z)), np.full(len(Z), 7.0)])
    drawn = draw(fit_density(z, 2), 1000)
    np.testing.assert_allclose(drawn[:, 3:], z[:1000, 3:], atol=0.02)
    np.testing.assert_allclose(draw(fit_density(np.full((20, 2), 4.0)), 10), 4.0, atol=0.02)


def test_refuses_what_has_no_density():
    with pytest.raises(ValueError, match=r"z has shape \(4, 2, 2\): flatten"):
        fit_density(np.zeros((4, 2, 2)))
    with pytest.raises(ValueError, match="z must be finite"):
        fit_density(np.array([[1.0], [np.nan]]))
    with pytest.raises(ValueError, match="components=5: must be 1 to 4, the number of latents"):
        fit_density(np.zeros((4, 2)), 5)

"""FID and KID against closed forms and SciPy."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from ae_jax.evaluation.distances import fid, frechet_distance, kid

RNG = np.random.default_rng(0)


def random_covariance(size, rank=None):
    factor = RNG.normal(size=(size, rank or size))
    return factor @ factor.T / size


def test_frechet_distance_of_one_dimension():
    """(m1 - m2)^2 + (s1 - s2)^2."""
    found = frechet_distance(np.array([1.0]), np.array([[4.0]]), np.array([3.0]), np.array([[9.0]]))
    assert found == pytest.approx(5.0)


def test_frechet_distance_of_commuting_covariances():
    """Diagonal in the same basis: the sum over its axes."""
    basis = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
    a, b = RNG.uniform(0.1, 3, size=(2, 5))
    mean_a, mean_b = RNG.normal(size=(2, 5))
    found = frechet_distance(mean_a, basis * a @ basis.T, mean_b, basis * b @ basis.T)
    expected = ((mean_a - mean_b) ** 2).sum() + ((a**0.5 - b**0.5) ** 2).sum()
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("rank", [6, 3])
def test_frechet_distance_is_the_formula_with_scipys_root(rank):
    """Also where covariances have no full rank (SciPy's needs a little added to them)."""
    mean_a, mean_b = RNG.normal(size=(2, 6))
    a, b = random_covariance(6, rank), random_covariance(6)
    root = sqrtm((a + 1e-13 * np.eye(6)) @ b).real
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(a + b - 2 * root)
    assert frechet_distance(mean_a, a, mean_b, b) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(mean_b, b, mean_a, a) == pytest.approx(expected, rel=1e-5)


def test_fid_is_zero_for_equal_sets_and_counts_a_shift():
    features = np.float32(RNG.normal(size=(50, 4)))
    assert fid(features, features[::-1]) == pytest.approx(0, abs=1e-10)
    assert fid(features, features + np.float32(2)) == pytest.approx(16, rel=1e-5)
    assert fid(features[:3], features[:3]) == pytest.approx(0, abs=1e-10)  # fewer than dimensions


def test_fid_of_samples_nears_that_of_their_gaussians():
    a = RNG.normal(size=(40_000, 2))
    b = RNG.normal(size=(40_000, 2)) * [2.0, 0.5] + [1.0, 0.0]
    assert fid(a, b) == pytest.approx(1 + 1 + 0.25, rel=0.03)


def test_kid_is_the_unbiased_estimate_written_out():
    x, y = RNG.normal(size=(2, 7, 3))

    def kernel(a, b):
        return (a @ b / 3 + 1) ** 3

    pairs = [(i, j) for i in range(7) for j in range(7)]
    within = sum(kernel(s[i], s[j]) for s in (x, y) for i, j in pairs if i != j) / 42
    across = sum(kernel(x[i], y[j]) for i, j in pairs) / 49
    assert kid(x, y, subsets=1) == pytest.approx(within - 2 * across)


def test_kid_is_unbiased():
    """Of sets of one distribution the mean is 0, and of others the closed form.

    Under N(m, 1) and N(0, 1) of one dimension, E (xy + 1)^3 = sum_k C(3, k) E x^k E y^k.
    """
    sets = RNG.normal(size=(2, 400, 30, 1))
    same = [kid(a, b, subsets=1) for a, b in zip(*sets, strict=True)]
    assert abs(np.mean(same)) < 4 * np.std(same) / 20
    other = [kid(a + 0.5, b, subsets=1) for a, b in zip(*sets, strict=True)]
    moments = {0.5: (1, 0.5, 1.25, 0.5**3 + 1.5), 0.0: (1, 0, 1, 0)}

    def mean_kernel(m, n):
        terms = zip((1, 3, 3, 1), moments[m], moments[n], strict=True)
        return sum(c * a * b for c, a, b in terms)

    expected = mean_kernel(0.5, 0.5) + mean_kernel(0.0, 0.0) - 2 * mean_kernel(0.5, 0.0)
    assert abs(np.mean(other) - expected) < 4 * np.std(other) / 20


def test_kid_averages_over_subsets_of_its_seed():
    x, y = RNG.normal(size=(2, 100, 3))
    assert kid(x, y, subsets=5, size=20) == kid(x, y, subsets=5, size=20)
    assert kid(x, y, subsets=5, size=20) != kid(x, y, subsets=5, size=20, seed=1)


def test_refuses_what_are_no_features():
    good = np.zeros((3, 2))
    for fn in (fid, kid):
        with pytest.raises(ValueError, match=r"got \(3, 2\) and \(3, 4\)"):
            fn(good, np.zeros((3, 4)))
        with pytest.raises(ValueError, match=r"N, M >= 2, got \(3, 2\) and \(1, 2\)"):
            fn(good, good[:1])
        with pytest.raises(ValueError, match="features must be finite"):
            fn(good, good + np.nan)

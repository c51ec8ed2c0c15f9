"""The von Mises-Fisher distribution, against quadrature in float64."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ive
from scipy.stats import kstest, vonmises

from ae_jax.ops import sphere
from ae_jax.ops import von_mises_fisher as vmf
from ae_jax.ops.bessel import bessel_growth
from ae_jax.ops.von_mises_fisher import reparametrized

RNG = np.random.default_rng(0)
kl_to_uniform = jax.jit(vmf.kl_to_uniform, static_argnums=0)
log_prob = jax.jit(vmf.log_prob)
sample = jax.jit(vmf.sample, static_argnums=3)


def mean_of(fn, m, k):
    """``E fn(angle)`` in float64."""
    cosine = 2 * k / (m - 2 + np.hypot(m - 2, 2 * k))  # of the mode
    mode, spread = np.arccos(min(cosine, 1)), (k * cosine + m / 2) ** -0.5
    points = np.clip(mode + spread * np.array([-30, -8, 0, 8, 30]), 0, np.pi)

    def density(s):
        if m == 2:
            return np.exp(k * (np.cos(s) - cosine))
        side = np.sin(s) / np.sin(mode)
        return np.exp(k * (np.cos(s) - cosine)) * side ** (m - 2)

    def integral(f):
        return sum(quad(f, *part, epsabs=1e-13, limit=200)[0] for part in pairwise(points))

    return integral(lambda s: fn(s) * density(s)) / integral(density)


class TestDensity:
    @pytest.mark.parametrize("kappa", [1e-3, 1.0, 30.0, 1e4])
    def test_integrates_to_one_on_the_circle(self, kappa):
        angle = np.float32(np.linspace(-1, 1, 20_000, endpoint=False) * min(np.pi, 9 / kappa**0.5))
        z = jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
        got = np.float64(log_prob(z, z[10_000], jnp.float32(kappa)))
        np.testing.assert_allclose(got, vonmises.logpdf(angle, kappa), rtol=1e-4, atol=1e-3)
        width = 2 * angle[-1] / (len(angle) - 1)
        assert np.exp(got).sum() * width == pytest.approx(1, abs=2e-3)

    @pytest.mark.parametrize("kappa", [1e-3, 30.0, 300.0])
    def test_integrates_to_one_on_the_sphere(self, kappa):
        heights, weights = np.polynomial.legendre.leggauss(1000)  # areas of equal height are equal
        z = np.stack([heights, np.sqrt(1 - heights**2), 0 * heights], -1)
        mean = jnp.float32([1, 0, 0])
        density = np.exp(np.float64(log_prob(jnp.float32(z), mean, jnp.float32(kappa))))
        assert 2 * np.pi * density @ weights == pytest.approx(1, abs=2e-4)

    def test_tends_to_the_uniform_one(self):
        z = sphere.uniform(jax.random.key(0), 5, 7)
        got = log_prob(z, z[::-1], jnp.zeros(5))
        np.testing.assert_allclose(got, -sphere.log_area(7), rtol=1e-6)
        assert sphere.log_area(3) == pytest.approx(np.log(4 * np.pi))


class TestKL:
    @pytest.mark.parametrize("m", [2, 3, 50])
    @pytest.mark.parametrize("k", [0.01, 0.9, 1.1, 20.0, 1e3])
    def test_is_that_of_quadrature(self, m, k):
        """Of log q - log p, with log q normalized by SciPy's Bessel function."""
        k = float(np.float32(k))
        from_uniform = sphere.log_area(m) - m / 2 * np.log(2 * np.pi)
        if k > 0.1:
            log_normalizer = (m / 2 - 1) * np.log(k) - np.log(ive(m / 2 - 1, k)) - k
            exact = k * mean_of(np.cos, m, k) + log_normalizer + from_uniform
        else:
            exact = k * k / (2 * m)  # to the second order
        np.testing.assert_allclose(kl_to_uniform(m, k), exact, rtol=2e-5, atol=1e-6)

    @pytest.mark.parametrize("m", [2, 20, 200])
    def test_its_gradient_is_its_slope_and_finite_everywhere(self, m):
        gradient = jax.jit(jax.grad(lambda k: kl_to_uniform(m, k).sum()))
        k = np.float32([0.5, 1.5, 10, 100, 2000])
        step = 0.02 * k
        values = [np.float64(kl_to_uniform(m, k + s * step)) for s in (-2, -1, 1, 2)]
        slope = (8 * (values[2] - values[1]) - values[3] + values[0]) / (12 * step)
        np.testing.assert_allclose(gradient(k), slope, rtol=2e-3)
        ends = gradient(jnp.float32([0, 1e-20, 1e-6, 1e4, 1e8]))
        assert np.isfinite(ends).all() and (ends >= 0).all()
        assert (np.asarray(kl_to_uniform(m, jnp.float32([0, 1e-6, 1e4, 1e8]))) >= 0).all()


class TestSamples:
    @pytest.mark.parametrize(("m", "k"), [(2, 0.5), (3, 5.0), (12, 30.0), (200, 1e3)])
    def test_angles_have_their_distribution_and_sides_are_uniform(self, m, k):
        count = 4000
        mean = sphere.unit(jnp.float32(RNG.normal(size=m)))
        z = sample(jax.random.key(1), jnp.tile(mean, (count, 1)), jnp.full(count, k))
        np.testing.assert_allclose(jnp.linalg.norm(z, axis=1), 1, rtol=1e-6)
        away = np.float64(jnp.square(z - mean).sum(-1) / 2)
        assert abs(away.mean() - mean_of(lambda s: 1 - np.cos(s), m, k)) < 4 * away.std() / 60
        if m == 3:
            uniform = (np.exp(-k * away) - np.exp(-2 * k)) / (1 - np.exp(-2 * k))
            assert kstest(uniform, "uniform").pvalue > 1e-3
        mean, z = np.float64(mean), np.float64(z)
        side = z - np.outer(z @ mean, mean) / (mean @ mean)
        length = np.linalg.norm(side, axis=1)[:, None]
        side = np.where(length > 1e-6, side / np.maximum(length, 1e-6), 0)  # of m = 2, a few are 0
        np.testing.assert_allclose(side.mean(0), 0, atol=4 / count**0.5)
        flat = np.eye(m) - np.outer(mean, mean)
        np.testing.assert_allclose(side.T @ side / count, flat / (m - 1), atol=3 / count**0.5)

    def test_rows_do_not_depend_on_later_ones(self):
        mean, kappa = sphere.uniform(jax.random.key(0), 9, 5), jnp.float32(10.0 ** np.arange(-3, 6))
        whole = sample(jax.random.key(1), mean, kappa, 3)
        few = sample(jax.random.key(1), mean[:4], kappa[:4], 3)
        np.testing.assert_array_equal(whole[:, :4], few)
        assert whole.shape == (3, 9, 5) and whole.dtype == np.float32

    @pytest.mark.parametrize("kappa", [np.nan, np.inf])
    def test_what_is_not_finite_does_not_wait_for_ever(self, kappa):
        mean = sphere.uniform(jax.random.key(0), 3, 4)
        z = sample(jax.random.key(1), mean, jnp.float32([1.0, kappa, 2.0]))
        np.testing.assert_array_equal(np.isnan(z).any(1), [False, True, False])


class TestGradients:
    @pytest.mark.parametrize("m", [2, 3, 60])
    @pytest.mark.parametrize("k", [0.2, 8.0, 300.0])
    def test_of_an_expectation_is_its_derivative(self, m, k):
        """Of ``E f(angle)`` by kappa; the mean over stratified draws is a quadrature itself."""

        def f(s):
            return (1 - np.cos(s)) * k + np.cos(2 * s)

        step = 1e-3 * k
        exact = (mean_of(f, m, k + step) - mean_of(f, m, k - step)) / (2 * step)
        angles = np.linspace(0, np.pi, 400_001)[1:-1]
        log_density = k * np.cos(angles) + (m - 2) * np.log(np.sin(angles))
        share = np.cumsum(np.exp(log_density - log_density.max()))
        draws = np.interp((np.arange(4000) + 0.5) / 4000, share / share[-1], angles)
        draws = jnp.float32(draws)

        def expectation(kappa):
            s = reparametrized(m, draws, jnp.broadcast_to(kappa, draws.shape))
            return ((1 - jnp.cos(s)) * k + jnp.cos(2 * s)).mean()

        got = jax.jit(jax.grad(expectation))(jnp.float32(k))
        np.testing.assert_allclose(got, exact, rtol=5e-3, atol=2e-3 / k)

    @pytest.mark.parametrize("m", [2, 6])
    def test_of_samples_is_unbiased_for_mean_and_concentration(self, m):
        """``E exp(<b, z>) = exp(growth(|b + k mean|) - growth(k))`` in closed form."""
        b = jnp.float32(RNG.normal(size=m))
        at, kappa = jnp.float32(RNG.normal(size=m)), jnp.float32(4.0)

        def exact(at, kappa):
            total = jnp.linalg.norm(b + kappa * sphere.unit(at))
            return jnp.exp(bessel_growth(m / 2 - 1, total) - bessel_growth(m / 2 - 1, kappa))

        def one(at, kappa, key):
            z = sample(key, sphere.unit(at)[None], kappa[None])[0]
            return jnp.exp(z @ b)

        keys = jax.random.split(jax.random.key(2), 20_000)
        fn = jax.vmap(jax.value_and_grad(one, (0, 1)), (None, None, 0))
        value, (of_mean, of_kappa) = jax.jit(fn)(at, kappa, keys)
        want, (want_mean, want_kappa) = jax.value_and_grad(exact, (0, 1))(at, kappa)
        pairs = ((value, want), (of_mean, want_mean), (of_kappa, want_kappa))
        for got, right in pairs:
            got = np.float64(got)
            error = got.std(0) / len(keys) ** 0.5
            assert (np.abs(got.mean(0) - right) < 4 * error + 1e-4).all()

    @pytest.mark.parametrize("m", [2, 200])
    def test_are_finite_at_the_ends(self, m):
        kappa = jnp.float32([0, 1e-6, 1, 1e4, 1e8])
        at = jnp.float32(RNG.normal(size=(5, m))).at[2].set(0)

        @jax.jit
        @partial(jax.grad, argnums=(0, 1))
        def gradient(at, kappa):
            mean = sphere.unit(at)
            z = sample(jax.random.key(3), mean, kappa)
            return (jnp.sin(z).sum(-1) + log_prob(z, mean, kappa)).sum()

        assert all(np.isfinite(g).all() for g in gradient(at, kappa))


def test_the_great_arc_has_unit_length_and_even_steps():
    x, y = sphere.uniform(jax.random.key(0), 2, 5)
    t = jnp.linspace(0, 1, 6)[:, None]
    path = np.float64(sphere.geodesic(x, y, t))
    np.testing.assert_allclose(path[[0, -1]], [x, y], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 1, rtol=1e-6)
    turns = np.arccos((path[1:] * path[:-1]).sum(1))
    np.testing.assert_allclose(turns, np.arccos(np.float64(x) @ y) / 5, rtol=1e-4)
    np.testing.assert_allclose(sphere.geodesic(x, x, t), np.tile(x, (6, 1)), atol=1e-6)

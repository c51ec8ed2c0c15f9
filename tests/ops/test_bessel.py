"""Modified Bessel functions in float32, against SciPy in float64 and closed forms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln, ive, logsumexp

from ae_jax.ops.bessel import bessel_excess, bessel_growth, bessel_ratio, bessel_rest, log_bessel

KAPPA = np.float32([1e-3, 0.03, 0.3, 1, 3, 9, 30, 100, 300, 1e3, 1e4, 1e5])
K = np.float64(KAPPA)
ORDERS = (0, 0.5, 3.5, 9.5, 10, 99, 500)


def call(fn, order, kappa):
    return jax.jit(fn, static_argnums=0)(order, kappa)


def growth(order, k):
    """``log sum_j (k/2)^(2j) Gamma(nu + 1) / (j! Gamma(nu + 1 + j))``: positive terms."""
    j = np.arange(2000)
    terms = 2 * j * np.log(k[:, None] / 2) + gammaln(order + 1)
    return logsumexp(terms - gammaln(j + 1) - gammaln(order + 1 + j), axis=1)


def ratio_and_slope(order, k, steps=20_000):
    """By 1 / r = 2 (nu + 1) / k + r of the next order, from a far order down, in float64."""
    ratio, slope = np.zeros_like(k), np.zeros_like(k)
    for nu in range(steps, 0, -1):
        b = 2 * (order + nu)
        ratio = k / (b + k * ratio)
        slope = (ratio / k) ** 2 * (b - k * k * slope)
    return ratio, slope


@pytest.mark.parametrize("order", ORDERS)
def test_values_are_those_of_float64(order):
    few = K < 500
    close = np.testing.assert_allclose
    exact = growth(order, K[few])
    close(call(bessel_growth, order, KAPPA[few]), exact, rtol=3e-6, atol=3e-7)
    close(call(bessel_excess, order, KAPPA[few]), K[few] - exact, rtol=3e-6)
    large = np.maximum(order, 1) < K
    log = np.log(ive(order, K[large])) + K[large]  # which does not underflow there
    constant = order * np.log(K[large] / 2) - gammaln(order + 1)
    close(call(bessel_excess, order, KAPPA[large]), K[large] - log + constant, rtol=3e-6)
    close(call(log_bessel, order, KAPPA[large]), log, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("order", [0, 0.5, 9.5, 500])
def test_the_ratio_and_all_derivatives_are_those_of_float64(order):
    kappa = KAPPA[K < 2e4]
    ratio, slope = ratio_and_slope(order, np.float64(kappa))
    close = np.testing.assert_allclose
    close(call(bessel_ratio, order, kappa), ratio, rtol=3e-6)
    close(call(bessel_rest, order, kappa), 1 - ratio, rtol=5e-5)

    def gradient(fn):
        return jax.jit(jax.grad(lambda k: fn(order, k).sum()))(kappa)

    close(gradient(bessel_growth), ratio, rtol=3e-6)
    close(gradient(bessel_excess), 1 - ratio, rtol=5e-5)
    close(gradient(bessel_ratio), slope, rtol=1e-4)
    close(gradient(bessel_rest), -slope, rtol=1e-4)


def test_three_dimensions_are_the_closed_form():
    """``I_{1/2}``: growth = log(sinh k / k), and the ratio is Langevin's function."""
    close = np.testing.assert_allclose
    exact = K + np.log(-np.expm1(-2 * K) / (2 * K))
    close(bessel_excess(0.5, KAPPA), K - exact, rtol=3e-6)
    some = K > 0.1
    close(bessel_ratio(0.5, KAPPA[some]), 1 / np.tanh(K[some]) - 1 / K[some], rtol=3e-6)
    close(bessel_rest(0.5, KAPPA[-3:]), 1 / K[-3:], rtol=2e-5)


@pytest.mark.parametrize("order", [0, 500])
def test_nothing_overflows_at_the_ends(order):
    ends = jnp.float32([0.0, 1e-20, 1e-6, 1e7, 1e15])

    @jax.jit
    def everything(k):
        functions = (bessel_growth, bessel_excess, bessel_ratio, bessel_rest)
        return [jax.jvp(partial(fn, order), (k,), (jnp.ones_like(k),)) for fn in functions]

    assert np.isfinite(everything(ends)).all()
    ratio = np.asarray(bessel_ratio(order, ends))
    assert ratio[0] == 0 and (ratio <= 1).all()


def test_a_negative_order_is_refused():
    with pytest.raises(ValueError, match=r"order=-1: must not be negative"):
        bessel_ratio(-1, 1.0)

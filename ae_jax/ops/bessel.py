"""Modified Bessel functions of the first kind, in float32, for a fixed order and any argument.

``I_nu(k)`` overflows at k = 90 and is 0 in float32 for large orders, so that nothing here computes
it. All functions are made of two that stay moderate: the ratio ``I_{nu+1}(k) / I_nu(k)`` and

    growth_nu(k) = log( Gamma(nu + 1) (2 / k)^nu I_nu(k) ),

which is 0 at k = 0, and whose derivative is the ratio. Orders of at least 10 use the uniform
asymptotic expansion, with ``t = sqrt(nu^2 + k^2)``. Below, the recurrence

    1 / ratio_nu(k) = 2 (nu + 1) / k + ratio_{nu+1}(k)

brings the order down, in the direction in which errors shrink.

Source: Olver, Asymptotics and special functions, 1974, section 10.7 (the expansion); Amos,
Computation of modified Bessel functions and their ratios, 1974 (the recurrence).
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from ae_jax.spec import require

LEAST_ORDER = 10  # of the asymptotic expansion
# Row j has the coefficients of U_{j+1}(p) / p^{j+1}, a polynomial in p^2.
EXPANSION = (
    np.array([3, -5]) / 24,
    np.array([81, -462, 385]) / 1152,
    np.array([30375, -369603, 765765, -425425]) / 414720,
    np.array([4465125, -94121676, 349922430, -446185740, 185910725]) / 39813120,
)


class Ratio(NamedTuple):
    """The ratio, its distance from 1 (which it nears as k grows), and its derivative."""

    value: Array
    rest: Array
    slope: Array


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def bessel_growth(order: float, kappa: ArrayLike) -> Array:
    """``log( Gamma(nu + 1) (2 / k)^nu I_nu(k) )`` of k >= 0: an array like `kappa`.

    It is the logarithm of the mean of ``exp(k z_1)`` over the unit sphere in 2 nu + 2 dimensions.

    Raises `ValueError` for a negative order.
    """
    return _evaluate(order, kappa)[0]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def bessel_excess(order: float, kappa: ArrayLike) -> Array:
    """``k - bessel_growth(nu, k)``, without cancellation for large k: an array like `kappa`.

    It grows as ``(nu + 1/2) log k``. Raises `ValueError` for a negative order.
    """
    return _evaluate(order, kappa)[1]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def bessel_ratio(order: float, kappa: ArrayLike) -> Array:
    """``I_{nu+1}(k) / I_nu(k)``, in [0, 1]: an array like `kappa`.

    It is the mean of z_1 of a von Mises-Fisher distribution in 2 nu + 2 dimensions. Raises
    `ValueError` for a negative order.
    """
    return _evaluate(order, kappa)[2].value


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def bessel_rest(order: float, kappa: ArrayLike) -> Array:
    """``1 - bessel_ratio(nu, k)``, without cancellation for large k: an array like `kappa`."""
    return _evaluate(order, kappa)[2].rest


def log_bessel(order: float, kappa: ArrayLike) -> Array:
    """``log I_nu(k)`` of k > 0: an array like `kappa`.

    Raises `ValueError` for a negative order.
    """
    kappa = jnp.asarray(kappa, jnp.float32)
    return bessel_growth(order, kappa) + order * jnp.log(kappa / 2) - math.lgamma(order + 1)


@bessel_growth.defjvp
def _(order: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    growth, _, ratio = _evaluate(order, *primals)
    return growth, ratio.value * tangents[0]


@bessel_excess.defjvp
def _(order: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    _, excess, ratio = _evaluate(order, *primals)
    return excess, ratio.rest * tangents[0]


@bessel_ratio.defjvp
def _(order: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    ratio = _evaluate(order, *primals)[2]
    return ratio.value, ratio.slope * tangents[0]


@bessel_rest.defjvp
def _(order: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    ratio = _evaluate(order, *primals)[2]
    return ratio.rest, -ratio.slope * tangents[0]


def _evaluate(order: float, kappa: ArrayLike) -> tuple[Array, Array, Ratio]:
    """`bessel_growth`, `bessel_excess` and the ratio with its derivative."""
    require(order >= 0, "order", order, "must not be negative")
    k = jnp.asarray(kappa, jnp.float32)
    steps = max(0, math.ceil(LEAST_ORDER - order))
    growth, excess, (ratio, rest, slope) = _large_order(order + steps, k)
    for nu in reversed([order + i + 1 for i in range(steps)]):
        # From the order nu to nu - 1, with b = 2 nu / k.
        gain = jnp.log1p(k * ratio / (2 * nu))
        growth, excess = growth + gain, excess - gain
        scale = 1 / (2 * nu + k * ratio)
        below = k * scale
        rest = (2 * nu - k * rest) * scale
        slope = scale * scale * (2 * nu - k * k * slope)
        ratio = below
    return growth, excess, Ratio(ratio, rest, slope)


def _large_order(n: float, k: Array) -> tuple[Array, Array, Ratio]:
    """The same for an order n of at least `LEAST_ORDER`, by the asymptotic expansion in 1 / t."""
    t = jnp.hypot(k, n)
    above = k * (k / (n + t))  # t - n
    w, share = 1 / t, k / t
    series, first, second = _series(n, w)
    at_zero = _series_at_zero(n)
    # d/dt of the series' logarithm, and again:
    log_slope = first / (1 + series)
    log_curve = second / (1 + series) - log_slope**2
    half = jnp.log1p(above / n) / 2
    quarter = n * jnp.log1p(above / (2 * n))
    rest_of_series = jnp.log1p(series) - at_zero
    growth = above - quarter - half + rest_of_series
    excess = 2 * n * (k / (k + n + t)) + quarter + half - rest_of_series
    ratio = k / (n + t) - share * w / 2 + share * log_slope
    rest = (n + n * (n / (t + k))) / (n + t) + share * w / 2 - share * log_slope
    # With q = (n / t)^2 = 1 - share^2:
    q = (n * w) ** 2
    slope = n * w / (n + t) + w * w * (share**2 - q) / 2
    slope += q * w * log_slope + share**2 * log_curve
    return growth, excess, Ratio(ratio, rest, slope)


def _series(n: float, w: Array) -> tuple[Array, Array, Array]:
    """``sum_j U_j(n w) / n^j``, and its first and second derivative with respect to t = 1 / w."""
    q = (n * w) ** 2
    total = first = second = jnp.zeros_like(w)
    for j, coefficients in reversed(list(enumerate(EXPANSION, 1))):
        powers = j + 2 * np.arange(len(coefficients))  # of w, and so minus those of t
        total = w * (total + _polynomial(coefficients, q))
        first = w * (first - _polynomial(coefficients * powers, q))
        second = w * (second + _polynomial(coefficients * powers * (powers + 1), q))
    return total, w * first, w * w * second


def _series_at_zero(n: float) -> float:
    """The series' logarithm at k = 0, in float64."""
    return math.log1p(sum(c.sum() / n**j for j, c in enumerate(EXPANSION, 1)))


def _polynomial(coefficients: np.ndarray, q: Array) -> Array:
    value = jnp.zeros_like(q)
    for coefficient in coefficients[::-1]:
        value = value * q + float(coefficient)
    return value

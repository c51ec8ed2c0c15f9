"""Functions that losses are made of, without the cancellation that float32 would not survive."""

import jax.numpy as jnp
from jax import Array

from ae_jax.losses.reduction import exp_linear

_SERIES_LIMIT = 0.1
_STIRLING_LIMIT = 4.0


def exp_minus_tangent(a: Array) -> Array:
    """exp(a) - 1 - a >= 0; by its series near 0, where the difference would cancel."""
    near = jnp.abs(a) < _SERIES_LIMIT
    s = jnp.where(near, a, 0.0)
    series = s * s / 2 * (1 + s / 3 * (1 + s / 4 * (1 + s / 5 * (1 + s / 6))))
    return jnp.where(near, series, exp_linear(a) - 1.0 - a)


def stirling_rest(z: Array) -> Array:
    """``log Gamma(z) - ((z - 1/2) log z - z + 1/2 log 2 pi)`` of z > 0, which falls as 1 / 12 z.

    By Stirling's series, and for small z by ``Gamma(z) = Gamma(z + 4) / (z (z+1) (z+2) (z+3))``.
    Differences of log Gamma are then exact also where its values are huge.
    """
    small = jnp.minimum(z, _STIRLING_LIMIT)
    shifted = small + 4.0
    product = small * (small + 1) * (small + 2) * (small + 3)
    growth = (shifted - 0.5) * jnp.log(shifted) - (small - 0.5) * jnp.log(small)
    of_small = growth - jnp.log(product) - 4.0 + _stirling_series(shifted)
    of_large = _stirling_series(jnp.maximum(z, _STIRLING_LIMIT))
    return jnp.where(z < _STIRLING_LIMIT, of_small, of_large)


def factorial_rest(x: Array) -> Array:
    """``log x! - (x log x - x)`` of x = 0, 1, 2, ...; 0 for x = 0."""
    positive = jnp.maximum(x, 1.0)
    rest = 0.5 * jnp.log(2 * jnp.pi * positive) + stirling_rest(positive)
    return jnp.where(x > 0, rest, 0.0)


def _stirling_series(z: Array) -> Array:
    q = 1.0 / (z * z)
    return (1 / 12 - q * (1 / 360 - q * (1 / 1260 - q / 1680))) / z

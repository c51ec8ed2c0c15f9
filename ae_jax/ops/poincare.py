"""The Poincaré ball of curvature -c: points z with ``c |z|^2 < 1`` and the metric ``4 / gap(z)^2``.

``gap(z) = 1 - c |z|^2``. Arrays are [..., D], and c is a positive number. Formulas are rewritten so
that they subtract nothing but two points: next to the boundary and for equal points the textbook
forms of the Möbius sum, the distance and the maps divide 0 by 0 in float32.

Source: Ganea et al., Hyperbolic neural networks, 2018, section 2; Mathieu et al., Continuous
hierarchical representations with Poincaré variational auto-encoders, 2019, appendix B.
"""

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

EDGE = 1e-5
"""Points stay in the ball of ``1 - EDGE`` times its radius: at most 12.2 / sqrt(c) from the
origin."""
FAR = 1e6  # in units of the radius: velocities beyond it end at the boundary as well
SMALL = 1e-3  # below, a function of a square is its series


def gap(z: Array, c: ArrayLike) -> Array:
    """``1 - c |z|^2``: [..., 1]. 2 / gap is the conformal factor."""
    root = jnp.sqrt(c)
    length = root * _length(z)
    return (1 - length) * (1 + length)


def project(z: Array, c: ArrayLike) -> Array:
    """`z`, or the point in its direction next to the boundary if it lies beyond: [..., D]."""
    length = _length(z)
    largest = (1 - EDGE) / jnp.sqrt(c)
    return jnp.where(length > largest, z * (largest / jnp.where(length > largest, length, 1)), z)


def mobius_add(x: Array, y: Array, c: ArrayLike) -> Array:
    """The Möbius sum of `x` and `y`, the point that a translation by x makes of y: [..., D]."""
    total, gap_x = x + y, gap(x, c)
    square = _square(total) * c
    return project((gap_x * total + square * x) / (gap_x * gap(y, c) + square), c)


def distance(x: Array, y: Array, c: ArrayLike) -> Array:
    """The length of the geodesic from `x` to `y`: [...]."""
    root = jnp.sqrt(c)
    ratio = root * _length(x - y) * lax.rsqrt(gap(x, c) * gap(y, c))
    return (2 / root * jnp.arcsinh(ratio))[..., 0]


def exp_origin(v: Array, c: ArrayLike) -> Array:
    """The end of the geodesic that leaves the origin with the velocity `v`, in coordinates:
    [..., D]. Its length is 2 |v|."""
    limit = FAR / jnp.sqrt(c)  # whose square does not overflow
    v = jnp.clip(v, -limit, limit)
    return project(_tanh_ratio(_square(v) * c) * v, c)


def exp_map(x: Array, v: Array, c: ArrayLike) -> Array:
    """The end of the geodesic that leaves `x` with the velocity `v`, in coordinates: [..., D]. Its
    length is 2 |v| / gap(x)."""
    return mobius_add(x, exp_origin(v / gap(x, c), c), c)


def log_map(x: Array, y: Array, c: ArrayLike) -> Array:
    """The velocity with which the geodesic from `x` to `y` leaves x, the inverse of `exp_map`:
    [..., D]."""
    return gap(x, c) / 2 * translation(x, y, c)


def translation(x: Array, y: Array, c: ArrayLike) -> Array:
    """v with ``mobius_add(x, exp_origin(v / 2)) = y``: [..., D]. |v| is the distance.

    It is the velocity of `log_map` in units of length, carried along the geodesic to the origin.
    """
    away, gap_x, gap_y = y - x, gap(x, c), gap(y, c)
    square = _square(away) * c
    ratio = square / (gap_x * gap_y)  # sinh^2 of half the distance
    scale = 2 * _asinh_ratio(ratio) * lax.rsqrt(1 + ratio) / (gap_x * gap_y)
    return scale * (gap_x * away - square * x)


def geodesic(x: Array, y: Array, t: ArrayLike, c: ArrayLike) -> Array:
    """The point at a share `t` of the way from `x` to `y`: [..., D]."""
    return mobius_add(x, exp_origin(jnp.asarray(t) * translation(x, y, c) / 2, c), c)


def log_sinh_ratio(square: Array) -> Array:
    """``log(sinh(r) / r)`` of ``r = sqrt(square)``, which grows as r, with finite gradients."""
    near = square < SMALL
    r = jnp.sqrt(jnp.where(near, 1, square))
    far = r + jnp.log(-jnp.expm1(-2 * r) / (2 * r))
    return jnp.where(near, square / 6 * (1 - square / 30), far)


def _tanh_ratio(square: Array) -> Array:
    """``tanh(r) / r`` of ``r = sqrt(square)``."""
    near = square < SMALL
    r = jnp.sqrt(jnp.where(near, 1, square))
    return jnp.where(near, 1 - square / 3 * (1 - square * 2 / 5), jnp.tanh(r) / r)


def _asinh_ratio(square: Array) -> Array:
    """``asinh(r) / r`` of ``r = sqrt(square)``."""
    near = square < SMALL
    r = jnp.sqrt(jnp.where(near, 1, square))
    return jnp.where(near, 1 - square / 6 * (1 - square * 9 / 20), jnp.arcsinh(r) / r)


def _square(z: Array) -> Array:
    return jnp.square(z).sum(-1, keepdims=True)


def _length(z: Array) -> Array:
    """|z|, with a gradient of 0 at 0: [..., 1]."""
    square = _square(z)
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)

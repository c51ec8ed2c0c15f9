"""The unit sphere of m coordinates: arrays [..., m] of length 1."""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

TINY = 1e-30


def unit(v: Array) -> Array:
    """``v / |v|`` over the last axis, and the first unit vector where v is 0."""
    square = jnp.square(v).sum(-1, keepdims=True)
    first = jnp.zeros_like(v).at[..., 0].set(1)
    ok = square > TINY
    return jnp.where(ok, v, first) * lax.rsqrt(jnp.where(ok, square, 1))


def log_area(m: int) -> float:
    """The logarithm of the area of the sphere."""
    return math.log(2) + m / 2 * math.log(math.pi) - math.lgamma(m / 2)


def uniform(key: Array, n: int, m: int) -> Array:
    """n points [n, m], uniform on the sphere."""
    return unit(jax.random.normal(key, (n, m), jnp.float32))


def geodesic(x: Array, y: Array, t: ArrayLike) -> Array:
    """The point at a share `t` of the great arc from `x` to `y`: [..., m].

    It is not defined between opposite points, because many arcs connect them.
    """
    t = jnp.asarray(t)
    lengths = [jnp.linalg.norm(v, axis=-1, keepdims=True) for v in (x - y, x + y)]
    turns = 2 * jnp.arctan2(*lengths) / jnp.pi
    # sinc keeps the weights of equal points.
    return unit((1 - t) * jnp.sinc((1 - t) * turns) * x + t * jnp.sinc(t * turns) * y)

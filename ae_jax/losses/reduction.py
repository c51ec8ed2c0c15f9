"""From elements to one value per example, and from examples to the batch."""

import math
from functools import partial
from typing import Literal

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

Reduction = Literal["sum", "mean"]

_EXP_LIMIT = 50.0
_LONG = 4096  # elements


def batch_mean(
    values: ArrayLike, *, where: ArrayLike | None = None, axis_name: str | None = None
) -> Array:
    """Mean over the batch axis, ``[B, ...] -> [...]``, of the rows that `where` ``[B]`` keeps.

    With `axis_name` it is the mean over every device's rows, however unevenly real rows are spread.
    Only this device's rows carry a gradient, scaled so that the *mean* of the gradients over
    `axis_name` is the gradient of the global mean: the same under pmap and both modes of shard_map.
    With no real row anywhere, the mean is 0.
    """
    values = floats(values, "values")
    if where is None:
        local = values.mean(0)
        return local if axis_name is None else with_value(local, lax.pmean(local, axis_name))
    where = jnp.asarray(where, jnp.float32)
    if where.shape != values.shape[:1]:
        raise ValueError(f"where has shape {where.shape}, the batch axis {values.shape[:1]}")
    rows = where.reshape(where.shape + (1,) * (values.ndim - 1))
    total, count = jnp.where(rows > 0, values, 0.0).sum(0), where.sum()
    if axis_name is None:
        return total / jnp.maximum(count, 1.0)
    count = jnp.maximum(lax.psum(count, axis_name), 1.0)
    local = total * (lax.psum(1, axis_name) / count)
    return with_value(local, lax.psum(total, axis_name) / count)


def with_value(x: Array, value: Array) -> Array:
    """`value`, with the gradient of `x`."""
    return x + lax.stop_gradient(value - x)


def exp_linear(a: Array) -> Array:
    """exp(a); beyond a = 50 its tangent there, so that float32 holds the value and the slope."""
    return jnp.exp(jnp.minimum(a, _EXP_LIMIT)) * (1.0 + jnp.maximum(a - _EXP_LIMIT, 0.0))


def floats(x: ArrayLike, name: str) -> Array:
    x = jnp.asarray(x)
    if x.ndim == 0:
        raise ValueError(f"{name} is a scalar; it needs a batch axis, [B, ...]")
    return x.astype(jnp.float32)


def elements(
    equal: dict[str, ArrayLike],
    broadcast: dict[str, ArrayLike] | None = None,
    *,
    where: ArrayLike | None,
) -> tuple[list[Array], Array | None]:
    """The arrays and the mask as [B, elements], in float32; `equal` must share one shape."""
    arrays = {name: floats(a, name) for name, a in equal.items()}
    (first, like), *others = arrays.items()
    for name, a in others:
        if a.shape != like.shape:
            raise ValueError(f"{first} has shape {like.shape}, {name} {a.shape}: must be equal")
    for name, value in (broadcast or {}).items():
        arrays[name] = _broadcast(jnp.asarray(value, jnp.float32), like.shape, name)
    # Flat: a CPU loops over the last axis, and a gray image has one channel (3 times slower).
    flat = (len(like), math.prod(like.shape[1:]))
    if where is None:
        return [a.reshape(flat) for a in arrays.values()], None
    mask = _broadcast(jnp.asarray(where, bool), like.shape, "where").reshape(flat)
    # Masking the input, not only the loss, keeps a NaN behind the mask out of the gradient.
    return [jnp.where(mask, a.reshape(flat), 0.0) for a in arrays.values()], mask


def _broadcast(a: Array, shape: tuple[int, ...], name: str) -> Array:
    try:
        fits = jnp.broadcast_shapes(a.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name} has shape {a.shape}, which does not broadcast to {shape}")
    return jnp.broadcast_to(a, shape)


def reduce(loss: Array, reduction: Reduction, mask: Array | None) -> Array:
    """[B, elements] -> [B]."""
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction={reduction!r}: it is 'sum' or 'mean'")
    if mask is not None:
        loss = jnp.where(mask, loss, 0.0)
    total: Array = lax.platform_dependent(
        loss, cpu=_sum_by_product, default=partial(jnp.sum, axis=1)
    )
    if reduction == "sum":
        return total
    count = loss.shape[1] if mask is None else jnp.maximum(mask.sum(1), 1)
    return jnp.asarray(total / count)


def _sum_by_product(loss: Array) -> Array:
    """[B, elements] -> [B]. XLA's CPU backend gives a plain sum to YNNPACK, with all that leads up
    to it: the loss, which YNNPACK is slower at (a step of 784-32-784 takes 0.85 of the time so).
    Of longer rows a product is no longer as exact as a sum."""
    if loss.shape[1] > _LONG:
        return loss.sum(1)
    return lax.dot(loss, jnp.ones(loss.shape[1], loss.dtype), precision=lax.Precision.HIGHEST)

"""Losses on plain arrays: jitted, differentiable, one value per example.

Conventions, the same for every function here:

* Inputs are ``[B, ...]``: a batch axis, then any number of *event* axes.
* The result is ``[B]`` float32 (of `sparsity_kl`, a statistic of the batch, a scalar).
  ``reduction="sum"`` (the default) adds up the event axes: nats per example, what an ELBO needs.
  ``reduction="mean"`` averages them: the per-pixel figure that Keras
  reports. The mean over the batch is left to the caller (`batch_mean`).
* ``where`` (boolean, broadcastable to the input) masks elements, and equals slicing them away: they
  enter neither the sum nor the count, and whatever they hold (NaN too) reaches no gradient. An
  example with no element left has the loss 0.
* Arithmetic is in float32 whatever comes in, bfloat16 included.
* Shapes are never broadcast silently: a mismatch raises `ValueError` naming both.

This module needs only jax, so it can be imported on its own.
"""

import math
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

__all__ = [
    "Reduction",
    "batch_mean",
    "bce",
    "gaussian_kl",
    "gaussian_nll",
    "huber",
    "l1_sparsity",
    "mae",
    "mse",
    "sparsity_kl",
]

Reduction = Literal["sum", "mean"]

_LOG_2PI = 1.8378770664093453
_EXP_LIMIT = 50.0
_LONG = 4096  # elements
_SERIES_LIMIT = 0.1

_jit = partial(jax.jit, static_argnames="reduction")


@_jit
def mse(
    recon: ArrayLike, x: ArrayLike, *, reduction: Reduction = "sum", where: ArrayLike | None = None
) -> Array:
    """Squared error ``(recon - x)^2``, ``[B, ...], [B, ...] -> [B]``; no factor of 1/2."""
    (recon, x), mask = _elements({"recon": recon, "x": x}, where=where)
    return _reduce(jnp.square(recon - x), reduction, mask)


@_jit
def mae(
    recon: ArrayLike, x: ArrayLike, *, reduction: Reduction = "sum", where: ArrayLike | None = None
) -> Array:
    """Absolute error ``|recon - x|``, ``[B, ...], [B, ...] -> [B]``; its gradient at 0 is 0."""
    (recon, x), mask = _elements({"recon": recon, "x": x}, where=where)
    return _reduce(jnp.abs(recon - x), reduction, mask)


@_jit
def huber(
    recon: ArrayLike,
    x: ArrayLike,
    *,
    delta: ArrayLike = 1.0,
    reduction: Reduction = "sum",
    where: ArrayLike | None = None,
) -> Array:
    """Huber's loss: ``e^2 / 2`` up to ``|e| = delta``, ``delta (|e| - delta / 2)`` beyond.

    ``[B, ...], [B, ...] -> [B]``. `delta` must be positive; it may be traced, so it is not checked.
    Source: Huber, Robust estimation of a location parameter, 1964.
    """
    (recon, x), mask = _elements({"recon": recon, "x": x}, where=where)
    size = jnp.abs(recon - x)
    inner = jnp.minimum(size, delta)  # e^2/2 inside; delta*|e| - delta^2/2 outside
    return _reduce(inner * (size - 0.5 * inner), reduction, mask)


@_jit
def bce(
    logits: ArrayLike,
    x: ArrayLike,
    *,
    reduction: Reduction = "sum",
    where: ArrayLike | None = None,
) -> Array:
    """Binary cross-entropy in nats between Bernoulli(sigmoid(logits)) and targets `x` in [0, 1].

    ``[B, ...], [B, ...] -> [B]``: ``x softplus(-logits) + (1 - x) softplus(logits)``. Targets may
    lie anywhere in [0, 1]; values outside are not detected here (see `ae_jax.data.validated`).
    Exact to float32 rounding and finite, with its gradient ``sigmoid(logits) - x``, for any logits.
    """
    (logits, x), mask = _elements({"logits": logits, "x": x}, where=where)
    return _reduce(_bce(logits, x), reduction, mask)


@_jit
def gaussian_nll(
    mean: ArrayLike,
    logvar: ArrayLike,
    x: ArrayLike,
    *,
    reduction: Reduction = "sum",
    where: ArrayLike | None = None,
) -> Array:
    """Negative log-density in nats of `x` under N(mean, exp(logvar)), diagonal.

    ``[B, ...], [B, ...] or broadcastable to it, [B, ...] -> [B]``:
    ``(log 2 pi + logvar + (x - mean)^2 / exp(logvar)) / 2``. It is a density: it may be negative.
    For ``|logvar| > 50`` the exponential goes on linearly: values and gradients stay finite.
    """
    arrays = {"mean": mean, "x": x}
    (mean, x, logvar), mask = _elements(arrays, {"logvar": logvar}, where=where)
    squared = jnp.square(x - mean) * _exp(-logvar)
    return _reduce(0.5 * (_LOG_2PI + logvar + squared), reduction, mask)


@_jit
def l1_sparsity(
    z: ArrayLike, *, reduction: Reduction = "sum", where: ArrayLike | None = None
) -> Array:
    """L1 norm of each code, ``sum_j |z_j|`` (or the mean over units): ``[B, ...] -> [B]``."""
    (z,), mask = _elements({"z": z}, where=where)
    return _reduce(jnp.abs(z), reduction, mask)


@partial(jax.jit, static_argnames="axis_name")
def sparsity_kl(
    activations: ArrayLike,
    target: ArrayLike,
    *,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    """KL(Bernoulli(target) || Bernoulli(mean activation)) in nats, summed over units: a scalar.

    Args:
      activations: ``[B, ...]`` in [0, 1] (sigmoid units).
      target: the wanted mean activation of every unit, in (0, 1).
      where: ``[B]``, which rows are real; the mean activation is taken over these.
      axis_name: the mapped axis the batch is split over (pmap, shard_map), to average over all of
        it. As in `batch_mean`, average the gradients over that axis too.

    Source: Ng, CS294A lecture notes, Sparse autoencoder, 2011, section 3.
    """
    activations = _floats(activations, "activations")
    mean = batch_mean(activations, where=where, axis_name=axis_name)
    # Dead and saturated units: a finite value, and a gradient that brings them back.
    mean = _with_value(mean, jnp.clip(mean, 1e-7, 1.0 - 1e-7))
    target = jnp.asarray(target, jnp.float32)
    kl = target * jnp.log(target / mean) + (1 - target) * jnp.log((1 - target) / (1 - mean))
    return kl.sum()


@_jit
def gaussian_kl(
    mean: ArrayLike,
    logvar: ArrayLike,
    prior_mean: ArrayLike = 0.0,
    prior_logvar: ArrayLike = 0.0,
    *,
    reduction: Reduction = "sum",
    where: ArrayLike | None = None,
) -> Array:
    """KL(N(mean, exp(logvar)) || N(prior_mean, exp(prior_logvar))) in nats, diagonal Gaussians.

    ``[B, ...], [B, ...], broadcastable, broadcastable -> [B]``. Never negative, and accurate also
    where the two nearly agree (a collapsed unit). Extreme variances: as in `gaussian_nll`.
    Source: Kingma & Welling, Auto-Encoding Variational Bayes, 2014, appendix B.
    """
    (mean, logvar, prior_mean, prior_logvar), mask = _elements(
        {"mean": mean, "logvar": logvar},
        {"prior_mean": prior_mean, "prior_logvar": prior_logvar},
        where=where,
    )
    squared = jnp.square(mean - prior_mean) * _exp(-prior_logvar)
    return _reduce(0.5 * (_exp_minus_tangent(logvar - prior_logvar) + squared), reduction, mask)


def batch_mean(
    values: ArrayLike, *, where: ArrayLike | None = None, axis_name: str | None = None
) -> Array:
    """Mean over the batch axis, ``[B, ...] -> [...]``, of the rows that `where` ``[B]`` keeps.

    With `axis_name` it is the mean over every device's rows, however unevenly real rows are spread.
    Only this device's rows carry a gradient, scaled so that the *mean* of the gradients over
    `axis_name` is the gradient of the global mean: the same under pmap and both modes of shard_map.
    With no real row anywhere, the mean is 0.
    """
    values = _floats(values, "values")
    if where is None:
        local = values.mean(0)
        return local if axis_name is None else _with_value(local, lax.pmean(local, axis_name))
    where = jnp.asarray(where, jnp.float32)
    if where.shape != values.shape[:1]:
        raise ValueError(f"where has shape {where.shape}, the batch axis {values.shape[:1]}")
    rows = where.reshape(where.shape + (1,) * (values.ndim - 1))
    total, count = jnp.where(rows > 0, values, 0.0).sum(0), where.sum()
    if axis_name is None:
        return total / jnp.maximum(count, 1.0)
    count = jnp.maximum(lax.psum(count, axis_name), 1.0)
    local = total * (lax.psum(1, axis_name) / count)
    return _with_value(local, lax.psum(total, axis_name) / count)


def _with_value(x: Array, value: Array) -> Array:
    """`value`, with the gradient of `x`."""
    return x + lax.stop_gradient(value - x)


@jax.custom_jvp
def _bce(logits: Array, x: Array) -> Array:
    # All three terms are non-negative: nothing cancels, whatever the size of the logits.
    positive, negative = jnp.maximum(logits, 0.0), jnp.maximum(-logits, 0.0)
    return (1.0 - x) * positive + x * negative + _log1p(jnp.exp(-jnp.abs(logits)))


@_bce.defjvp
def _bce_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (logits, x), (dlogits, dx) = primals, tangents
    return _bce(logits, x), (jax.nn.sigmoid(logits) - x) * dlogits - logits * dx


def _log1p(e: Array) -> Array:
    """log(1 + e) for e in [0, 1], to 3e-7 of the value; XLA's own takes longer on a CPU."""
    # 2 atanh(s), s = e / (2 + e) <= 1/3: 1 + s^2 / 3 + s^4 / 5 + ..., its later terms as a
    # polynomial in s^2 that was fitted to them for the least largest error.
    s = e / (2.0 + e)
    q = s * s
    rest = q * (0.3333332 + q * (0.20003813 + q * (0.14117518 + q * 0.13430523)))
    return 2.0 * s + 2.0 * s * rest


def _exp(a: Array) -> Array:
    """exp(a); beyond a = 50 its tangent there, so that float32 holds the value and the slope."""
    return jnp.exp(jnp.minimum(a, _EXP_LIMIT)) * (1.0 + jnp.maximum(a - _EXP_LIMIT, 0.0))


def _exp_minus_tangent(a: Array) -> Array:
    """exp(a) - 1 - a >= 0; by its series near 0, where the difference would cancel."""
    near = jnp.abs(a) < _SERIES_LIMIT
    s = jnp.where(near, a, 0.0)
    series = s * s / 2 * (1 + s / 3 * (1 + s / 4 * (1 + s / 5 * (1 + s / 6))))
    return jnp.where(near, series, _exp(a) - 1.0 - a)


def _floats(x: ArrayLike, name: str) -> Array:
    x = jnp.asarray(x)
    if x.ndim == 0:
        raise ValueError(f"{name} is a scalar; it needs a batch axis, [B, ...]")
    return x.astype(jnp.float32)


def _elements(
    equal: dict[str, ArrayLike],
    broadcast: dict[str, ArrayLike] | None = None,
    *,
    where: ArrayLike | None,
) -> tuple[list[Array], Array | None]:
    """The arrays and the mask as [B, elements], in float32; `equal` must share one shape."""
    arrays = {name: _floats(a, name) for name, a in equal.items()}
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


def _reduce(loss: Array, reduction: Reduction, mask: Array | None) -> Array:
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

"""Losses between a reconstruction and its target, element by element."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ae_jax.losses.reduction import Reduction, elements, exp_linear, reduce

_LOG_2PI = 1.8378770664093453
_jit = partial(jax.jit, static_argnames="reduction")


@_jit
def mse(
    recon: ArrayLike, x: ArrayLike, *, reduction: Reduction = "sum", where: ArrayLike | None = None
) -> Array:
    """Squared error ``(recon - x)^2``, ``[B, ...], [B, ...] -> [B]``; no factor of 1/2."""
    (recon, x), mask = elements({"recon": recon, "x": x}, where=where)
    return reduce(jnp.square(recon - x), reduction, mask)


@_jit
def mae(
    recon: ArrayLike, x: ArrayLike, *, reduction: Reduction = "sum", where: ArrayLike | None = None
) -> Array:
    """Absolute error ``|recon - x|``, ``[B, ...], [B, ...] -> [B]``; its gradient at 0 is 0."""
    (recon, x), mask = elements({"recon": recon, "x": x}, where=where)
    return reduce(jnp.abs(recon - x), reduction, mask)


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
    (recon, x), mask = elements({"recon": recon, "x": x}, where=where)
    size = jnp.abs(recon - x)
    inner = jnp.minimum(size, delta)  # e^2/2 inside; delta*|e| - delta^2/2 outside
    return reduce(inner * (size - 0.5 * inner), reduction, mask)


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
    (logits, x), mask = elements({"logits": logits, "x": x}, where=where)
    return reduce(_bce(logits, x), reduction, mask)


@_jit
def continuous_bernoulli_nll(
    logits: ArrayLike,
    x: ArrayLike,
    *,
    reduction: Reduction = "sum",
    where: ArrayLike | None = None,
) -> Array:
    """Negative log-density in nats of `x` in [0, 1] under a continuous Bernoulli distribution.

    ``[B, ...], [B, ...] -> [B]``: ``log((e^a - 1) / a) - a x`` with logits a, which is `bce` less
    the log-normalizer ``log(a / tanh(a / 2))``. It is a density: it may be negative.

    Source: Loaiza-Ganem & Cunningham, The continuous Bernoulli: fixing a pervasive error in
    variational autoencoders, 2019.
    """
    (logits, x), mask = elements({"logits": logits, "x": x}, where=where)
    near = jnp.abs(logits) < 1.0
    # Near 0, ``a / 2 + log(sinh(a / 2) / (a / 2))`` by the series of its second part.
    q = jnp.square(jnp.where(near, logits, 0.0) / 2)
    series = q / 6 * (1 - q / 30 * (1 - q * 4 / 63 * (1 - q * 3 / 40)))
    size = jnp.where(near, 1.0, jnp.abs(logits))
    far = jnp.where(logits > 0, size * (1.0 - x), size * x) + jnp.log(-jnp.expm1(-size) / size)
    return reduce(jnp.where(near, logits * (0.5 - x) + series, far), reduction, mask)


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
    For ``|logvar| > 50`` the exponential continues linearly: values and gradients stay finite.
    """
    arrays = {"mean": mean, "x": x}
    (mean, x, logvar), mask = elements(arrays, {"logvar": logvar}, where=where)
    squared = jnp.square(x - mean) * exp_linear(-logvar)
    return reduce(0.5 * (_LOG_2PI + logvar + squared), reduction, mask)


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

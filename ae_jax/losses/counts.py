"""Negative log-probabilities of counts ``x`` = 0, 1, 2, ..., which may be floats or integers.

Values that are no counts are not detected here (see `ae_jax.data.validated`).
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ae_jax.losses.reduction import Reduction, elements, exp_linear, reduce
from ae_jax.losses.special import exp_minus_tangent, factorial_rest, stirling_rest

_LOG_LIMIT = 30.0
_jit = partial(jax.jit, static_argnames="reduction")


@_jit
def poisson_nll(
    log_rate: ArrayLike,
    x: ArrayLike,
    *,
    reduction: Reduction = "sum",
    where: ArrayLike | None = None,
) -> Array:
    """Negative log-probability in nats of counts `x` under Poisson(exp(log_rate)).

    ``[B, ...], [B, ...] -> [B]``: ``exp(log_rate) - x log_rate + log x!``, constants included. For
    ``log_rate > 50`` the exponential continues linearly.
    """
    (log_rate, x), mask = elements({"log_rate": log_rate, "x": x}, where=where)
    # Both parts are non-negative, and small where the rate is near x: nothing cancels.
    log_x = jnp.log(jnp.maximum(x, 1.0))
    distance = jnp.where(x > 0, x * exp_minus_tangent(log_rate - log_x), exp_linear(log_rate))
    return reduce(distance + factorial_rest(x), reduction, mask)


@_jit
def negative_binomial_nll(
    log_mean: ArrayLike,
    log_dispersion: ArrayLike,
    x: ArrayLike,
    *,
    reduction: Reduction = "sum",
    where: ArrayLike | None = None,
) -> Array:
    """Negative log-probability in nats of counts `x`, of this mean and variance mean + mean^2 / r.

    ``[B, ...], [B, ...] or broadcastable to it, [B, ...] -> [B]``. ``r = exp(log_dispersion)`` is
    scipy's ``n``: Poisson for large r. It counts as at least e^-30 and at most e^30. For
    ``log_mean > 50`` the exponential continues linearly.
    """
    (log_mean, x, log_r), mask = elements(
        {"log_mean": log_mean, "x": x}, {"log_dispersion": log_dispersion}, where=where
    )
    mean, r = exp_linear(log_mean), _exp_within_limits(log_r)
    log_x = jnp.log(jnp.maximum(x, 1.0))
    log_prob = (r + x) * _log_ratio(r + x, r + mean) - x * (log_x - log_mean)
    log_prob += stirling_rest(r + x) - stirling_rest(r) - 0.5 * jnp.log1p(x / r)
    return reduce(factorial_rest(x) - log_prob, reduction, mask)


@partial(jax.jit, static_argnames=("reduction", "trials"))
def beta_binomial_nll(
    log_alpha: ArrayLike,
    log_beta: ArrayLike,
    x: ArrayLike,
    *,
    trials: int = 255,
    reduction: Reduction = "sum",
    where: ArrayLike | None = None,
) -> Array:
    """Negative log-probability in nats of `x` successes in `trials`, of a Beta(alpha, beta) chance.

    ``[B, ...], [B, ...], [B, ...] -> [B]``. Both parameters count as at least e^-30 and at most
    e^30.
    """
    (log_a, log_b, x), mask = elements(
        {"log_alpha": log_alpha, "log_beta": log_beta, "x": x}, where=where
    )
    a, b, failures = _exp_within_limits(log_a), _exp_within_limits(log_b), trials - x
    # log of Gamma(a + x) Gamma(b + n - x) Gamma(c) / (Gamma(a) Gamma(b) Gamma(c + n)), c = a + b.
    # Stirling's formula removes from each log Gamma the large part that would cancel.
    c = a + b
    log_prob = x * jnp.log((a + x) / (c + trials)) + failures * jnp.log(
        (b + failures) / (c + trials)
    )
    log_prob += _rise(a, x) + _rise(b, failures) - _rise(c, jnp.full_like(c, trials))
    k = range(trials + 1)
    log_choose = [
        math.lgamma(trials + 1) - math.lgamma(i + 1) - math.lgamma(trials - i + 1) for i in k
    ]
    table = jnp.asarray(log_choose, jnp.float32)
    return reduce(-log_prob - table[x.astype(jnp.int32)], reduction, mask)


def _rise(a: Array, k: Array) -> Array:
    """``log Gamma(a + k) - log Gamma(a) - (k log(a + k) - k)``."""
    return (a - 0.5) * jnp.log1p(k / a) + stirling_rest(a + k) - stirling_rest(a)


def _exp_within_limits(log: Array) -> Array:
    return jnp.exp(jnp.clip(log, -_LOG_LIMIT, _LOG_LIMIT))


def _log_ratio(a: Array, b: Array) -> Array:
    """log(a / b) of positive numbers, exact also where they nearly agree."""
    difference = (a - b) / b
    near = jnp.abs(difference) < 0.5
    return jnp.where(near, jnp.log1p(jnp.where(near, difference, 0.0)), jnp.log(a) - jnp.log(b))

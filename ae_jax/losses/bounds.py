"""Bounds on log p(x) from K weighted samples, in log space, and estimators of their gradients.

Log weights are ``log p(x, z_k) - log q(z_k | x)`` in nats, [K, B]: samples are the leading axis.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike


def importance_bound(
    log_weight: ArrayLike, *, groups: int = 1, elbo_weight: ArrayLike = 0.0
) -> Array:
    """``log 1/K sum_k w_k`` in nats, ``[K, B] -> [B]``: a lower bound on log p(x) in expectation.

    With `groups` M, the mean of the bounds of M groups of K / M samples each (MIWAE). With
    `elbo_weight` b, ``b * mean_k log w_k + (1 - b) * bound`` (CIWAE).

    Raises `ValueError` unless the samples divide into the groups. Source: Burda et al., Importance
    weighted autoencoders, 2016, equation 8; Rainforth et al., Tighter variational bounds are not
    necessarily better, 2018, section 4.
    """
    log_weight = _grouped(log_weight, groups)
    size = log_weight.shape[1]
    bound = (jax.nn.logsumexp(log_weight, axis=1) - jnp.log(size)).mean(0)
    elbo_weight = jnp.asarray(elbo_weight)
    return elbo_weight * log_weight.mean((0, 1)) + (1.0 - elbo_weight) * bound


def normalized_weights(log_weight: ArrayLike, *, groups: int = 1) -> Array:
    """``w_k / sum_j w_j``, of each group alone: ``[K, B] -> [K, B]``."""
    log_weight = _grouped(log_weight, groups)
    return jax.nn.softmax(log_weight, axis=1).reshape(-1, log_weight.shape[-1])


def vimco_signal(log_weight: ArrayLike, *, groups: int = 1) -> Array:
    """What sample k adds to the bound of its group, ``[K, B] -> [K, B]`` in nats, without gradient.

    ``L - L_{-k}``: in ``L_{-k}`` the geometric mean of the other weights replaces ``w_k``.

    Raises `ValueError` for groups of one sample. Source: Mnih & Rezende, Variational inference for
    Monte Carlo objectives, 2016, equations 6 to 8.
    """
    log_weight = lax.stop_gradient(_grouped(log_weight, groups))
    size = log_weight.shape[1]
    if size < 2:
        raise ValueError("VIMCO compares samples: it needs at least 2 in each group")
    others = (log_weight.sum(1, keepdims=True) - log_weight) / (size - 1)
    own = jnp.eye(size, dtype=bool)[None, :, :, None]
    replaced = jnp.where(own, others[:, :, None], log_weight[:, None])  # [M, k, j, B]
    bound = jax.nn.logsumexp(log_weight, axis=1, keepdims=True)
    signal = bound - jax.nn.logsumexp(replaced, axis=2)
    return signal.reshape(-1, log_weight.shape[-1])


def with_score(bound: Array, signal: Array, log_posterior: Array) -> Array:
    """`bound` [B], whose gradient has ``sum_k signal_k * grad log q(z_k | x)`` added.

    `signal` and `log_posterior` are [K, B]; `signal` carries no gradient.
    """
    signal = jnp.asarray(lax.stop_gradient(signal), jnp.float32)
    score = (signal * log_posterior).sum(0)
    return bound + score - lax.stop_gradient(score)


@jax.custom_vjp
def scaled_path(z: Array, token: Array) -> tuple[Array, Array]:
    """`z` and `token`, unchanged. The backward pass multiplies the gradient of `z` by a ratio.

    `z` is [K, B, ...]. `token` is [2, K, B] of zeros, whose own gradients give the ratio: that of
    ``token[0]`` over that of ``token[1]``. So a loss that is computed from `z` decides how its
    gradient reaches back through `z`, in one backward pass (see `doubly_reparametrized`).
    """
    return z, token


def _forward(z: Array, token: Array) -> tuple[tuple[Array, Array], None]:
    return (z, token), None


def _backward(_: None, gradients: tuple[Array, Array]) -> tuple[Array, Array]:
    of_z, (top, bottom) = gradients
    ratio = jnp.where(bottom == 0, 0.0, top / jnp.where(bottom == 0, 1.0, bottom))
    ratio = ratio.reshape(ratio.shape + (1,) * (of_z.ndim - ratio.ndim))
    return (of_z * ratio).astype(of_z.dtype), jnp.zeros_like(gradients[1])


scaled_path.defvjp(_forward, _backward)


def doubly_reparametrized(
    log_weight: Array, token: Array, *, groups: int = 1, elbo_weight: ArrayLike = 0.0
) -> Array:
    """`importance_bound`, whose gradient through the samples is the doubly reparametrized one.

    Sample k's gradient has the weight ``w_k^2`` instead of ``w_k`` (normalized), the model's own
    keeps ``w_k``. It needs ``z, token = scaled_path(z, zeros)`` before the weights are computed,
    and ``log q`` without a gradient through its parameters.

    Source: Tucker et al., Doubly reparameterized gradient estimators for Monte Carlo objectives,
    2019, equation 8.
    """
    weight = lax.stop_gradient(normalized_weights(log_weight, groups=groups))
    share = elbo_weight * groups / len(weight)  # of the plain mean, in a group
    rest = 1.0 - elbo_weight
    model, path = share + rest * weight, share + rest * weight**2
    ratio = jnp.where(model > 0, path / jnp.where(model > 0, model, 1.0), 0.0)
    bound = importance_bound(log_weight, groups=groups, elbo_weight=elbo_weight)
    return bound + (ratio * token[0] + token[1]).sum(0)


def _grouped(log_weight: ArrayLike, groups: int) -> Array:
    """[K, B] as [M, K / M, B] in float32."""
    log_weight = jnp.asarray(log_weight, jnp.float32)
    if log_weight.ndim != 2 or len(log_weight) % groups:
        raise ValueError(
            f"log_weight has shape {log_weight.shape}: it must be [K, B] with K a multiple of "
            f"groups={groups}"
        )
    return log_weight.reshape(groups, -1, log_weight.shape[-1])

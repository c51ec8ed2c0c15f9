"""Log-densities of latents with any leading axes."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ae_jax import losses
from ae_jax.ops import poincare


def gaussian_log_prob(z: Array, mean: ArrayLike, logvar: ArrayLike) -> Array:
    """``log N(z; mean, exp(logvar))`` in nats, diagonal: ``[..., D] -> [...]``.

    `mean` and `logvar` are broadcast to the shape of `z`.
    """
    arrays = [jnp.broadcast_to(array, z.shape) for array in (mean, logvar, z)]
    flat = [array.reshape(-1, z.shape[-1]) for array in arrays]
    return -losses.gaussian_nll(*flat).reshape(z.shape[:-1])


def bernoulli_log_prob(z: Array, logits: ArrayLike) -> Array:
    """``sum_j log p(z_j)`` in nats of bits z, with ``p(z_j = 1) = sigmoid(logits_j)``.

    ``[..., D] -> [...]``; `logits` are broadcast to the shape of `z`.
    """
    flat = [jnp.broadcast_to(array, z.shape).reshape(-1, z.shape[-1]) for array in (logits, z)]
    return -losses.bce(*flat).reshape(z.shape[:-1])


def wrapped_normal_log_prob(z: Array, mean: Array, logvar: ArrayLike, c: ArrayLike) -> Array:
    """``log q(z)`` in nats of a wrapped normal in the ball of curvature -c: ``[..., D] -> [...]``.

    The density is with respect to the volume of the ball's own metric. `mean` and `logvar` are
    broadcast to the shape of `z`. Source: Mathieu et al., 2019, section 3.1.
    """
    v = poincare.translation(mean, z, c)
    stretch = poincare.log_sinh_ratio(jnp.square(v).sum(-1) * c)
    return gaussian_log_prob(v, 0.0, logvar) - (z.shape[-1] - 1) * stretch

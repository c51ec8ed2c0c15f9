"""Log-densities of latents with any leading axes."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ae_jax import losses


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

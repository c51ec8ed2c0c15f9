"""A masked autoregressive network."""

from collections.abc import Sequence
from itertools import pairwise

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jax import Array
from jax.nn.initializers import variance_scaling

from ae_jax.networks.activations import Activation, activation, kernel_init
from ae_jax.ops.product import product

NEAR_ZERO = variance_scaling(0.01, "fan_avg", "uniform")
"""Of a last layer, so that a flow starts near the identity."""


class MADE(nn.Module):
    """``[..., D] -> [..., D, outputs]``: the outputs i depend on the inputs before i alone.

    `context` [..., widths[0]] is added to the first hidden layer, for all i.

    Source: Germain et al., MADE: masked autoencoder for distribution estimation, 2015.
    """

    latent_dim: int
    outputs: int
    widths: tuple[int, ...]
    activation: Activation

    def setup(self) -> None:
        self.masks = made_masks(self.latent_dim, self.outputs, self.widths)
        inits = [kernel_init(self.activation)] * len(self.widths) + [NEAR_ZERO]
        zeros = nn.initializers.zeros
        # In this method, so that the rest is pure, and the inverse of a flow can loop over it.
        self.kernels = [
            self.param(f"kernel_{i}", init, mask.shape, jnp.float32)
            for i, (init, mask) in enumerate(zip(inits, self.masks, strict=True))
        ]
        self.biases = [
            self.param(f"bias_{i}", zeros, (mask.shape[1],), jnp.float32)
            for i, mask in enumerate(self.masks)
        ]

    def __call__(self, x: Array, context: Array | None = None) -> Array:
        h = x
        for i, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            if i:
                h = activation(self.activation)(h)
            h, kernel, bias = promote_dtype(h, kernel, bias)
            h = product(h, jnp.where(self.masks[i], kernel, 0)) + bias
            if i == 0 and context is not None:
                h = h + context
        return h.reshape(*h.shape[:-1], self.latent_dim, self.outputs)


def made_masks(latent_dim: int, outputs: int, widths: Sequence[int]) -> list[np.ndarray]:
    """For each layer, which inputs reach which outputs: boolean [inputs, outputs].

    Input i has degree i. A hidden unit reads the inputs up to its own degree; one of degree -1
    reads the context alone. The outputs i read hidden units of degrees below i.
    """
    degrees = [np.arange(latent_dim), *(np.arange(width) % latent_dim - 1 for width in widths)]
    masks = [before[:, None] <= after for before, after in pairwise(degrees)]
    last = degrees[-1][:, None] < np.arange(latent_dim)
    return [*masks, np.repeat(last, outputs, axis=1)]

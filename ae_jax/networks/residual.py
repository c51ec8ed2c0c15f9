"""Residual blocks of convolutions, as in very deep variational autoencoders."""

import flax.linen as nn
from jax import Array
from jax.nn.initializers import Initializer, variance_scaling

from ae_jax.networks.activations import Activation, activation
from ae_jax.networks.layers import Conv, dense


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3, 3x3 and 1x1, each after an activation: [B, H, W, features].

    The middle ones have `width` channels. On maps smaller than 3x3 they are 1x1 too.

    Source: Child, Very deep VAEs generalize autoregressive models and can outperform them on
    images, 2021, section 3.2.
    """

    features: int
    width: int
    activation: Activation
    last_init: Initializer
    """Of the last kernel, whose size says how much the block adds at the start."""

    @nn.compact
    def __call__(self, h: Array) -> Array:
        act = activation(self.activation)
        h = dense(self.width, self.activation)(act(h))
        for _ in range(2):
            wide = min(h.shape[1:3]) >= 3
            h = Conv(self.width)(act(h)) if wide else dense(self.width, self.activation)(act(h))
        return nn.Dense(self.features, kernel_init=self.last_init)(act(h))


def scaled_init(scale: float) -> Initializer:
    """LeCun's initializer, times `scale`."""
    return variance_scaling(max(scale, 1e-10) ** 2, "fan_in", "truncated_normal")

"""Affine coupling, the step of RealNVP."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ae_jax.networks.activations import Activation, activation
from ae_jax.networks.flow import bounded, log_det_of
from ae_jax.networks.layers import dense
from ae_jax.networks.made import NEAR_ZERO
from ae_jax.ops.product import dense_dot_general


class AffineCoupling(nn.Module):
    """The first half of the latents, a, stays; the rest becomes ``exp(s(a)) b + m(a)``.

    Source: Dinh et al., Density estimation using real NVP, 2017, section 3.2.
    """

    latent_dim: int
    widths: tuple[int, ...]
    activation: Activation

    def setup(self) -> None:
        self.layers = [dense(width, self.activation) for width in self.widths]
        count = 2 * (self.latent_dim - self.latent_dim // 2)
        self.last = nn.Dense(count, kernel_init=NEAR_ZERO, dot_general=dense_dot_general)

    def __call__(self, x: Array, h: Array | None = None) -> tuple[Array, Array]:
        same, rest, log_scale, shift = self._parts(x)
        changed = jnp.exp(log_scale) * rest + shift
        return jnp.concatenate([same, changed], -1), log_det_of(log_scale)

    def inverse(self, y: Array, h: Array | None = None) -> tuple[Array, Array]:
        same, rest, log_scale, shift = self._parts(y)
        changed = (rest - shift) * jnp.exp(-log_scale)
        return jnp.concatenate([same, changed], -1), -log_det_of(log_scale)

    def _parts(self, x: Array) -> tuple[Array, Array, Array, Array]:
        same, rest = jnp.split(x, [self.latent_dim // 2], axis=-1)
        hidden = same
        for layer in self.layers:
            hidden = activation(self.activation)(layer(hidden))
        raw, shift = jnp.split(self.last(hidden), 2, axis=-1)
        return same, rest, bounded(raw), shift

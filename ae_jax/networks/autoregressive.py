"""Affine autoregressive steps of flows: those of IAF, and from the other side, those of MAF."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from ae_jax.networks.activations import Activation
from ae_jax.networks.flow import bounded, log_det_of
from ae_jax.networks.layers import dense
from ae_jax.networks.made import MADE


class AffineAutoregressive(nn.Module):
    """``y_i = exp(s_i) x_i + m_i`` with s_i and m_i computed from x_1, ..., x_(i-1) and h.

    With gates, ``y_i = g_i x_i + (1 - g_i) m_i`` with ``g_i = sigmoid(s_i + 2)``, which starts near
    1 (Kingma et al., Improved variational inference with inverse autoregressive flow, 2016,
    algorithm 1). `inverse` computes one latent after the other.
    """

    latent_dim: int
    widths: tuple[int, ...]
    activation: Activation
    gates: bool = False

    def setup(self) -> None:
        self.network = MADE(self.latent_dim, 2, self.widths, self.activation)
        self.context = dense(self.widths[0])

    def __call__(self, x: Array, h: Array | None = None) -> tuple[Array, Array]:
        log_scale, shift = self._affine(x, self._context(h))
        return jnp.exp(log_scale) * x + shift, log_det_of(log_scale)

    def inverse(self, y: Array, h: Array | None = None) -> tuple[Array, Array]:
        context = self._context(h)
        # Outside the loop, because parameters cannot be made inside.
        log_scale, shift = self._affine(jnp.zeros_like(y), context)

        def next_latent(carry: tuple[Array, Array, Array], i: Array) -> tuple[tuple, None]:
            x, log_scale, shift = carry
            own = jnp.arange(self.latent_dim) == i
            x = jnp.where(own, (y - shift) * jnp.exp(-log_scale), x)
            return (x, *self._affine(x, context)), None

        first = (jnp.zeros_like(y), log_scale, shift)
        (x, log_scale, _), _ = lax.scan(next_latent, first, jnp.arange(self.latent_dim))
        return x, -log_det_of(log_scale)

    def _context(self, h: Array | None) -> Array | None:
        return None if h is None else self.context(h)

    def _affine(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        """``log_scale, shift`` of each latent: [..., D]."""
        raw, shift = jnp.moveaxis(self.network(x, context), -1, 0)
        if not self.gates:
            return bounded(raw), shift
        return jax.nn.log_sigmoid(raw + 2.0), jax.nn.sigmoid(-raw - 2.0) * shift

"""Planar and radial steps of flows, whose parameters are computed from an encoder's features."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.networks.layers import dense


class Planar(nn.Module):
    """`planar`, with u, w and b linear in h. It has no inverse in closed form."""

    latent_dim: int

    def setup(self) -> None:
        self.bend = dense(self.latent_dim)
        # Not zero where h is, because the map needs a direction.
        self.plane = dense(self.latent_dim + 1, bias_init=nn.initializers.normal(1.0))

    def __call__(self, z: Array, h: Array) -> tuple[Array, Array]:
        plane = self.plane(h)
        return planar(z, self.bend(h), plane[..., :-1], plane[..., -1])


class Radial(nn.Module):
    """`radial`, with its center and both numbers linear in h. It has no inverse here."""

    latent_dim: int

    def setup(self) -> None:
        self.center = dense(self.latent_dim)
        self.shape = dense(2)

    def __call__(self, z: Array, h: Array) -> tuple[Array, Array]:
        shape = self.shape(h)
        return radial(z, self.center(h), shape[..., 0], shape[..., 1])


def planar(z: Array, u: Array, w: Array, b: Array) -> tuple[Array, Array]:
    """``z + u' tanh(w.z + b)`` and its log-determinant: [..., D] (b: [...]) -> [..., D], [...].

    ``u'`` is `u`, changed along `w` until the map is invertible: ``w.u' = softplus(w.u) - 1``.

    Source: Rezende & Mohamed, Variational inference with normalizing flows, 2015, equations 10 to
    12 and appendix A.1.
    """
    along, size = jnp.sum(w * u, -1, keepdims=True), jnp.sum(w * w, -1, keepdims=True)
    u = u + (jax.nn.softplus(along) - 1.0 - along) * w / size
    height = jnp.tanh(jnp.sum(w * z, -1) + b)
    # 1 + (softplus(w.u) - 1) (1 - tanh^2), as a sum of positive numbers
    flat, along = height.astype(jnp.float32) ** 2, along[..., 0].astype(jnp.float32)
    log_det = jnp.log(flat + jax.nn.softplus(along) * (1.0 - flat))
    return z + u * height[..., None], log_det


def radial(z: Array, center: Array, alpha: Array, beta: Array) -> tuple[Array, Array]:
    """``z + b (z - center) / (a + r)`` and its log-determinant: [..., D] -> [..., D], [...].

    ``r = |z - center|``, ``a = softplus(alpha)`` and ``b = softplus(beta) - a``, so that the map is
    invertible. `alpha` and `beta` are [...].

    Source: Rezende & Mohamed, Variational inference with normalizing flows, 2015, equation 14 and
    appendix A.2.
    """
    tiny = 1e-12  # where z is the center, the gradient of r would not be finite
    away = (z - center).astype(jnp.float32)
    r = jnp.sqrt(jnp.sum(away**2, -1) + tiny)
    a, s = (jax.nn.softplus(number.astype(jnp.float32)) for number in (alpha, beta))
    stretch = (r + s) / (r + a)  # 1 + b / (a + r)
    out = (center + stretch[..., None] * away).astype(z.dtype)
    # 1 + b a / (a + r)^2, as a sum of positive numbers
    along = jnp.log(r * (r + 2.0 * a) + s * a) - 2.0 * jnp.log(r + a)
    return out, (z.shape[-1] - 1) * jnp.log(stretch) + along

"""The first layer of a decoder whose latents lie in the Poincaré ball."""

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array
from jax.typing import ArrayLike

from ae_jax.networks.activations import Activation, activation, kernel_init
from ae_jax.ops.poincare import gap, project

TINY = 1e-12


class Gyroplanes(nn.Module):
    """``activation(|a_j| d(z, H_j))``, signed distances to learned hyperplanes: [..., features].

    H_j is at a right angle to the geodesic from the origin in the direction a_j, at the distance
    ``2 r_j``. For c to 0 it is the dense layer ``2 (<a_j, z> - |a_j| r_j)``. Points outside of the
    ball are read as those next to its boundary.

    Source: Ganea et al., Hyperbolic neural networks, 2018, section 3.1; Mathieu et al., 2019,
    section 3.2; in the closed form of Shimizu et al., Hyperbolic neural networks++, 2021, section
    3.1.
    """

    features: int
    curvature: ArrayLike
    activation: Activation

    @nn.compact
    def __call__(self, z: Array) -> Array:
        shape = (z.shape[-1], self.features)
        kernel = self.param("kernel", kernel_init(self.activation), shape, jnp.float32)
        offset = self.param("offset", nn.initializers.zeros, (self.features,), jnp.float32)
        dtype = kernel.dtype  # of the computation; the distances need float32
        z, kernel, offset = promote_dtype(z, kernel, offset, dtype=jnp.float32)
        root = jnp.sqrt(self.curvature)
        z = project(z, self.curvature)
        length = jnp.sqrt(jnp.square(kernel).sum(0) + TINY)
        factor = 2 / gap(z, self.curvature)
        along = factor * root * (z @ (kernel / length)) * jnp.cosh(2 * root * offset)
        distance = jnp.arcsinh(along - (factor - 1) * jnp.sinh(2 * root * offset)) / root
        return activation(self.activation)((length * distance).astype(dtype))

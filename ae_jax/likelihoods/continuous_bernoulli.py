"""The continuous Bernoulli likelihood of data in [0, 1], such as gray pixels."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from ae_jax import losses
from ae_jax.core import Support
from ae_jax.likelihoods.density import Density


@dataclass(frozen=True, kw_only=True)
class ContinuousBernoulli(Density):
    """``p(x) = C(h) exp(h x)`` of x in [0, 1], with logits h: a density of gray values.

    Source: Loaiza-Ganem & Cunningham, The continuous Bernoulli: fixing a pervasive error in
    variational autoencoders, 2019.
    """

    kind: ClassVar[str] = "continuous_bernoulli"
    support: ClassVar[Support] = "unit_interval"

    def nll(self, params: Array, x: Array, where: Array | None = None) -> Array:
        return losses.continuous_bernoulli_nll(params, x, where=where)

    def mean(self, params: Array) -> Array:
        """``1 / (1 - exp(-h)) - 1 / h``, by its series near 0."""
        near, size = jnp.abs(params) < 1.0, jnp.maximum(jnp.abs(params), 1.0)
        a = jnp.where(near, params, 0.0)
        q = a * a
        series = 0.5 + a / 12 * (1 - q / 60 * (1 - q / 42 * (1 - q / 40)))
        far = -1.0 / jnp.expm1(-size) - 1.0 / size
        return jnp.where(near, series, jnp.where(params > 0, far, 1.0 - far))

    def sample(self, key: Array, params: Array) -> Array:
        """By the inverse of the distribution function."""
        u = jax.random.uniform(key, params.shape, jnp.float32)
        size = jnp.maximum(jnp.abs(params), 1e-6)
        x = -jnp.log1p(u * jnp.expm1(-size)) / size  # of logits -size
        return jnp.clip(jnp.where(params > 0, 1.0 - x, x), 0.0, 1.0)

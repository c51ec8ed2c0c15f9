"""The prior of independent bits."""

from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.ops.densities import bernoulli_log_prob
from ae_jax.priors.prior import PriorSpec


@dataclass(frozen=True, kw_only=True)
class BinaryPrior(PriorSpec):
    """``p(z_j = 1) = sigmoid(logits_j)``, with learned logits that start at 0."""

    kind: ClassVar[str] = "binary_prior"
    space: ClassVar[str] = "binary"

    def module(
        self, latent_dim: int, event_shape: tuple[int, ...], *, unit_interval: bool = False
    ) -> nn.Module:
        """The module (see `PriorSpec`)."""
        return BinaryPriorModule(latent_dim)


class BinaryPriorModule(nn.Module):
    latent_dim: int

    def setup(self) -> None:
        zeros = nn.initializers.zeros
        self.logits = self.param("logits", zeros, (self.latent_dim,), jnp.float32)

    def log_prob(self, z: Array, posterior: Any = None) -> Array:
        return bernoulli_log_prob(z, self.logits)

    def sample(self, n: int, posterior: Any = None) -> Array:
        share = jax.nn.sigmoid(self.logits.astype(jnp.float32))
        bits = jax.random.uniform(self.make_rng("latent"), (n, self.latent_dim), jnp.float32)
        return (bits < share).astype(jnp.float32)

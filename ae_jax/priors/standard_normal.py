"""The prior N(0, I)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax import losses
from ae_jax.spec import Spec


@dataclass(frozen=True, kw_only=True)
class StandardNormal(Spec):
    """``p(z) = N(0, I)``."""

    kind: ClassVar[str] = "standard_normal"
    space: ClassVar[str] = "real"
    exact_kl: ClassVar[tuple[str, ...]] = ("gaussian",)

    def module(self, latent_dim: int) -> nn.Module:
        """A module with ``log_prob(z) -> [B]`` and ``sample(n) -> [n, latent_dim]``."""
        return StandardNormalModule(latent_dim)

    def kl(self, outputs: Mapping[str, Any]) -> Array:
        """``KL(q(z | x) || p(z))`` of a Gaussian posterior, exact, in nats: [B]."""
        return losses.gaussian_kl(outputs["mean"], outputs["logvar"])

    def latent_kl(self, outputs: Mapping[str, Any]) -> Array:
        """The same for each latent: [B, latent_dim]."""
        mean, logvar = outputs["mean"], outputs["logvar"]
        return losses.gaussian_kl(mean.reshape(-1), logvar.reshape(-1)).reshape(mean.shape)


class StandardNormalModule(nn.Module):
    latent_dim: int

    def latent_kl(self, outputs: Mapping[str, Any]) -> Array:
        return StandardNormal().latent_kl(outputs)

    def quantile(self, u: Array) -> Array:
        """``z`` with ``P(z_j' < z_j) = u_j``: [n, latent_dim]."""
        return jax.scipy.special.ndtri(u)

    def log_prob(self, z: Array, posterior: Any = None) -> Array:
        """``log p(z)`` in nats: [B]."""
        return -losses.gaussian_nll(jnp.zeros_like(z), 0.0, z)

    def sample(self, n: int, posterior: Any = None) -> Array:
        """Draws with the ``latent`` stream: [n, latent_dim]."""
        return jax.random.normal(self.make_rng("latent"), (n, self.latent_dim), jnp.float32)

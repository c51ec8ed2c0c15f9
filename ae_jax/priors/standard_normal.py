"""The prior N(0, I)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax import losses
from ae_jax.bottlenecks.full_covariance import log_diagonal
from ae_jax.priors.prior import PriorSpec


@dataclass(frozen=True, kw_only=True)
class StandardNormal(PriorSpec):
    """``p(z) = N(0, I)``."""

    kind: ClassVar[str] = "standard_normal"
    exact_kl: ClassVar[tuple[str, ...]] = ("gaussian", "full_covariance")

    def module(
        self, latent_dim: int, event_shape: tuple[int, ...], *, unit_interval: bool = False
    ) -> nn.Module:
        """The module (see `PriorSpec`)."""
        return StandardNormalModule(latent_dim)

    def kl(self, outputs: Mapping[str, Any]) -> Array:
        """``KL(q(z | x) || p(z))`` of a Gaussian posterior, exact, in nats: [B].

        For a full covariance it is the sum over latents of their own, and ``sum_j log(std_j /
        L_jj)``, which is what the latents tell of each other.
        """
        kl = losses.gaussian_kl(outputs["mean"], outputs["logvar"])
        if "cholesky" not in outputs:
            return kl
        return kl + (0.5 * outputs["logvar"] - log_diagonal(outputs["cholesky"])).sum(-1)

    def latent_kl(self, outputs: Mapping[str, Any]) -> Array:
        """``KL(q(z_j | x) || p(z_j))`` of each latent by itself: [B, latent_dim]."""
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

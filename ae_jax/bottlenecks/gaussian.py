"""A stochastic bottleneck: a diagonal Gaussian posterior."""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax import losses
from ae_jax.core import Outputs
from ae_jax.networks.layers import dense
from ae_jax.spec import Spec, require


@dataclass(frozen=True, kw_only=True)
class Gaussian(Spec):
    """``q(z | x) = N(mean, exp(logvar))``, diagonal, sampled by reparametrization.

    Source: Kingma & Welling, Auto-Encoding Variational Bayes, 2014, section 2.4.
    """

    kind: ClassVar[str] = "gaussian"
    stochastic: ClassVar[bool] = True

    latent_dim: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        # None, as deterministic models may have, is for their features: these have no density.
        ok = self.latent_dim is not None and self.latent_dim >= 1
        require(ok, "latent_dim", self.latent_dim, "must be at least 1")

    def module(self) -> nn.Module:
        """A module ``[B, ...features] -> {"z", "mean", "logvar"}``, each [B, latent_dim]."""
        return GaussianModule(self.latent_dim)


class GaussianModule(nn.Module):
    """`z` is sampled where the ``latent`` stream is given, and is the mean where it is not."""

    latent_dim: int

    def setup(self) -> None:
        self.mean = dense(self.latent_dim)
        self.logvar = dense(self.latent_dim)

    def __call__(self, h: Array) -> Outputs:
        h = h.reshape(h.shape[0], -1)
        mean, logvar = self.mean(h), self.logvar(h)
        z = mean
        if self.has_rng("latent"):
            noise = jax.random.normal(self.make_rng("latent"), mean.shape, jnp.float32)
            z = mean + jnp.exp(0.5 * logvar) * noise.astype(mean.dtype)
        return {"z": z, "mean": mean, "logvar": logvar}

    def encode(self, h: Array) -> Array:
        mean: Array = self.mean(h.reshape(h.shape[0], -1))
        return mean

    def log_prob(self, outputs: Outputs) -> Array:
        """``log q(z | x)`` in nats: [B]."""
        return -losses.gaussian_nll(outputs["mean"], outputs["logvar"], outputs["z"])

"""A stochastic bottleneck: a diagonal Gaussian posterior."""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.bottlenecks.posterior import Posterior
from ae_jax.core import Outputs
from ae_jax.networks.layers import dense
from ae_jax.ops.densities import gaussian_log_prob
from ae_jax.spec import require


@dataclass(frozen=True, kw_only=True)
class Gaussian(Posterior):
    """``q(z | x) = N(mean, exp(logvar))``, diagonal, sampled by reparametrization.

    Source: Kingma & Welling, Auto-Encoding Variational Bayes, 2014, section 2.4.
    """

    kind: ClassVar[str] = "gaussian"
    factorized: ClassVar[bool] = True

    latent_dim: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        # None, as deterministic models may have, is for their features: these have no density.
        ok = self.latent_dim is not None and self.latent_dim >= 1
        require(ok, "latent_dim", self.latent_dim, "must be at least 1")

    @property
    def params(self) -> tuple[str, ...]:
        """See `Posterior`."""
        return ("mean", "logvar")

    def module(self) -> nn.Module:
        """A module ``[B, ...features] -> {"z", "mean", "logvar"}``, each [B, latent_dim].

        With a number of `samples`, z is [samples, B, latent_dim].
        """
        return GaussianModule(self.latent_dim)


class GaussianModule(nn.Module):
    """`z` is sampled where the ``latent`` stream is given, and is the mean where it is not."""

    latent_dim: int

    def setup(self) -> None:
        self.mean = dense(self.latent_dim)
        self.logvar = dense(self.latent_dim)

    def __call__(self, h: Array, samples: int | None = None) -> Outputs:
        outputs = self.posterior(h)
        mean, logvar = outputs["mean"], outputs["logvar"]
        z = mean if samples is None else jnp.broadcast_to(mean, (samples, *mean.shape))
        if self.has_rng("latent"):
            noise = sample_noise(self.make_rng("latent"), mean.shape, samples)
            z = mean + jnp.exp(0.5 * logvar) * noise.astype(mean.dtype)
        return {"z": z, **outputs}

    def posterior(self, h: Array) -> Outputs:
        """``{"mean", "logvar"}`` of q(z | x), without a sample."""
        h = h.reshape(h.shape[0], -1)
        return {"mean": self.mean(h), "logvar": self.logvar(h)}

    def encode(self, h: Array) -> Array:
        mean: Array = self.mean(h.reshape(h.shape[0], -1))
        return mean

    def log_prob(self, outputs: Outputs) -> Array:
        """``log q(z | x)`` in nats of z [..., B, latent_dim]: [..., B]."""
        return gaussian_log_prob(outputs["z"], outputs["mean"], outputs["logvar"])


def sample_noise(key: Array, shape: tuple[int, ...], samples: int | None) -> Array:
    """N(0, 1) for `samples` draws [samples, *shape], or for one of `shape` [B, latent_dim].

    The noise of a row does not depend on the rows after it, so that padding changes nothing.
    """
    if samples is None:
        return jax.random.normal(key, shape, jnp.float32)
    rows, *event = shape
    return jax.random.normal(key, (rows, samples, *event), jnp.float32).swapaxes(0, 1)

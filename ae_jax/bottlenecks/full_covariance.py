"""A stochastic bottleneck: a Gaussian posterior whose latents depend on each other."""

import math
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.bottlenecks.gaussian import sample_noise
from ae_jax.bottlenecks.posterior import Posterior
from ae_jax.core import Outputs
from ae_jax.networks.layers import dense
from ae_jax.spec import require


@dataclass(frozen=True, kw_only=True)
class FullCovariance(Posterior):
    """``q(z | x) = N(mean, L L^T)`` with a lower triangular L, whose diagonal is positive.

    Source: Kingma & Welling, An introduction to variational autoencoders, 2019, section 2.5.1.
    """

    kind: ClassVar[str] = "full_covariance"

    latent_dim: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = self.latent_dim is not None and self.latent_dim >= 2
        require(ok, "latent_dim", self.latent_dim, "must be at least 2: of one, use Gaussian()")

    @property
    def params(self) -> tuple[str, ...]:
        """See `Posterior`."""
        return ("mean", "log_scale", "below")

    def module(self) -> nn.Module:
        """A module ``[B, ...features] -> {"z", "mean", "logvar", "cholesky"}``.

        ``logvar`` [B, latent_dim] is that of each latent by itself, and ``cholesky`` is L.
        """
        return FullCovarianceModule(self.latent_dim)


class FullCovarianceModule(nn.Module):
    latent_dim: int

    def setup(self) -> None:
        self.mean = dense(self.latent_dim)
        self.log_scale = dense(self.latent_dim)
        self.below = dense(self.latent_dim * (self.latent_dim - 1) // 2)

    def __call__(self, h: Array, samples: int | None = None) -> Outputs:
        outputs = self.posterior(h)
        mean = outputs["mean"]
        z = mean if samples is None else jnp.broadcast_to(mean, (samples, *mean.shape))
        if self.has_rng("latent"):
            noise = sample_noise(self.make_rng("latent"), mean.shape, samples)
            noise = noise.astype(mean.dtype)
            z = mean + jnp.einsum("bij,...bj->...bi", outputs["cholesky"], noise)
        return {"z": z, **outputs}

    def posterior(self, h: Array) -> Outputs:
        """``{"mean", "logvar", "cholesky"}`` of q(z | x), without a sample."""
        h = h.reshape(h.shape[0], -1)
        rows, columns = np.tril_indices(self.latent_dim, -1)
        diagonal = np.arange(self.latent_dim)
        scale = jnp.exp(self.log_scale(h))
        cholesky = jnp.zeros((*scale.shape, self.latent_dim), scale.dtype)
        cholesky = cholesky.at[:, rows, columns].set(self.below(h))
        cholesky = cholesky.at[:, diagonal, diagonal].set(scale)
        logvar = jnp.log(jnp.square(cholesky).sum(-1))
        return {"mean": self.mean(h), "logvar": logvar, "cholesky": cholesky}

    def encode(self, h: Array) -> Array:
        mean: Array = self.mean(h.reshape(h.shape[0], -1))
        return mean

    def log_prob(self, outputs: Outputs) -> Array:
        """``log q(z | x)`` in nats of z [..., B, latent_dim]: [..., B]."""
        away = jnp.asarray(outputs["z"] - outputs["mean"], jnp.float32)
        cholesky = outputs["cholesky"].astype(jnp.float32)
        cholesky = jnp.broadcast_to(cholesky, (*away.shape[:-1], *cholesky.shape[-2:]))
        solve = jax.scipy.linalg.solve_triangular
        noise = solve(cholesky, away[..., None], lower=True)[..., 0]
        log_det = log_diagonal(cholesky).sum(-1)
        constant = 0.5 * self.latent_dim * math.log(2.0 * math.pi)
        return -0.5 * jnp.square(noise).sum(-1) - log_det - constant


def log_diagonal(cholesky: Array) -> Array:
    """The logarithms of a matrix's diagonal, in float32: ``[..., D, D] -> [..., D]``."""
    return jnp.log(jnp.diagonal(cholesky, axis1=-2, axis2=-1).astype(jnp.float32))

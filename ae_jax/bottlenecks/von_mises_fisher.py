"""A stochastic bottleneck on the sphere: a von Mises-Fisher posterior."""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ae_jax.bottlenecks.posterior import Posterior
from ae_jax.core import Outputs
from ae_jax.networks.layers import dense
from ae_jax.ops import sphere, von_mises_fisher
from ae_jax.spec import require


@dataclass(frozen=True, kw_only=True)
class VonMisesFisher(Posterior):
    """``q(z | x) = vMF(mean, kappa)`` on the unit sphere, with the prior `UniformSphere`.

    The concentration is ``kappa = softplus(.) + 1``. Samples are reparametrized (see
    `ae_jax.ops.von_mises_fisher`), and densities are with respect to the area of the sphere.

    Source: Davidson et al., Hyperspherical variational auto-encoders, 2018.
    """

    kind: ClassVar[str] = "von_mises_fisher"
    space: ClassVar[str] = "sphere"

    latent_dim: int = 11
    """The number of coordinates m: the sphere S^{m-1} has one dimension less."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = self.latent_dim is not None and self.latent_dim >= 2
        needs = "must be at least 2: a sphere of one coordinate is two points"
        require(ok, "latent_dim", self.latent_dim, needs)

    @property
    def params(self) -> tuple[str, ...]:
        """See `Posterior`."""
        return ("mean", "concentration")

    def module(self) -> nn.Module:
        """A module ``[B, ...features] -> {"z", "mean", "kappa"}``.

        z and mean are unit vectors [B, latent_dim], and kappa is [B].
        """
        return VonMisesFisherModule(self.latent_dim)


class VonMisesFisherModule(nn.Module):
    latent_dim: int

    def setup(self) -> None:
        self.mean = dense(self.latent_dim)
        self.concentration = dense(1)

    def __call__(self, h: Array, samples: int | None = None) -> Outputs:
        outputs = self.posterior(h)
        mean, kappa = outputs["mean"], outputs["kappa"]
        z = mean if samples is None else jnp.broadcast_to(mean, (samples, *mean.shape))
        if self.has_rng("latent"):
            z = von_mises_fisher.sample(self.make_rng("latent"), mean, kappa, samples)
        return {"z": z.astype(h.dtype), **outputs}

    def posterior(self, h: Array) -> Outputs:
        """``{"mean", "kappa"}`` of q(z | x) in float32, without a sample."""
        h = h.reshape(h.shape[0], -1)
        kappa = jax.nn.softplus(jnp.asarray(self.concentration(h)[:, 0], jnp.float32)) + 1
        return {"mean": sphere.unit(jnp.asarray(self.mean(h), jnp.float32)), "kappa": kappa}

    def encode(self, h: Array) -> Array:
        return self.posterior(h)["mean"].astype(h.dtype)

    def log_prob(self, outputs: Outputs) -> Array:
        """``log q(z | x)`` in nats of z [..., B, latent_dim]: [..., B]."""
        return von_mises_fisher.log_prob(outputs["z"], outputs["mean"], outputs["kappa"])

    def decoder_input(self, z: Array) -> Array:
        """Latents off the sphere are read as their projections to it."""
        return sphere.unit(z)

    def geodesic(self, a: Array, b: Array, t: ArrayLike) -> Array:
        """The point at a share `t` of the great arc from `a` to `b`."""
        return sphere.geodesic(a, b, t)

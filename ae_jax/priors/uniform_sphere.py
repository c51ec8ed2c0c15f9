"""The uniform prior on the sphere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ae_jax.ops import sphere
from ae_jax.ops.von_mises_fisher import kl_to_uniform
from ae_jax.priors.prior import PriorSpec


@dataclass(frozen=True, kw_only=True)
class UniformSphere(PriorSpec):
    """``p(z) = 1 / area`` on the unit sphere, for `VonMisesFisher` posteriors.

    Source: Davidson et al., Hyperspherical variational auto-encoders, 2018.
    """

    kind: ClassVar[str] = "uniform_sphere"
    space: ClassVar[str] = "sphere"
    exact_kl: ClassVar[tuple[str, ...]] = ("von_mises_fisher",)

    def module(
        self, latent_dim: int, event_shape: tuple[int, ...], *, unit_interval: bool = False
    ) -> nn.Module:
        """The module (see `PriorSpec`)."""
        return UniformSphereModule(latent_dim)

    def kl(self, outputs: Mapping[str, Any]) -> Array:
        """``KL(q(z | x) || p(z))`` of a von Mises-Fisher posterior, exact, in nats: [B]."""
        return kl_to_uniform(outputs["mean"].shape[-1], outputs["kappa"])


class UniformSphereModule(nn.Module):
    latent_dim: int

    def log_prob(self, z: Array, posterior: Any = None) -> Array:
        """``log p(z)`` in nats, with respect to the area: [B]."""
        return jnp.full(len(z), -sphere.log_area(self.latent_dim), jnp.float32)

    def sample(self, n: int, posterior: Any = None) -> Array:
        """Draws with the ``latent`` stream: [n, latent_dim]."""
        return sphere.uniform(self.make_rng("latent"), n, self.latent_dim)

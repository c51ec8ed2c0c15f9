"""The wrapped normal prior at the origin of the Poincaré ball."""

from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.bottlenecks import Posterior
from ae_jax.ops import poincare
from ae_jax.ops.densities import wrapped_normal_log_prob
from ae_jax.priors.prior import PriorSpec
from ae_jax.spec import require


@dataclass(frozen=True, kw_only=True)
class WrappedNormalPrior(PriorSpec):
    """``z = exp_0(v)`` with ``v ~ N(0, I)`` in units of length, for `WrappedNormal` posteriors.

    Source: Mathieu et al., Continuous hierarchical representations with Poincaré variational
    auto-encoders, 2019, section 3.1.
    """

    kind: ClassVar[str] = "wrapped_normal_prior"
    space: ClassVar[str] = "ball"

    curvature: float = 1.0
    """c > 0, the same as that of the bottleneck."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.curvature, int | float):  # a sweep's is traced
            require(self.curvature > 0, "curvature", self.curvature, "must be positive")

    def check(self, bottleneck: Posterior) -> None:
        """Raises `ValueError` for a ball of another curvature."""
        theirs = getattr(bottleneck, "curvature", None)
        numbers = all(isinstance(c, int | float) for c in (theirs, self.curvature))
        needs = f"the bottleneck's is {theirs}: use WrappedNormalPrior(curvature={theirs})"
        require(not numbers or theirs == self.curvature, "curvature", self.curvature, needs)

    def module(
        self, latent_dim: int, event_shape: tuple[int, ...], *, unit_interval: bool = False
    ) -> nn.Module:
        """The module (see `PriorSpec`)."""
        return WrappedNormalPriorModule(latent_dim, self.curvature)


class WrappedNormalPriorModule(nn.Module):
    latent_dim: int
    curvature: float

    def log_prob(self, z: Array, posterior: Any = None) -> Array:
        """``log p(z)`` in nats, with respect to the volume of the ball's own metric: [B]."""
        return wrapped_normal_log_prob(z, jnp.zeros_like(z), 0.0, self.curvature)

    def sample(self, n: int, posterior: Any = None) -> Array:
        """Draws with the ``latent`` stream: [n, latent_dim]."""
        v = jax.random.normal(self.make_rng("latent"), (n, self.latent_dim), jnp.float32)
        return poincare.exp_origin(v / 2, self.curvature)

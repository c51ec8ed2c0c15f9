"""A stochastic bottleneck in the Poincaré ball: a wrapped normal posterior."""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ae_jax.bottlenecks.gaussian import sample_noise
from ae_jax.bottlenecks.posterior import Posterior
from ae_jax.core import Outputs
from ae_jax.networks.activations import Activation
from ae_jax.networks.gyroplanes import Gyroplanes
from ae_jax.networks.layers import dense
from ae_jax.ops import poincare
from ae_jax.ops.densities import wrapped_normal_log_prob
from ae_jax.spec import require

LEAST_LOGVAR = -14.0
"""Narrower posteriors are lost to rounding: a sample is a point in float32, not its distance."""


@dataclass(frozen=True, kw_only=True)
class WrappedNormal(Posterior):
    """``z = exp_mean(v)`` with a normal v at the origin, carried to the mean along the geodesic.

    ``v ~ N(0, exp(logvar))``, diagonal, in units of length, so that |v| is the distance of z to the
    mean. The mean is the exponential map of a dense layer at the origin. The decoder reads the
    distances of z to learned hyperplanes (`Gyroplanes`). Densities are with respect to the volume
    of the ball's own metric. The prior is `WrappedNormalPrior`.

    Source: Mathieu et al., Continuous hierarchical representations with Poincaré variational
    auto-encoders, 2019, section 3; Nagano et al., A wrapped normal distribution on hyperbolic
    space, 2019.
    """

    kind: ClassVar[str] = "wrapped_normal"
    space: ClassVar[str] = "ball"

    latent_dim: int = 10
    curvature: float = 1.0
    """c > 0: the ball has the curvature -c and the radius 1 / sqrt(c)."""
    gyroplanes: int = 128
    """Units of the decoder's first layer."""
    activation: Activation = "relu"
    """The activation of this layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = self.latent_dim is not None and self.latent_dim >= 1
        require(ok, "latent_dim", self.latent_dim, "must be at least 1")
        require(self.gyroplanes >= 1, "gyroplanes", self.gyroplanes, "must be at least 1")
        if isinstance(self.curvature, int | float):  # a sweep's is traced
            needs = "must be positive: of a flat space, use Gaussian()"
            require(self.curvature > 0, "curvature", self.curvature, needs)

    @property
    def params(self) -> tuple[str, ...]:
        """See `Posterior`."""
        return ("mean", "logvar")

    def module(self) -> nn.Module:
        """A module ``[B, ...features] -> {"z", "mean", "logvar"}``, each [B, latent_dim].

        z and mean are in the ball. With a number of `samples`, z is [samples, B, latent_dim].
        """
        options = (self.latent_dim, self.curvature, self.gyroplanes, self.activation)
        return WrappedNormalModule(*options)


class WrappedNormalModule(nn.Module):
    """The ball needs float32: in bfloat16 it would end at 6 / sqrt(c) from the origin."""

    latent_dim: int
    curvature: float
    features: int
    activation: Activation

    def setup(self) -> None:
        self.mean = dense(self.latent_dim)
        self.logvar = dense(self.latent_dim)
        self.gyroplanes = Gyroplanes(self.features, self.curvature, self.activation)

    def __call__(self, h: Array, samples: int | None = None) -> Outputs:
        outputs = self.posterior(h)
        mean, logvar = outputs["mean"], outputs["logvar"]
        z = mean if samples is None else jnp.broadcast_to(mean, (samples, *mean.shape))
        if self.has_rng("latent"):
            noise = sample_noise(self.make_rng("latent"), mean.shape, samples)
            away = poincare.exp_origin(jnp.exp(0.5 * logvar) * noise / 2, self.curvature)
            z = poincare.mobius_add(z, away, self.curvature)
        return {"z": z, **outputs}

    def posterior(self, h: Array) -> Outputs:
        """``{"mean", "logvar"}`` of q(z | x) in float32, without a sample."""
        h = h.reshape(h.shape[0], -1)
        mean, logvar = (jnp.asarray(layer(h), jnp.float32) for layer in (self.mean, self.logvar))
        logvar = jnp.maximum(logvar, LEAST_LOGVAR)
        return {"mean": poincare.exp_origin(mean, self.curvature), "logvar": logvar}

    def encode(self, h: Array) -> Array:
        mean: Array = self.posterior(h)["mean"]
        return mean

    def log_prob(self, outputs: Outputs) -> Array:
        """``log q(z | x)`` in nats of z [..., B, latent_dim]: [..., B]."""
        mean, logvar = outputs["mean"], outputs["logvar"]
        return wrapped_normal_log_prob(outputs["z"], mean, logvar, self.curvature)

    def decoder_input(self, z: Array) -> Array:
        """Signed distances to hyperplanes; latents beyond the ball are read as points at its
        boundary."""
        distances: Array = self.gyroplanes(z)
        return distances

    def geodesic(self, a: Array, b: Array, t: ArrayLike) -> Array:
        """The point at a share `t` of the geodesic from `a` to `b`."""
        a, b = (poincare.project(z, self.curvature) for z in (a, b))
        return poincare.geodesic(a, b, t, self.curvature)

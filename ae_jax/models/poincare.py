"""Variational autoencoders with latents in hyperbolic space."""

from dataclasses import dataclass
from typing import ClassVar

from ae_jax.bottlenecks import WrappedNormal
from ae_jax.likelihoods import Bernoulli, Likelihood
from ae_jax.models.autoencoder import AE, Preset
from ae_jax.models.bound import ELBO, Bound
from ae_jax.networks import MLP, Network
from ae_jax.priors import WrappedNormalPrior


@dataclass(frozen=True, kw_only=True)
class Poincare(Preset):
    """Wrapped normals in the Poincaré ball of curvature -c. The loss is that of `bound`, in nats.

    Trees fit into such a ball with little distortion. The first layer of the decoder measures
    distances to `gyroplanes` hyperplanes, so that an `MLP` may have one decoder layer less.

    Source: Mathieu et al., Continuous hierarchical representations with Poincaré variational
    auto-encoders, 2019.
    """

    kind: ClassVar[str] = "poincare"

    network: Network = MLP(widths=(600,), decoder_widths=())
    latent_dim: int = 10
    curvature: float = 1.0
    """c > 0: the ball has the radius 1 / sqrt(c)."""
    gyroplanes: int = 600
    """Units of the decoder's first layer (see `WrappedNormal`)."""
    likelihood: Likelihood = Bernoulli()
    bound: Bound = ELBO()

    def parts(self) -> AE:
        """The skeleton with this family's choices."""
        return AE(
            network=self.network,
            bottleneck=WrappedNormal(
                latent_dim=self.latent_dim, curvature=self.curvature, gyroplanes=self.gyroplanes
            ),
            likelihood=self.likelihood,
            prior=WrappedNormalPrior(curvature=self.curvature),
            bound=self.bound,
        )

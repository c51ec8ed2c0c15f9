"""Variational autoencoders with latents on the sphere."""

from dataclasses import dataclass
from typing import ClassVar

from ae_jax.bottlenecks import VonMisesFisher
from ae_jax.likelihoods import Bernoulli, Likelihood
from ae_jax.models.autoencoder import AE, Preset
from ae_jax.models.bound import ELBO, Bound
from ae_jax.networks import MLP, Network
from ae_jax.priors import UniformSphere


@dataclass(frozen=True, kw_only=True)
class Hyperspherical(Preset):
    """S-VAE: von Mises-Fisher posteriors and a uniform prior. The loss is that of `bound`, in nats.

    Source: Davidson et al., Hyperspherical variational auto-encoders, 2018.
    """

    kind: ClassVar[str] = "hyperspherical"

    network: Network = MLP(widths=(256, 128))
    latent_dim: int = 11
    """The number of coordinates; the sphere has one dimension less."""
    likelihood: Likelihood = Bernoulli()
    bound: Bound = ELBO()

    def parts(self) -> AE:
        """The skeleton with this family's choices."""
        return AE(
            network=self.network,
            bottleneck=VonMisesFisher(latent_dim=self.latent_dim),
            likelihood=self.likelihood,
            prior=UniformSphere(),
            bound=self.bound,
        )

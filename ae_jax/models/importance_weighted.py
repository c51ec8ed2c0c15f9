"""Variational autoencoders on tighter bounds: IWAE, MIWAE, PIWAE and CIWAE."""

from dataclasses import dataclass
from typing import ClassVar

from ae_jax.bottlenecks import Gaussian
from ae_jax.likelihoods import Bernoulli, Likelihood
from ae_jax.models.autoencoder import AE, Preset
from ae_jax.models.bound import IWAE, Estimator
from ae_jax.networks import MLP, Network
from ae_jax.priors import Prior, StandardNormal


@dataclass(frozen=True, kw_only=True)
class ImportanceWeighted(Preset):
    """VAE on a bound of several samples (see `IWAE`). The loss is in nats per example.

    ``samples`` alone is IWAE; with `groups` it is MIWAE, with `partial` too PIWAE, and with
    `elbo_weight` CIWAE. The metrics are the negative bound ``iwae``, and the means over
    samples of ``nll`` and ``kl``, whose sum is the negative ELBO.

    Source: Burda et al., Importance weighted autoencoders, 2016; Rainforth et al., Tighter
    variational bounds are not necessarily better, 2018.
    """

    kind: ClassVar[str] = "importance_weighted"

    network: Network = MLP(widths=(200, 200), activation="tanh")
    latent_dim: int = 50
    likelihood: Likelihood = Bernoulli()
    prior: Prior = StandardNormal()
    samples: int = 5
    """K: the samples of one bound."""
    groups: int = 1
    """M: the loss is the mean of this number of bounds."""
    partial: bool = False
    """Train the encoder on the mean of the M bounds, and all else on one bound of all samples."""
    elbo_weight: float = 0.0
    """The weight of the ELBO beside the bound, from 0 to 1."""
    estimator: Estimator = "reparametrized"
    """Of the encoder's gradient (see `IWAE`)."""
    chunk: int | None = None
    """Decode this number of samples at a time, to save memory."""

    def parts(self) -> AE:
        """The skeleton with this family's choices."""
        return AE(
            network=self.network,
            bottleneck=Gaussian(latent_dim=self.latent_dim),
            likelihood=self.likelihood,
            prior=self.prior,
            bound=IWAE(
                samples=self.samples,
                groups=self.groups,
                partial=self.partial,
                elbo_weight=self.elbo_weight,
                estimator=self.estimator,
                chunk=self.chunk,
            ),
        )

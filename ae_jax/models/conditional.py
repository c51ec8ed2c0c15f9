"""Conditional variational autoencoders: models of x given a class, or given other numbers."""

from dataclasses import dataclass
from typing import ClassVar

from ae_jax.bottlenecks import Gaussian
from ae_jax.likelihoods import Bernoulli, Likelihood
from ae_jax.models.autoencoder import AE, Preset
from ae_jax.models.bound import ELBO, Bound
from ae_jax.models.condition import Condition
from ae_jax.networks import MLP, Network
from ae_jax.priors import Prior, StandardNormal


@dataclass(frozen=True, kw_only=True)
class Conditional(Preset):
    """CVAE: ``p(x | c) = int p(x | z, c) p(z | c) dz``, whose posterior is ``q(z | x, c)``.

    The loss is the negative bound of ``log p(x | c)`` in nats per example. With
    ``prior=ConditionalNormal()`` the prior is learned; with `StandardNormal` it is N(0, I) for
    every condition.

    Source: Sohn et al., Learning structured output representation using deep conditional generative
    models, 2015.
    """

    kind: ClassVar[str] = "conditional"

    network: Network = MLP(widths=(500,))
    latent_dim: int = 20
    condition: Condition = Condition()
    likelihood: Likelihood = Bernoulli()
    prior: Prior = StandardNormal()
    bound: Bound = ELBO()

    def parts(self) -> AE:
        """The skeleton with this family's choices."""
        return AE(
            network=self.network,
            bottleneck=Gaussian(latent_dim=self.latent_dim),
            likelihood=self.likelihood,
            prior=self.prior,
            bound=self.bound,
            condition=self.condition,
        )

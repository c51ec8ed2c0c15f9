"""Variational autoencoders: a Gaussian posterior over the latents, on any network."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from ae_jax.bottlenecks import Gaussian
from ae_jax.likelihoods import Bernoulli, GaussianLikelihood, Likelihood
from ae_jax.models.autoencoder import AE, Preset
from ae_jax.models.bound import ELBO
from ae_jax.networks import MLP, Network
from ae_jax.priors import Prior, StandardNormal
from ae_jax.spec import kinds_of, require

LikelihoodName = Literal[
    "bernoulli",
    "continuous_bernoulli",
    "gaussian",
    "learned_gaussian",
    "element_gaussian",
    "categorical",
    "beta_binomial",
    "discretized_logistic_mixture",
    "poisson",
    "negative_binomial",
]


@dataclass(frozen=True, kw_only=True)
class Variational(Preset):
    """VAE. The loss is the negative ELBO, in nats per example: nll + beta * kl.

    ``nll`` is ``-log p(x | z)`` summed over elements, constants included, and ``kl`` the sum over
    latents of ``KL(q(z | x) || p(z))``; both are logged unweighted.

    Source: Kingma & Welling, Auto-Encoding Variational Bayes, 2014; beta: Higgins et al., beta-VAE,
    2017.
    """

    kind: ClassVar[str] = "variational"

    network: Network = MLP(widths=(500,))
    latent_dim: int = 20
    prior: Prior = StandardNormal()
    beta: float = 1.0
    warmup_steps: int = 0
    """Steps over which beta grows linearly from 0 (see `ELBO`)."""
    free_bits: float = 0.0
    """Nats per latent below which the batch's mean KL is not reduced further (see `ELBO`)."""
    likelihood: LikelihoodName = "bernoulli"
    """bernoulli needs data in [0, 1], and so does the density continuous_bernoulli. gaussian has
    the fixed `variance`; learned_gaussian learns one variance for all elements, and
    element_gaussian one for each element of each example (see `GaussianLikelihood`). categorical,
    beta_binomial and discretized_logistic_mixture are of 8-bit data; poisson and negative_binomial
    of counts. For a likelihood with other options use `AE` or `ImportanceWeighted`."""
    variance: float = 1.0
    """The variance of the gaussian likelihoods; if it is not fixed, its initial value."""
    binarize: bool = False
    """Draw every x as Bernoulli(x) each time, for the bernoulli likelihood (see `Bernoulli`)."""

    def parts(self) -> AE:
        """The skeleton with this family's choices."""
        fits = not self.binarize or self.likelihood == "bernoulli"
        require(fits, "binarize", self.binarize, "is for the bernoulli likelihood only")
        variance = self.variance
        of_options: dict[str, Likelihood] = {
            "bernoulli": Bernoulli(binarize=self.binarize),
            "gaussian": GaussianLikelihood(variance=variance),
            "learned_gaussian": GaussianLikelihood(variance=variance, learned=True),
            "element_gaussian": GaussianLikelihood(variance=variance, per_element=True),
        }
        name = self.likelihood
        likelihood = of_options[name] if name in of_options else kinds_of(Likelihood)[name]()
        return AE(
            network=self.network,
            bottleneck=Gaussian(latent_dim=self.latent_dim),
            likelihood=likelihood,
            prior=self.prior,
            bound=ELBO(beta=self.beta, warmup_steps=self.warmup_steps, free_bits=self.free_bits),
        )

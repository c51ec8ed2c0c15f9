"""What a decoder's output means, and how far the data is from it.

Each is a specification. ``output_shape()`` is what the decoder must give; ``module()`` makes
outputs of that, with the mean of x among them, draws x and may draw what is observed; ``terms()``
are the terms of the objective; ``support`` says which values x may have, and ``output_range`` which
values its mean can have. `Likelihood` is the closed table.
"""

from ae_jax.likelihoods.bernoulli import Bernoulli
from ae_jax.likelihoods.continuous_bernoulli import ContinuousBernoulli
from ae_jax.likelihoods.counts import NegativeBinomial, Poisson
from ae_jax.likelihoods.density import Density
from ae_jax.likelihoods.error import Error
from ae_jax.likelihoods.gaussian import GaussianLikelihood
from ae_jax.likelihoods.levels import BetaBinomial, Categorical
from ae_jax.likelihoods.logistic_mixture import DiscretizedLogisticMixture

Likelihood = (
    Error
    | Bernoulli
    | ContinuousBernoulli
    | GaussianLikelihood
    | Categorical
    | BetaBinomial
    | DiscretizedLogisticMixture
    | Poisson
    | NegativeBinomial
)

__all__ = [
    "Bernoulli",
    "BetaBinomial",
    "Categorical",
    "ContinuousBernoulli",
    "Density",
    "DiscretizedLogisticMixture",
    "Error",
    "GaussianLikelihood",
    "Likelihood",
    "NegativeBinomial",
    "Poisson",
]

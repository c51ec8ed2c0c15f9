"""What a decoder's output means, and how far the data is from it.

Each is a specification of four things: ``module()``, which makes outputs of the decoder's last
layer (and may draw what is observed); ``terms()``, the terms of the objective; ``unit_interval``,
whether its data must lie in [0, 1]; and ``output_range``, the values that reconstructions can have.
`Likelihood` is the closed table.
"""

from ae_jax.likelihoods.bernoulli import Bernoulli
from ae_jax.likelihoods.error import Error
from ae_jax.likelihoods.gaussian import GaussianLikelihood

Likelihood = Error | Bernoulli | GaussianLikelihood

__all__ = ["Bernoulli", "Error", "GaussianLikelihood", "Likelihood"]

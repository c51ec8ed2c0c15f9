"""Priors over latents. `Prior` is the closed table of specifications.

They are subclasses of `PriorSpec`.
"""

from ae_jax.priors.conditional_normal import ConditionalNormal
from ae_jax.priors.flow_prior import FlowPrior
from ae_jax.priors.mixture import MixtureOfGaussians
from ae_jax.priors.prior import PriorSpec
from ae_jax.priors.standard_normal import StandardNormal
from ae_jax.priors.vamp import VampPrior

Prior = StandardNormal | MixtureOfGaussians | VampPrior | FlowPrior | ConditionalNormal

__all__ = [
    "ConditionalNormal",
    "FlowPrior",
    "MixtureOfGaussians",
    "Prior",
    "PriorSpec",
    "StandardNormal",
    "VampPrior",
]

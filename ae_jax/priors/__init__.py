"""Priors over latents. `Prior` is the closed table of specifications.

They are subclasses of `PriorSpec`.
"""

from ae_jax.priors.binary import BinaryPrior
from ae_jax.priors.conditional_normal import ConditionalNormal
from ae_jax.priors.flow_prior import FlowPrior
from ae_jax.priors.mixture import MixtureOfGaussians
from ae_jax.priors.prior import PriorSpec
from ae_jax.priors.standard_normal import StandardNormal
from ae_jax.priors.uniform_sphere import UniformSphere
from ae_jax.priors.vamp import VampPrior
from ae_jax.priors.wrapped_normal import WrappedNormalPrior

Prior = (
    StandardNormal
    | MixtureOfGaussians
    | VampPrior
    | FlowPrior
    | ConditionalNormal
    | UniformSphere
    | WrappedNormalPrior
    | BinaryPrior
)

__all__ = [
    "BinaryPrior",
    "ConditionalNormal",
    "FlowPrior",
    "MixtureOfGaussians",
    "Prior",
    "PriorSpec",
    "StandardNormal",
    "UniformSphere",
    "VampPrior",
    "WrappedNormalPrior",
]

"""Bottlenecks: what becomes of an encoder's features. `Bottleneck` is the closed table.

The stochastic ones are subclasses of `Posterior`.
"""

from ae_jax.bottlenecks.binary import Binary
from ae_jax.bottlenecks.flow_posterior import FlowPosterior
from ae_jax.bottlenecks.full_covariance import FullCovariance
from ae_jax.bottlenecks.gaussian import Gaussian
from ae_jax.bottlenecks.hamiltonian import Hamiltonian
from ae_jax.bottlenecks.linear import Linear
from ae_jax.bottlenecks.posterior import Posterior
from ae_jax.bottlenecks.von_mises_fisher import VonMisesFisher
from ae_jax.bottlenecks.wrapped_normal import WrappedNormal

Bottleneck = (
    Linear
    | Gaussian
    | FullCovariance
    | FlowPosterior
    | Hamiltonian
    | VonMisesFisher
    | WrappedNormal
    | Binary
)

__all__ = [
    "Binary",
    "Bottleneck",
    "FlowPosterior",
    "FullCovariance",
    "Gaussian",
    "Hamiltonian",
    "Linear",
    "Posterior",
    "VonMisesFisher",
    "WrappedNormal",
]

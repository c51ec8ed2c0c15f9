"""Bottlenecks: what becomes of an encoder's features. `Bottleneck` is the closed table.

The stochastic ones are subclasses of `Posterior`.
"""

from ae_jax.bottlenecks.gaussian import Gaussian
from ae_jax.bottlenecks.linear import Linear
from ae_jax.bottlenecks.posterior import Posterior

Bottleneck = Linear | Gaussian

__all__ = ["Bottleneck", "Gaussian", "Linear", "Posterior"]

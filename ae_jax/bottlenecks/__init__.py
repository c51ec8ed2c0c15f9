"""Bottlenecks: what becomes of an encoder's features. `Bottleneck` is the closed table."""

from ae_jax.bottlenecks.gaussian import Gaussian
from ae_jax.bottlenecks.linear import Linear

Bottleneck = Linear | Gaussian

__all__ = ["Bottleneck", "Gaussian", "Linear"]

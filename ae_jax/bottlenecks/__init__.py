"""Bottlenecks: what becomes of an encoder's features. `Bottleneck` is the closed table.

A stochastic one is a posterior q(z | x). It says where its latents live (``space``, which that of
the prior must equal), whether a sample carries a gradient (``reparametrized``) and whether its
density is known at any z (``density_anywhere``; otherwise only at its own samples). Its module has
``__call__(h, samples=None)``, ``posterior(h)``, ``encode(h)`` and ``log_prob(outputs)``.
"""

from ae_jax.bottlenecks.gaussian import Gaussian
from ae_jax.bottlenecks.linear import Linear

Bottleneck = Linear | Gaussian

__all__ = ["Bottleneck", "Gaussian", "Linear"]

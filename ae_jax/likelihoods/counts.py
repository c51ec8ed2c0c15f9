"""Likelihoods of counts 0, 1, 2, ... The encoder reads ``log(1 + x)``."""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax import losses
from ae_jax.core import Support
from ae_jax.likelihoods.density import Density, LogInput
from ae_jax.losses.reduction import exp_linear

LARGEST_RATE = 1e9  # of a draw, which is an int32


class Counts(Density):
    support: ClassVar[Support] = "counts"

    def encoder(self, encoder: nn.Module) -> nn.Module:
        """The encoder, on ``log(1 + x)``."""
        return LogInput(encoder)


@dataclass(frozen=True, kw_only=True)
class Poisson(Counts):
    """``Poisson(x; exp(h))``: the decoder gives the log of the mean."""

    kind: ClassVar[str] = "poisson"

    def nll(self, params: Array, x: Array, where: Array | None = None) -> Array:
        return losses.poisson_nll(params, x, where=where)

    def mean(self, params: Array) -> Array:
        return exp_linear(params)

    def sample(self, key: Array, params: Array) -> Array:
        return _poisson(key, exp_linear(params))


@dataclass(frozen=True, kw_only=True)
class NegativeBinomial(Counts):
    """``NB(x; mean, r)``, of variance mean + mean^2 / r: counts that vary more than Poisson's.

    The decoder gives the logs of the mean and of r for each element.
    """

    kind: ClassVar[str] = "negative_binomial"

    def params_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Log mean and log r in the last axis."""
        return (*event_shape, 2)

    def nll(self, params: Array, x: Array, where: Array | None = None) -> Array:
        return losses.negative_binomial_nll(params[..., 0], params[..., 1], x, where=where)

    def mean(self, params: Array) -> Array:
        return exp_linear(params[..., 0])

    def sample(self, key: Array, params: Array) -> Array:
        """A Poisson draw whose rate is a draw from a gamma distribution."""
        of_rate, of_count = jax.random.split(key)
        log_r = jnp.clip(params[..., 1], -30.0, 30.0)
        log_rate = jax.random.loggamma(of_rate, jnp.exp(log_r)) - log_r + params[..., 0]
        return _poisson(of_count, exp_linear(log_rate))


def _poisson(key: Array, rate: Array) -> Array:
    return jax.random.poisson(key, jnp.minimum(rate, LARGEST_RATE)).astype(jnp.float32)

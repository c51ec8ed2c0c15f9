"""Likelihoods of 8-bit data: levels 0 to 255, which stand for 0 to 1.

They give probabilities of levels, not densities: bits per dimension need no dequantization.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from ae_jax import losses
from ae_jax.core import Support
from ae_jax.likelihoods.density import Density

LARGEST = 255


class Levels(Density):
    support: ClassVar[Support] = "bytes"


@dataclass(frozen=True, kw_only=True)
class Categorical(Levels):
    """``softmax(h)`` over the 256 levels of each element: any distribution of single elements."""

    kind: ClassVar[str] = "categorical"

    def params_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The logits in the last axis."""
        return (*event_shape, LARGEST + 1)

    def nll(self, params: Array, x: Array, where: Array | None = None) -> Array:
        return losses.categorical_nll(params, levels_of(x), where=where)

    def mean(self, params: Array) -> Array:
        return (jax.nn.softmax(params) * jnp.linspace(0.0, 1.0, LARGEST + 1)).sum(-1)

    def sample(self, key: Array, params: Array) -> Array:
        return jax.random.categorical(key, params).astype(jnp.float32) / LARGEST


@dataclass(frozen=True, kw_only=True)
class BetaBinomial(Levels):
    """``BetaBinomial(255 x; 255, alpha, beta)``: the decoder gives log alpha and log beta.

    At logits of 0 all levels have the same probability.
    """

    kind: ClassVar[str] = "beta_binomial"

    def params_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Log alpha and log beta in the last axis."""
        return (*event_shape, 2)

    def nll(self, params: Array, x: Array, where: Array | None = None) -> Array:
        log_alpha, log_beta = params[..., 0], params[..., 1]
        return losses.beta_binomial_nll(
            log_alpha, log_beta, levels_of(x), trials=LARGEST, where=where
        )

    def mean(self, params: Array) -> Array:
        """``alpha / (alpha + beta)``."""
        log_alpha, log_beta = self._limited(params)
        return jax.nn.sigmoid(log_alpha - log_beta)

    def sample(self, key: Array, params: Array) -> Array:
        """A binomial draw whose chance is a draw from a beta distribution."""
        of_alpha, of_beta, of_count = jax.random.split(key, 3)
        log_alpha, log_beta = self._limited(params)
        # Two gamma draws, in log space: small parameters give chances next to 0 and 1.
        difference = jax.random.loggamma(of_alpha, jnp.exp(log_alpha))
        difference -= jax.random.loggamma(of_beta, jnp.exp(log_beta))
        count = jax.random.binomial(of_count, float(LARGEST), jax.nn.sigmoid(difference))
        return count / LARGEST

    def _limited(self, params: Array) -> tuple[Array, Array]:
        limited = jnp.clip(params, -30.0, 30.0)  # as in the loss
        return limited[..., 0], limited[..., 1]


def levels_of(x: Array) -> Array:
    """k / 255 -> k."""
    return jnp.round(x * LARGEST)

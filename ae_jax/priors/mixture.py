"""The prior that is a mixture of Gaussians."""

from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.ops.densities import gaussian_log_prob
from ae_jax.priors.prior import PriorSpec
from ae_jax.spec import require


@dataclass(frozen=True, kw_only=True)
class MixtureOfGaussians(PriorSpec):
    """``p(z) = sum_k w_k N(z; m_k, diag(v_k))``, with learned weights, means and variances.

    The means start as draws from N(0, I), the variances at 1 and the weights equal.

    Source: Tomczak & Welling, VAE with a VampPrior, 2018, which compares it.
    """

    kind: ClassVar[str] = "mixture"

    components: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.components >= 1, "components", self.components, "must be at least 1")

    def module(
        self, latent_dim: int, event_shape: tuple[int, ...], *, unit_interval: bool = False
    ) -> nn.Module:
        """The module (see `PriorSpec`)."""
        return MixtureModule(latent_dim, self.components)


class MixtureModule(nn.Module):
    latent_dim: int
    components: int

    def setup(self) -> None:
        shape, zeros = (self.components, self.latent_dim), nn.initializers.zeros
        self.means = self.param("means", nn.initializers.normal(1.0), shape, jnp.float32)
        self.logvars = self.param("logvars", zeros, shape, jnp.float32)
        self.logits = self.param("logits", zeros, (self.components,), jnp.float32)

    def log_prob(self, z: Array, posterior: Any = None) -> Array:
        logits = jax.nn.log_softmax(self.logits.astype(jnp.float32))
        return mixture_log_prob(z, self.means, self.logvars, logits)

    def sample(self, n: int, posterior: Any = None) -> Array:
        logits = self.logits.astype(jnp.float32)
        return mixture_sample(self.make_rng("latent"), n, self.means, self.logvars, logits)


def mixture_log_prob(z: Array, means: Array, logvars: Array, log_weights: Array) -> Array:
    """``log sum_k w_k N(z; m_k, exp(logvar_k))``: [B, D], [K, D], [K, D], [K] -> [B], in nats."""
    each = jnp.broadcast_to(z[:, None], (len(z), *means.shape))
    return jax.nn.logsumexp(gaussian_log_prob(each, means, logvars) + log_weights, axis=1)


def mixture_sample(key: Array, n: int, means: Array, logvars: Array, logits: Array) -> Array:
    """Draws from the mixture: [n, D]."""
    chosen, noise = jax.random.split(key)
    k = jax.random.categorical(chosen, logits, shape=(n,))
    epsilon = jax.random.normal(noise, (n, means.shape[1]), jnp.float32)
    return means[k] + jnp.exp(0.5 * logvars[k]) * epsilon.astype(means.dtype)

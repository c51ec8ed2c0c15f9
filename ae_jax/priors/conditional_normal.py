"""A learned prior that depends on a condition."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax import losses
from ae_jax.networks.activations import Activation, activation
from ae_jax.networks.layers import dense
from ae_jax.ops.densities import gaussian_log_prob
from ae_jax.priors.prior import PriorSpec
from ae_jax.spec import require


@dataclass(frozen=True, kw_only=True)
class ConditionalNormal(PriorSpec):
    """``p(z | c) = N(mean(c), exp(logvar(c)))``, diagonal, by a network of the condition c.

    Source: Sohn et al., Learning structured output representation using deep conditional generative
    models, 2015, section 4.
    """

    kind: ClassVar[str] = "conditional_normal"
    conditional: ClassVar[bool] = True
    exact_kl: ClassVar[tuple[str, ...]] = ("gaussian",)

    widths: tuple[int, ...] = (128,)
    """Units of the network's hidden layers."""
    activation: Activation = "relu"
    """The activation of these layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = all(width >= 1 for width in self.widths)
        require(ok, "widths", self.widths, "each width must be at least 1")

    def module(
        self, latent_dim: int, event_shape: tuple[int, ...], *, unit_interval: bool = False
    ) -> nn.Module:
        """A module whose ``of_condition(c)`` is ``{"prior_mean", "prior_logvar"}`` of c [B, S].

        ``log_prob(z, outputs)`` and ``sample(n, outputs)`` read these.
        """
        return ConditionalNormalModule(latent_dim, self.widths, self.activation)

    def kl(self, outputs: Mapping[str, Any]) -> Array:
        """``KL(q(z | x, c) || p(z | c))`` of a Gaussian posterior, exact, in nats: [B]."""
        return self.latent_kl(outputs).sum(-1)

    def latent_kl(self, outputs: Mapping[str, Any]) -> Array:
        """``KL(q(z_j | x, c) || p(z_j | c))`` of each latent by itself: [B, latent_dim]."""
        names = ("mean", "logvar", "prior_mean", "prior_logvar")
        flat = [outputs[name].reshape(-1) for name in names]
        return losses.gaussian_kl(*flat).reshape(outputs["mean"].shape)


class ConditionalNormalModule(nn.Module):
    latent_dim: int
    widths: tuple[int, ...]
    activation: Activation

    def setup(self) -> None:
        self.hidden = [dense(width, self.activation) for width in self.widths]
        self.mean = dense(self.latent_dim)
        self.logvar = dense(self.latent_dim)

    def of_condition(self, c: Array) -> dict[str, Array]:
        """The parameters of p(z | c) for each row of `c` [B, S]: [B, latent_dim]."""
        for layer in self.hidden:
            c = activation(self.activation)(layer(c))
        return {"prior_mean": self.mean(c), "prior_logvar": self.logvar(c)}

    def latent_kl(self, outputs: Mapping[str, Any]) -> Array:
        return ConditionalNormal().latent_kl(outputs)

    def log_prob(self, z: Array, outputs: Mapping[str, Any]) -> Array:
        """``log p(z | c)`` in nats of z [..., B, latent_dim]: [..., B]."""
        return gaussian_log_prob(z, outputs["prior_mean"], outputs["prior_logvar"])

    def sample(self, n: int, outputs: Mapping[str, Any]) -> Array:
        """One draw for each of the n conditions, with the ``latent`` stream: [n, latent_dim]."""
        mean, logvar = outputs["prior_mean"], outputs["prior_logvar"]
        noise = jax.random.normal(self.make_rng("latent"), (n, self.latent_dim), jnp.float32)
        z: Array = mean + jnp.exp(0.5 * logvar) * noise.astype(mean.dtype)
        return z

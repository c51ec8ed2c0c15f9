"""A stochastic bottleneck: independent bits."""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.bottlenecks.posterior import Posterior
from ae_jax.core import Outputs
from ae_jax.networks.layers import dense
from ae_jax.ops.densities import bernoulli_log_prob
from ae_jax.spec import require


@dataclass(frozen=True, kw_only=True)
class Binary(Posterior):
    """``q(z_j = 1 | x) = sigmoid(latent_logits_j)``, and z is 0 or 1.

    Samples carry no gradient, so that the bound must be ``IWAE(estimator="vimco")``. The prior is
    `BinaryPrior`.

    Source: Mnih & Rezende, Variational inference for Monte Carlo objectives, 2016.
    """

    kind: ClassVar[str] = "binary"
    space: ClassVar[str] = "binary"
    reparametrized: ClassVar[bool] = False
    factorized: ClassVar[bool] = True

    latent_dim: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = self.latent_dim is not None and self.latent_dim >= 1
        require(ok, "latent_dim", self.latent_dim, "must be at least 1")

    @property
    def params(self) -> tuple[str, ...]:
        """See `Posterior`."""
        return ("latent_logits",)

    def module(self) -> nn.Module:
        """A module ``[B, ...features] -> {"z", "latent_logits"}``, each [B, latent_dim]."""
        return BinaryModule(self.latent_dim)


class BinaryModule(nn.Module):
    """`z` is sampled where the ``latent`` stream is given, and the likelier value where not."""

    latent_dim: int

    def setup(self) -> None:
        self.latent_logits = dense(self.latent_dim)

    def __call__(self, h: Array, samples: int | None = None) -> Outputs:
        outputs = self.posterior(h)
        logits = outputs["latent_logits"]
        if self.has_rng("latent"):
            rows, size = logits.shape
            draws = (rows, samples or 1, size)  # the bits of a row do not depend on later rows
            bits = jax.random.uniform(self.make_rng("latent"), draws, jnp.float32).swapaxes(0, 1)
            bits = bits < jax.nn.sigmoid(logits.astype(jnp.float32))
            z = (bits if samples else bits[0]).astype(logits.dtype)
        else:
            z = (logits > 0).astype(logits.dtype)
            z = z if samples is None else jnp.broadcast_to(z, (samples, *z.shape))
        return {"z": z, **outputs}

    def posterior(self, h: Array) -> Outputs:
        """``{"latent_logits"}`` of q(z | x), without a sample."""
        return {"latent_logits": self.latent_logits(h.reshape(h.shape[0], -1))}

    def encode(self, h: Array) -> Array:
        logits: Array = self.posterior(h)["latent_logits"]
        return (logits > 0).astype(logits.dtype)

    def decoder_input(self, z: Array) -> Array:
        """Numbers between bits, as interpolations have them, are read as the nearer bit."""
        return (z > 0.5).astype(z.dtype)

    def log_prob(self, outputs: Outputs) -> Array:
        """``log q(z | x)`` in nats of z [..., B, latent_dim]: [..., B]."""
        return bernoulli_log_prob(outputs["z"], outputs["latent_logits"])

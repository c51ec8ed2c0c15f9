"""The Gaussian likelihood, with a variance that is fixed, learned, or given by the decoder."""

import math
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax import losses
from ae_jax.core import Batch, Outputs, Term, event_mask
from ae_jax.likelihoods.density import Density
from ae_jax.likelihoods.module import LikelihoodModule
from ae_jax.spec import require

RANGE = math.log(1e4)


@dataclass(frozen=True, kw_only=True)
class GaussianLikelihood(Density):
    """``-log N(x; recon, variance)`` in nats, summed over elements.

    A learned variance is one for all elements (Rybkin et al., Simple and effective VAE training
    with calibrated decoders, 2021).
    """

    kind: ClassVar[str] = "gaussian"

    variance: float = 1.0
    """If it is learned or given by the decoder, its initial value."""
    learned: bool = False
    per_element: bool = False
    """The decoder gives a variance for each element, from 1e-4 to 1e4 times `variance`:
    ``log variance_i = log variance + r tanh(h_i / r)``, r = log 1e4. Without a bound the density
    of an element that never changes would grow forever."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.variance > 0, "variance", self.variance, "must be positive")
        needs = "a variance is one for all elements, or one for each: use one of the two"
        require(not (self.learned and self.per_element), "per_element", True, needs)

    def params_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The mean, and with `per_element` its log variance without a bound in the last axis."""
        return (*event_shape, 2) if self.per_element else event_shape

    def module(self, event_shape: tuple[int, ...]) -> LikelihoodModule:
        """A module ``h -> {"recon": [B, *event_shape], "recon_logvar": the same, or []}``."""
        if self.per_element:
            return PerElementModule(math.log(self.variance), event_shape)
        return GaussianLikelihoodModule(self.variance, self.learned)

    def terms(self) -> dict[str, Term]:
        """``{"nll": ...}``."""
        return {"nll": Term(_nll)}


class _GaussianModule(LikelihoodModule):
    def log_prob(self, outputs: Outputs, batch: Batch) -> Array:
        return -_nll(outputs, batch)

    def sample(self, outputs: Outputs) -> Array:
        mean, deviation = outputs["recon"], jnp.exp(0.5 * outputs["recon_logvar"])
        noise = jax.random.normal(self.make_rng("latent"), mean.shape, jnp.float32)
        return mean + deviation * noise


class GaussianLikelihoodModule(_GaussianModule):
    variance: float
    learned: bool

    def setup(self) -> None:
        if self.learned:
            start = nn.initializers.constant(math.log(self.variance))
            self.recon_logvar = self.param("recon_logvar", start, (), jnp.float32)

    def __call__(self, h: Array) -> Outputs:
        logvar = self.recon_logvar if self.learned else jnp.float32(math.log(self.variance))
        return {"recon": h, "recon_logvar": logvar}


class PerElementModule(_GaussianModule):
    start: float
    event_shape: tuple[int, ...]

    def __call__(self, h: Array) -> Outputs:
        h = h.reshape(len(h), *self.event_shape, 2)
        return {
            "recon": h[..., 0],
            "recon_logvar": self.start + RANGE * jnp.tanh(h[..., 1] / RANGE),
        }


def _nll(outputs: Outputs, batch: Batch) -> Array:
    where = event_mask(batch)
    return losses.gaussian_nll(outputs["recon"], outputs["recon_logvar"], batch["x"], where=where)

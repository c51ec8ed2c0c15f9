"""The Gaussian likelihood, with a variance that is fixed or learned."""

import math
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ae_jax import losses
from ae_jax.core import Batch, Outputs, Term, event_mask
from ae_jax.likelihoods.module import LikelihoodModule
from ae_jax.spec import Spec, require


@dataclass(frozen=True, kw_only=True)
class GaussianLikelihood(Spec):
    """``-log N(x; recon, variance)`` in nats, summed over elements.

    A learned variance is one for all elements (Rybkin et al., Simple and effective VAE training
    with calibrated decoders, 2021).
    """

    kind: ClassVar[str] = "gaussian"
    density: ClassVar[bool] = True
    unit_interval: ClassVar[bool] = False
    output_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    variance: float = 1.0
    """If it is learned, its initial value."""
    learned: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.variance > 0, "variance", self.variance, "must be positive")

    def module(self) -> LikelihoodModule:
        """A module ``h -> {"recon": h, "recon_logvar": []}``."""
        return GaussianLikelihoodModule(self.variance, self.learned)

    def terms(self) -> dict[str, Term]:
        """``{"nll": ...}``."""
        return {"nll": Term(_nll)}


class GaussianLikelihoodModule(LikelihoodModule):
    variance: float
    learned: bool

    def setup(self) -> None:
        if self.learned:
            start = nn.initializers.constant(math.log(self.variance))
            self.recon_logvar = self.param("recon_logvar", start, (), jnp.float32)

    def __call__(self, h: Array) -> Outputs:
        logvar = self.recon_logvar if self.learned else jnp.float32(math.log(self.variance))
        return {"recon": h, "recon_logvar": logvar}

    def log_prob(self, outputs: Outputs, batch: Batch) -> Array:
        return -_nll(outputs, batch)


def _nll(outputs: Outputs, batch: Batch) -> Array:
    where = event_mask(batch)
    return losses.gaussian_nll(outputs["recon"], outputs["recon_logvar"], batch["x"], where=where)

"""The evidence lower bound: how a stochastic bottleneck is pressed towards the prior."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import optax
from jax import Array

from ae_jax import losses
from ae_jax.core import Batch, BatchTerm, Outputs, Term
from ae_jax.priors import Prior
from ae_jax.spec import Spec, require


@dataclass(frozen=True, kw_only=True)
class ELBO(Spec):
    """The loss is the negative evidence lower bound in nats per example: ``nll + beta * kl``.

    Source: Kingma & Welling, Auto-Encoding Variational Bayes, 2014; beta: Higgins et al., beta-VAE,
    2017.
    """

    kind: ClassVar[str] = "elbo"

    beta: float = 1.0
    warmup_steps: int = 0
    """Steps over which beta grows linearly from 0 (Bowman et al., 2016; Sønderby et al., 2016)."""
    free_bits: float = 0.0
    """Nats per latent below which the batch's mean KL is not pressed further (Kingma et al.,
    Improved variational inference with inverse autoregressive flow, 2016)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "must not be negative")
        for name in ("beta", "free_bits"):
            value = getattr(self, name)
            if isinstance(value, int | float):  # a sweep's is traced
                require(value >= 0, name, value, "must not be negative")

    def terms(self, prior: Prior) -> dict[str, Term | BatchTerm]:
        """``{"kl": ...}``, in nats, unweighted in the metrics."""

        def kl(outputs: Outputs, batch: Batch) -> Array:
            return prior.kl(outputs)

        beta: Any = self.beta
        if self.warmup_steps:
            beta = optax.linear_schedule(0.0, self.beta, self.warmup_steps)
        if isinstance(self.free_bits, int | float) and self.free_bits <= 0:
            return {"kl": Term(kl, beta)}

        def free_kl(outputs: Outputs, batch: Batch, axis_name: str | None) -> Array:
            """``sum_j max(free_bits, mean_B KL_j)``."""
            each, mask = prior.latent_kl(outputs), batch.get("mask")
            each = losses.batch_mean(each, where=mask, axis_name=axis_name)
            return jnp.maximum(each, self.free_bits).sum()

        return {"kl": Term(kl, None), "free_kl": BatchTerm(free_kl, beta)}

"""The VampPrior: a mixture of the model's own posteriors."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.bottlenecks import Posterior
from ae_jax.priors.mixture import mixture_log_prob, mixture_sample
from ae_jax.priors.prior import PriorSpec
from ae_jax.spec import require


@dataclass(frozen=True, kw_only=True)
class VampPrior(PriorSpec):
    """``p(z) = 1/K sum_k q(z | u_k)``, with K learned pseudo-inputs u_k of the shape of the data.

    They start as draws from N(mean, std^2), for each element alone. For data in [0, 1] the encoder
    sees them clipped to that interval.

    Source: Tomczak & Welling, VAE with a VampPrior, 2018, equation 9.
    """

    kind: ClassVar[str] = "vamp"

    pseudo_inputs: int = 500
    """K, at most the number of training examples."""
    mean: float = 0.5
    """Where the pseudo-inputs start, such as the mean of the data."""
    std: float = 0.1
    """How far they differ at the start, so that they become different."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.pseudo_inputs >= 1, "pseudo_inputs", self.pseudo_inputs, "must be at least 1")
        if isinstance(self.std, int | float):  # a sweep's is traced
            require(self.std > 0, "std", self.std, "must be positive: equal inputs stay equal")

    def check(self, bottleneck: Posterior) -> None:
        """Raises `ValueError` for posteriors other than diagonal Gaussians."""
        needs = "a VampPrior mixes diagonal Gaussians: use Gaussian()"
        require(bottleneck.kind == "gaussian", "bottleneck", bottleneck, needs)

    def module(
        self, latent_dim: int, event_shape: tuple[int, ...], *, unit_interval: bool = False
    ) -> nn.Module:
        """The module (see `PriorSpec`)."""
        shape = (self.pseudo_inputs, *event_shape)
        return VampModule(shape, self.mean, self.std, unit_interval)

    @property
    def at_most_examples(self) -> Mapping[str, int]:
        """The pseudo-inputs: a prior with more of them than examples could copy every posterior."""
        return {"pseudo_inputs": self.pseudo_inputs}


class VampModule(nn.Module):
    shape: tuple[int, ...]
    mean: float
    std: float
    clip: bool

    def setup(self) -> None:
        def init(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
            return self.mean + self.std * jax.random.normal(key, shape, dtype)

        self.inputs = self.param("pseudo_inputs", init, self.shape, jnp.float32)

    def log_prob(self, z: Array, posterior: Callable[[Array], Mapping[str, Any]]) -> Array:
        means, logvars, logits = self._mixture(posterior)
        return mixture_log_prob(z, means, logvars, logits)

    def sample(self, n: int, posterior: Callable[[Array], Mapping[str, Any]]) -> Array:
        return mixture_sample(self.make_rng("latent"), n, *self._mixture(posterior))

    def _mixture(
        self, posterior: Callable[[Array], Mapping[str, Any]]
    ) -> tuple[Array, Array, Array]:
        inputs = jnp.clip(self.inputs, 0.0, 1.0) if self.clip else self.inputs
        of_inputs = posterior(inputs)
        weights = jnp.full(self.shape[0], -math.log(self.shape[0]), jnp.float32)
        return of_inputs["mean"], of_inputs["logvar"], weights

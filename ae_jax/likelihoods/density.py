"""The base class of all likelihoods p(x | z), whose numbers a decoder computes."""

import math
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ae_jax.core import Batch, Outputs, Support, Term, event_mask
from ae_jax.likelihoods.module import LikelihoodModule
from ae_jax.spec import Spec


class Density(Spec):
    """A likelihood. A subclass says which numbers it needs, and what they mean.

    Without a `module` of its own it defines ``nll``, ``mean`` and ``sample``, whose `params` are
    [B, *params_shape] float32 numbers, without bounds.
    """

    density: ClassVar[bool] = True
    support: ClassVar[Support] = "real"
    output_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    couples_channels: ClassVar[bool] = False
    """Whether it is one density of the three channels of a pixel."""

    def params_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the numbers of one example; by default one number per element."""
        return event_shape

    def output_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that a decoder gives: an image stays one, with more channels."""
        shape, axes = self.params_shape(event_shape), min(len(event_shape), 2)
        return shape if shape == event_shape else (*shape[:axes], math.prod(shape[axes:]))

    def encoder(self, encoder: nn.Module) -> nn.Module:
        """The encoder, on inputs in the units that suit it."""
        return encoder

    def module(self, event_shape: tuple[int, ...]) -> LikelihoodModule:
        """A module ``h -> {"recon": the mean of x, "recon_params": h}``."""
        return DensityModule(self, self.params_shape(event_shape))

    def terms(self) -> dict[str, Term]:
        """``{"nll": -log p(x | z)}`` in nats, summed over elements."""
        return {"nll": Term(self._nll)}

    def nll(self, params: Array, x: Array, where: Array | None = None) -> Array:
        """``-log p(x)`` in nats of `x` in the units of the data: [B]."""
        raise NotImplementedError

    def mean(self, params: Array) -> Array:
        """The mean of x, in the units of the data: [B, *event_shape]."""
        raise NotImplementedError

    def sample(self, key: Array, params: Array) -> Array:
        """A draw of x, in the units of the data: [B, *event_shape]."""
        raise NotImplementedError

    def _nll(self, outputs: Outputs, batch: Batch) -> Array:
        x = outputs.get("target", batch["x"])
        return self.nll(outputs["recon_params"], x, event_mask(batch))


class DensityModule(LikelihoodModule):
    likelihood: Density
    shape: tuple[int, ...]

    def __call__(self, h: Array) -> Outputs:
        params = h.astype(jnp.float32).reshape(len(h), *self.shape)
        mean = self.likelihood.mean(params).astype(jnp.float32)
        return {"recon": mean, "recon_params": params}

    def log_prob(self, outputs: Outputs, batch: Batch) -> Array:
        return -self.likelihood._nll(outputs, batch)

    def sample(self, outputs: Outputs) -> Array:
        drawn = self.likelihood.sample(self.make_rng("latent"), outputs["recon_params"])
        return drawn.astype(jnp.float32)  # with 64-bit jax some samplers give float64


class LogInput(nn.Module):
    """`inner`, on ``log(1 + x)`` of counts, whose tails are heavy."""

    inner: nn.Module

    def __call__(self, x: Array, **columns: Any) -> Array:
        h: Array = self.inner(jnp.log1p(jnp.maximum(x, 0.0)), **columns)
        return h

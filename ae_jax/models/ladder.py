"""Ladder variational autoencoders: inference shares the way from the top level down."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
from jax import Array
from jax import numpy as jnp

from ae_jax.core import Autoencoder
from ae_jax.likelihoods import Bernoulli, Likelihood
from ae_jax.models.bound import ELBO
from ae_jax.models.hierarchical import (
    Choice,
    HierarchicalModule,
    Level,
    Normal,
    bound_terms,
    limited,
    merged,
    standard_normal,
)
from ae_jax.networks.activations import Activation
from ae_jax.networks.layers import dense
from ae_jax.networks.normalized import HiddenLayers, Norm
from ae_jax.spec import Spec, require


@dataclass(frozen=True, kw_only=True)
class Ladder(Spec):
    """A hierarchy of latents, fully connected, for data of any shape. Level 1 is next to x.

    The encoder gives a Gaussian for each level. The posterior of a level is its normalized product
    with the prior given the levels above; at the top it is the encoder's. The loss is ``nll + beta
    * kl`` in nats per example, and ``kl_1``, ``kl_2``, ... are logged for each level.

    Source: Sønderby et al., Ladder variational autoencoders, 2016.
    """

    kind: ClassVar[str] = "ladder"

    widths: tuple[int, ...] = (512, 256, 128)
    """Units of the hidden layers of each level, from x to the top."""
    latent_dims: tuple[int, ...] = (64, 32, 16)
    """Latents of each level."""
    layers: int = 2
    """Hidden layers of each level, in the encoder and in the decoder."""
    activation: Activation = "leaky_relu"
    norm: Norm = "none"
    """The normalization of hidden layers: none, or batch, as in the paper."""
    skip: bool = False
    """Let each hidden layer of the decoder read the one of the level above beside its latents, so
    that x and all levels depend on all levels above, and not on the next one alone."""
    likelihood: Likelihood = Bernoulli()
    beta: float = 1.0
    warmup_steps: int = 0
    """Steps over which beta grows linearly from 0."""
    free_bits: float = 0.0
    """Nats per level below which the batch's mean KL is not reduced further (Kingma et al.,
    Improved variational inference with inverse autoregressive flow, 2016)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("widths", "latent_dims"):
            sizes = getattr(self, name)
            ok = len(sizes) > 0 and all(size >= 1 for size in sizes)
            require(ok, name, sizes, "must have at least one entry, each at least 1")
        needs = f"needs as many entries as widths={self.widths}, one for each level"
        require(len(self.latent_dims) == len(self.widths), "latent_dims", self.latent_dims, needs)
        require(self.layers >= 1, "layers", self.layers, "must be at least 1")
        needs = "latents need a likelihood, such as Bernoulli()"
        require(self.likelihood.density, "likelihood", self.likelihood, needs)
        self._bound()  # which checks its options

    def _bound(self) -> ELBO:
        return ELBO(beta=self.beta, warmup_steps=self.warmup_steps, free_bits=self.free_bits)

    def build(self, event_shape: Sequence[int]) -> Autoencoder:
        """The autoencoder for examples of `event_shape`."""
        shape, likelihood = tuple(event_shape), self.likelihood
        encoder = likelihood.encoder(LadderEncoder(self))
        decoder = LadderDecoder(self, likelihood.output_shape(shape))
        groups = {f"kl_{i + 1}": [i] for i in range(len(self.widths))}
        return Autoencoder(
            module=HierarchicalModule(encoder, decoder, likelihood.module(shape)),
            objective={**likelihood.terms(), **bound_terms(self._bound(), groups)},
            event_shape=shape,
            spec=self,
            support=likelihood.support,
            output_range=likelihood.output_range,
            columns={"mask": (), "axis_name": ()} if self.norm == "batch" else {},
        )


def _hidden(spec: Ladder, level: int) -> HiddenLayers:
    return HiddenLayers((spec.widths[level],) * spec.layers, spec.activation, spec.norm)


class LadderEncoder(nn.Module):
    """What x says of each level, by itself: ``[B, ...] -> [Normal, ...]``, the lowest first."""

    spec: Ladder

    def setup(self) -> None:
        self.hidden = [_hidden(self.spec, level) for level in range(len(self.spec.widths))]
        self.mean = [dense(size) for size in self.spec.latent_dims]
        self.logvar = [dense(size) for size in self.spec.latent_dims]

    def __call__(self, x: Array, **columns: Any) -> list[Normal]:
        h, evidence = x.reshape(x.shape[0], -1), []
        for hidden, mean, logvar in zip(self.hidden, self.mean, self.logvar, strict=True):
            h = hidden(h, **columns)
            evidence.append(Normal(mean(h), logvar(h)))
        return evidence


class LadderDecoder(nn.Module):
    """From the top level to x (see `HierarchicalModule`)."""

    spec: Ladder
    output_shape: tuple[int, ...]

    def setup(self) -> None:
        lower = self.spec.latent_dims[:-1]
        self.hidden = [_hidden(self.spec, level) for level in range(len(self.spec.widths))]
        self.mean = [dense(size) for size in lower]
        self.logvar = [dense(size) for size in lower]
        self.output = dense(math.prod(self.output_shape))

    def __call__(
        self, choose: Choice, rows: int, evidence: list[Normal] | None, **columns: Any
    ) -> tuple[Array, list[Level]]:
        top, levels = len(self.hidden) - 1, list[Level]()
        h: Array | None = None
        for index in range(top, -1, -1):
            if h is None:
                dtype = jnp.float32 if evidence is None else evidence[top].mean.dtype
                prior = standard_normal(rows, self.spec.latent_dims[top:], dtype)
                posterior = prior if evidence is None else evidence[top]
            else:
                prior = Normal(self.mean[index](h), limited(self.logvar[index](h)))
                posterior = prior if evidence is None else merged(evidence[index], prior)
            z = choose(index, prior, posterior)
            levels.insert(0, Level(z, prior, posterior))
            read = [z] if h is None or not self.spec.skip else [z, h]
            h = self.hidden[index](jnp.concatenate(read, axis=1), **columns)
        return self.output(h).reshape(rows, *self.output_shape), levels

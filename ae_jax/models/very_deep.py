"""Very deep variational autoencoders of images: many levels of latents at each resolution."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

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
)
from ae_jax.models.skipping import skipping_above
from ae_jax.networks.activations import Activation
from ae_jax.networks.layers import Conv
from ae_jax.networks.residual import Bottleneck, scaled_init
from ae_jax.spec import Spec, require

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class VeryDeep(Spec):
    """A hierarchy of latents for images, with residual blocks on the way up and down.

    With ``pools=(2, 2, 7)``, images of 28x28 have the resolutions 28, 14, 7 and 1; ``blocks`` are
    the levels of latents at each. The encoder has as many blocks, and at least one. On the way down
    each block draws its latents, given the state, and adds them to the state: from the prior, or in
    inference from a posterior that reads the encoder's features too. The loss is
    ``nll + beta * kl`` in nats per example, and ``kl_7x7``, ... are logged for each resolution.

    Source: Child, Very deep VAEs generalize autoregressive models and can outperform them on
    images, 2021.
    """

    kind: ClassVar[str] = "very_deep"

    pools: tuple[int, ...] = (2, 2, 7)
    """The factors between resolutions, from the image to the top. They must divide its size."""
    blocks: tuple[int, ...] = (0, 4, 3, 1)
    """Blocks of each resolution, from the image to the top: one more entry than pools. At a
    resolution of 0 blocks there are no latents."""
    width: int = 64
    """Channels of the state."""
    bottleneck: int = 16
    """Channels of the convolutions inside each block."""
    latent_channels: int = 8
    """Latents of each block and pixel."""
    activation: Activation = "gelu"
    likelihood: Likelihood = Bernoulli()
    beta: float = 1.0
    warmup_steps: int = 0
    """Steps over which beta grows linearly from 0."""
    free_bits: float = 0.0
    """Nats per resolution below which the batch's mean KL is not reduced further."""
    skip_above: float | None = None
    """Skip updates whose gradient has a norm above this (see `skipping_above`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = all(factor >= 2 for factor in self.pools)
        require(ok, "pools", self.pools, "each factor must be at least 2")
        ok = all(count >= 0 for count in self.blocks) and self.blocks[-1:] > (0,)
        require(ok, "blocks", self.blocks, "must not be negative, and the last at least 1")
        needs = f"needs one entry more than pools={self.pools}, one for each resolution"
        require(len(self.blocks) == len(self.pools) + 1, "blocks", self.blocks, needs)
        for name in ("width", "bottleneck", "latent_channels"):
            value = getattr(self, name)
            require(value >= 1, name, value, "must be at least 1")
        needs = "latents need a likelihood, such as Bernoulli()"
        require(self.likelihood.density, "likelihood", self.likelihood, needs)
        above = self.skip_above
        if isinstance(above, int | float):  # a sweep's is traced
            require(above > 0, "skip_above", above, "must be positive")
        self._bound()  # which checks its options

    def _bound(self) -> ELBO:
        return ELBO(beta=self.beta, warmup_steps=self.warmup_steps, free_bits=self.free_bits)

    def build(self, event_shape: Sequence[int]) -> Autoencoder:
        """The autoencoder for images of `event_shape`.

        Raises `ValueError` if they are no images, or `pools` do not divide their size.
        """
        shape, likelihood, above = tuple(event_shape), self.likelihood, self.skip_above
        sizes = self.sizes(shape)
        encoder = likelihood.encoder(VeryDeepEncoder(self))
        decoder = VeryDeepDecoder(self, sizes, likelihood.output_shape(shape))
        return Autoencoder(
            module=HierarchicalModule(encoder, decoder, likelihood.module(shape)),
            objective={**likelihood.terms(), **bound_terms(self._bound(), self._groups(sizes))},
            event_shape=shape,
            spec=self,
            support=likelihood.support,
            output_range=likelihood.output_range,
            optimizer=None if above is None else partial(skipping_above, limit=above),
        )

    def sizes(self, event_shape: Sequence[int]) -> tuple[Size, ...]:
        """Height and width of each resolution, from the image to the top. Raises like `build`."""
        if len(event_shape) not in (2, 3):
            raise ValueError(
                f"event_shape={tuple(event_shape)}: a VeryDeep model needs images, [H, W] or "
                "[H, W, C]; use a Ladder for vectors"
            )
        sizes = [(event_shape[0], event_shape[1])]
        for factor in self.pools:
            height, width = sizes[-1]
            needs = f"must divide the images' size: {factor} does not divide {height}x{width}"
            require(height % factor == width % factor == 0, "pools", self.pools, needs)
            sizes.append((height // factor, width // factor))
        return tuple(sizes)

    def _groups(self, sizes: Sequence[Size]) -> dict[str, list[int]]:
        groups, first = {}, 0
        for (height, width), count in zip(sizes, self.blocks, strict=True):
            if count:
                groups[f"kl_{height}x{width}"] = list(range(first, first + count))
            first += count
        return groups


def _block(spec: VeryDeep, features: int, scale: float, name: str | None = None) -> Bottleneck:
    init = scaled_init(scale)
    return Bottleneck(features, spec.bottleneck, spec.activation, init, name=name)


class VeryDeepEncoder(nn.Module):
    """Features of each resolution, that of the image first: ``[[B, h, w, width], ...]``."""

    spec: VeryDeep

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        spec, features = self.spec, list[Array]()
        counts = [max(1, count) for count in spec.blocks]
        scale = 1 / math.sqrt(sum(counts))
        h = Conv(spec.width, name="input")(x if x.ndim == 4 else x[..., None])
        for factor, count in zip((1, *spec.pools), counts, strict=True):
            h = _mean_pool(h, factor)
            for _ in range(count):
                h = h + _block(spec, spec.width, scale)(h)
            features.append(h)
        return features


class VeryDeepDecoder(nn.Module):
    """From the top resolution to x (see `HierarchicalModule`)."""

    spec: VeryDeep
    sizes: tuple[Size, ...]
    output_shape: tuple[int, ...]

    @nn.compact
    def __call__(
        self, choose: Choice, rows: int, evidence: list[Array] | None
    ) -> tuple[Array, list[Level]]:
        spec, levels = self.spec, list[Level]()
        index, width, zeros = sum(spec.blocks), spec.width, nn.initializers.zeros
        h: Any = 0.0
        for place in range(len(self.sizes) - 1, -1, -1):
            if levels:
                h = _repeated(h, spec.pools[place])
            shape = (*self.sizes[place], width)
            h = h + self.param(f"bias_{place}", zeros, shape, jnp.float32)
            h = jnp.broadcast_to(h, (rows, *shape))
            for _ in range(spec.blocks[place]):
                index -= 1
                block = TopDownBlock(spec, name=f"block_{index}")
                features = None if evidence is None else evidence[place]
                h, level = block(h, partial(choose, index), features)
                levels.insert(0, level)
        channels = math.prod(self.output_shape) // math.prod(self.sizes[0])
        gain = self.param("gain", nn.initializers.ones, (width,), jnp.float32)
        h = Conv(channels, name="output")(h * gain)
        return h.reshape(rows, *self.output_shape), levels


class TopDownBlock(nn.Module):
    """One level: ``(state, choose, the encoder's features or None) -> (state, level)``."""

    spec: VeryDeep

    @nn.compact
    def __call__(self, h: Array, choose: Any, features: Array | None) -> tuple[Array, Level]:
        spec, width, count = self.spec, self.spec.width, 2 * self.spec.latent_channels
        scale = 1 / math.sqrt(sum(spec.blocks))
        stated = _block(spec, count + width, 0.0, "prior")(h)  # at the start N(0, I)
        prior = posterior = _normal(stated[..., :count])
        if features is not None:
            both = jnp.concatenate([h, features], axis=-1)
            posterior = _normal(_block(spec, count, 1.0, "posterior")(both))
        z = choose(prior, posterior)
        added = nn.Dense(width, kernel_init=scaled_init(scale), name="latents")(z)
        h = h + stated[..., count:] + added
        h = h + _block(spec, width, scale, "residual")(h)
        return h, Level(z, prior, posterior)


def _normal(h: Array) -> Normal:
    mean, logvar = jnp.split(h, 2, axis=-1)
    return Normal(mean, limited(logvar))


def _mean_pool(h: Array, factor: int) -> Array:
    """Means over windows: ``[B, H, W, C] -> [B, H / factor, W / factor, C]``."""
    if factor == 1:
        return h
    rows, height, width, channels = h.shape
    windows = (rows, height // factor, factor, width // factor, factor, channels)
    return h.reshape(windows).mean((2, 4))


def _repeated(h: Array, factor: int) -> Array:
    """Each pixel `factor` times in both directions: nearest-neighbor upsampling."""
    rows, height, width, channels = h.shape
    h = jnp.broadcast_to(h[:, :, None, :, None], (rows, height, factor, width, factor, channels))
    return h.reshape(rows, height * factor, width * factor, channels)

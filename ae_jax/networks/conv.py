"""Convolutional encoders and decoders for images of any size, odd ones included."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import flax.linen as nn
from jax import Array

from ae_jax.networks import layers
from ae_jax.networks.activations import Activation, activation
from ae_jax.networks.convolution import max_pool
from ae_jax.spec import Spec, require

Down = Literal["pool", "stride"]


@dataclass(frozen=True, kw_only=True)
class Conv(Spec):
    """One level per entry of `filters`, each halving height and width (rounded up), and its mirror.

    ``down="pool"``: convolution, then 2x2 max-pooling; mirrored by nearest upsampling, then a
    convolution. ``down="stride"``: convolutions of stride 2, mirrored by transposed ones. Where the
    encoder rounded an odd size up, the decoder crops what it doubled, so the output always has the
    input's shape. Images are ``[H, W]`` or ``[H, W, C]``.
    """

    kind: ClassVar[str] = "conv"

    filters: tuple[int, ...] = (16, 8, 8)
    """Channels of each level, from the input to the code."""
    convs: int = 1
    """Convolutions per level; those before the one that changes the size keep it."""
    kernel: int = 3
    down: Down = "pool"
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = len(self.filters) > 0 and all(f >= 1 for f in self.filters)
        require(ok, "filters", self.filters, "needs at least one level, of at least 1 channel")
        require(self.convs >= 1, "convs", self.convs, "needs at least 1")
        require(self.kernel >= 1, "kernel", self.kernel, "needs at least 1")

    def encoder(self, event_shape: Sequence[int]) -> nn.Module:
        """A module ``[B, *event_shape] -> [B, h, w, filters[-1]]``."""
        _image_shape(event_shape)
        return ConvEncoder(self)

    def decoder(self, event_shape: Sequence[int], *, flat_code: bool = True) -> nn.Module:
        """A module ``[B, code]`` (or the encoder's feature map) ``-> [B, *event_shape]``, linear
        at the end. A flat code first goes through a dense layer to the smallest feature map."""
        _image_shape(event_shape)
        return ConvDecoder(self, tuple(event_shape), flat_code)


class ConvEncoder(nn.Module):
    spec: Conv

    @nn.compact
    def __call__(self, x: Array) -> Array:
        spec, act = self.spec, activation(self.spec.activation)
        kernel = (spec.kernel, spec.kernel)
        h = x if x.ndim == 4 else x[..., None]
        for filters in spec.filters:
            for i in range(spec.convs):
                last = i == spec.convs - 1
                strides = (2, 2) if last and spec.down == "stride" else (1, 1)
                h = act(layers.Conv(filters, kernel, strides=strides)(h))
            if spec.down == "pool":
                h = max_pool(h)
        return h


class ConvDecoder(nn.Module):
    spec: Conv
    event_shape: tuple[int, ...]
    flat_code: bool

    @nn.compact
    def __call__(self, z: Array) -> Array:
        spec, act = self.spec, activation(self.spec.activation)
        kernel = (spec.kernel, spec.kernel)
        height, width, channels = _image_shape(self.event_shape)
        sizes = [(-(-height // 2**i), -(-width // 2**i)) for i in range(len(spec.filters) + 1)]
        h = z
        if self.flat_code:
            bottom = (*sizes[-1], spec.filters[-1])
            h = act(nn.Dense(math.prod(bottom))(z)).reshape(len(z), *bottom)
        for level in reversed(range(len(spec.filters))):
            for _ in range(spec.convs if spec.down == "pool" else spec.convs - 1):
                h = act(layers.Conv(spec.filters[level], kernel)(h))
            out = spec.filters[level - 1] if level else channels
            if spec.down == "pool":
                h = layers.UpsampleConv(out, kernel)(h)
            else:
                h = layers.ConvTranspose(out, kernel, strides=(2, 2))(h)
            height, width = sizes[level]
            h = h[:, :height, :width]
            h = act(h) if level else h
        return h.reshape(len(z), *self.event_shape)


def _image_shape(event_shape: Sequence[int]) -> tuple[int, int, int]:
    if len(event_shape) not in (2, 3):
        raise ValueError(
            f"event_shape={tuple(event_shape)}: a convolutional network needs images, [H, W] or "
            "[H, W, C]; use a dense one for vectors"
        )
    height, width, channels = (*event_shape, 1)[:3]
    return height, width, channels

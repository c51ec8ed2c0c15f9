"""Convolutional encoders and decoders for images of any size, even or odd."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import flax.linen as nn
from jax import Array
from jax.nn.initializers import Initializer

from ae_jax.networks.activations import INCREASING, Activation, activation, kernel_init
from ae_jax.networks.layers import Conv as ConvLayer
from ae_jax.networks.layers import ConvTranspose, UpsampleConv, dense
from ae_jax.ops.convolution import Padding, max_pool
from ae_jax.spec import Spec, require


@dataclass(frozen=True, kw_only=True)
class ConvNet(Spec):
    """A convolutional encoder and its mirrored decoder, with one level per entry of `filters`.

    Each encoder level has `convs` convolutions and halves height and width, by a 2x2 max-pool or by
    a stride of 2 in its last convolution. The decoder starts with a convolution of the smallest
    feature map (not with ``up="transpose"``). Each decoder level then doubles the size, by nearest
    upsampling and a convolution or by a transposed convolution of stride 2, and applies the
    remaining ``convs - 1`` convolutions. The last layer is linear and has the image's channels.

    The output always has the shape of the input: images ``[H, W]`` or ``[H, W, C]``.
    """

    kind: ClassVar[str] = "convnet"
    flat_features: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = ()

    filters: tuple[int, ...] = (16, 8, 8)
    """Channels of each level, from the input to the latents."""
    bottleneck: int | None = None
    """Channels of an additional convolution at the smallest size."""
    convs: int = 1
    """Convolutions per level."""
    kernel: int = 3
    """Height and width of every kernel."""
    down: Literal["pool", "stride"] = "pool"
    """How an encoder level halves the size: 2x2 max-pool, or stride 2 in its last convolution."""
    up: Literal["nearest", "transpose"] = "nearest"
    """How a decoder level doubles the size: nearest upsampling, or transposed convolution."""
    odd: Literal["crop", "valid", "floor"] = "crop"
    """How levels treat an odd size n. ``crop``: the encoder rounds n / 2 up; the decoder doubles
    that to n + 1 and cuts the last row and column off. ``valid``: as ``crop``, but convolutions
    without padding remove the last row and column. ``floor``: the encoder rounds n / 2 down,
    because its pool ignores the last row and column; a transposed convolution without padding
    restores n."""
    activation: Activation = "relu"
    """The activation after every layer but the last."""
    remat: bool = False
    """Recompute each level in the backward pass instead of storing its activations. Between the
    passes only the inputs of the levels stay in memory, for about a third more computation. XLA's
    CPU backend saves no memory by this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = len(self.filters) > 0 and all(f >= 1 for f in self.filters)
        require(ok, "filters", self.filters, "must have at least one entry, each at least 1")
        for name in ("convs", "kernel", "bottleneck"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "must be at least 1")
        if self.odd == "floor":
            ok = self.down == "pool" and self.up == "transpose" and self.kernel >= 3
            require(ok, "odd", "floor", "needs down='pool', up='transpose' and kernel >= 3")
        if self.odd == "valid":
            require(self.up == "nearest", "odd", "valid", "needs up='nearest'")

    def encoder(self, event_shape: Sequence[int]) -> nn.Module:
        """Return a module ``[B, *event_shape] -> [B, h, w, channels]``.

        Raises `ValueError` if `event_shape` is not an image, or too small for the number of levels.
        """
        self._sizes(event_shape)
        return ConvNetEncoder(self)

    def decoder(self, event_shape: Sequence[int], *, flat_latent: bool = True) -> nn.Module:
        """Return a module ``[B, ...latent] -> [B, *event_shape]`` with a linear last layer.

        The input is the encoder's feature map, or with `flat_latent` a vector [B, latent_dim],
        which a dense layer first turns into the smallest feature map. Raises like `encoder`.
        """
        sizes = self._sizes(event_shape)
        channels = event_shape[2] if len(event_shape) == 3 else 1
        return ConvNetDecoder(self, tuple(event_shape), sizes, channels, flat_latent)

    @property
    def kernel_size(self) -> tuple[int, int]:
        """Height and width of every kernel."""
        return self.kernel, self.kernel

    @property
    def kernel_init(self) -> Initializer:
        """The initializer of the kernels."""
        return kernel_init(self.activation)

    def _sizes(self, event_shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Return the height and width of the image and of each level's output."""
        if len(event_shape) not in (2, 3):
            raise ValueError(
                f"event_shape={tuple(event_shape)}: a ConvNet needs images, [H, W] or "
                "[H, W, C]; use an MLP for vectors"
            )
        sizes = [(event_shape[0], event_shape[1])]
        for _ in self.filters:
            up = 0 if self.odd == "floor" else 1
            sizes.append(((sizes[-1][0] + up) // 2, (sizes[-1][1] + up) // 2))
        if min(sizes[-1]) < 1:
            raise ValueError(
                f"event_shape={tuple(event_shape)}: too small to be halved {len(self.filters)} "
                "times with odd='floor': use fewer filters or odd='crop'"
            )
        return tuple(sizes)


class ConvNetEncoder(nn.Module):
    """The encoder of a `ConvNet`."""

    spec: ConvNet

    @nn.compact
    def __call__(self, x: Array) -> Array:
        spec = self.spec
        h = x if x.ndim == 4 else x[..., None]
        level = (
            nn.remat(ConvNetEncoder.level, static_argnums=2) if spec.remat else ConvNetEncoder.level
        )
        for filters in spec.filters:
            h = level(self, h, filters)
        if spec.bottleneck is None:
            return h
        layer = ConvLayer(spec.bottleneck, spec.kernel_size, kernel_init=spec.kernel_init)
        return activation(spec.activation)(layer(h))

    def level(self, h: Array, filters: int) -> Array:
        """One level: ``[B, H, W, C] -> [B, H/2, W/2, filters]``."""
        spec = self.spec
        padding: Padding = "VALID" if spec.odd == "floor" else "SAME"
        # An increasing activation commutes with the maximum: pooling first leaves fewer elements.
        early = spec.down == "pool" and spec.activation in INCREASING
        for i in range(spec.convs):
            last = i == spec.convs - 1
            layer = ConvLayer(
                filters,
                spec.kernel_size,
                strides=2 if last and spec.down == "stride" else 1,
                pool=padding if last and early else None,
                kernel_init=spec.kernel_init,
            )
            h = activation(spec.activation)(layer(h))
        if spec.down == "pool" and not early:
            h = max_pool(h, padding=padding)
        return h


class ConvNetDecoder(nn.Module):
    """The decoder of a `ConvNet`; `sizes` are those of the image and of each encoder level."""

    spec: ConvNet
    event_shape: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    channels: int
    flat_latent: bool

    @nn.compact
    def __call__(self, z: Array) -> Array:
        spec, act, init = self.spec, activation(self.spec.activation), self.spec.kernel_init
        h = z
        if self.flat_latent:
            bottom = (*self.sizes[-1], spec.bottleneck or spec.filters[-1])
            h = act(dense(math.prod(bottom), spec.activation)(z)).reshape(z.shape[0], *bottom)
        if spec.up == "nearest":
            h = act(ConvLayer(spec.filters[-1], spec.kernel_size, kernel_init=init)(h))
        level = (
            nn.remat(ConvNetDecoder.level, static_argnums=2) if spec.remat else ConvNetDecoder.level
        )
        for index in reversed(range(len(spec.filters))):
            h = level(self, h, index)
        height, width = self.sizes[0]
        return h[:, :height, :width].reshape(z.shape[0], *self.event_shape)

    def level(self, h: Array, index: int) -> Array:
        """Level `index`: ``[B, H, W, C] -> [B, 2H, 2W, channels]``, or less for an odd size."""
        spec = self.spec
        out = spec.filters[index - 1] if index else self.channels
        for i in range(spec.convs):
            features = out if i == spec.convs - 1 else spec.filters[index]
            if i == 0:
                h = self._double(h, features, index)
            else:
                h = ConvLayer(features, spec.kernel_size, kernel_init=spec.kernel_init)(h)
            if index or i < spec.convs - 1:
                h = activation(spec.activation)(h)
        return h

    def _double(self, h: Array, features: int, index: int) -> Array:
        spec, (height, width) = self.spec, self.sizes[index]
        kernel, init = spec.kernel_size, spec.kernel_init
        if spec.up == "transpose":
            # Without padding the size becomes 2h + kernel - 2, at least 2h + 1, and is cropped.
            odd = spec.odd == "floor" and (height % 2 or width % 2)
            padding: Padding = "VALID" if odd else "SAME"
            h = ConvTranspose(features, kernel, strides=2, padding=padding, kernel_init=init)(h)
            return h[:, :height, :width]
        surplus = (2 * h.shape[1] - height, 2 * h.shape[2] - width)
        if spec.odd == "valid" and surplus == (spec.kernel - 1, spec.kernel - 1):
            return UpsampleConv(features, kernel, padding="VALID", kernel_init=init)(h)
        h = UpsampleConv(features, kernel, kernel_init=init)(h)
        return h if spec.odd == "valid" else h[:, :height, :width]

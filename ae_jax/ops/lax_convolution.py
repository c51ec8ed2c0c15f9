"""Convolutions by `jax.lax`: GPU and TPU run them, and all other forms must equal them.

Images are ``[B, H, W, C]``, kernels ``[kh, kw, C, features]``.
"""

from collections.abc import Iterator
from functools import reduce
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from ae_jax.spec import require

Padding = Literal["SAME", "VALID"]
Pair = tuple[int, int]
Pads = tuple[Pair, Pair]  # (before, after) for height, then width


def lax_conv(x: Array, kernel: Array, strides: Pair, pads: Pads) -> Array:
    """Convolution, ``[B, H, W, C] -> [B, H', W', features]``."""
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=layout)


class Stretch(NamedTuple):
    """One axis of a convolution over a stretched image."""

    factor: int
    """Distance between neighboring pixels in the stretched image."""
    hold: bool
    """Whether pixels between them repeat the one before (upsampling) or are zero."""
    size: int
    """Pixels of the stretched image."""
    taps: int
    """Pixels of the kernel."""
    low: int
    """Padding before the stretched image."""
    out: int
    """Pixels of the result."""

    @property
    def high(self) -> int:
        """Padding after the stretched image."""
        return self.out + self.taps - 1 - self.low - self.size


def lax_stretch_conv(x: Array, kernel: Array, height: Stretch, width: Stretch) -> Array:
    """Convolution over a stretched image, ``[B, H, W, C] -> [B, H', W', features]``."""
    if height.hold:
        x = upsample(x, height.factor)
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1, 1),
        padding=[(axis.low, axis.high) for axis in (height, width)],
        lhs_dilation=[1 if axis.hold else axis.factor for axis in (height, width)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def upsample(x: Array, factor: int = 2) -> Array:
    """Nearest-neighbor upsampling, ``[B, H, W, C] -> [B, factor * H, factor * W, C]``."""
    require(factor >= 1, "factor", factor, "must be at least 1")
    return jnp.repeat(jnp.repeat(x, factor, axis=1), factor, axis=2)


def views(x: Array, window: tuple[int, ...], strides: Pair) -> Iterator[Array]:
    """For each pixel of a moving window, the image of the pixels under it, row by row."""
    height, width = (
        (n - k) // s + 1 for n, k, s in zip(x.shape[1:3], window, strides, strict=True)
    )
    for i in range(window[0]):
        for j in range(window[1]):
            rows = slice(i, i + (height - 1) * strides[0] + 1, strides[0])
            yield x[:, rows, j : j + (width - 1) * strides[1] + 1 : strides[1]]


def max_of_windows(x: Array, window: Pair, strides: Pair, pads: Pads) -> Array:
    """The maximum of each window, first over its rows and then over its columns.

    The order matters for pixels that tie, because it determines their shares of the gradient.
    """
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    # Strided views, because the gradient of lax.reduce_window is slower on a CPU.
    x = reduce(jnp.maximum, views(x, (window[0], 1), (strides[0], 1)))
    return reduce(jnp.maximum, views(x, (1, window[1]), (1, strides[1])))


def window_pads(
    size: tuple[int, ...], window: tuple[int, ...], strides: Pair, padding: Padding
) -> Pads:
    """Padding (before, after) for height and width; raises `ValueError` for an image too small."""
    top, left = lax.padtype_to_pads(size, window, strides, padding)
    if padding == "VALID" and (size[0] < window[0] or size[1] < window[1]):
        raise ValueError(
            f"an image of {size[0]}x{size[1]} is smaller than the window {window[0]}x{window[1]}; "
            "use padding='SAME' or a smaller window"
        )
    return top, left

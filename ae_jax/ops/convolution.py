"""Convolution, transposed convolution, upsampling and pooling of images, fast on every platform.

Images are ``[B, H, W, C]`` and kernels ``[kh, kw, C, features]``, of one floating dtype. The
results equal those of `jax.lax`. Derivatives exist in any order and mode (in bfloat16 without
forward mode), under jit, vmap, scan and pmap. GPU and TPU run `jax.lax` itself. For gradients of
convolutions inside a loop (`lax.scan`) the CPU backend has no fast routine, so programs for a CPU
use other forms (see `ae_jax.ops.cpu_convolution`).
"""

from functools import partial
from typing import get_args

import jax.numpy as jnp
from jax import Array, lax

from ae_jax.ops.cpu_convolution import cpu_conv, cpu_pooled_conv, phase_conv
from ae_jax.ops.lax_convolution import (
    Padding,
    Pair,
    Stretch,
    lax_conv,
    lax_stretch_conv,
    max_of_windows,
    upsample,
    window_pads,
)
from ae_jax.ops.phases import stretch_phases

__all__ = [
    "Padding",
    "conv",
    "conv_transpose",
    "max_pool",
    "pooled_conv",
    "upsample",
    "upsample_conv",
]


def conv(x: Array, kernel: Array, *, strides: int | Pair = 1, padding: Padding = "SAME") -> Array:
    """Convolution, ``[B, H, W, C], [kh, kw, C, features] -> [B, H', W', features]``.

    The kernel is not flipped, as usual for neural networks. ``H' = ceil(H / stride)`` for SAME,
    ``ceil((H - kh + 1) / stride)`` for VALID.

    Raises `ValueError` for shapes that do not fit and `TypeError` for dtypes that differ.
    """
    _check(x, kernel, padding)
    strides = _pair(strides, "strides")
    pads = window_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    return lax.platform_dependent(
        x,
        kernel,
        cpu=partial(cpu_conv, strides=strides, pads=pads),
        default=partial(lax_conv, strides=strides, pads=pads),
    )


def pooled_conv(
    x: Array,
    kernel: Array,
    *,
    strides: int | Pair = 1,
    padding: Padding = "SAME",
    pool: Padding = "SAME",
) -> Array:
    """A convolution and 2x2 max-pooling: ``max_pool(conv(x, kernel, ...), padding=pool)``.

    ``[B, H, W, C], [kh, kw, C, features] -> [B, H', W', features]``, half the sizes of `conv`
    (rounded up for SAME, down for VALID). Raises the errors of `conv` and `max_pool`.
    """
    _check(x, kernel, padding)
    _check_padding(pool)
    strides = _pair(strides, "strides")
    pads = window_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    sizes = zip(x.shape[1:3], kernel.shape[:2], strides, pads, strict=True)
    size = tuple((n + sum(pad) - k) // s + 1 for n, k, s, pad in sizes)
    pool_pads = window_pads(size, (2, 2), (2, 2), pool)

    def default(x: Array, kernel: Array) -> Array:
        return max_of_windows(lax_conv(x, kernel, strides, pads), (2, 2), (2, 2), pool_pads)

    cpu = partial(cpu_pooled_conv, strides=strides, pads=pads, pool_pads=pool_pads)
    return lax.platform_dependent(x, kernel, cpu=cpu, default=default)


def conv_transpose(
    x: Array, kernel: Array, *, strides: int | Pair = 2, padding: Padding = "SAME"
) -> Array:
    """Transposed convolution, ``[B, H, W, C], [kh, kw, C, features] -> [B, H', W', features]``.

    The convolution of `x` with ``stride - 1`` zeros between its pixels, which is the default of
    `jax.lax.conv_transpose` and `flax.linen.ConvTranspose`. ``H' = H * stride`` for SAME and
    ``H * stride + max(kh - stride, 0)`` for VALID. Keras' ``Conv2DTranspose`` is the same with the
    kernel flipped in height and width and its last two axes swapped.

    Raises `ValueError` for shapes that do not fit and `TypeError` for dtypes that differ.
    """
    _check(x, kernel, padding)
    strides = _pair(strides, "strides")
    sizes = zip(x.shape[1:3], kernel.shape[:2], strides, strict=True)
    return _stretch_conv(x, kernel, *(_zeros_between(n, k, s, padding) for n, k, s in sizes))


def upsample_conv(x: Array, kernel: Array, *, padding: Padding = "SAME") -> Array:
    """``conv(upsample(x), kernel, padding=padding)``; on a CPU the large image is never created.

    ``[B, H, W, C], [kh, kw, C, features] -> [B, H', W', features]``, ``H' = 2 H`` for SAME and
    ``2 H - kh + 1`` for VALID.

    Raises `ValueError` for shapes that do not fit and `TypeError` for dtypes that differ.
    """
    _check(x, kernel, padding)
    large = (2 * x.shape[1], 2 * x.shape[2])
    pads = window_pads(large, kernel.shape[:2], (1, 1), padding)
    sizes = zip(large, kernel.shape[:2], pads, strict=True)
    axes = (Stretch(2, True, n, k, low, n + low + high - k + 1) for n, k, (low, high) in sizes)
    return _stretch_conv(x, kernel, *axes)


def max_pool(
    x: Array,
    window: int | Pair = 2,
    *,
    strides: int | Pair | None = None,
    padding: Padding = "SAME",
) -> Array:
    """Max-pooling, ``[B, H, W, C] -> [B, H', W', C]``; by default `strides` equals `window`.

    ``H' = ceil(H / stride)`` for SAME (padding is never the maximum), and
    ``ceil((H - window + 1) / stride)`` for VALID. Pixels that tie for a maximum share its gradient.

    Raises `ValueError` for an image smaller than the window.
    """
    window = _pair(window, "window")
    strides = window if strides is None else _pair(strides, "strides")
    _check_padding(padding)
    pads = window_pads(x.shape[1:3], window, strides, padding)
    return max_of_windows(x, window, strides, pads)


def _zeros_between(n: int, taps: int, factor: int, padding: Padding) -> Stretch:
    if padding == "SAME":
        out = n * factor
        low = min(taps - 1, (taps + factor - 1) // 2)
    else:
        out = n * factor + max(taps - factor, 0)
        low = taps - 1
    return Stretch(factor, False, (n - 1) * factor + 1, taps, low, out)


def _stretch_conv(x: Array, kernel: Array, height: Stretch, width: Stretch) -> Array:
    sizes = zip(x.shape[1:3], (height, width), strict=True)
    rows, cols = (stretch_phases(n, axis) for n, axis in sizes)
    return lax.platform_dependent(
        x,
        kernel,
        cpu=partial(phase_conv, rows=rows, cols=cols),
        default=partial(lax_stretch_conv, height=height, width=width),
    )


def _pair(value: int | Pair, name: str) -> Pair:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"{name}={value!r}: use a positive integer, or two for height and width")
    return pair[0], pair[1]


def _check(x: Array, kernel: Array, padding: Padding) -> None:
    _check_padding(padding)
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[2]:
        raise ValueError(
            f"x {x.shape} and kernel {kernel.shape} do not fit: use images [B, H, W, C] and a "
            "kernel [kh, kw, C, features]"
        )
    if x.dtype != kernel.dtype or not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"x is {x.dtype} and kernel {kernel.dtype}: convert both to one floating dtype"
        )


def _check_padding(padding: Padding) -> None:
    if padding not in get_args(Padding):
        raise ValueError(f"padding={padding!r}: use 'SAME' or 'VALID'")

"""Convolution, transposed convolution, upsampling and pooling of images, fast on every platform.

Images are ``[B, H, W, C]``, kernels ``[kh, kw, C, features]``, of one floating dtype. Each function
is what `jax.lax` computes, with derivatives of any order and mode, under jit, vmap, scan and pmap.
GPU and TPU run `jax.lax` as it is. The CPU backend has no fast routine for the convolutions that
differentiation makes inside a loop (`lax.scan`), so what is compiled for a CPU takes other forms;
why, and what each gains, stands beside it.
"""

from collections.abc import Iterator
from functools import partial, reduce
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

__all__ = ["Padding", "conv", "conv_transpose", "max_pool", "upsample", "upsample_conv"]

Padding = Literal["SAME", "VALID"]
Pair = tuple[int, int]
Pads = tuple[Pair, Pair]  # (before, after) for height, then width

_FEW_CHANNELS = 3  # grey and colour images; with 8, patches no longer pay


def conv(x: Array, kernel: Array, *, strides: int | Pair = 1, padding: Padding = "SAME") -> Array:
    """Convolution, ``[B, H, W, C], [kh, kw, C, features] -> [B, H', W', features]``.

    As in every neural-network library, the kernel is not flipped. ``H' = ceil(H / stride)`` for
    SAME, ``ceil((H - kh + 1) / stride)`` for VALID.

    Raises `ValueError` for shapes that do not fit and `TypeError` for dtypes that differ.
    """
    _check(x, kernel, padding)
    strides = _pair(strides, "strides")
    pads = _window_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    return lax.platform_dependent(
        x,
        kernel,
        cpu=partial(_cpu_conv, strides=strides, pads=pads),
        default=partial(_lax_conv, strides=strides, pads=pads),
    )


def conv_transpose(
    x: Array, kernel: Array, *, strides: int | Pair = 2, padding: Padding = "SAME"
) -> Array:
    """Transposed convolution, ``[B, H, W, C], [kh, kw, C, features] -> [B, H', W', features]``.

    The convolution of `x` with ``stride - 1`` zeros put between its pixels, as by default in
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
    """``conv(upsample(x), kernel, padding=padding)``, on a CPU without making the large image.

    ``[B, H, W, C], [kh, kw, C, features] -> [B, H', W', features]``, ``H' = 2 H`` for SAME and
    ``2 H - kh + 1`` for VALID.

    Raises `ValueError` for shapes that do not fit and `TypeError` for dtypes that differ.
    """
    _check(x, kernel, padding)
    large = (2 * x.shape[1], 2 * x.shape[2])
    pads = _window_pads(large, kernel.shape[:2], (1, 1), padding)
    sizes = zip(large, kernel.shape[:2], pads, strict=True)
    axes = (Stretch(2, True, n, k, low, n + low + high - k + 1) for n, k, (low, high) in sizes)
    return _stretch_conv(x, kernel, *axes)


def upsample(x: Array, factor: int = 2) -> Array:
    """Nearest-neighbour upsampling, ``[B, H, W, C] -> [B, factor * H, factor * W, C]``."""
    _pair(factor, "factor")
    return jnp.repeat(jnp.repeat(x, factor, axis=1), factor, axis=2)


def max_pool(
    x: Array,
    window: int | Pair = 2,
    *,
    strides: int | Pair | None = None,
    padding: Padding = "SAME",
) -> Array:
    """Max-pooling, ``[B, H, W, C] -> [B, H', W', C]``; `strides` is `window` unless given.

    ``H' = ceil(H / stride)`` for SAME (padding is never the maximum), and
    ``ceil((H - window + 1) / stride)`` for VALID. Pixels that tie for a maximum share its gradient.

    Raises `ValueError` for an image smaller than the window.
    """
    window = _pair(window, "window")
    strides = window if strides is None else _pair(strides, "strides")
    _check_padding(padding)
    pads = _window_pads(x.shape[1:3], window, strides, padding)
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    # Strided views, because the gradient of lax.reduce_window is 5 times slower on a CPU.
    x = reduce(jnp.maximum, _views(x, (window[0], 1), (strides[0], 1)))
    return reduce(jnp.maximum, _views(x, (1, window[1]), (1, strides[1])))


# What jax.lax does, for GPU and TPU, and the definition of every other form.


def _lax_conv(x: Array, kernel: Array, strides: Pair, pads: Pads) -> Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=layout)


class Stretch(NamedTuple):
    """One axis of a convolution over a stretched image."""

    factor: int
    """Distance between neighbouring pixels once stretched."""
    hold: bool
    """Whether what lies between them repeats the pixel before (upsampling) or is zero."""
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
        return self.out + self.taps - 1 - self.low - self.size


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
    rows, cols = (_stretch_phases(n, axis) for n, axis in sizes)
    return lax.platform_dependent(
        x,
        kernel,
        cpu=partial(_phase_conv, rows=rows, cols=cols),
        default=partial(_lax_stretch_conv, height=height, width=width),
    )


def _lax_stretch_conv(x: Array, kernel: Array, height: Stretch, width: Stretch) -> Array:
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


# Forms for the CPU.


def _cpu_conv(x: Array, kernel: Array, strides: Pair, pads: Pads) -> Array:
    if kernel.shape[2] > _FEW_CHANNELS:
        return _loop_conv(x, kernel, strides, pads)
    if strides != (1, 1):
        return _patch_conv(x, kernel, strides, pads)
    # All four pixels of a 2x2 block from one patch that is one pixel larger. Forward and backward,
    # 3x3 kernels on 28x28 pixels, 1 -> 16 channels: 5 times faster than _loop_conv, 2 times faster
    # than a patch for each pixel; 3 -> 32: 2.6 and 1.1 times.
    sizes = zip(x.shape[1:3], kernel.shape[:2], pads, strict=True)
    return _phase_conv(x, kernel, *(_block_phases(n, k, pad) for n, k, pad in sizes))


def _patch_conv(x: Array, kernel: Array, strides: Pair, pads: Pads) -> Array:
    """Shifted copies of the image side by side, and one matrix product."""
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    patches = jnp.concatenate(list(_views(x, kernel.shape[:2], strides)), axis=-1)
    # Two axes, because the gradient of a product over four is 2 to 5 times slower.
    y = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    return y.reshape(*patches.shape[:3], -1)


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _loop_conv(x: Array, kernel: Array, strides: Pair, pads: Pads) -> Array:
    """`_lax_conv`, with gradients that are as fast inside a loop as outside.

    The fast routine takes convolutions of ``NHWC`` images and ``HWIO`` kernels; the gradients that
    `jax.lax` makes have other layouts, which XLA puts right outside of loops only. Here they are
    convolutions in that layout, of transposed operands. (An image smaller than the kernel is the
    exception: XLA then swaps the two.)
    """
    return _lax_conv(x, kernel, strides, pads)


@partial(_loop_conv.defjvp, symbolic_zeros=True)
def _loop_conv_jvp(
    strides: Pair, pads: Pads, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    # Each term of the tangent is the transpose of a gradient, so that transposing it, as reverse
    # mode does, gives that gradient as it is written below. (A custom_vjp would forbid jvp.)
    (x, kernel), (dx, dkernel) = primals, tangents
    y = _loop_conv(x, kernel, strides, pads)
    dy = jnp.zeros_like(y)
    if not isinstance(dx, SymbolicZero):
        grad = partial(_image_gradient, kernel=kernel, x_shape=x.shape, strides=strides, pads=pads)
        dy += jax.linear_transpose(grad, y)(dx)[0]
    if not isinstance(dkernel, SymbolicZero):
        grad = partial(_kernel_gradient, x=x, taps=kernel.shape[:2], strides=strides, pads=pads)
        dy += jax.linear_transpose(grad, y)(dkernel)[0]
    return y, dy


def _image_gradient(
    dy: Array, *, kernel: Array, x_shape: tuple[int, ...], strides: Pair, pads: Pads
) -> Array:
    """The gradient with respect to `x`: `dy`, its pixels `strides` apart, with a flipped kernel."""
    flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    back = [
        (k - 1 - low, n + low - (m - 1) * s - 1)
        for n, m, k, s, (low, _) in zip(
            x_shape[1:3], dy.shape[1:3], kernel.shape[:2], strides, pads, strict=True
        )
    ]
    return lax.conv_general_dilated(
        dy,
        flipped,
        window_strides=(1, 1),
        padding=back,
        lhs_dilation=strides,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _kernel_gradient(
    dy: Array, *, x: Array, taps: tuple[int, ...], strides: Pair, pads: Pads
) -> Array:
    """The gradient with respect to the kernel: `x` convolved with `dy`, summed over the batch."""
    around = [
        (low, k - 1 + (m - 1) * s + 1 - n - low)
        for n, m, k, s, (low, _) in zip(
            x.shape[1:3], dy.shape[1:3], taps, strides, pads, strict=True
        )
    ]
    grad = lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),  # [C, H, W, B]
        dy.transpose(1, 2, 0, 3),  # [H', W', B, features]
        window_strides=(1, 1),
        padding=around,
        rhs_dilation=strides,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return grad.transpose(1, 2, 0, 3)


class Phases(NamedTuple):
    """One axis of a result whose pixel ``count * q + r`` is pixel ``q`` of phase ``r``.

    Each phase is a convolution of the same input with a kernel of its own, made of the given one.
    """

    taps: np.ndarray
    """``[tap of the phase's kernel, phase, tap of the given kernel]``: 1 where this holds that."""
    stride: int
    pads: Pair
    out: int
    """Pixels of the result; the last phases may have one more to crop."""


def _phase_conv(x: Array, kernel: Array, rows: Phases, cols: Phases) -> Array:
    """All phases at once, as channels of one convolution, then put where they belong."""
    (kh, r, _), (kw, s, _) = rows.taps.shape, cols.taps.shape
    _, _, channels, features = kernel.shape
    taps = jnp.asarray(np.einsum("drt,esu->derstu", rows.taps, cols.taps), kernel.dtype)
    kernels = jnp.einsum("derstu,tuio->deirso", taps, kernel)
    kernels = kernels.reshape(kh, kw, channels, r * s * features)
    y = _cpu_conv(x, kernels, (rows.stride, cols.stride), (rows.pads, cols.pads))
    batch, height, width, _ = y.shape
    y = y.reshape(batch, height, width, r, s, features).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, height * r, width * s, features)[:, : rows.out, : cols.out]


def _block_phases(n: int, taps: int, pads: Pair) -> Phases:
    """Two neighbouring pixels of an ordinary convolution."""
    window, phase, tap = np.indices((taps + 1, 2, taps))
    out = n + sum(pads) - taps + 1
    return Phases(window == phase + tap, 2, (pads[0], pads[1] + out % 2), out)


def _stretch_phases(n: int, axis: Stretch) -> Phases:
    """The pixels between two neighbours of a stretched image, without stretching it.

    A phase meets the same taps in every place; where several meet one pixel, they are summed.
    """
    phase, tap = np.indices((axis.factor, axis.taps))
    pixel, between = np.divmod(phase + tap - axis.low, axis.factor)
    meets = (between == 0) | axis.hold
    first, last = pixel[meets].min(), pixel[meets].max()
    taps = (pixel == np.arange(first, last + 1)[:, None, None]) & meets
    pads = (int(-first), int(-(-axis.out // axis.factor) + last - n))
    return Phases(taps, 1, pads, axis.out)


# Shapes.


def _views(x: Array, window: tuple[int, ...], strides: Pair) -> Iterator[Array]:
    """The image seen by each pixel of a window that moves over it, row by row."""
    height, width = (
        (n - k) // s + 1 for n, k, s in zip(x.shape[1:3], window, strides, strict=True)
    )
    for i in range(window[0]):
        for j in range(window[1]):
            rows = slice(i, i + (height - 1) * strides[0] + 1, strides[0])
            yield x[:, rows, j : j + (width - 1) * strides[1] + 1 : strides[1]]


def _window_pads(
    size: tuple[int, ...], window: tuple[int, ...], strides: Pair, padding: Padding
) -> Pads:
    top, left = lax.padtype_to_pads(size, window, strides, padding)
    if padding == "VALID" and (size[0] < window[0] or size[1] < window[1]):
        raise ValueError(
            f"an image of {size[0]}x{size[1]} is smaller than the window {window[0]}x{window[1]}; "
            "use padding='SAME' or a smaller window"
        )
    return top, left


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

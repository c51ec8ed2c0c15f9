"""Convolutions in forms that XLA's CPU backend computes fast, also inside loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero
from jax.experimental.xla_metadata import set_xla_metadata

from ae_jax.ops.lax_convolution import Pads, Pair, lax_conv, max_of_windows, views
from ae_jax.ops.phases import Phases, block_phases, each_phase
from ae_jax.ops.product import product

FEW_FEATURES = 4  # the phases of a gray image
FEW_CHANNELS = 3  # gray and color images; for more channels patches are slower
MANY_CHANNELS = 16
SPREAD = 2**15  # numbers per example that still fit into the cache, in a batch of 128
SEPARATE = 128  # channels; with fewer it is not faster


def cpu_conv(x: Array, kernel: Array, strides: Pair, pads: Pads) -> Array:
    if _is_in_blocks(kernel, strides):
        # All four pixels of a 2x2 block are computed from one patch that is one pixel larger. For
        # gray and color images this is faster than _loop_conv, and than a patch for each pixel.
        sizes = zip(x.shape[1:3], kernel.shape[:2], pads, strict=True)
        return phase_conv(x, kernel, *(block_phases(n, k, pad) for n, k, pad in sizes))
    if kernel.shape[2] > FEW_CHANNELS:
        if strides == (1, 1) and _is_spread(x, kernel):
            return _spread_conv(x, kernel, pads)
        if x.dtype == jnp.bfloat16:
            return _half_conv(x, kernel, strides, pads)
        return _loop_conv(x, kernel, strides, pads)
    return _patch_conv(x, kernel, strides, pads)


def cpu_pooled_conv(x: Array, kernel: Array, strides: Pair, pads: Pads, pool_pads: Pads) -> Array:
    """`cpu_conv` and the maximum of each 2x2 block: ``[B, H', W', features]`` of half the size."""
    y = cpu_conv(x, kernel, strides, pads)
    batch, height, width, features = y.shape
    if not _is_in_blocks(kernel, strides) or height % 2 or width % 2:
        return max_of_windows(y, (2, 2), (2, 2), pool_pads)
    # The pixels stay in the order in which the convolution computes them, as four groups of
    # channels. This avoids moving them to their places and back, which is faster.
    y = y.reshape(batch, height // 2, 2, width // 2, 2, features).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(batch, height // 2, width // 2, 4 * features)
    a, b, c, d = lax.split(y, (features,) * 4, axis=3)
    return jnp.maximum(jnp.maximum(a, c), jnp.maximum(b, d))  # in the order of `max_of_windows`


def _is_in_blocks(kernel: Array, strides: Pair) -> bool:
    return kernel.shape[2] <= FEW_CHANNELS and strides == (1, 1)


def _patch_conv(x: Array, kernel: Array, strides: Pair, pads: Pads) -> Array:
    """A convolution as one matrix product with shifted copies of the image side by side."""
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    patches = jnp.concatenate(list(views(x, kernel.shape[:2], strides)), axis=-1)
    # With two axes, because the gradient of a product over four axes is slower.
    y = product(patches.reshape(-1, patches.shape[-1]), kernel.reshape(-1, kernel.shape[-1]))
    return y.reshape(*patches.shape[:3], -1)


def _is_spread(x: Array, kernel: Array) -> bool:
    # Faster than _loop_conv for small kernels with few features, as long as the spread products fit
    # into the cache. The limits were chosen by measuring forward and backward passes.
    (_, height, width, channels), (kh, kw, _, features) = x.shape, kernel.shape
    if x.dtype != jnp.float32 or kh * kw > 9 or features > min(channels, MANY_CHANNELS):
        return False
    if features <= FEW_FEATURES and kh * kw * features <= 4 * channels:
        return True
    fits = height * width * kh * kw * features <= SPREAD
    return fits and (features <= 8 or 2 * features <= channels)


def _spread_conv(x: Array, kernel: Array, pads: Pads) -> Array:
    """A convolution for few features, ``[B, H, W, C] -> [B, H', W', features]``.

    One matrix product computes the contributions of each pixel to its neighbors; they are shifted
    and summed. This is the transpose of `_patch_conv`.
    """
    (batch, height, width, channels), (kh, kw, _, features) = x.shape, kernel.shape
    each = product(x.reshape(-1, channels), kernel.transpose(2, 0, 1, 3).reshape(channels, -1))
    each = each.reshape(batch, height, width, kh * kw * features)
    parts = lax.split(each, (features,) * (kh * kw), axis=3)
    # The parts are padded, and only their sum is cut, because the gradient then consists of slices
    # of one padded array, which is faster.
    total = sum(
        jnp.pad(part, ((0, 0), (kh - 1 - u, u), (kw - 1 - v, v), (0, 0)))
        for part, (u, v) in zip(parts, np.ndindex(kh, kw), strict=True)
    )
    cut = [(low - k + 1, high - k + 1, 0) for (low, high), k in zip(pads, (kh, kw), strict=True)]
    return lax.pad(total, jnp.zeros((), x.dtype), ((0, 0, 0), *cut, (0, 0, 0)))


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _loop_conv(x: Array, kernel: Array, strides: Pair, pads: Pads) -> Array:
    """`lax_conv`, with gradients that are as fast inside a loop as outside.

    XLA's fast routine needs ``NHWC`` images and ``HWIO`` kernels. The gradients of `jax.lax` have
    other layouts, which XLA converts only outside of loops. Here the gradients are convolutions of
    transposed operands in the fast layout. (For an image smaller than the kernel XLA swaps the two,
    so that case stays slow.)
    """
    return lax_conv(x, kernel, strides, pads)


@partial(_loop_conv.defjvp, symbolic_zeros=True)
def _loop_conv_jvp(
    strides: Pair, pads: Pads, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    # Each term of the tangent is the transpose of a gradient. Reverse mode transposes it again, and
    # so uses the gradient that is written below. (A custom_vjp would exclude forward mode.)
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
    """The gradient by `x`: `dy`, dilated by `strides`, convolved with the flipped kernel."""
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
    """The gradient by the kernel, ``[kh, kw, C, features]``: `x` convolved with `dy`.

    It is summed over the batch. Only the padding before the image matters, because
    the size of the kernel is known.
    """
    around = [
        (low, k - 1 + (m - 1) * s + 1 - n - low)
        for n, m, k, s, (low, _) in zip(
            x.shape[1:3], dy.shape[1:3], taps, strides, pads, strict=True
        )
    ]
    # The transpose is a separate call. Otherwise XLA fuses it with the operations before it (bias,
    # pooling, ReLU) and computes them again with strided reads, which is slower.
    with set_xla_metadata(inlineable="false"):
        images = _channels_first(x)
    gradient = lax.conv_general_dilated(
        images,
        dy.transpose(1, 2, 0, 3),  # [H', W', B, features]
        window_strides=(1, 1),
        padding=around,
        rhs_dilation=strides,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return gradient.transpose(1, 2, 0, 3)


@jax.jit
def _channels_first(x: Array) -> Array:
    return x.transpose(3, 1, 2, 0)  # [C, H, W, B]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _half_conv(x: Array, kernel: Array, strides: Pair, pads: Pads) -> Array:
    """`_loop_conv` in bfloat16, without forward mode.

    OneDNN computes only convolutions that are written in its layout. A gradient that was transposed
    twice is not: XLA would compute it in float32, which is slower.
    """
    return lax_conv(x, kernel, strides, pads)


def _half_conv_forward(
    x: Array, kernel: Array, strides: Pair, pads: Pads
) -> tuple[Array, tuple[Array, Array]]:
    return lax_conv(x, kernel, strides, pads), (x, kernel)


def _half_conv_backward(
    strides: Pair, pads: Pads, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    dx = _image_gradient(dy, kernel=kernel, x_shape=x.shape, strides=strides, pads=pads)
    taps = kernel.shape[:2]
    if strides != (1, 1) or not MANY_CHANNELS <= x.shape[3] < dy.shape[3]:
        return dx, _kernel_gradient(dy, x=x, taps=taps, strides=strides, pads=pads)
    # The smaller of the two arrays is the kernel, because oneDNN copies the kernel to another
    # layout. The pixels of the output are then the taps in reverse order.
    top, left = ((k - 1 - low, k - 1 - high) for k, (low, high) in zip(taps, pads, strict=True))
    gradient = _kernel_gradient(x, x=dy, taps=taps, strides=strides, pads=(top, left))
    return dx, gradient[::-1, ::-1].swapaxes(2, 3)


_half_conv.defvjp(_half_conv_forward, _half_conv_backward)


def phase_conv(x: Array, kernel: Array, rows: Phases, cols: Phases) -> Array:
    """Compute all phases and interleave their pixels.

    The phases are channels of one convolution, whose kernel has the taps of all phases (zero where
    a phase lacks one). From `SEPARATE` channels on, each phase is a convolution of its own, which
    is faster because it multiplies by no zeros.
    """
    batch, channels, features = x.shape[0], *kernel.shape[2:]
    r, s = rows.taps.shape[1], cols.taps.shape[1]
    if channels >= SEPARATE:
        each = [
            _joint_conv(x, kernel, row, col) for row in each_phase(rows) for col in each_phase(cols)
        ]
        y = jnp.concatenate(each, axis=-1)
    else:
        y = _joint_conv(x, kernel, rows, cols)
    height, width = y.shape[1:3]
    y = y.reshape(batch, height, width, r, s, features).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, height * r, width * s, features)[:, : rows.out, : cols.out]


def _joint_conv(x: Array, kernel: Array, rows: Phases, cols: Phases) -> Array:
    """Phases as channels of one convolution: [B, H, W, C] -> [B, H', W', phases * features]."""
    (kh, r, _), (kw, s, _) = rows.taps.shape, cols.taps.shape
    channels, features = kernel.shape[2:]
    taps = jnp.asarray(np.einsum("drt,esu->derstu", rows.taps, cols.taps), kernel.dtype)
    kernels = jnp.einsum("derstu,tuio->deirso", taps, kernel)
    kernels = kernels.reshape(kh, kw, channels, r * s * features)
    return cpu_conv(x, kernels, (rows.stride, cols.stride), (rows.pads, cols.pads))

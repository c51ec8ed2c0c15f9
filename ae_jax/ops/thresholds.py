"""Thresholds of activations: steps with a gradient estimated by a kernel, and exact selections."""

import jax
import jax.numpy as jnp
from jax import Array, lax


@jax.custom_vjp
def jump_relu(pre: Array, threshold: Array, bandwidth: Array | float) -> Array:
    """``pre`` where it exceeds `threshold` (> 0), else 0: [..., W], [W] -> [..., W].

    The gradient with respect to the threshold is that of the expectation, estimated with a
    rectangular kernel of this bandwidth: ``-threshold / bandwidth`` where pre is within half a
    bandwidth of it.

    Source: Rajamanoharan et al., Jumping ahead: improving reconstruction fidelity with JumpReLU
    sparse autoencoders, 2024, equation 11.
    """
    return jnp.where(pre > threshold, pre, 0.0)


def _jump_forward(pre, threshold, bandwidth):
    return jump_relu(pre, threshold, bandwidth), (pre, threshold, bandwidth)


def _jump_backward(residuals, g):
    pre, threshold, bandwidth = residuals
    of_threshold = -threshold / bandwidth * _near(pre, threshold, bandwidth) * g
    return jnp.where(pre > threshold, g, 0.0), _summed(of_threshold, threshold), None


jump_relu.defvjp(_jump_forward, _jump_backward)


@jax.custom_vjp
def above(pre: Array, threshold: Array, bandwidth: Array | float) -> Array:
    """1 where ``pre > threshold``, else 0: [..., W]. Its sum is the number of active latents.

    Only the threshold has a gradient, estimated as in `jump_relu`: ``-1 / bandwidth`` near it.

    Source: Rajamanoharan et al. 2024, equation 12.
    """
    return (pre > threshold).astype(pre.dtype)


def _above_forward(pre, threshold, bandwidth):
    return above(pre, threshold, bandwidth), (pre, threshold, bandwidth)


def _above_backward(residuals, g):
    pre, threshold, bandwidth = residuals
    of_threshold = -1.0 / bandwidth * _near(pre, threshold, bandwidth) * g
    return jnp.zeros_like(pre), _summed(of_threshold, threshold), None


above.defvjp(_above_forward, _above_backward)


def _near(pre: Array, threshold: Array, bandwidth: Array | float) -> Array:
    return (jnp.abs(pre - threshold) < 0.5 * bandwidth).astype(pre.dtype)


def _summed(gradient: Array, threshold: Array) -> Array:
    axes = tuple(range(gradient.ndim - jnp.ndim(threshold)))
    summed: Array = gradient.sum(axes).astype(threshold.dtype)
    return summed


def nth_largest(x: Array, n: Array, *, rows: Array, axis_name: str | None = None) -> Array:
    """The n-th largest positive number in the rows of x [B, W] where `rows` [B] is 1: [].

    It is the smallest float32 that fewer than n numbers exceed, so 0 if there are fewer than n. It
    is found by bisection of the bits of a float, which needs no sorting, no second array and one
    sum over the devices of `axis_name` for each of 31 bits.
    """
    bits = lax.bitcast_convert_type(jnp.where(rows[:, None] > 0, x, 0.0), jnp.int32)

    def exceed(candidate: Array) -> Array:
        # Of positive floats the order is that of their bits. As a float, the count of any batch
        # fits; up to 2^24 it is exact.
        count = (bits > candidate).sum(1).astype(jnp.float32).sum()
        return count if axis_name is None else lax.psum(count, axis_name)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = low + (high - low) // 2
        enough = exceed(middle) < n
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    ends = (jnp.int32(0), jnp.int32(0x7F7FFFFF))
    _, found = lax.fori_loop(0, 31, halve, ends)
    return lax.bitcast_convert_type(found, jnp.float32)

"""Flax layers that use `ae_jax.ops.convolution` and `ae_jax.ops.product`.

Weights can be exchanged with `flax.linen.Conv` and `flax.linen.ConvTranspose`: the parameters have
the same names, shapes and initializers (``kernel`` [kh, kw, C, features], ``bias`` [features]).
Images are [B, H, W, C].
"""

from abc import abstractmethod
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from ae_jax.networks.activations import Activation, kernel_init
from ae_jax.ops.convolution import (
    Padding,
    conv,
    conv_transpose,
    max_pool,
    pooled_conv,
    upsample,
    upsample_conv,
)
from ae_jax.ops.product import dense_dot_general

__all__ = ["Conv", "ConvTranspose", "UpsampleConv", "dense", "max_pool", "upsample"]


def dense(features: int, after: Activation = "linear", **options: Any) -> nn.Dense:
    """Return a `flax.linen.Dense` whose initial kernel suits the activation `after` it."""
    return nn.Dense(
        features, kernel_init=kernel_init(after), dot_general=dense_dot_general, **options
    )


class _KernelLayer(nn.Module):
    """A layer with a kernel and a bias; subclasses define its convolution."""

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: DTypeLike | None = None
    """The dtype of the computation; by default the promoted dtype of inputs and parameters."""
    param_dtype: DTypeLike = jnp.float32
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """``[B, H, W, C] -> [B, H', W', features]``."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        if not self.use_bias:
            x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
            return self._convolve(x, kernel)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return self._convolve(x, kernel) + bias

    @abstractmethod
    def _convolve(self, x: Array, kernel: Array) -> Array: ...


class Conv(_KernelLayer):
    """`flax.linen.Conv` for images, optionally followed by `max_pool` with the padding `pool`.

    The bias is added after the pool, because it is the same for all pixels of a window.
    """

    strides: int | tuple[int, int] = 1
    pool: Padding | None = None

    def _convolve(self, x: Array, kernel: Array) -> Array:
        if self.pool is None:
            return conv(x, kernel, strides=self.strides, padding=self.padding)
        return pooled_conv(x, kernel, strides=self.strides, padding=self.padding, pool=self.pool)


class ConvTranspose(_KernelLayer):
    """`flax.linen.ConvTranspose` for images: height and width are multiplied by `strides`."""

    strides: int | tuple[int, int] = 1

    def _convolve(self, x: Array, kernel: Array) -> Array:
        return conv_transpose(x, kernel, strides=self.strides, padding=self.padding)


class UpsampleConv(_KernelLayer):
    """Nearest-neighbor upsampling by 2, then `flax.linen.Conv`."""

    def _convolve(self, x: Array, kernel: Array) -> Array:
        return upsample_conv(x, kernel, padding=self.padding)

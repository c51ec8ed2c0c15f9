"""Hidden layers with a normalization, whose statistics of a batch are of its real rows."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from ae_jax.networks.activations import Activation, activation
from ae_jax.networks.layers import dense

Norm = Literal["none", "batch"]


class HiddenLayers(nn.Module):
    """``h -> activation(norm(W h + b))``, once for each width: [B, D] -> [B, widths[-1]].

    Batch normalization (Ioffe & Szegedy, 2015) takes the statistics of the rows that `mask` [B]
    keeps, on all devices of `axis_name`, where its collection ``batch_stats`` is mutable, as in a
    training step. Elsewhere it takes their running averages, so that a row depends on no other.
    Flax's own module averages the means of devices, however many real rows each of them has.
    """

    widths: tuple[int, ...]
    activation: Activation
    norm: Norm = "none"

    @nn.compact
    def __call__(self, h: Array, mask: Array | None = None, axis_name: str | None = None) -> Array:
        for width in self.widths:
            # Batch normalization removes what a bias adds.
            h = dense(width, self.activation, use_bias=self.norm != "batch")(h)
            if self.norm == "batch":
                h = BatchNorm()(h, mask, axis_name)
            h = activation(self.activation)(h)
        return h


class BatchNorm(nn.Module):
    """``scale * (h - mean) / sqrt(var + epsilon) + bias`` of each unit: [B, D] -> [B, D]."""

    momentum: float = 0.99
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, h: Array, mask: Array | None = None, axis_name: str | None = None) -> Array:
        size = (h.shape[-1],)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, size, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, size, jnp.float32)
        scale = self.param("scale", nn.initializers.ones, size, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, size, jnp.float32)
        mean, var = running_mean.value, running_var.value
        if self.is_mutable_collection("batch_stats"):
            rows = jnp.ones(len(h)) if mask is None else mask
            mean = _mean(h, rows, axis_name)
            var = _mean(jnp.square(h - mean), rows, axis_name)
            if not self.is_initializing():
                keep = self.momentum
                running_mean.value = keep * running_mean.value + (1 - keep) * mean
                running_var.value = keep * running_var.value + (1 - keep) * var
        normal = (h.astype(jnp.float32) - mean) * lax.rsqrt(var + self.epsilon)
        return (normal * scale + bias).astype(h.dtype)


def _mean(h: Array, rows: Array, axis_name: str | None) -> Array:
    """The mean of the rows of h [B, D] where `rows` [B] is 1, on all devices: [D]."""
    kept = jnp.where(rows[:, None] > 0, h.astype(jnp.float32), 0.0)
    total, count = kept.sum(0), rows.astype(jnp.float32).sum()
    if axis_name is not None:
        total, count = lax.psum((total, count), axis_name)
    return total / jnp.maximum(count, 1.0)

"""Hidden layers with a normalization, whose statistics of a batch are of its real rows."""

from typing import Literal

import flax.linen as nn
from jax import Array

from ae_jax.networks.activations import Activation, activation
from ae_jax.networks.layers import dense

Norm = Literal["none", "batch"]


class HiddenLayers(nn.Module):
    """``h -> activation(norm(W h + b))``, once for each width: [B, D] -> [B, widths[-1]].

    Batch normalization (Ioffe & Szegedy, 2015) takes the statistics of the rows that `mask` [B]
    keeps, on all devices of `axis_name`, where its collection ``batch_stats`` is mutable, as in a
    training step. Elsewhere it takes their running averages, so that a row depends on no other.
    """

    widths: tuple[int, ...]
    activation: Activation
    norm: Norm = "none"

    @nn.compact
    def __call__(self, h: Array, mask: Array | None = None, axis_name: str | None = None) -> Array:
        running = not self.is_mutable_collection("batch_stats")
        rows = None if mask is None else mask[:, None]
        for width in self.widths:
            # Batch normalization removes what a bias adds.
            h = dense(width, self.activation, use_bias=self.norm != "batch")(h)
            if self.norm == "batch":
                norm = nn.BatchNorm(use_running_average=running, axis_name=axis_name)
                h = norm(h, mask=rows)
            h = activation(self.activation)(h)
        return h

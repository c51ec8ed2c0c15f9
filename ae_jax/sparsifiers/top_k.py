"""Sparsifiers with a given number of active latents: of each example, or on average of a batch."""

from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from ae_jax.ops.sparse_code import Selection, at_indices, encode_top_k
from ae_jax.ops.sparse_code import top_k as largest
from ae_jax.ops.thresholds import nth_largest
from ae_jax.sparsifiers.code import DenseCode, SparseCode
from ae_jax.sparsifiers.sparsifier import (
    Context,
    Counted,
    SparsifierModule,
    Tables,
    sizes_of,
)
from ae_jax.spec import require

Outputs = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class TopK(Counted):
    """The k latents of each example that add most to its reconstruction, where they are positive.

    Its step is sparse: only the encoder's product is dense.

    Source: Gao et al., Scaling and evaluating sparse autoencoders, 2024.
    """

    kind: ClassVar[str] = "top_k"

    selection: Selection = "exact"
    """approximate may miss some of the largest, and is faster on a TPU."""

    def module(self, width: int) -> nn.Module:
        """See `Sparsifier`."""
        return TopKModule(width, self.active, self.selection)


class TopKModule(SparsifierModule):
    k: int
    selection: Selection

    def __call__(self, x: Array, tables: Tables, context: Context) -> tuple[SparseCode, Outputs]:
        values, indices = encode_top_k(
            x, tables.encoder, tables.bias, tables.norms, self.k, self.selection
        )
        return SparseCode(values, indices), {}

    def activate(self, pre: Array, tables: Tables, context: Context) -> tuple[SparseCode, Outputs]:
        _, indices = largest(lax.stop_gradient(sizes_of(pre, tables)), self.k, self.selection)
        values = at_indices(pre, indices)
        return SparseCode(jnp.maximum(values, 0.0), indices), {}


@dataclass(frozen=True, kw_only=True)
class BatchTopK(Counted):
    """The ``k * batch size`` largest activations of a batch, so that examples may differ.

    After training an example must not depend on others: a latent is active above a threshold, the
    running average of the smallest activation that was selected in a batch. The batch is that of
    all devices, without padding.

    Source: Bussmann et al., BatchTopK sparse autoencoders, 2024.
    """

    kind: ClassVar[str] = "batch_top_k"
    refinable: ClassVar[bool] = False

    momentum: float = 0.99
    """Of the threshold's running average."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.momentum, int | float):  # a sweep's is traced
            require(0 <= self.momentum < 1, "momentum", self.momentum, "must be in [0, 1)")

    def module(self, width: int) -> nn.Module:
        """See `Sparsifier`."""
        return BatchTopKModule(width, self.active, self.momentum)


class BatchTopKModule(SparsifierModule):
    k: int
    momentum: float | Array

    @nn.compact
    def activate(self, pre: Array, tables: Tables, context: Context) -> tuple[DenseCode, Outputs]:
        threshold = self.variable("latents", "threshold", jnp.zeros, (), jnp.float32)
        size = lax.stop_gradient(sizes_of(pre, tables)).astype(jnp.float32)
        if not self.is_mutable_collection("latents"):
            return DenseCode(jnp.where(size > threshold.value, jnp.maximum(pre, 0.0), 0.0)), {}
        rows, axis_name = context.rows, context.axis_name
        count = rows.sum()
        count = count if axis_name is None else lax.psum(count, axis_name)
        least = nth_largest(size, self.k * count, rows=rows, axis_name=axis_name)
        selected = (size >= least) & (size > 0)
        if not self.is_initializing():
            smallest = jnp.where(selected & (rows[:, None] > 0), size, jnp.inf).min()
            smallest = smallest if axis_name is None else lax.pmin(smallest, axis_name)
            # The first batch with active latents gives the first average.
            old = threshold.value
            average = self.momentum * old + (1.0 - self.momentum) * smallest
            average = jnp.where(old == 0, smallest, average)
            threshold.value = jnp.where(jnp.isfinite(smallest), average, old)
        return DenseCode(jnp.where(selected, pre, 0.0)), {}

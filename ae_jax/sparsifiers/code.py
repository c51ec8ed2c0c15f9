"""Codes: which latents of a dictionary are active, and how much. Dense or sparse, one interface."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import jax.numpy as jnp
from jax import Array, lax

from ae_jax.ops import sparse_code


class Code(Protocol):
    """The activations of W latents. Most of them are 0."""

    def decode(self, decoder: Array) -> Array:
        """``z @ decoder``, of a table [W, D]: [B, D]."""

    def decode_prefixes(self, decoder: Array, sizes: Sequence[int] | Array) -> Array:
        """``z[:, :size] @ decoder[:size]`` for each size: [P, B, D]."""

    def dense(self, width: int) -> Array:
        """z, [B, W]."""

    def active(self) -> Array:
        """The number of latents that are not 0: [B]."""

    def fired(self, width: int, rows: Array) -> Array:
        """Which latents are not 0 for any of the rows where `rows` [B] is 1: booleans [W]."""


class DenseCode(NamedTuple):
    """All activations, [B, W]."""

    z: Array

    def decode(self, decoder: Array) -> Array:
        product: Array = self.z @ decoder
        return product

    def decode_prefixes(self, decoder: Array, sizes: Sequence[int] | Array) -> Array:
        if isinstance(sizes, Array):
            order = jnp.arange(len(decoder))
            return jnp.stack([jnp.where(order < size, self.z, 0.0) @ decoder for size in sizes])
        starts = (0, *sizes[:-1])
        blocks = [self.z[:, a:b] @ decoder[a:b] for a, b in zip(starts, sizes, strict=True)]
        return jnp.cumsum(jnp.stack(blocks), axis=0)

    def dense(self, width: int) -> Array:
        return self.z

    def active(self) -> Array:
        return (self.z != 0).sum(1).astype(jnp.float32)

    def fired(self, width: int, rows: Array) -> Array:
        return ((self.z != 0) & (rows[:, None] > 0)).any(0)


class SparseCode(NamedTuple):
    """The k largest activations, ``values`` at ``indices``: [B, k] each."""

    values: Array
    indices: Array

    def decode(self, decoder: Array) -> Array:
        return sparse_code.decode(self.values, self.indices, decoder)

    def decode_prefixes(self, decoder: Array, sizes: Sequence[int] | Array) -> Array:
        sizes = jnp.asarray(sizes, jnp.int32)
        return sparse_code.decode_prefixes(self.values, self.indices, decoder, sizes)

    def dense(self, width: int) -> Array:
        return sparse_code.dense_code(self.values, self.indices, width)

    def active(self) -> Array:
        return (self.values != 0).sum(1).astype(jnp.float32)

    def fired(self, width: int, rows: Array) -> Array:
        fires = (lax.stop_gradient(self.values) != 0) & (rows[:, None] > 0)
        return jnp.zeros(width, bool).at[self.indices].max(fires)

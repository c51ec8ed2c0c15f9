"""Sparse codes: k active latents of a dictionary, and products that touch nothing but those.

A code is ``values`` [B, k] at ``indices`` [B, k] of W latents. A dictionary is a table [W, D], one
row for each latent, so that rows are contiguous. Only the encoder's product is dense. The gradients
are written out: those of a table are sums over the active rows, and automatic differentiation would
go through the selection.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array, lax

Selection = Literal["exact", "approximate"]
"""How the largest are selected: approximate is `jax.lax.approx_max_k`, faster on a TPU."""


def top_k(x: Array, k: int, selection: Selection = "exact") -> tuple[Array, Array]:
    """The k largest numbers of each row of `x` [B, W], largest first, and their indices: [B, k].

    Of equal numbers the one with the lower index comes first. Its gradient is not sparse: see
    `encode_top_k`.
    """
    values, indices = (lax.approx_max_k if selection == "approximate" else lax.top_k)(x, k)
    return values, indices


def _encode(
    x: Array, encoder: Array, bias: Array, scale: Array | None, k: int, selection: Selection
) -> tuple[Array, Array]:
    pre = lax.dot_general(x, encoder, (((1,), (1,)), ((), ()))) + bias
    if scale is None:
        values, indices = top_k(pre, k, selection)
    else:
        _, indices = top_k(pre * scale, k, selection)
        values = jnp.take_along_axis(pre, indices, axis=1)
    return jnp.maximum(values, 0.0), indices


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def encode_top_k(
    x: Array,
    encoder: Array,
    bias: Array,
    scale: Array | None,
    k: int,
    selection: Selection = "exact",
) -> tuple[Array, Array]:
    """The k largest of ``relu(encoder @ x + bias)``, of x [B, D]: values and indices, [B, k].

    With `scale` [W], which gets no gradient, the k for which ``scale * (encoder @ x + bias)`` is
    largest.
    """
    return _encode(x, encoder, bias, scale, k, selection)


def _encode_forward(x, encoder, bias, scale, k, selection):
    values, indices = _encode(x, encoder, bias, scale, k, selection)
    return (values, indices), (x, encoder, scale, values, indices)


def _encode_backward(k, selection, residuals, cotangents):
    x, encoder, scale, values, indices = residuals
    g = jnp.where(values > 0, cotangents[0], 0.0)
    of_bias = jnp.zeros(len(encoder), g.dtype).at[indices].add(g)
    of_scale = None if scale is None else jnp.zeros_like(scale)
    return _sum_of_rows(g, indices, encoder), _by_latent(g, indices, x, encoder), of_bias, of_scale


encode_top_k.defvjp(_encode_forward, _encode_backward)


@jax.custom_vjp
def decode(values: Array, indices: Array, decoder: Array) -> Array:
    """``sum_i values[:, i] * decoder[indices[:, i]]``: [B, k], [B, k], [W, D] -> [B, D]."""
    return _sum_of_rows(values, indices, decoder)


def _decode_forward(values, indices, decoder):
    return _sum_of_rows(values, indices, decoder), (values, indices, decoder)


def _decode_backward(residuals, g):
    values, indices, decoder = residuals

    def one(_, index: Array) -> tuple[None, Array]:
        return None, (decoder[index] * g).sum(1)

    _, of_values = lax.scan(one, None, indices.T)
    return of_values.T.astype(values.dtype), None, _by_latent(values, indices, g, decoder)


decode.defvjp(_decode_forward, _decode_backward)


@jax.custom_vjp
def decode_prefixes(values: Array, indices: Array, decoder: Array, sizes: Array) -> Array:
    """`decode` of the latents below each of `sizes` [P], which increase: [P, B, D].

    One pass over the active rows serves all sizes.
    """
    return _prefixes(values, indices, decoder, sizes)


def _prefixes(values: Array, indices: Array, decoder: Array, sizes: Array) -> Array:
    def one(total: Array, code: tuple[Array, Array]) -> tuple[Array, None]:
        value, index = code
        kept = jnp.where(index < sizes[:, None], value, 0.0)  # [P, B]
        return total + kept[:, :, None] * decoder[index], None

    shape = (len(sizes), len(values), decoder.shape[1])
    start = jnp.zeros(shape, decoder.dtype) + 0.0 * values[None, :, :1]
    total, _ = lax.scan(one, start, (values.T, indices.T))
    return total


def _prefixes_forward(values, indices, decoder, sizes):
    return _prefixes(values, indices, decoder, sizes), (values, indices, decoder, sizes)


def _prefixes_backward(residuals, g):
    values, indices, decoder, sizes = residuals
    # A latent belongs to all prefixes from the first that contains it: sums from the last one on.
    sums = jnp.concatenate([lax.cumsum(g, axis=0, reverse=True), jnp.zeros_like(g[:1])])
    rows = jnp.arange(len(values))

    def one(total: Array, code: tuple[Array, Array]) -> tuple[Array, Array]:
        value, index = code
        reached = sums[jnp.searchsorted(sizes, index, side="right"), rows]  # [B, D]
        return total.at[index].add(value[:, None] * reached), (decoder[index] * reached).sum(1)

    start = jnp.zeros_like(decoder) + 0.0 * values[:1, :1]
    of_decoder, of_values = lax.scan(one, start, (values.T, indices.T))
    return of_values.T.astype(values.dtype), None, of_decoder, None


decode_prefixes.defvjp(_prefixes_forward, _prefixes_backward)


def dense_code(values: Array, indices: Array, width: int) -> Array:
    """The code as an array [B, width], 0 where it is not active."""
    rows = jnp.arange(len(values))[:, None]
    return jnp.zeros((len(values), width), values.dtype).at[rows, indices].add(values)


def _sum_of_rows(values: Array, indices: Array, table: Array) -> Array:
    # One active latent at a time: no array [B, k, D].
    def one(total: Array, code: tuple[Array, Array]) -> tuple[Array, None]:
        value, index = code
        return total + value[:, None] * table[index], None

    start = jnp.zeros((len(values), table.shape[1]), table.dtype) + 0.0 * values[:, :1]
    total, _ = lax.scan(one, start, (values.T, indices.T))
    return total


def _by_latent(values: Array, indices: Array, rows: Array, table: Array) -> Array:
    """``sum_b,i values[b, i] * rows[b]`` of the pairs with indices[b, i] = w: [W, D]."""

    def one(total: Array, code: tuple[Array, Array]) -> tuple[Array, None]:
        value, index = code
        return total.at[index].add(value[:, None] * rows), None

    start = jnp.zeros_like(table) + 0.0 * values[:1, :1]  # varies over devices where values do
    total, _ = lax.scan(one, start, (values.T, indices.T))
    return total

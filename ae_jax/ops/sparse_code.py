"""Sparse codes: k active latents of a dictionary, and products that touch nothing but those.

A code is ``values`` [B, k] at ``indices`` [B, k] of W latents. A dictionary is a table [W, D], one
row for each latent, so that rows are contiguous. Only the encoder's product is dense. The gradients
are written out: those of a table are sums over the active rows, and automatic differentiation would
go through the selection.

Devices may share the latents (see `ae_jax.ops.parts`). The selection is then that of all latents:
each device finds the k largest of its own, and all of them select among these.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array, lax

from ae_jax.ops.parts import BOTH, EVERYWHERE, LATENTS, ROWS, STACKED, Part, by_part

Selection = Literal["exact", "approximate"]
"""How the largest are selected: approximate is `jax.lax.approx_max_k`, faster on a TPU."""

TOTAL = jnp.float32  # of sums: one in bfloat16 stops to grow at 256 equal parts


def top_k(x: Array, k: int, selection: Selection = "exact") -> tuple[Array, Array]:
    """The k largest numbers of each row of `x` [B, W], largest first, and their indices: [B, k].

    Of equal numbers the one with the lower index comes first. Its gradient is not sparse: see
    `encode_top_k`.
    """
    select = lax.approx_max_k if selection == "approximate" else lax.top_k

    def largest(part: Part, x: Array) -> tuple[Array, Array]:
        values, indices = select(x, min(k, x.shape[1]))
        if part.latents is None:
            return values, indices
        # In the order of the parts, so that of equal numbers the lower index is still the first.
        own = values, indices + part.first
        values, indices = lax.all_gather(own, part.latents, axis=1, tiled=True)
        values, order = lax.top_k(values, k)
        return values, jnp.take_along_axis(indices, order, axis=1)

    pair: tuple[Array, Array] = by_part(largest, [BOTH], (ROWS, ROWS), x, latents=x.shape[1])
    return pair


def _encode(
    x: Array, encoder: Array, bias: Array, scale: Array | None, k: int, selection: Selection
) -> tuple[Array, Array]:
    pre = lax.dot_general(x, encoder, (((1,), (1,)), ((), ()))) + bias
    if scale is None:
        values, indices = top_k(pre, k, selection)
    else:
        _, indices = top_k(pre * scale, k, selection)
        values = at_indices(pre, indices)
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

    def one(part: Part, g: Array, indices: Array, x: Array, encoder: Array) -> tuple[Array, ...]:
        g, indices = part.own(g, indices)
        of_x = part.over_latents(_sum_of_rows(g, indices, encoder))
        of_encoder = part.over_rows(_by_latent(g, indices, x, encoder))
        of_bias = jnp.zeros(len(encoder), TOTAL).at[indices].add(g.astype(TOTAL))
        of_bias = part.over_rows(of_bias.astype(g.dtype))
        return of_x, of_encoder, of_bias

    g = jnp.where(values > 0, cotangents[0], 0.0)
    inputs, outputs = [ROWS, ROWS, ROWS, LATENTS], (ROWS, LATENTS, LATENTS)
    gradients = by_part(one, inputs, outputs, g, indices, x, encoder, latents=len(encoder))
    return *gradients, None if scale is None else jnp.zeros_like(scale)


encode_top_k.defvjp(_encode_forward, _encode_backward)


@jax.custom_vjp
def decode(values: Array, indices: Array, decoder: Array) -> Array:
    """``sum_i values[:, i] * decoder[indices[:, i]]``: [B, k], [B, k], [W, D] -> [B, D]."""

    def one(part: Part, values: Array, indices: Array, decoder: Array) -> Array:
        return part.over_latents(_sum_of_rows(*part.own(values, indices), decoder))

    arrays = values, indices, decoder
    recon: Array = by_part(one, [ROWS, ROWS, LATENTS], ROWS, *arrays, latents=len(decoder))
    return recon


def _decode_forward(values, indices, decoder):
    return decode(values, indices, decoder), (values, indices, decoder)


def _decode_backward(residuals, g):
    def one(part: Part, g: Array, values: Array, indices: Array, decoder: Array):
        values, inside = part.own(values, indices)

        def product(_, index: Array) -> tuple[None, Array]:
            return None, (_rows(decoder, index) * g).sum(1)

        _, of_values = lax.scan(product, None, inside.T)
        of_values, _ = part.own(of_values.T.astype(values.dtype), indices)
        of_decoder = part.over_rows(_by_latent(values, inside, g, decoder))
        return part.over_latents(of_values), of_decoder

    inputs, decoder = [ROWS, ROWS, ROWS, LATENTS], residuals[2]
    of_values, of_decoder = by_part(
        one, inputs, (ROWS, LATENTS), g, *residuals, latents=len(decoder)
    )
    return of_values, None, of_decoder


decode.defvjp(_decode_forward, _decode_backward)


@jax.custom_vjp
def decode_prefixes(values: Array, indices: Array, decoder: Array, sizes: Array) -> Array:
    """`decode` of the latents below each of `sizes` [P], which increase: [P, B, D].

    One pass over the active rows serves all sizes.
    """

    def sums(part: Part, values: Array, indices: Array, decoder: Array, sizes: Array) -> Array:
        def one(total: Array, code: tuple[Array, Array, Array]) -> tuple[Array, None]:
            value, index, inside = code
            kept = jnp.where(index < sizes[:, None], value, 0.0)  # [P, B]
            return total + (kept[:, :, None] * _rows(decoder, inside)).astype(TOTAL), None

        values, inside = part.own(values, indices)
        shape = (len(sizes), len(values), decoder.shape[1])
        start = jnp.zeros(shape, TOTAL) + 0.0 * values[None, :, :1]
        total, _ = lax.scan(one, start, (values.T, indices.T, inside.T))
        return part.over_latents(total.astype(decoder.dtype))

    arrays = values, indices, decoder, sizes
    inputs = [ROWS, ROWS, LATENTS, EVERYWHERE]
    prefixes: Array = by_part(sums, inputs, STACKED, *arrays, latents=len(decoder))
    return prefixes


def _prefixes_forward(values, indices, decoder, sizes):
    return decode_prefixes(values, indices, decoder, sizes), (values, indices, decoder, sizes)


def _prefixes_backward(residuals, g):
    def gradients(
        part: Part, g: Array, values: Array, indices: Array, decoder: Array, sizes: Array
    ):
        # A latent belongs to all prefixes from the first that contains it: sums from the last on.
        sums = jnp.concatenate([lax.cumsum(g, axis=0, reverse=True), jnp.zeros_like(g[:1])])
        rows = jnp.arange(len(values))

        def one(total: Array, code: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            value, index, inside = code
            reached = sums[jnp.searchsorted(sizes, index, side="right"), rows]  # [B, D]
            product = (_rows(decoder, inside) * reached).sum(1)
            return total.at[inside].add((value[:, None] * reached).astype(TOTAL)), product

        values, inside = part.own(values, indices)
        start = jnp.zeros(decoder.shape, TOTAL) + 0.0 * values[:1, :1]
        of_decoder, of_values = lax.scan(one, start, (values.T, indices.T, inside.T))
        of_values, _ = part.own(of_values.T.astype(values.dtype), indices)
        return part.over_latents(of_values), part.over_rows(of_decoder.astype(decoder.dtype))

    inputs = [STACKED, ROWS, ROWS, LATENTS, EVERYWHERE]
    of_values, of_decoder = by_part(
        gradients, inputs, (ROWS, LATENTS), g, *residuals, latents=len(residuals[2])
    )
    return of_values, None, of_decoder, None


decode_prefixes.defvjp(_prefixes_forward, _prefixes_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def dense_code(values: Array, indices: Array, width: int) -> Array:
    """The code as an array [B, width], 0 where it is not active."""

    def one(part: Part, values: Array, indices: Array) -> Array:
        values, indices = part.own(values, indices)
        rows = jnp.arange(len(values))[:, None]
        return jnp.zeros((len(values), part.width), values.dtype).at[rows, indices].add(values)

    dense: Array = by_part(one, [ROWS, ROWS], BOTH, values, indices, latents=width)
    return dense


@jax.custom_vjp
def at_indices(x: Array, indices: Array) -> Array:
    """``x[b, indices[b, i]]`` of `x` [B, W]: [B, k]."""

    def one(part: Part, x: Array, indices: Array) -> Array:
        _, inside = part.own(indices, indices)
        chosen, _ = part.own(jnp.take_along_axis(x, inside, axis=1, mode="clip"), indices)
        return part.over_latents(chosen)

    chosen: Array = by_part(one, [BOTH, ROWS], ROWS, x, indices, latents=x.shape[1])
    return chosen


def _dense_forward(values, indices, width):
    return dense_code(values, indices, width), indices


def _dense_backward(width, indices, g):
    return at_indices(g, indices), None


def _at_indices_forward(x, indices):
    return at_indices(x, indices), (x, indices)


def _at_indices_backward(residuals, g):
    x, indices = residuals
    return dense_code(g, indices, x.shape[1]), None


dense_code.defvjp(_dense_forward, _dense_backward)
at_indices.defvjp(_at_indices_forward, _at_indices_backward)


def _rows(table: Array, index: Array) -> Array:
    return table.at[index].get(mode="clip")  # a latent of another part counts 0 times


def _sum_of_rows(values: Array, indices: Array, table: Array) -> Array:
    # One active latent at a time: no array [B, k, D].
    def one(total: Array, code: tuple[Array, Array]) -> tuple[Array, None]:
        value, index = code
        return total + (value[:, None] * _rows(table, index)).astype(TOTAL), None

    start = jnp.zeros((len(values), table.shape[1]), TOTAL) + 0.0 * values[:, :1]
    total, _ = lax.scan(one, start, (values.T, indices.T))
    return total.astype(table.dtype)


def _by_latent(values: Array, indices: Array, rows: Array, table: Array) -> Array:
    """``sum_b,i values[b, i] * rows[b]`` of the pairs with indices[b, i] = w: [W, D]."""

    def one(total: Array, code: tuple[Array, Array]) -> tuple[Array, None]:
        value, index = code
        return total.at[index].add((value[:, None] * rows).astype(TOTAL)), None

    # Varies over devices where values do.
    start = jnp.zeros(table.shape, TOTAL) + 0.0 * values[:1, :1]
    total, _ = lax.scan(one, start, (values.T, indices.T))
    return total.astype(table.dtype)

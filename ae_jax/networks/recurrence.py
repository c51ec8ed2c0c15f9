"""The recurrences of LSTM and GRU over time, [T, B, ...], from a state of zeros."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ae_jax.networks.product import product


def gru(inputs: Array, recurrent: Array, bias: Array) -> Array:
    """``[T, B, 3 H], [H, 3 H], [3 H] -> [T, B, H]``; gates are reset, update and new state."""

    def step(h: Array, inputs: Array) -> tuple[Array, Array]:
        r, u, n = jnp.split(inputs, 3, axis=-1)
        hr, hu, hn = jnp.split(product(h, recurrent) + bias, 3, axis=-1)
        u = jax.nn.sigmoid(u + hu)
        h = u * h + (1 - u) * jnp.tanh(n + jax.nn.sigmoid(r + hr) * hn)
        return h, h

    return lax.scan(step, _zeros(inputs, recurrent), inputs)[1]


def lstm(inputs: Array, recurrent: Array) -> Array:
    """``[T, B, 4 H], [H, 4 H] -> [T, B, H]``; gates are input, forget, new value and output."""
    # sigmoid(x) = (1 + tanh(x / 2)) / 2, so that all gates are one tanh.
    half = jnp.asarray(np.repeat([0.5, 0.5, 1.0, 0.5], len(recurrent)), recurrent.dtype)

    # Recomputed in the backward pass: to keep a step's gates takes longer than to make them again.
    @jax.checkpoint
    def cell(gates: Array, c: Array) -> tuple[Array, Array]:
        i, f, g, o = jnp.split(jnp.tanh(gates), 4, axis=-1)
        c = (0.5 * f + 0.5) * c + (0.5 * i + 0.5) * g
        return (0.5 * o + 0.5) * jnp.tanh(c), c

    def step(carry: tuple[Array, Array], inputs: Array):
        h, c = carry
        h, c = cell(inputs + product(h, recurrent * half), c)
        return (h, c), h

    zeros = _zeros(inputs, recurrent)
    return lax.scan(step, (zeros, zeros), inputs * half)[1]


def _zeros(inputs: Array, recurrent: Array) -> Array:
    return jnp.zeros_like(inputs[0, :, : len(recurrent)])

"""LSTM and GRU over time, [T, B, D] -> [T, B, H], with an initial state of zeros.

Inputs are [T, B, D], or [1, B, D] if they are equal at all `steps`. Equal inputs are not broadcast,
because the sum of their gradients over time would be slow on a CPU. The kernels of the G gates are
side by side, [D, G H] and [H, G H], so that they share one product.

The gradient of the weights is one product after the loop. Reverse mode would sum it inside the
loop, and so also over devices at every time step, which is slower on several devices.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

from ae_jax.devices.mesh import may_be_split
from ae_jax.ops.product import product

State = tuple[Array, ...]  # [B, H] each, h first


class Cell(NamedTuple):
    """A recurrent cell."""

    step: Callable[[Array, Array, State], State]
    """(input's part of the gates [B, G H], state's part [B, G H], state) -> new state."""
    states: int
    """Number of arrays in the state."""


def gru(
    x: Array,
    kernel: Array,
    bias: Array,
    recurrent: Array,
    recurrent_bias: Array,
    steps: int | None = None,
) -> Array:
    """GRU with the gates reset, update and new state; the reset follows the recurrent product."""
    cell = Cell(_gru_step, states=1)
    return _recur(cell, False, steps, product(x, kernel) + bias, recurrent, recurrent_bias)


def _gru_step(inputs: Array, recurrent: Array, state: State) -> State:
    (r, u, n), (hr, hu, hn) = jnp.split(inputs, 3, axis=-1), jnp.split(recurrent, 3, axis=-1)
    u = jax.nn.sigmoid(u + hu)
    return (u * state[0] + (1 - u) * jnp.tanh(n + jax.nn.sigmoid(r + hr) * hn),)


def lstm(x: Array, kernel: Array, bias: Array, recurrent: Array, steps: int | None = None) -> Array:
    """LSTM with the gates input, forget, new value and output."""
    weights = (kernel, bias, recurrent)
    if (steps is not None and len(x) == 1) or x.shape[-1] > len(recurrent):
        return _lstm(x, *weights, steps=steps)
    return lax.platform_dependent(x, *weights, cpu=_joint_lstm, default=_lstm)


def _lstm(
    x: Array, kernel: Array, bias: Array, recurrent: Array, steps: int | None = None
) -> Array:
    """An LSTM with one product for the inputs of all steps."""
    cell = Cell(_lstm_step, states=2)
    return _recur(cell, False, steps, product(x, kernel), recurrent, bias)


def _joint_lstm(x: Array, kernel: Array, bias: Array, recurrent: Array) -> Array:
    """An LSTM with one product per step, for the inputs and the state together.

    On a CPU the gates of all steps do not fit into the cache. So this form is faster than `_lstm`
    for inputs that are not wider than the state, and slower for wider ones.
    """
    cell = Cell(_lstm_step, states=2)
    return _recur(cell, True, None, x, jnp.concatenate([kernel, recurrent]), bias)


# Recomputed in the backward pass, which is faster than storing the gates of each step.
@jax.checkpoint
def _lstm_step(inputs: Array, recurrent: Array, state: State) -> State:
    _, c = state
    # sigmoid(x) = (1 + tanh(x / 2)) / 2, so all gates share one tanh.
    half = jnp.asarray(np.repeat([0.5, 0.5, 1.0, 0.5], c.shape[-1]), c.dtype)
    i, f, g, o = jnp.split(jnp.tanh((inputs + recurrent) * half), 4, axis=-1)
    c = (0.5 * f + 0.5) * c + (0.5 * i + 0.5) * g
    return (0.5 * o + 0.5) * jnp.tanh(c), c


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _recur(
    cell: Cell, joint: bool, steps: int | None, x: Array, weights: Array, bias: Array
) -> Array:
    """The states h [T, B, H] of ``state = cell.step(x[t], h @ weights + bias, state)``.

    x is [T or 1, B, G H], weights [H, G H], bias [G H]. With `joint`, x is [T, B, D], weights
    [D + H, G H], and the step is ``cell.step(0, [x[t], h] @ weights + bias, state)``.
    """
    return _loop(cell, joint, steps, x, weights, bias, None)


@partial(_recur.defjvp, symbolic_zeros=True)
def _recur_jvp(cell: Cell, joint: bool, steps: int | None, primals: tuple, tangents: tuple):
    # The loop is linearized only in terms that are added to its products. The contribution of the
    # weights' tangent, at all steps, is one product with h, which is known after the loop.
    x, weights, bias = primals
    dx, dweights, dbias = (
        jnp.zeros(t.shape, t.dtype) if isinstance(t, SymbolicZero) else t for t in tangents
    )
    zeros = _zeros(x, (steps or len(x), x.shape[1], len(bias)))

    def loop(x: Array, more: Array) -> Array:
        return _loop(cell, joint, steps, x, weights, bias, more)

    if joint:
        h, linear = jax.linearize(partial(loop, x), zeros)
    else:
        h, linear = jax.linearize(loop, x, zeros)
        linear = partial(linear, dx)
    read = jnp.concatenate([jnp.zeros_like(h[:1]), h[:-1]])
    if joint:
        read = jnp.concatenate([x, read], axis=-1)
    # The transpose of a gradient, so that reverse mode uses the gradient that is written below.
    more = jax.linear_transpose(partial(_weights_gradient, read), zeros)(dweights)[0] + dbias
    if joint and not isinstance(tangents[0], SymbolicZero):
        more += product(dx, weights[: x.shape[-1]])
    return h, linear(more)


def _loop(
    cell: Cell,
    joint: bool,
    steps: int | None,
    x: Array,
    weights: Array,
    bias: Array,
    more: Array | None,
) -> Array:
    """`_recur` with `more` [T, B, G H] added to its products."""
    same = steps is not None and len(x) == 1

    def step(state: State, inputs: tuple[Array | None, Array | None]) -> tuple[State, Array]:
        x_t, more = inputs
        x_t = x[0] if x_t is None else x_t
        read = jnp.concatenate([x_t, state[0]], axis=1) if joint else state[0]
        gates = product(read, weights) + bias
        gates = gates if more is None else gates + more
        state = cell.step(jnp.zeros_like(gates) if joint else x_t, gates, state)
        return state, state[0]

    width = len(weights) - (x.shape[-1] if joint else 0)
    state = (_zeros(x, (x.shape[1], width)),) * cell.states
    return lax.scan(step, state, (None if same else x, more), steps)[1]


def _weights_gradient(read: Array, dy: Array) -> Array:
    """The product [T, B, N], [T, B, M] -> [N, M], computed with two matrices.

    With more than one axis to sum over, XLA's CPU backend would transpose the arrays first.
    """
    if may_be_split(dy):  # with the batch first, T and B together stay split over devices
        read, dy = read.swapaxes(0, 1), dy.swapaxes(0, 1)
    read, dy = (a.reshape(-1, a.shape[-1]) for a in (read, dy))
    dtype = jnp.promote_types(dy.dtype, jnp.float32)
    return lax.dot(read.T, dy, preferred_element_type=dtype).astype(dy.dtype)


def _zeros(x: Array, shape: tuple[int, ...]) -> Array:
    # Computed from x, so that under shard_map they vary over the same devices.
    return jnp.broadcast_to(jnp.zeros_like(x[0, :, :1]), shape)

"""Recurrent encoders and decoders for sequences, of one length or of many in a batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from ae_jax.networks.layers import dense
from ae_jax.networks.product import product
from ae_jax.spec import Spec, require


@dataclass(frozen=True, kw_only=True)
class Recurrent(Spec):
    """Stacked recurrent layers that read ``[T, ...]``; the code is repeated T times and read back.

    The encoder's features are the last layer's state after the last real step: with
    ``widths=(100, 30)`` and no code layer (``code_size=None``) that is an LSTM of 100, one of 30,
    repeat, an LSTM of 100, and a dense layer per step. Padding after a sequence's ``length``
    changes nothing before it. Images are read row by row.
    """

    kind: ClassVar[str] = "recurrent"

    widths: tuple[int, ...] = (100, 30)
    """Units of the encoder's layers; the decoder mirrors all but the last."""
    cell: Literal["lstm", "gru"] = "lstm"

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = len(self.widths) > 0 and all(width >= 1 for width in self.widths)
        require(ok, "widths", self.widths, "needs at least one layer, of at least 1 unit")

    def encoder(self, event_shape: Sequence[int]) -> nn.Module:
        """A module ``[B, T, ...] -> [B, widths[-1]]``."""
        _check_sequence(event_shape)
        return RecurrentEncoder(self.widths, self.cell)

    def decoder(self, event_shape: Sequence[int], *, flat_code: bool = True) -> nn.Module:
        """A module ``[B, code] -> [B, T, ...]``, linear at the end."""
        _check_sequence(event_shape)
        return RecurrentDecoder(self.widths[-2::-1], self.cell, tuple(event_shape))


class RecurrentEncoder(nn.Module):
    widths: tuple[int, ...]
    cell: str

    @nn.compact
    def __call__(self, x: Array, length: Array | None = None) -> Array:
        h = x.reshape(*x.shape[:2], -1)  # [B, T, D]
        for width in self.widths:
            h = RecurrentLayer(width, self.cell)(h)
        if length is None:
            return h[:, -1]
        return jnp.take_along_axis(h, (length - 1)[:, None, None], axis=1)[:, 0]


class RecurrentDecoder(nn.Module):
    widths: tuple[int, ...]
    cell: str
    event_shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z: Array) -> Array:
        steps = self.event_shape[0]
        h = jnp.broadcast_to(z[:, None], (len(z), steps, z.shape[1]))
        for width in self.widths:
            h = RecurrentLayer(width, self.cell)(h)
        h = dense(math.prod(self.event_shape[1:]))(h)
        return h.reshape(len(z), *self.event_shape)


class RecurrentLayer(nn.Module):
    """``[B, T, D] -> [B, T, width]``, the state after each step, from a state of zeros.

    All gates share one product per step; the inputs' products are made for all steps at once.
    A GRU resets after the recurrent product (Keras' ``reset_after``), which needs its second bias.

    Source: Hochreiter & Schmidhuber, Long short-term memory, 1997; Cho et al., Learning phrase
    representations using RNN encoder-decoder, 2014.
    """

    width: int
    cell: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        gates = 4 if self.cell == "lstm" else 3
        recurrent = self.param(
            "recurrent", nn.initializers.orthogonal(), (self.width, gates * self.width)
        )
        given = dense(gates * self.width, "tanh", bias_init=self._bias_init)
        projected = given(x)  # [B, T, gates * H]
        projected = projected.swapaxes(0, 1)
        zeros = jnp.zeros((len(x), self.width), projected.dtype)
        if self.cell == "lstm":

            def step(carry, inputs):
                h, c = carry
                i, f, g, o = jnp.split(inputs + product(h, recurrent), 4, axis=-1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
                return (h, c), h

            _, states = lax.scan(step, (zeros, zeros), projected)
        else:
            bias = self.param("recurrent_bias", nn.initializers.zeros, (3 * self.width,))

            def step(h, inputs):
                r, u, n = jnp.split(inputs, 3, axis=-1)
                hr, hu, hn = jnp.split(product(h, recurrent) + bias, 3, axis=-1)
                u = jax.nn.sigmoid(u + hu)
                h = u * h + (1 - u) * jnp.tanh(n + jax.nn.sigmoid(r + hr) * hn)
                return h, h

            _, states = lax.scan(step, zeros, projected)
        return states.swapaxes(0, 1)

    def _bias_init(self, key: Array, shape: Sequence[int], dtype: DTypeLike) -> Array:
        """Zeros, but ones for an LSTM's forget gate (Jozefowicz et al., 2015)."""
        bias = jnp.zeros(shape, dtype)
        if self.cell == "lstm":
            bias = bias.at[self.width : 2 * self.width].set(1.0)
        return bias


def _check_sequence(event_shape: Sequence[int]) -> None:
    if len(event_shape) < 2:
        raise ValueError(
            f"event_shape={tuple(event_shape)}: a recurrent network needs sequences, [T, ...]; "
            "give a series of single values the shape [T, 1]"
        )

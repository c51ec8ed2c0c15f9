"""RNN encoders and decoders for sequences, of one length or of many in a batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array
from jax.typing import DTypeLike

from ae_jax.networks.activations import kernel_init
from ae_jax.networks.layers import dense
from ae_jax.ops.recurrence import gru, lstm
from ae_jax.spec import Spec, require


@dataclass(frozen=True, kw_only=True)
class RNN(Spec):
    """Stacked recurrent layers that read ``[T, ...]``, or series of single values ``[T]``; the code
    is repeated T times and read back.

    The encoder's features are the last layer's state after the last real step: with
    ``widths=(100, 30)`` and no code layer (``latent_dim=None``) that is an LSTM of 100, one of 30,
    repeat, an LSTM of 100, and a dense layer per step. Padding after a sequence's ``length``
    changes nothing before it. Images are read row by row.
    """

    kind: ClassVar[str] = "rnn"
    flat_features: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = ("length",)

    widths: tuple[int, ...] = (100, 30)
    """Units of the encoder's layers, which the decoder mirrors; without a code layer all but the
    last, whose state is the code."""
    cell: Literal["lstm", "gru"] = "lstm"

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = len(self.widths) > 0 and all(width >= 1 for width in self.widths)
        require(ok, "widths", self.widths, "needs at least one layer, of at least 1 unit")

    def encoder(self, event_shape: Sequence[int]) -> nn.Module:
        """A module ``[B, T, ...] -> [B, widths[-1]]``."""
        return RNNEncoder(self.widths, self.cell)

    def decoder(self, event_shape: Sequence[int], *, flat_latent: bool = True) -> nn.Module:
        """A module ``[B, code] -> [B, T, ...]``, linear at the end."""
        shape = tuple(event_shape)
        require(len(shape) > 0, "event_shape", shape, "an RNN needs sequences, [T] or [T, ...]")
        widths = self.widths if flat_latent else self.widths[:-1]
        needs = (
            "without a latent layer the last state is the latents, and no layer is left for the "
            "decoder: give two widths or more, or a latent_dim"
        )
        require(len(widths) > 0, "widths", self.widths, needs)
        return RNNDecoder(widths[::-1], self.cell, shape)


class RNNEncoder(nn.Module):
    widths: tuple[int, ...]
    cell: str

    @nn.compact
    def __call__(self, x: Array, length: Array | None = None) -> Array:
        h = x.reshape(*x.shape[:2], -1).swapaxes(0, 1)  # [T, B, D]
        for width in self.widths:
            h = RecurrentLayer(width, self.cell)(h)
        if length is None:
            return h[-1]
        return jnp.take_along_axis(h, (length - 1)[None, :, None], axis=0)[0]


class RNNDecoder(nn.Module):
    widths: tuple[int, ...]
    cell: str
    event_shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z: Array) -> Array:
        steps = self.event_shape[0]
        h = z[None]  # [1, B, code]: the same at every step
        for width in self.widths:
            h = RecurrentLayer(width, self.cell)(h, steps)
        h = dense(math.prod(self.event_shape[1:]))(h)
        h = jnp.broadcast_to(h, (steps, *h.shape[1:]))
        return h.swapaxes(0, 1).reshape(z.shape[0], *self.event_shape)


class RecurrentLayer(nn.Module):
    """``[T, B, D] -> [T, B, width]``, the state after each step, from a state of zeros.

    Time comes first, so that a step is one piece of memory; inputs [1, B, D] are the same at each
    of `steps`. A GRU resets after the recurrent product (Keras' ``reset_after``), which needs its
    second bias.

    Source: Hochreiter & Schmidhuber, Long short-term memory, 1997; Cho et al., Learning phrase
    representations using RNN encoder-decoder, 2014.
    """

    width: int
    cell: str

    @nn.compact
    def __call__(self, x: Array, steps: int | None = None) -> Array:
        gates = (4 if self.cell == "lstm" else 3) * self.width
        shape = (x.shape[-1], gates)
        kernel = self.param("kernel", kernel_init("tanh"), shape, jnp.float32)
        bias = self.param("bias", self._bias_init, (gates,), jnp.float32)
        orthogonal = nn.initializers.orthogonal()
        recurrent = self.param("recurrent", orthogonal, (self.width, gates), jnp.float32)
        x, kernel, bias, recurrent = promote_dtype(x, kernel, bias, recurrent)
        if self.cell == "lstm":
            return lstm(x, kernel, bias, recurrent, steps)
        recurrent_bias = self.param("recurrent_bias", nn.initializers.zeros, (gates,), jnp.float32)
        return gru(x, kernel, bias, recurrent, recurrent_bias, steps)

    def _bias_init(self, key: Array, shape: Sequence[int], dtype: DTypeLike) -> Array:
        """Zeros, but ones for an LSTM's forget gate (Jozefowicz et al., 2015)."""
        bias = jnp.zeros(shape, dtype)
        if self.cell == "lstm":
            bias = bias.at[self.width : 2 * self.width].set(1.0)
        return bias

"""Recurrent encoders and decoders for sequences, of equal or different lengths in a batch."""

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
    """A recurrent encoder and its mirrored decoder, for sequences ``[T, ...]`` or ``[T]``.

    The encoder is a stack of recurrent layers. Its features are the last layer's state after the
    last step of a sequence. The decoder repeats the latents T times, and applies recurrent layers
    and one dense layer per step. For example ``widths=(100, 30)`` without a latent layer
    (``latent_dim=None``) is an LSTM of 100 units and one of 30, then an LSTM of 100 units and the
    dense layer.

    Padding after a sequence's ``length`` has no influence on the features. Images are sequences of
    rows.
    """

    kind: ClassVar[str] = "rnn"
    flat_features: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = ("length",)

    widths: tuple[int, ...] = (100, 30)
    """Units of the encoder's layers. The decoder has the same in reverse order, without the last
    one if its state is the latents (``latent_dim=None``)."""
    cell: Literal["lstm", "gru"] = "lstm"
    """The kind of recurrent layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = len(self.widths) > 0 and all(width >= 1 for width in self.widths)
        require(ok, "widths", self.widths, "must have at least one entry, each at least 1")

    def encoder(self, event_shape: Sequence[int]) -> nn.Module:
        """Return a module ``[B, T, ...] -> [B, widths[-1]]``."""
        return RNNEncoder(self.widths, self.cell)

    def decoder(self, event_shape: Sequence[int], *, flat_latent: bool = True) -> nn.Module:
        """Return a module ``[B, latent_dim] -> [B, T, ...]`` with a linear last layer.

        Raises `ValueError` if the decoder would have no recurrent layer.
        """
        shape = tuple(event_shape)
        require(len(shape) > 0, "event_shape", shape, "an RNN needs sequences, [T] or [T, ...]")
        widths = self.widths if flat_latent else self.widths[:-1]
        needs = (
            "with latent_dim=None the decoder has one layer fewer than the encoder: use two or "
            "more widths, or a latent_dim"
        )
        require(len(widths) > 0, "widths", self.widths, needs)
        return RNNDecoder(widths[::-1], self.cell, shape)


class RNNEncoder(nn.Module):
    """The encoder of an `RNN`."""

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
    """The decoder of an `RNN`."""

    widths: tuple[int, ...]
    cell: str
    event_shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z: Array) -> Array:
        steps = self.event_shape[0]
        h = z[None]  # [1, B, latent_dim]: the same input at every step
        for width in self.widths:
            h = RecurrentLayer(width, self.cell)(h, steps)
        h = dense(math.prod(self.event_shape[1:]))(h)
        h = jnp.broadcast_to(h, (steps, *h.shape[1:]))
        return h.swapaxes(0, 1).reshape(z.shape[0], *self.event_shape)


class RecurrentLayer(nn.Module):
    """A recurrent layer ``[T, B, D] -> [T, B, width]``: the state after each step.

    The first state is zero. Time is the first axis, so that a step is contiguous in memory. An
    input [1, B, D] is repeated for each of `steps`. A GRU applies its reset gate after the
    recurrent product (Keras' ``reset_after``), which needs a second bias.

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
        """Return zeros, with ones for an LSTM's forget gate (Jozefowicz et al., 2015)."""
        bias = jnp.zeros(shape, dtype)
        if self.cell == "lstm":
            bias = bias.at[self.width : 2 * self.width].set(1.0)
        return bias

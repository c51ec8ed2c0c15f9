"""Fully connected encoders and decoders for events of any shape."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
from jax import Array

from ae_jax.networks.activations import Activation, activation
from ae_jax.networks.layers import dense
from ae_jax.spec import Spec, require


@dataclass(frozen=True, kw_only=True)
class MLP(Spec):
    """The hidden layers of a fully connected encoder and decoder.

    The layers of the latents and of the output are separate: ``MLP(widths=(128, 64))`` with 32
    latents on 28x28 images is 784-128-64-32-64-128-784.
    """

    kind: ClassVar[str] = "mlp"
    flat_features: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = ()

    widths: tuple[int, ...] = ()
    """Units of the encoder's hidden layers, from the input to the latents."""
    decoder_widths: tuple[int, ...] | None = None
    """Units of the decoder's hidden layers, from the latents to the output; by default those of
    the encoder in reverse order."""
    activation: Activation = "relu"
    """The activation of the hidden layers."""
    gated: bool = False
    """Multiply each hidden layer by ``sigmoid(g)``, where g is another layer of the same input
    (Dauphin et al., Language modeling with gated convolutional networks, 2017)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("widths", "decoder_widths"):
            widths = getattr(self, name)
            ok = all(width >= 1 for width in widths or ())
            require(ok, name, widths, "each width must be at least 1")

    def encoder(self, event_shape: Sequence[int]) -> nn.Module:
        """Return a module ``[B, *event_shape] -> [B, features]``."""
        return MLPEncoder(self.widths, self.activation, self.gated)

    def decoder(self, event_shape: Sequence[int], *, flat_latent: bool = True) -> nn.Module:
        """Return a module ``[B, latent_dim] -> [B, *event_shape]`` with a linear last layer."""
        widths = self.widths[::-1] if self.decoder_widths is None else self.decoder_widths
        return MLPDecoder(widths, self.activation, self.gated, tuple(event_shape))


class MLPEncoder(nn.Module):
    """The encoder of an `MLP`."""

    widths: tuple[int, ...]
    activation: Activation
    gated: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = x.reshape(x.shape[0], -1)
        for width in self.widths:
            h = _hidden(h, width, self.activation, self.gated)
        return h


class MLPDecoder(nn.Module):
    """The decoder of an `MLP`."""

    widths: tuple[int, ...]
    activation: Activation
    gated: bool
    event_shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z: Array) -> Array:
        h = z.reshape(z.shape[0], -1)
        for width in self.widths:
            h = _hidden(h, width, self.activation, self.gated)
        return dense(math.prod(self.event_shape))(h).reshape(z.shape[0], *self.event_shape)


def _hidden(h: Array, width: int, name: Activation, gated: bool) -> Array:
    out = activation(name)(dense(width, name)(h))
    return out * nn.sigmoid(dense(width, "sigmoid")(h)) if gated else out

"""Tied weights: the decoder is the encoder transposed, with biases of its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import flax.linen as nn
from jax import Array

from ae_jax.core import Outputs
from ae_jax.models.deterministic import Vanilla
from ae_jax.models.reconstruction import output_key
from ae_jax.networks import MLP
from ae_jax.networks.activations import Activation, activation, kernel_init
from ae_jax.ops.product import product
from ae_jax.spec import require


class TiedModule(nn.Module):
    """``h_{i+1} = act(h_i W_i + b_i)`` to the code, ``h_i = act(h_{i+1} W_i^T + c_i)`` back."""

    widths: tuple[int, ...]
    """Of every layer, from the input to the code."""
    event_shape: tuple[int, ...]
    activation: Activation
    latent_activation: Activation
    output: str
    output_activation: Activation

    def setup(self) -> None:
        zeros = nn.initializers.zeros
        pairs = list(enumerate(pairwise(self.widths)))
        names = [self.activation] * (len(pairs) - 1) + [self.latent_activation]
        self.kernels = [
            self.param(f"kernel_{i}", kernel_init(name), pair)
            for (i, pair), name in zip(pairs, names, strict=True)
        ]
        self.down = [self.param(f"bias_{i}", zeros, (out,)) for i, (_, out) in pairs]
        self.up = [self.param(f"decoder_bias_{i}", zeros, (fan_in,)) for i, (fan_in, _) in pairs]

    def __call__(self, x: Array) -> Outputs:
        z = self.encode(x)
        return {"z": z, **self.decode(z)}

    def encode(self, x: Array) -> Array:
        h = x.reshape(x.shape[0], -1)
        for i, (kernel, bias) in enumerate(zip(self.kernels, self.down, strict=True)):
            last = i == len(self.kernels) - 1
            h = activation(self.latent_activation if last else self.activation)(
                product(h, kernel) + bias
            )
        return h

    def decode(self, z: Array) -> Outputs:
        h = z
        for i in reversed(range(len(self.kernels))):
            name = self.activation if i else self.output_activation
            h = activation(name)(product(h, self.kernels[i].T) + self.up[i])
        return {self.output: h.reshape(z.shape[0], *self.event_shape)}


@dataclass(frozen=True, kw_only=True)
class Tied(Vanilla):
    """`Vanilla` on a dense network with half the weights: the decoder uses the encoder's kernels.

    Source: Vincent et al., Stacked denoising autoencoders, 2010, section 2.2.
    """

    kind: ClassVar[str] = "tied"

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = isinstance(self.network, MLP) and self.network.decoder_widths is None
        require(ok, "network", self.network, "tied weights need a dense network, mirrored")

    def make_module(self, event_shape: Sequence[int]) -> nn.Module:
        assert isinstance(self.network, MLP) and self.latent_dim is not None  # __post_init__
        return TiedModule(
            widths=(math.prod(event_shape), *self.network.widths, self.latent_dim),
            event_shape=tuple(event_shape),
            activation=self.network.activation,
            latent_activation=self.latent_activation,
            output=output_key(self.loss),
            output_activation=self.output_activation,
        )

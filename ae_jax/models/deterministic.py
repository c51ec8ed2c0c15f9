"""Autoencoders without noise: encoder, code, decoder, reconstruction error."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
from jax import Array

from ae_jax.core import Autoencoder, Outputs
from ae_jax.losses import Reduction
from ae_jax.models.reconstruction import Loss, features, output_key, reconstruction_term
from ae_jax.networks import MLP, ConvNet, Network
from ae_jax.networks.activations import Activation, activation
from ae_jax.networks.layers import dense
from ae_jax.spec import Spec, require


class Deterministic(nn.Module):
    """``x -> encoder -> code layer -> z -> decoder -> output``.

    With ``latent_dim=None`` there is no code layer: the code is what the encoder returns.
    """

    encoder: nn.Module
    decoder: nn.Module
    latent_dim: int | None
    latent_activation: Activation
    output: str
    output_activation: Activation

    def setup(self) -> None:
        if self.latent_dim is not None:
            self.code = dense(self.latent_dim, self.latent_activation)

    def __call__(self, x: Array, length: Array | None = None) -> Outputs:
        z = self.encode(x, length)
        return {"z": z, **self.decode(z)}

    def encode(self, x: Array, length: Array | None = None) -> Array:
        h = features(self.encoder, x, length)
        if self.latent_dim is None:
            return h
        return activation(self.latent_activation)(self.code(h.reshape(h.shape[0], -1)))

    def decode(self, z: Array) -> Outputs:
        return {self.output: activation(self.output_activation)(self.decoder(z))}


@dataclass(frozen=True, kw_only=True)
class Vanilla(Spec):
    """The plain autoencoder, shallow or deep: ``Vanilla(latent_dim=32)`` is one hidden layer of 32.

    Source: Hinton & Salakhutdinov, Reducing the dimensionality of data with neural networks, 2006.
    """

    kind: ClassVar[str] = "vanilla"

    network: Network = MLP()
    latent_dim: int | None = 32
    """Units of the code, after a dense layer. None (convolutional and recurrent networks) makes the
    smallest feature map, or the last state, the code."""
    latent_activation: Activation = "relu"
    loss: Loss = "bce"
    """bce needs data in [0, 1]; the others take any floats."""
    output_activation: Activation = "linear"
    """Of the reconstruction, for the losses other than bce (whose output is logits)."""
    reduction: Reduction = "mean"
    """Of the loss over an example's elements: mean is per pixel, sum is per example."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.latent_dim is None:
            ok = not isinstance(self.network, MLP)
            require(ok, "latent_dim", None, "only convolutional and recurrent networks do without")
        else:
            require(self.latent_dim >= 1, "latent_dim", self.latent_dim, "must be at least 1")
        ok = self.loss != "bce" or self.output_activation == "linear"
        require(ok, "output_activation", self.output_activation, "bce takes logits: use 'linear'")

    def build(self, event_shape: Sequence[int]) -> Autoencoder:
        """The autoencoder for examples of `event_shape`."""
        objective = reconstruction_term(self.loss, self.reduction)
        return Autoencoder(
            module=self.make_module(event_shape),
            objective=objective,
            event_shape=tuple(event_shape),
            spec=self,
            unit_interval=self.loss == "bce",
        )

    def make_module(self, event_shape: Sequence[int]) -> nn.Module:
        return Deterministic(
            encoder=self.network.encoder(event_shape),
            decoder=self.network.decoder(event_shape, flat_latent=self.latent_dim is not None),
            latent_dim=self.latent_dim,
            latent_activation=self.latent_activation,
            output=output_key(self.loss),
            output_activation=self.output_activation,
        )


@dataclass(frozen=True, kw_only=True)
class Convolutional(Vanilla):
    """`Vanilla` with a convolutional network, whose smallest feature map is the code.

    Source: Masci et al., Stacked convolutional auto-encoders, 2011.
    """

    kind: ClassVar[str] = "convolutional"

    network: Network = ConvNet()
    latent_dim: int | None = None

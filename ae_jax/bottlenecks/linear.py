"""A deterministic bottleneck: one dense layer with an activation, or the features themselves."""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
from jax import Array

from ae_jax.core import Outputs
from ae_jax.networks.activations import Activation, activation
from ae_jax.networks.layers import dense
from ae_jax.spec import Spec, require


@dataclass(frozen=True, kw_only=True)
class Linear(Spec):
    """``z = activation(W h + b)``."""

    kind: ClassVar[str] = "linear"
    stochastic: ClassVar[bool] = False

    latent_dim: int | None = 32
    """None makes the encoder's features the latents: a feature map, or a last state."""
    activation: Activation = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = self.latent_dim is None or self.latent_dim >= 1
        require(ok, "latent_dim", self.latent_dim, "must be at least 1")

    def module(self) -> nn.Module:
        """A module ``[B, ...features] -> {"z": [B, latent_dim]}``."""
        return LinearModule(self.latent_dim, self.activation)


class LinearModule(nn.Module):
    latent_dim: int | None
    activation: Activation

    def setup(self) -> None:
        if self.latent_dim is not None:
            self.code = dense(self.latent_dim, self.activation)

    def __call__(self, h: Array) -> Outputs:
        return {"z": self.encode(h)}

    def encode(self, h: Array) -> Array:
        if self.latent_dim is None:
            return h
        return activation(self.activation)(self.code(h.reshape(h.shape[0], -1)))

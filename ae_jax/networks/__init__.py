"""Encoders and decoders, without objectives. `Network` is the closed table of specifications."""

from ae_jax.networks.conv import Conv
from ae_jax.networks.dense import Dense

Network = Dense | Conv

__all__ = ["Conv", "Dense", "Network"]

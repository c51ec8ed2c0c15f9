"""Encoders and decoders, without objectives. `Network` is the closed table of specifications."""

from ae_jax.networks.conv import Conv
from ae_jax.networks.dense import Dense
from ae_jax.networks.recurrent import Recurrent

Network = Dense | Conv | Recurrent

__all__ = ["Conv", "Dense", "Network", "Recurrent"]

"""Encoders and decoders without objectives. `Network` is the union of their specifications."""

from ae_jax.networks.convnet import ConvNet
from ae_jax.networks.mlp import MLP
from ae_jax.networks.rnn import RNN

Network = MLP | ConvNet | RNN

__all__ = ["MLP", "RNN", "ConvNet", "Network"]

"""Sparse firing rates: python -m experiments.train experiments/examples/my_model.py"""

from dataclasses import dataclass
from math import prod

import flax.linen as nn
import jax.numpy as jnp

from ae_jax import losses
from ae_jax.core import Autoencoder, BatchTerm, Term
from ae_jax.spec import Spec
from experiments.config import Config, Data, Train


class Rates(nn.Module):
    units: int
    event_shape: tuple[int, ...]

    def setup(self):
        self.encoder = nn.Sequential([nn.Dense(256), nn.relu, nn.Dense(self.units), nn.softplus])
        self.decoder = nn.Sequential([nn.Dense(256), nn.relu, nn.Dense(prod(self.event_shape))])

    def __call__(self, x):
        return {"z": (z := self.encode(x)), **self.decode(z)}

    def encode(self, x):
        return self.encoder(x.reshape(len(x), -1))

    def decode(self, z):
        return {"logits": self.decoder(z).reshape(len(z), *self.event_shape)}


def idle(outputs, batch, axis_name):
    """log K minus the entropy of the units' shares in all activity: 0 if they fire alike."""
    rates = losses.batch_mean(outputs["z"], where=batch.get("mask"), axis_name=axis_name)
    share = rates / rates.sum()
    return jnp.log(len(share)) + (share * jnp.log(share + 1e-9)).sum()


@dataclass(frozen=True, kw_only=True)
class SparseRates(Spec):
    kind = "sparse_rates"
    units: int = 32
    cost: float = 0.3

    def build(self, event_shape):
        objective = {
            "bce": Term(lambda outputs, batch: losses.bce(outputs["logits"], batch["x"])),
            "rate": Term(lambda outputs, batch: losses.l1_sparsity(outputs["z"]), self.cost),
            "idle": BatchTerm(idle, 10.0),
        }
        return Autoencoder(Rates(self.units, event_shape), objective, event_shape, spec=self)


MODELS = (SparseRates,)
CONFIG = Config(model=SparseRates(), data=Data(name="digits"), train=Train(epochs=100))

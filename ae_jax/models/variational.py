"""Variational autoencoders: a Gaussian posterior over the code, on any network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax import losses
from ae_jax.models.reconstruction import Loss, output_key, reconstruction_term
from ae_jax.networks import Dense, Network
from ae_jax.objective import Autoencoder, Batch, Outputs, Term
from ae_jax.spec import Spec, require


class VariationalModule(nn.Module):
    """``x -> encoder -> (mean, logvar) -> z ~ N(mean, exp(logvar)) -> decoder -> output``.

    `z` is sampled where the ``latent`` stream is given, and is the mean where it is not.
    """

    encoder: nn.Module
    decoder: nn.Module
    code_size: int
    output: str

    def setup(self) -> None:
        self.mean = nn.Dense(self.code_size)
        self.logvar = nn.Dense(self.code_size)

    def __call__(self, x: Array, **inputs: Array) -> Outputs:
        mean, logvar = self.posterior(x, **inputs)
        z = mean
        if self.has_rng("latent"):
            noise = jax.random.normal(self.make_rng("latent"), mean.shape, mean.dtype)
            z = mean + jnp.exp(0.5 * logvar) * noise
        return {"z": z, "mean": mean, "logvar": logvar, **self.decode(z, **inputs)}

    def posterior(self, x: Array, **inputs: Array) -> tuple[Array, Array]:
        """Mean and log-variance of q(z | x), each [B, code_size]."""
        h = self.encoder(x, **inputs)
        h = h.reshape(len(h), -1)
        return self.mean(h), self.logvar(h)

    def encode(self, x: Array, **inputs: Array) -> Array:
        return self.posterior(x, **inputs)[0]

    def decode(self, z: Array, **inputs: Array) -> Outputs:
        return {self.output: self.decoder(z, **inputs)}


@dataclass(frozen=True, kw_only=True)
class Variational(Spec):
    """VAE with prior N(0, I). The loss is the negative ELBO in nats per example: bce + beta * kl.

    With ``loss="mse"`` the decoder is N(recon, 1/2), whose negative log-density is the summed
    squared error up to a constant that is left out.

    Source: Kingma & Welling, Auto-Encoding Variational Bayes, 2014; beta: Higgins et al., beta-VAE,
    2017.
    """

    kind: ClassVar[str] = "variational"

    network: Network = Dense(widths=(500,))
    code_size: int = 20
    beta: float = 1.0
    loss: Loss = "bce"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.code_size >= 1, "code_size", self.code_size, "must be at least 1")

    def build(self, event_shape: Sequence[int]) -> Autoencoder:
        """The autoencoder for examples of `event_shape`."""
        module = VariationalModule(
            encoder=self.network.encoder(event_shape),
            decoder=self.network.decoder(event_shape),
            code_size=self.code_size,
            output=output_key(self.loss),
        )
        objective = {**reconstruction_term(self.loss, "sum"), "kl": Term(_kl, self.beta)}
        return Autoencoder(module, objective, tuple(event_shape), self)


def _kl(outputs: Outputs, batch: Batch) -> Array:
    return losses.gaussian_kl(outputs["mean"], outputs["logvar"])

"""Variational autoencoders: a Gaussian posterior over the code, on any network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from ae_jax import losses
from ae_jax.core import Autoencoder, Batch, Outputs, Term, event_mask
from ae_jax.models.reconstruction import features
from ae_jax.networks import MLP, Network
from ae_jax.networks.layers import dense
from ae_jax.spec import Spec, require

Likelihood = Literal["bernoulli", "gaussian", "learned_gaussian"]


def binarized(key: Array, x: Array) -> Array:
    """0 or 1, drawn as Bernoulli(x), for every element of `x` [B, ...] in [0, 1].

    Source: Salakhutdinov & Murray, On the quantitative analysis of deep belief networks, 2008.
    """
    return jax.random.bernoulli(key, x).astype(x.dtype)


class VariationalModule(nn.Module):
    """``x -> encoder -> (mean, logvar) -> z ~ N(mean, exp(logvar)) -> decoder -> output``.

    `z` is sampled where the ``latent`` stream is given, and is the mean where it is not. With
    `binarize`, x is so too where the ``corrupt`` stream is given, and is then the ``target``.
    """

    encoder: nn.Module
    decoder: nn.Module
    latent_dim: int
    likelihood: Likelihood
    variance: float
    binarize: bool = False

    def setup(self) -> None:
        self.mean = dense(self.latent_dim)
        self.logvar = dense(self.latent_dim)
        if self.likelihood == "learned_gaussian":
            start = nn.initializers.constant(math.log(self.variance))
            self.recon_logvar = self.param("recon_logvar", start, ())

    def __call__(self, x: Array, length: Array | None = None) -> Outputs:
        target = {}
        if self.binarize and self.has_rng("corrupt"):
            x = binarized(self.make_rng("corrupt"), x)
            target = {"target": x}
        mean, logvar = self.posterior(x, length)
        z = mean
        if self.has_rng("latent"):
            noise = jax.random.normal(self.make_rng("latent"), mean.shape)
            z = mean + jnp.exp(0.5 * logvar) * noise.astype(mean.dtype)
        return {"z": z, "mean": mean, "logvar": logvar, **self.decode(z), **target}

    def posterior(self, x: Array, length: Array | None = None) -> tuple[Array, Array]:
        """Mean and log-variance of q(z | x), each [B, latent_dim]."""
        h = features(self.encoder, x, length)
        h = h.reshape(h.shape[0], -1)
        return self.mean(h), self.logvar(h)

    def encode(self, x: Array, length: Array | None = None) -> Array:
        return self.posterior(x, length)[0]

    def decode(self, z: Array) -> Outputs:
        output = self.decoder(z)
        if self.likelihood == "bernoulli":
            return {"logits": output}
        if self.likelihood == "gaussian":
            return {"recon": output, "recon_logvar": jnp.float32(math.log(self.variance))}
        return {"recon": output, "recon_logvar": self.recon_logvar}


@dataclass(frozen=True, kw_only=True)
class Variational(Spec):
    """VAE with prior N(0, I). The loss is the negative ELBO, in nats per example: nll + beta * kl.

    ``nll`` is ``-log p(x | z)`` summed over elements, constants included, and ``kl`` the sum over
    codes of ``KL(q(z | x) || p(z))``; both are logged as they are, whatever their weights.

    Source: Kingma & Welling, Auto-Encoding Variational Bayes, 2014; beta: Higgins et al., beta-VAE,
    2017.
    """

    kind: ClassVar[str] = "variational"

    network: Network = MLP(widths=(500,))
    latent_dim: int = 20
    beta: float = 1.0
    warmup_steps: int = 0
    """Steps over which beta grows linearly from 0 (Bowman et al., 2016; Sønderby et al., 2016)."""
    free_bits: float = 0.0
    """Nats per code below which the batch's mean KL is not pressed further (Kingma et al., Improved
    variational inference with inverse autoregressive flow, 2016, section on free bits)."""
    likelihood: Likelihood = "bernoulli"
    """bernoulli needs data in [0, 1]. gaussian has the fixed `variance`; learned_gaussian learns
    one variance for all elements (Rybkin et al., Simple and effective VAE training with calibrated
    decoders, 2021)."""
    variance: float = 1.0
    """Of the gaussian likelihoods (where learned, at the start)."""
    binarize: bool = False
    """Draw every x anew as Bernoulli(x), input and target, wherever there is noise: in training and
    its test rows. For the bernoulli likelihood, a true one of what is drawn (Burda et al.,
    Importance weighted autoencoders, 2016, section 5)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.latent_dim >= 1, "latent_dim", self.latent_dim, "must be at least 1")
        require(self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "must not be negative")
        for name in ("beta", "free_bits"):
            value = getattr(self, name)
            if isinstance(value, int | float):  # a sweep's is traced
                require(value >= 0, name, value, "must not be negative")
        require(self.variance > 0, "variance", self.variance, "must be positive")
        fits = not self.binarize or self.likelihood == "bernoulli"
        require(fits, "binarize", self.binarize, "is for the bernoulli likelihood only")

    def build(self, event_shape: Sequence[int]) -> Autoencoder:
        """The autoencoder for examples of `event_shape`."""
        module = VariationalModule(
            encoder=self.network.encoder(event_shape),
            decoder=self.network.decoder(event_shape),
            latent_dim=self.latent_dim,
            likelihood=self.likelihood,
            variance=self.variance,
            binarize=self.binarize,
        )
        beta = self.beta
        if self.warmup_steps:
            beta = optax.linear_schedule(0.0, self.beta, self.warmup_steps)
        objective = {"nll": Term(_nll), "kl": Term(_kl, beta)}
        if not isinstance(self.free_bits, int | float) or self.free_bits > 0:
            objective["kl"] = Term(_kl, 0.0)
            objective["free_kl"] = Term(self._free_kl, beta, whole_batch=True)
        return Autoencoder(
            module=module,
            objective=objective,
            event_shape=tuple(event_shape),
            spec=self,
            unit_interval=self.likelihood == "bernoulli",
        )

    def _free_kl(self, outputs: Outputs, batch: Batch, *, axis_name: str | None) -> Array:
        """``sum_j max(free_bits, mean_B KL_j)``."""
        mean, logvar = outputs["mean"], outputs["logvar"]
        each = losses.gaussian_kl(mean.reshape(-1), logvar.reshape(-1)).reshape(mean.shape)
        each = losses.batch_mean(each, where=batch.get("mask"), axis_name=axis_name)
        return jnp.maximum(each, self.free_bits).sum()


def _nll(outputs: Outputs, batch: Batch) -> Array:
    x, where = outputs.get("target", batch["x"]), event_mask(batch)
    if "logits" in outputs:
        return losses.bce(outputs["logits"], x, where=where)
    return losses.gaussian_nll(outputs["recon"], outputs["recon_logvar"], x, where=where)


def _kl(outputs: Outputs, batch: Batch) -> Array:
    return losses.gaussian_kl(outputs["mean"], outputs["logvar"])

"""The skeleton's Linen modules."""

import math
from itertools import pairwise
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ae_jax.bottlenecks import Linear
from ae_jax.core import Outputs
from ae_jax.likelihoods.module import LikelihoodModule
from ae_jax.networks import MLP
from ae_jax.networks.activations import activation, kernel_init
from ae_jax.ops.product import product


class PlainModule(nn.Module):
    """``x -> encoder -> bottleneck -> z -> decoder -> likelihood -> outputs``."""

    encoder: nn.Module
    bottleneck: nn.Module
    decoder: nn.Module
    likelihood: LikelihoodModule

    def setup(self) -> None:
        # Their parameters stand beside the encoder's: "code", "mean", "logvar", "recon_logvar".
        nn.share_scope(self, self.bottleneck)
        nn.share_scope(self, self.likelihood)

    def __call__(self, x: Array, **columns: Any) -> Outputs:
        observed = self.likelihood.observe(x)
        outputs: Any = self.bottleneck(self.encoder(observed, **columns))
        target = {} if observed is x else {"target": observed}
        return {**outputs, **self.decode(outputs["z"]), **target}

    def encode(self, x: Array, **columns: Any) -> Array:
        z: Array = self.bottleneck.encode(self.encoder(x, **columns))
        return z

    def decode(self, z: Array) -> Outputs:
        return self.likelihood(self.decoder(z))


class LatentVariableModule(PlainModule):
    """With a prior, it is a model of the data: ``p(x) = int p(x | z) p(z) dz``."""

    prior: nn.Module

    def log_weight(self, x: Array, **columns: Any) -> Array:
        """``log p(x, z) - log q(z | x)`` in nats, for one draw from the ``latent`` stream: [B]."""
        outputs = self(x, **columns)
        batch = {"x": x, **columns}
        log_likelihood = self.likelihood.log_prob(outputs, batch)
        log_prior = self.prior.log_prob(outputs["z"])
        return log_likelihood + log_prior - self.bottleneck.log_prob(outputs)

    def posterior_kl(self, x: Array, **columns: Any) -> Array:
        """``KL(q(z_j | x) || p(z_j))`` of each latent, in nats: [B, latent_dim]."""
        outputs = self.bottleneck(self.encoder(x, **columns))
        each: Array = self.prior.latent_kl(outputs)
        return each

    def prior_quantile(self, u: Array) -> Array:
        """The latents below which a share `u` [n, latent_dim] of the prior lies, one by one."""
        z: Array = self.prior.quantile(u)
        return z

    def sample(self, n: int) -> Outputs:
        """n examples, drawn from the prior and decoded, with ``"z"`` among the outputs."""
        z = self.prior.sample(n)
        return {"z": z, **self.decode(z)}


class TiedModule(nn.Module):
    """``h_{i+1} = act(h_i W_i + b_i)`` to the latents, ``h_i = act(h_{i+1} W_i^T + c_i)`` back."""

    network: MLP
    bottleneck: Linear
    event_shape: tuple[int, ...]
    likelihood: LikelihoodModule

    def setup(self) -> None:
        nn.share_scope(self, self.likelihood)
        assert self.bottleneck.latent_dim is not None
        widths = (math.prod(self.event_shape), *self.network.widths, self.bottleneck.latent_dim)
        pairs = list(enumerate(pairwise(widths)))
        names = [self.network.activation] * (len(pairs) - 1) + [self.bottleneck.activation]
        self.activations = names
        self.kernels = [
            self.param(f"kernel_{i}", kernel_init(name), pair, jnp.float32)
            for (i, pair), name in zip(pairs, names, strict=True)
        ]
        zeros = nn.initializers.zeros
        self.down = [self.param(f"bias_{i}", zeros, (out,), jnp.float32) for i, (_, out) in pairs]
        self.up = [
            self.param(f"decoder_bias_{i}", zeros, (fan_in,), jnp.float32)
            for i, (fan_in, _) in pairs
        ]

    def __call__(self, x: Array) -> Outputs:
        z = self.encode(x)
        return {"z": z, **self.decode(z)}

    def encode(self, x: Array) -> Array:
        h = x.reshape(x.shape[0], -1)
        for name, kernel, bias in zip(self.activations, self.kernels, self.down, strict=True):
            h = activation(name)(product(h, kernel) + bias)
        return h

    def decode(self, z: Array) -> Outputs:
        h = z
        for i in reversed(range(len(self.kernels))):
            h = product(h, self.kernels[i].T) + self.up[i]
            if i:
                h = activation(self.network.activation)(h)
        return self.likelihood(h.reshape(z.shape[0], *self.event_shape))

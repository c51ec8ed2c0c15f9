"""What models with several levels of latents share. Level 1 is the lowest, next to x.

    p(x, z) = p(x | z) prod_l p(z_l | z_{>l}),    q(z | x) = prod_l q(z_l | z_{>l}, x)

All of these are diagonal Gaussians but p(x | z). One pass from the top level to x serves inference,
samples and decoding: they differ only in how a level's z is chosen.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from ae_jax import losses
from ae_jax.bottlenecks.gaussian import sample_noise
from ae_jax.core import Batch, BatchTerm, Outputs, Term
from ae_jax.likelihoods.module import LikelihoodModule
from ae_jax.models.bound import ELBO
from ae_jax.ops.densities import gaussian_log_prob

LIMIT = 8.0  # of the log-variances of learned priors


class Normal(NamedTuple):
    """A diagonal Gaussian of latents: arrays [B, ...]."""

    mean: Array
    logvar: Array

    def log_prob(self, z: Array) -> Array:
        """The log-density of `z` [B, ...] in nats: [B]."""
        rows = len(z)
        return gaussian_log_prob(*(a.reshape(rows, -1) for a in (z, self.mean, self.logvar)))


class Level(NamedTuple):
    """One level of a pass: z, the prior given the levels above, and the posterior, given x too."""

    z: Array
    prior: Normal
    posterior: Normal


Choice = Callable[[int, Normal, Normal], Array]
"""``(index, prior, posterior) -> z`` of a level; index 0 is the lowest. Without x the posterior is
the prior."""


class HierarchicalModule(nn.Module):
    """The encoder reads x once, from the bottom up. The decoder passes from the top level to x.

    Latents are a tuple with one array a level, the lowest first. Without the ``latent`` stream each
    z is the center of its posterior (of a sample: of its prior), given the centers above it.
    """

    encoder: nn.Module
    """``(x, **columns) -> evidence``, whatever the decoder needs to know of x."""
    decoder: nn.Module
    """``(choose, rows, evidence or None, **columns) -> (h, levels)``, the lowest level first."""
    likelihood: LikelihoodModule

    def setup(self) -> None:
        nn.share_scope(self, self.likelihood)

    def __call__(self, x: Array, **columns: Any) -> Outputs:
        observed = self.likelihood.observe(x)
        h, levels = self._infer(observed, **columns)
        z, prior, posterior = zip(*levels, strict=True)
        target = {} if observed is x else {"target": observed}
        return {"z": z, "prior": prior, "posterior": posterior, **self.likelihood(h), **target}

    def encode(self, x: Array) -> tuple[Array, ...]:
        """The latents of x, without noise: the center of each level."""
        return tuple(level.z for level in self._infer(x, noise=False)[1])

    def features(self, x: Array) -> Array:
        """The centers of all levels, flat, the lowest first: [B, K]."""
        return jnp.concatenate([z.reshape(len(z), -1) for z in self.encode(x)], axis=1)

    def decode(self, z: Sequence[Array]) -> Outputs:
        return self._keeping(z, 0)[1]

    def sample(self, n: int) -> Outputs:
        """n examples: ``"z"`` from the top level down, and ``"x"``, a draw from p(x | z)."""
        h, levels = self.decoder(lambda _, prior, posterior: self._drawn(prior), n, None)
        return self._sampled(tuple(level.z for level in levels), self.likelihood(h))

    def sample_from(self, z: Sequence[Array], level: int) -> Outputs:
        """As `sample`, but with `level` and those above it as they are in `z`.

        Without the ``latent`` stream the levels below are the centers of their priors.
        """
        return self._sampled(*self._keeping(z, level - 1))

    def log_weight(self, x: Array) -> Array:
        """``log p(x, z) - log q(z | x)`` in nats, for one draw from the ``latent`` stream: [B]."""
        h, levels = self._infer(x)
        weight = self.likelihood.log_prob(self.likelihood(h), {"x": x})
        for z, prior, posterior in levels:
            weight = weight + prior.log_prob(z) - posterior.log_prob(z)
        return weight

    def posterior_kl(self, x: Array) -> Array:
        """The KL divergence of each latent, in the order of `features`, in nats: [B, K].

        Levels above are at their centers, so that this is no mean over the posterior.
        """
        _, levels = self._infer(x, noise=False)
        return jnp.concatenate([_latent_kl(level.posterior, level.prior) for level in levels], 1)

    def _infer(self, x: Array, noise: bool = True, **columns: Any) -> tuple[Array, list[Level]]:
        def choose(_: int, prior: Normal, posterior: Normal) -> Array:
            return self._drawn(posterior) if noise else posterior.mean

        evidence = self.encoder(x, **columns)
        passed: tuple[Array, list[Level]] = self.decoder(choose, len(x), evidence, **columns)
        return passed

    def _keeping(self, z: Sequence[Array], first: int) -> tuple[tuple[Array, ...], Outputs]:
        """All latents, with those from index `first` on as in `z`, and what they are decoded to."""

        def choose(index: int, prior: Normal, posterior: Normal) -> Array:
            return z[index] if index >= first else self._drawn(prior)

        h, levels = self.decoder(choose, len(z[-1]), None)
        return tuple(level.z for level in levels), self.likelihood(h)

    def _sampled(self, z: tuple[Array, ...], decoded: Outputs) -> Outputs:
        drawn = {"x": self.likelihood.sample(decoded)} if self.has_rng("latent") else {}
        return {"z": z, **drawn, **decoded}

    def _drawn(self, normal: Normal) -> Array:
        mean, logvar = normal
        if not self.has_rng("latent"):
            return mean
        noise = sample_noise(self.make_rng("latent"), mean.shape, None).astype(mean.dtype)
        return mean + jnp.exp(0.5 * logvar) * noise


def limited(logvar: Array) -> Array:
    """A log-variance between -8 and 8, nearly the same near 0.

    The KL divergence to a learned prior grows with the inverse of its variance, without limit.
    """
    return LIMIT * jnp.tanh(logvar / LIMIT)


def merged(one: Normal, other: Normal) -> Normal:
    """The normalized product of two Gaussians: precisions add up, and weigh the means.

    Source: Sønderby et al., Ladder variational autoencoders, 2016, equations 17 to 19.
    """
    logvar = -jnp.logaddexp(-one.logvar, -other.logvar)
    share = nn.sigmoid(other.logvar - one.logvar)
    return Normal(share * one.mean + (1.0 - share) * other.mean, logvar)


def bound_terms(bound: ELBO, groups: Mapping[str, Sequence[int]]) -> dict[str, Term | BatchTerm]:
    """The terms of `bound`, and the KL divergence of each of `groups` in nats as a metric.

    A group names indices of levels, ``{"kl_1": [0]}``. Free bits are of each group.
    """

    def of(indices: Sequence[int]) -> Callable[[Outputs, Batch], Array]:
        return lambda outputs, batch: _kl(outputs, indices)

    def each(outputs: Outputs) -> Array:
        return jnp.stack([_kl(outputs, indices) for indices in groups.values()], axis=1)

    every = [index for indices in groups.values() for index in indices]
    metrics = {name: Term(of(indices), None) for name, indices in groups.items()}
    return {**bound.kl_terms(of(every), each), **metrics}


def _kl(outputs: Outputs, indices: Sequence[int]) -> Array:
    """The KL divergence of some levels together, in nats: [B]."""
    pairs = [(outputs["posterior"][i], outputs["prior"][i]) for i in indices]
    return sum((losses.gaussian_kl(*q, *p) for q, p in pairs), jnp.zeros(()))


def _latent_kl(posterior: Normal, prior: Normal) -> Array:
    rows = len(posterior.mean)
    flat = (a.reshape(-1) for a in (*posterior, *prior))
    return losses.gaussian_kl(*flat).reshape(rows, -1)


def standard_normal(rows: int, shape: Sequence[int], dtype: DTypeLike) -> Normal:
    """N(0, I) for each of `rows` examples."""
    zeros = jnp.zeros((rows, *shape), dtype)
    return Normal(zeros, zeros)

"""How likely a variational autoencoder finds data: bounds on log p(x), in nats per example.

The noise of an example's n-th posterior sample is a function of (seed, row, n): no figure depends
on the batches and chunks it is computed in.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax import losses
from ae_jax.core import Autoencoder, Batch, Variables
from ae_jax.evaluation.batches import BATCH, in_batches
from ae_jax.models import Variational
from ae_jax.spec import require

CHUNK = 2000  # decoded samples that are in memory at once
ACTIVE = 0.01


def elbo(
    ae: Autoencoder,
    variables: Variables,
    data: Mapping[str, np.ndarray],
    *,
    samples: int = 1,
    seed: int = 0,
    batch_size: int = BATCH,
) -> dict[str, np.ndarray]:
    """The evidence lower bound of each example and its parts: arrays [N], in nats.

    ``nll`` is ``-log p(x | z)``, a mean over `samples` from the posterior, ``kl`` the exact
    ``KL(q(z | x) || p(z))``, and ``elbo = -nll - kl``.

    Source: Kingma & Welling, Auto-Encoding Variational Bayes, 2014, equation 3.

    Raises:
      ValueError: the model has no posterior, or `samples` is not positive.
    """
    _check(ae, samples)

    def fn(variables: Variables, batch: Batch) -> dict[str, Array]:
        mean, logvar = _posterior(ae, variables, batch)

        def add(total: Array, n: Array) -> tuple[Array, None]:
            z, _ = _draw(mean, logvar, batch["row"], seed, n[None])
            return total + _nll(ae, variables, batch, z)[:, 0], None

        total, _ = jax.lax.scan(add, jnp.zeros(len(mean)), jnp.arange(samples))
        nll, kl = total / samples, losses.gaussian_kl(mean, logvar)
        return {"elbo": -nll - kl, "nll": nll, "kl": kl}

    found: dict[str, np.ndarray] = in_batches(fn, variables, _numbered(data), batch_size=batch_size)
    return found


def log_likelihood(
    ae: Autoencoder,
    variables: Variables,
    data: Mapping[str, np.ndarray],
    *,
    samples: int,
    seed: int = 0,
    batch_size: int = 100,
) -> np.ndarray:
    """``log 1/K sum_k p(x, z_k) / q(z_k | x)`` of each example, z_k from the posterior: [N], nats.

    A lower bound on ``log p(x)`` in expectation, which grows with K = `samples` towards it. The sum
    is taken in log space and in chunks, in memory that does not depend on K.

    Source: Burda, Grosse & Salakhutdinov, Importance weighted autoencoders, 2016, equation 8.

    Raises:
      ValueError: the model has no posterior, or `samples` is not positive.
    """
    _check(ae, samples)
    size = min(samples, max(1, CHUNK // min(batch_size, len(data["x"]))))

    def fn(variables: Variables, batch: Batch) -> Array:
        mean, logvar = _posterior(ae, variables, batch)

        def add(total: Array, first: Array) -> tuple[Array, None]:
            n = first + jnp.arange(size)
            z, noise = _draw(mean, logvar, batch["row"], seed, n)
            # log p(z) - log q(z | x), where the constants cancel
            log_ratio = 0.5 * (noise**2 - z**2 + logvar[:, None]).sum(-1)
            log_weight = log_ratio - _nll(ae, variables, batch, z)  # [B, size]
            log_weight = jnp.where(n < samples, log_weight, -jnp.inf)
            return jnp.logaddexp(total, jax.nn.logsumexp(log_weight, axis=1)), None

        nothing = jnp.full(len(mean), -jnp.inf)
        total, _ = jax.lax.scan(add, nothing, jnp.arange(0, samples, size))
        return total - math.log(samples)

    found: np.ndarray = in_batches(fn, variables, _numbered(data), batch_size=batch_size)
    return found


def posterior_samples(
    ae: Autoencoder,
    variables: Variables,
    data: Mapping[str, np.ndarray],
    *,
    seed: int = 0,
    batch_size: int = BATCH,
) -> np.ndarray:
    """One latent of each example, drawn from its posterior: [N, latent_dim].

    Those of all of `data` are draws from the aggregate posterior.

    Raises:
      ValueError: the model has no posterior.
    """
    _check(ae, 1)

    def fn(variables: Variables, batch: Batch) -> Array:
        mean, logvar = _posterior(ae, variables, batch)
        return _draw(mean, logvar, batch["row"], seed, jnp.arange(1))[0][:, 0]

    found: np.ndarray = in_batches(fn, variables, _numbered(data), batch_size=batch_size)
    return found


def posterior_metrics(
    ae: Autoencoder,
    variables: Variables,
    data: Mapping[str, np.ndarray],
    *,
    batch_size: int = BATCH,
) -> dict[str, Any]:
    """What each code tells of the data: ``kl`` [latent_dim], its mean KL to the prior in nats;
    ``mean_variance`` [latent_dim], the variance over x of its posterior mean; ``active_units``, the
    number of codes where that is above 0.01.

    Source: Burda et al. 2016, section 5.2 (active units).

    Raises:
      ValueError: the model has no posterior.
    """
    _check(ae, 1)

    def fn(variables: Variables, batch: Batch) -> dict[str, Array]:
        mean, logvar = _posterior(ae, variables, batch)
        kl = losses.gaussian_kl(mean.reshape(-1), logvar.reshape(-1))
        return {"mean": mean, "kl": kl.reshape(mean.shape)}

    found = in_batches(fn, variables, data, batch_size=batch_size)
    variance = found["mean"].var(0, dtype=np.float64)
    return {
        "kl": found["kl"].mean(0, dtype=np.float64),
        "mean_variance": variance,
        "active_units": int((variance > ACTIVE).sum()),
    }


def bits_per_dimension(nll: float, size: int, *, levels: int | None = None) -> float:
    """``nll`` nats of an example of `size` elements, in bits per element.

    With `levels`, `nll` is that of a density of values ``0, 1/(levels - 1), ..., 1``, and the
    result that of probabilities of the levels: density times the distance of two of them.
    """
    bits = nll / (size * math.log(2))
    return bits if levels is None else bits + math.log2(levels - 1)


def _check(ae: Autoencoder, samples: int) -> None:
    if not isinstance(ae.spec, Variational):
        kind = type(ae.spec).__name__
        raise ValueError(f"ae is {kind}: only a Variational one has a posterior and a likelihood")
    require(samples >= 1, "samples", samples, "must be at least 1")


def _numbered(data: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**data, "row": np.arange(len(data["x"]))}


def _posterior(ae: Autoencoder, variables: Variables, batch: Batch) -> tuple[Array, Array]:
    inputs = (batch["x"], batch["length"]) if "length" in batch else (batch["x"],)
    mean, logvar = ae.apply(variables, *inputs, method="posterior")
    return mean, logvar


def _draw(mean: Array, logvar: Array, rows: Array, seed: int, n: Array) -> tuple[Array, Array]:
    """The samples with numbers `n` [S] of each row's posterior, and their noise: [B, S, code]."""
    key = jax.random.key(seed)

    def one(row: Array, n: Array) -> Array:
        return jax.random.normal(
            jax.random.fold_in(jax.random.fold_in(key, row), n), mean.shape[1:]
        )

    noise = jax.vmap(jax.vmap(one, (None, 0)), (0, None))(rows, n)
    return mean[:, None] + jnp.exp(0.5 * logvar)[:, None] * noise, noise


def _nll(ae: Autoencoder, variables: Variables, batch: Batch, z: Array) -> Array:
    """``-log p(x | z)`` of codes [B, S, code]: [B, S]."""
    rows, each = z.shape[:2]
    outputs = ae.apply(variables, z.reshape(rows * each, -1), method="decode")
    repeated = {name: jnp.repeat(column, each, axis=0) for name, column in batch.items()}
    return ae.objective["nll"].fn(outputs, repeated).reshape(rows, each)

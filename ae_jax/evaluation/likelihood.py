"""How likely a latent variable model finds data: bounds on log p(x), in nats per example.

They hold for every model whose module has ``log_weight`` (see `core.Autoencoder`). The noise of an
example's n-th posterior sample is a function of (seed, row, n): no metric depends on the batches
and chunks it is computed in.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.core import Autoencoder, Batch, Term, Variables
from ae_jax.data.real import real_rows
from ae_jax.evaluation.batches import BATCH, of_examples
from ae_jax.spec import require

CHUNK = 2000  # decoded samples that are in memory at once
ACTIVE = 0.01
"""The variance of its posterior mean over the data above which a latent is active."""


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

    ``elbo`` is the mean over `samples` draws from the posterior. Where the objective has the terms
    ``nll`` and ``kl``, these are returned too, and ``elbo = -nll - kl``: ``nll`` is
    ``-log p(x | z)``, and ``kl`` the KL divergence as the objective has it (of a Gaussian posterior
    and prior, exact). Otherwise it is the mean of the log weights.

    Source: Kingma & Welling, Auto-Encoding Variational Bayes, 2014, equation 3.

    Raises:
      ValueError: the model has no likelihood, or `samples` is not positive.
    """
    _check(ae, samples)
    names = [name for name in ("nll", "kl") if name in ae.objective]
    terms: dict[str, Any] = {name: ae.objective[name] for name in names}
    split = len(terms) == 2 and all(isinstance(term, Term) for term in terms.values())

    def draw(variables: Variables, one: Batch, key: Array) -> dict[str, Array]:
        if not split:
            return {"elbo": _log_weight(ae, variables, one, key)}
        outputs = ae.outputs(variables, one, rngs={"latent": key})
        return {name: term.fn(outputs, one)[0] for name, term in terms.items()}

    def fn(variables: Variables, batch: Batch) -> dict[str, Array]:
        def add(total: Any, n: Array) -> tuple[Any, None]:
            drawn = _each_row(lambda one, key: draw(variables, one, key), batch, seed, n[None])
            return jax.tree.map(lambda a, b: a + b[:, 0], total, drawn), None

        names = tuple(terms) if split else ("elbo",)
        zeros = {name: jnp.zeros(len(batch["x"])) for name in names}
        total, _ = jax.lax.scan(add, zeros, jnp.arange(samples))
        return {name: value / samples for name, value in total.items()}

    bounds: dict[str, np.ndarray] = of_examples(
        fn, ae, variables, _numbered(data), batch_size=batch_size
    )
    return {"elbo": -bounds["nll"] - bounds["kl"], **bounds} if split else bounds


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
      ValueError: the model has no likelihood, or `samples` is not positive.
    """
    _check(ae, samples)
    size = min(samples, max(1, CHUNK // min(batch_size, len(data["x"]))))

    def fn(variables: Variables, batch: Batch) -> Array:
        def draw(one: Batch, key: Array) -> Array:
            return _log_weight(ae, variables, one, key)

        def add(total: Array, first: Array) -> tuple[Array, None]:
            n = first + jnp.arange(size)
            log_weight = _each_row(draw, batch, seed, n)  # [B, size]
            log_weight = jnp.where(n < samples, log_weight, -jnp.inf)
            return jnp.logaddexp(total, jax.nn.logsumexp(log_weight, axis=1)), None

        nothing = jnp.full(len(batch["x"]), -jnp.inf)
        total, _ = jax.lax.scan(add, nothing, jnp.arange(0, samples, size))
        return total - math.log(samples)

    bound: np.ndarray = of_examples(fn, ae, variables, _numbered(data), batch_size=batch_size)
    return bound


def posterior_samples(
    ae: Autoencoder,
    variables: Variables,
    data: Mapping[str, np.ndarray],
    *,
    seed: int = 0,
    batch_size: int = BATCH,
) -> np.ndarray:
    """One latent of each example, drawn from its posterior, flat: [N, K].

    Those of all of `data` are draws from the aggregate posterior.

    Raises:
      ValueError: the model has no likelihood.
    """
    _check(ae, 1)

    def fn(variables: Variables, batch: Batch) -> Array:
        def draw(one: Batch, key: Array) -> Array:
            leaves = jax.tree.leaves(ae.outputs(variables, one, rngs={"latent": key})["z"])
            return jnp.concatenate([leaf.reshape(-1) for leaf in leaves])

        return _each_row(draw, batch, seed, jnp.arange(1))[:, 0]

    drawn: np.ndarray = of_examples(fn, ae, variables, _numbered(data), batch_size=batch_size)
    return drawn


def observed(
    ae: Autoencoder, variables: Variables, data: Mapping[str, np.ndarray], *, seed: int = 0
) -> np.ndarray:
    """The data as a model observes it that draws its targets (see `Bernoulli.binarize`), drawn
    once: [N, *event_shape]."""

    def fn(variables: Variables, batch: Batch) -> Array:
        def draw(one: Batch, key: Array) -> Array:
            target: Array = ae.outputs(variables, one, rngs={"corrupt": key})["target"]
            return target[0]

        return _each_row(draw, batch, seed, jnp.arange(1))[:, 0]

    drawn: np.ndarray = of_examples(fn, ae, variables, _numbered(data))
    return drawn


def posterior_metrics(
    ae: Autoencoder,
    variables: Variables,
    data: Mapping[str, np.ndarray],
    *,
    batch_size: int = BATCH,
) -> dict[str, Any]:
    """What each latent tells of the data: ``mean_variance`` [K], the variance over x of its
    posterior mean (of a flow, the image of its base's mean); ``active_units``, the number of
    latents where that is above 0.01, if they fill R^n (on a sphere the size of a variance depends
    on the number of latents); ``kl`` [K], its mean KL to the prior in nats, if the module has
    ``posterior_kl``. Rows that ``"mask"`` excludes do not count.

    Source: Burda et al. 2016, section 5.2 (active units).

    Raises:
      ValueError: the model has no likelihood.
    """
    _check(ae, 1)
    has_kl = ae.method("posterior_kl") is not None

    def fn(variables: Variables, batch: Batch) -> dict[str, Array]:
        columns = ae.encoder_columns(batch)
        mean = {"mean": ae.features(variables, batch["x"], **columns)}
        if not has_kl:
            return mean
        kl: Array = ae.apply(variables, batch["x"], **columns, method="posterior_kl")
        return {**mean, "kl": kl}

    each = of_examples(fn, ae, variables, real_rows(data), batch_size=batch_size)
    variance = each["mean"].var(0, dtype=np.float64)
    metrics: dict[str, Any] = {"mean_variance": variance}
    if ae.method("geodesic") is None:
        metrics["active_units"] = int((variance > ACTIVE).sum())
    return metrics | ({"kl": each["kl"].mean(0, dtype=np.float64)} if has_kl else {})


def bits_per_dimension(nll: float, size: int, *, levels: int | None = None) -> float:
    """``nll`` nats of an example of `size` elements, in bits per element.

    With `levels`, `nll` is that of a density of values ``0, 1/(levels - 1), ..., 1``, and the
    result that of probabilities of the levels: density times the distance of two of them.
    """
    bits = nll / (size * math.log(2))
    return bits if levels is None else bits + math.log2(levels - 1)


def _check(ae: Autoencoder, samples: int) -> None:
    if ae.method("log_weight") is None:
        raise ValueError(f"{_name(ae)} has no likelihood: its module defines no log_weight")
    require(samples >= 1, "samples", samples, "must be at least 1")


def _name(ae: Autoencoder) -> str:
    return type(ae.module if ae.spec is None else ae.spec).__name__


def _numbered(data: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**data, "row": np.arange(len(data["x"]))}


def _each_row(fn: Callable[[Batch, Array], Any], batch: Batch, seed: int, n: Array) -> Any:
    """``fn(example, key)`` of every example, alone, with the keys of its draws `n` [S]: [B, S]."""
    key = jax.random.key(seed)

    def of(one: Batch, n: Array) -> Any:
        example = {name: column[None] for name, column in one.items() if name != "row"}
        return fn(example, jax.random.fold_in(jax.random.fold_in(key, one["row"]), n))

    return jax.vmap(jax.vmap(of, (None, 0)), (0, None))(batch, n)


def _log_weight(ae: Autoencoder, variables: Variables, one: Batch, key: Array) -> Array:
    columns = ae.encoder_columns(one)
    rngs = {"latent": key}
    weight: Array = ae.apply(variables, one["x"], **columns, rngs=rngs, method="log_weight")[0]
    return weight

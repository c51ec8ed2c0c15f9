"""Compiled programs that encode, decode and score rows: one set for each specification."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.sparse import issparse

from ae_jax.core import Autoencoder, Variables, compute_loss, streams
from ae_jax.evaluation.latents import from_flat

CHUNK = 256
"""Rows per call. Fewer rows are padded, so that a row's result never depends on other rows."""
DRAWS = 16
"""Samples of the posterior for each ELBO."""

Program = Callable[[Variables, Array], Array]


class Programs(NamedTuple):
    """Jitted functions of ``(variables, rows)`` for one specification and event shape."""

    encode: Program
    """[B, *event] -> latents [B, K], flat and without noise."""
    decode: Program
    """[B, K] -> [B, *event], in the units of the data."""
    score: Program
    """[B, *event] -> [B] (see `AutoencoderEstimator.score_samples`)."""


@lru_cache(maxsize=32)
def programs(spec: Any, event_shape: tuple[int, ...]) -> Programs:
    """Return the programs of the model that `spec` builds, shared by all estimators of it."""
    ae = spec.build(event_shape)

    def score(variables: Variables, x: Array) -> Array:
        return jax.vmap(lambda row: _score(ae, variables, row))(x)

    def encode(variables: Variables, x: Array) -> Array:
        leaves = jax.tree.leaves(ae.encode(variables, x))
        return jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)

    def decode(variables: Variables, flat: Array) -> Array:
        x = jax.ShapeDtypeStruct((1, *event_shape), jnp.float32)
        return ae.decode(variables, from_flat(flat, jax.eval_shape(ae.encode, variables, x)))

    return Programs(jax.jit(encode), jax.jit(decode), jax.jit(score))


def _score(ae: Autoencoder, variables: Variables, row: Array) -> Array:
    """Return the score of one example [*event], a scalar."""
    batch = {"x": row[None]}
    if not {"nll", "kl"} <= ae.objective.keys():
        _, raw = compute_loss(ae.objective, ae.outputs(variables, batch), batch)
        return -raw[next(iter(ae.objective))]  # the reconstruction error comes first

    def elbo(key: Array) -> Array:
        outputs = ae.outputs(variables, batch, rngs=streams(key, ("latent",)))
        _, raw = compute_loss(ae.objective, outputs, batch)
        return -(raw["nll"] + raw["kl"])

    # The same noise for every row: a score does not depend on the row's position, and noise adds
    # no difference between rows.
    return jax.vmap(elbo)(jax.random.split(jax.random.key(0), DRAWS)).mean()


def in_chunks(program: Program, variables: Variables, rows: Any) -> np.ndarray:
    """Return ``program(variables, rows)`` as a NumPy array, computed for `CHUNK` rows at a time."""
    return np.concatenate(list(each_chunk(program, variables, rows)))


def each_chunk(program: Program, variables: Variables, rows: Any) -> Iterator[np.ndarray]:
    """Yield ``program(variables, rows)`` for each `CHUNK` of rows, which may be a sparse matrix."""
    variables = jax.device_put(variables)
    for i in range(0, rows.shape[0], CHUNK):
        chunk = rows[i : i + CHUNK]
        chunk = chunk.toarray() if issparse(chunk) else chunk
        count = len(chunk)
        padded = np.pad(chunk, [(0, CHUNK - count)] + [(0, 0)] * (chunk.ndim - 1))
        yield np.asarray(program(variables, jax.device_put(padded)))[:count]

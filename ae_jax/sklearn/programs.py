"""What a trained model does with rows: compiled once for a specification, whatever the rows."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from ae_jax.core import Autoencoder, Variables, compute_loss, streams

CHUNK = 256
"""Rows to a call. Fewer are padded, so that a row's result is the same bits in any company."""
DRAWS = 16
"""Samples of the posterior to an ELBO."""

Program = Callable[[Variables, Array], Array]


class Programs(NamedTuple):
    """Jitted functions of ``(variables, rows)``, of one specification and event shape."""

    encode: Program
    """[B, *event] -> [B, *code], without noise."""
    decode: Program
    """[B, *code] -> [B, *event], in the units of the data."""
    score: Program
    """[B, *event] -> [B]: see `ae_jax.sklearn.base`."""


@lru_cache(maxsize=32)
def programs(spec: Any, event_shape: tuple[int, ...]) -> Programs:
    """Those of the autoencoder that `spec` builds: shared by all estimators that have it."""
    ae = spec.build(event_shape)

    def score(variables: Variables, x: Array) -> Array:
        return jax.vmap(lambda row: _score(ae, variables, row))(x)

    return Programs(jax.jit(ae.encode), jax.jit(ae.decode), jax.jit(score))


def _score(ae: Autoencoder, variables: Variables, row: Array) -> Array:
    """The score of one example [*event]: a scalar."""
    batch = {"x": row[None]}
    if not {"nll", "kl"} <= ae.objective.keys():
        _, raw = compute_loss(ae.objective, ae.outputs(variables, batch), batch)
        return -raw[next(iter(ae.objective))]  # the reconstruction error comes first

    def elbo(key: Array) -> Array:
        outputs = ae.outputs(variables, batch, rngs=streams(key, ("latent",)))
        _, raw = compute_loss(ae.objective, outputs, batch)
        return -(raw["nll"] + raw["kl"])

    # The same noise for every row, so that scores do not depend on a row's place, and differences
    # between rows are theirs.
    return jax.vmap(elbo)(jax.random.split(jax.random.key(0), DRAWS)).mean()


def in_chunks(program: Program, variables: Variables, rows: np.ndarray) -> np.ndarray:
    """``program(variables, rows)`` as a NumPy array, `CHUNK` rows at a time."""
    variables = jax.device_put(variables)
    padded = np.pad(rows, [(0, -len(rows) % CHUNK)] + [(0, 0)] * (rows.ndim - 1))
    parts = [
        program(variables, jax.device_put(padded[i : i + CHUNK]))
        for i in range(0, len(rows), CHUNK)
    ]
    return np.concatenate(jax.device_get(parts))[: len(rows)]

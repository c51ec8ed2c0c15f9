"""The examples for which each latent of a dictionary is most active."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from ae_jax.core import Autoencoder, Batch, Variables, floats_in
from ae_jax.evaluation.batches import each_batch
from ae_jax.evaluation.dictionaries.statistics import BATCH, read_columns
from ae_jax.spec import require


class TopExamples(NamedTuple):
    """The most active examples of L latents, the largest activation first.

    A latent that is positive for fewer examples has the row -1 and the activation 0 for the others.
    """

    rows: np.ndarray
    """Of the real rows of the data: int32 [L, count]."""
    activations: np.ndarray
    """[L, count]."""


def top_examples(
    ae: Autoencoder,
    variables: Variables,
    data: ArrayLike | Mapping[str, np.ndarray],
    latents: ArrayLike,
    *,
    count: int = 8,
    batch_size: int = BATCH,
) -> TopExamples:
    """The `count` examples with the largest positive activations of each of `latents` [L].

    `data` is read as in `dictionary_statistics`, in batches. Of equal activations, the lower row
    comes first.

    Raises `ValueError` for a `count` below 1.
    """
    require(count >= 1, "count", count, "must be at least 1")
    columns = read_columns(ae, data)
    chosen = jnp.asarray(latents, jnp.int32)

    @jax.jit
    def run(
        best: tuple[Array, Array], variables: Variables, batch: Batch, start: int, skip: int
    ) -> tuple[Array, Array]:
        batch = floats_in(batch)
        z = ae.features(variables, batch["x"], **ae.encoder_columns(batch))[:, chosen].T
        rows = jnp.arange(z.shape[1])
        active = jnp.where((rows >= skip) & (z > 0), z, 0.0)
        values, rows = lax.top_k(active, min(count, len(rows)))
        values = jnp.concatenate([best[0], values], axis=1)
        rows = jnp.concatenate([best[1], jnp.where(values[:, count:] > 0, start + rows, -1)], 1)
        values, order = lax.top_k(values, count)
        return values, jnp.take_along_axis(rows, order, axis=1)

    best = jnp.zeros((len(chosen), count)), jnp.full((len(chosen), count), -1, jnp.int32)
    start = 0
    for batch, skip in each_batch(columns, batch_size):
        best = run(best, variables, batch, start - skip, skip)
        start += len(batch["x"]) - skip
    activations, rows = jax.device_get(best)
    return TopExamples(rows, activations)

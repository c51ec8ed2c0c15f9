"""Sums over a data set that the metrics of a dictionary are made of: one pass, in batches."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from ae_jax.core import Autoencoder, Batch, Variables, floats_in, reconstruction
from ae_jax.data.real import real_rows
from ae_jax.evaluation.batches import checked, each_batch

BATCH = 256
"""Examples at a time: the activations of one batch are a dense array [256, W]."""


class DictionaryStatistics(NamedTuple):
    """Sums over N examples, in float64. A latent fires where its activation is not 0."""

    examples: int
    """N."""
    fired: np.ndarray
    """How many examples each latent fires on: int64 [W]."""
    activation: np.ndarray
    """The sum of the activations of each latent: [W]."""
    largest: np.ndarray
    """The largest activation of each latent: [W]."""
    squared_error: float
    """Of ``|target - recon|^2``."""
    deviation: float
    """Of ``|target - mean|^2``, with the mean of these targets."""
    cosine: float
    """Of the cosines of reconstruction and target, 0 where one of them is 0."""
    relative_norm: float
    """Of ``|recon| / |target|``, over the targets that are not 0."""
    nonzero: int
    """How many targets are not 0."""
    product: float
    """Of ``target . recon``."""
    energy: float
    """Of ``|recon|^2``."""

    @property
    def frequency(self) -> np.ndarray:
        """The share of examples that each latent fires on: [W]."""
        return np.asarray(self.fired / self.examples)

    @property
    def mean_activation(self) -> np.ndarray:
        """The mean of each latent over the examples that it fires on, 0 for dead ones: [W]."""
        return np.asarray(self.activation / np.maximum(self.fired, 1))


def dictionary_statistics(
    ae: Autoencoder,
    variables: Variables,
    data: ArrayLike | Mapping[str, np.ndarray],
    *,
    batch_size: int = BATCH,
) -> DictionaryStatistics:
    """The sums of `data`: ``"x"`` [N, *event_shape] and what else the model reads.

    Arrays may be mapped into memory from disk. Shards are read into memory. Rows that ``"mask"``
    excludes do not count.

    Raises `ValueError` for reconstructions that are not finite, and as `checked` for data that
    `fit` would refuse.
    """
    columns = read_columns(ae, data)

    @jax.jit
    def run(variables: Variables, batch: Batch, counts: Array) -> tuple[Any, Any, Any]:
        return _of_batch(ae, variables, floats_in(batch), counts)

    count, mean = 0, np.zeros(())
    totals, fired, activation, largest = dict[str, float](), 0, 0.0, -np.inf
    for batch, skip in each_batch(columns, batch_size):
        size = len(batch["x"]) - skip
        done = run(variables, batch, np.arange(len(batch["x"])) >= skip)
        rows, latents, center = jax.device_get(done)
        sums = {name: float(each[skip:].sum(dtype=np.float64)) for name, each in rows.items()}
        # Deviations from the mean of all rows so far: Chan, Golub & LeVeque, 1979.
        moved = center.astype(np.float64) - mean
        sums["deviation"] += float(np.square(moved).sum()) * size * count / (size + count)
        count += size
        mean = mean + moved * size / count
        totals = {name: each + totals.get(name, 0.0) for name, each in sums.items()}
        fired = fired + latents["fired"].astype(np.int64)
        activation = activation + latents["activation"].astype(np.float64)
        largest = np.maximum(largest, latents["largest"].astype(np.float64))
    if not np.isfinite(list(totals.values())).all():
        raise ValueError("the reconstructions are not finite: has the training diverged?")
    return DictionaryStatistics(
        examples=count,
        fired=np.asarray(fired),
        activation=np.asarray(activation),
        largest=np.asarray(largest),
        squared_error=totals["squared_error"],
        deviation=totals["deviation"],
        cosine=totals["cosine"],
        relative_norm=totals["relative_norm"],
        nonzero=round(totals["nonzero"]),
        product=totals["product"],
        energy=totals["energy"],
    )


def read_columns(
    ae: Autoencoder, data: ArrayLike | Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The real rows of those columns of `data` that the model reads, after `checked`.

    Raises `ValueError` for a column that is missing.
    """
    columns = checked(ae, real_rows(data))
    if missing := [name for name in ae.reads if name not in columns]:
        raise ValueError(
            f"the model reads {missing[0]!r}, which the data lacks: it has {sorted(columns)}"
        )
    return {name: columns[name] for name in ("x", "length", *ae.reads) if name in columns}


def _of_batch(
    ae: Autoencoder, variables: Variables, batch: Batch, counts: Array
) -> tuple[dict[str, Array], dict[str, Array], Array]:
    """Numbers of rows [B], which are summed in float64; sums of latents [W]; the mean target.

    Rows count where `counts` [B] is True.
    """
    z = ae.features(variables, batch["x"], **ae.encoder_columns(batch))
    recon = reconstruction(ae.outputs(variables, batch)).reshape(len(z), -1)
    target = batch[ae.target].reshape(len(z), -1)
    counts = counts[:, None]
    mean = jnp.where(counts, target, 0.0).sum(0) / counts.sum()
    product, energy = (target * recon).sum(1), jnp.square(recon).sum(1)
    norm, recon_norm = jnp.linalg.norm(target, axis=1), jnp.sqrt(energy)
    rows = {
        "squared_error": jnp.square(target - recon).sum(1),
        "deviation": jnp.square(target - mean).sum(1),
        "cosine": _ratio(product, norm * recon_norm),
        "relative_norm": _ratio(recon_norm, norm),
        "nonzero": norm > 0,
        "product": product,
        "energy": energy,
    }
    latents = {
        "fired": ((z != 0) & counts).sum(0, dtype=jnp.int32),
        "activation": jnp.where(counts, z, 0.0).sum(0),
        "largest": jnp.where(counts, z, -jnp.inf).max(0),
    }
    return rows, latents, mean


def _ratio(a: Array, b: Array) -> Array:
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)

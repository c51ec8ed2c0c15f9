"""How active latents are over a data set, and which of them are dead."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from ae_jax.core import Autoencoder, Batch, Latents, Variables
from ae_jax.data.real import real_rows
from ae_jax.evaluation.batches import BATCH, of_examples
from ae_jax.spec import require

NEAR_ZERO = 1e-3


def encode_all(
    ae: Autoencoder,
    variables: Variables,
    data: Mapping[str, np.ndarray],
    *,
    batch_size: int = BATCH,
) -> np.ndarray:
    """The features of `data`, without noise: [N, K] (see `Autoencoder.features`)."""

    def encode(variables: Variables, batch: Batch) -> Array:
        return ae.features(variables, batch["x"], **ae.encoder_columns(batch))

    latents: np.ndarray = of_examples(encode, ae, variables, data, batch_size=batch_size)
    return latents


def from_flat(flat: ArrayLike, like: Latents) -> Latents:
    """Rows of numbers [N, K] as the latents that they are of: the inverse of flattening them.

    `like` has the structure of these latents, with arrays or shapes [B, ...].
    """
    leaves, structure = jax.tree.flatten(like)
    sizes = [math.prod(leaf.shape[1:]) for leaf in leaves]
    parts = jnp.split(jnp.asarray(flat), np.cumsum(sizes)[:-1], axis=1)
    shaped = (p.reshape(-1, *leaf.shape[1:]) for p, leaf in zip(parts, leaves, strict=True))
    return jax.tree.unflatten(structure, shaped)


def latent_metrics(
    ae: Autoencoder,
    variables: Variables,
    data: ArrayLike | Mapping[str, np.ndarray],
    *,
    near_zero: float = NEAR_ZERO,
    batch_size: int = BATCH,
) -> dict[str, float]:
    """The `activity_metrics` of the latents of `data`: ``"x"`` [N, *event_shape] and what else the
    model reads. Rows that ``"mask"`` excludes do not count."""
    z = encode_all(ae, variables, real_rows(data), batch_size=batch_size)
    return activity_metrics(z, near_zero=near_zero)


def activity_metrics(z: ArrayLike, *, near_zero: float = NEAR_ZERO) -> dict[str, float]:
    """How active latents `z` [N, ...] are. Each position of spatial latents counts as one unit.

    A unit's activation is its absolute value, so that metrics mean the same for linear latents.

    Returns:
      ``mean_activation`` over examples and units; ``dead_units``, the fraction of units that no
      example moves by more than `near_zero` from where another has them (a unit that is always 0,
      or saturated: it says nothing about `x`); ``near_zero_units``, the fraction of units whose
      mean activation is at most `near_zero`; and ``near_zero_activations``, the fraction of all
      single activations that are.

    Raises:
      ValueError: `near_zero` is negative.
    """
    require(near_zero >= 0, "near_zero", near_zero, "must not be negative")
    latents = np.asarray(z)
    size = np.abs(latents)
    return {
        "mean_activation": float(size.mean(dtype=np.float64)),
        "dead_units": float((np.ptp(latents, axis=0) <= near_zero).mean()),
        "near_zero_units": float((size.mean(axis=0) <= near_zero).mean()),
        "near_zero_activations": float((size <= near_zero).mean()),
    }

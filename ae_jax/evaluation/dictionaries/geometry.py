"""The directions of a dictionary among each other: which latents have nearly the same one."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from ae_jax.core import Autoencoder, Variables
from ae_jax.spec import require

TILE = 2048
"""Cosines are computed in blocks [TILE, TILE]."""
GROUP = 32
"""Columns of a block whose largest is found first."""
NEAR = 0.9
HIGH = lax.Precision.HIGHEST
CONVENTIONS = {
    "largest_cosine": "of a latent's decoder direction and another's, the largest by size, mean "
    "over latents",
    "near_duplicates": f"share of latents with such a cosine above {NEAR} by size",
}


class Neighbors(NamedTuple):
    """The nearest other directions of each latent, nearest first."""

    indices: np.ndarray
    """Of latents: int32 [W, count]."""
    cosines: np.ndarray
    """Of both directions, with their signs; they are ordered by size: [W, count]."""


def directions_of(ae: Autoencoder, variables: Variables) -> np.ndarray:
    """What one unit of each latent adds to a reconstruction: [W, *target_shape].

    Raises `ValueError` for a model without directions.
    """
    if ae.method("directions") is None:
        kind = type(ae.module).__name__
        raise ValueError(f"{kind} has no method 'directions', which dictionaries have")
    return np.asarray(ae.apply(variables, method="directions"))


def nearest_directions(
    directions: ArrayLike, *, of: ArrayLike | None = None, count: int = 1, tile: int = TILE
) -> Neighbors:
    """The `count` other directions [W, ...] with the largest ``|cosine|``, of each or of some.

    At most ``W - 1``. A direction of norm 0 has the cosine 0 with all others. No array is larger
    than the directions and one block of cosines, [tile, tile]. With the indices `of` [L], only
    their neighbors, [L, count].

    Raises `ValueError` for a `count` below 1, or for directions that are not finite.
    """
    require(count >= 1, "count", count, "must be at least 1")
    table = np.asarray(directions, np.float32)
    table = table.reshape(len(table), -1)
    if not np.isfinite(table).all():
        raise ValueError("the directions are not finite: has the training diverged?")
    # In float64: squares of small numbers vanish in float32.
    norms = np.sqrt(np.einsum("wd,wd->w", table, table, dtype=np.float64))[:, None]
    table = (table / np.where(norms > 0, norms, 1.0)).astype(np.float32)
    width = len(table)
    size = -(-min(tile, width) // GROUP) * GROUP
    padded = jnp.asarray(np.pad(table, [(0, -width % size), (0, 0)]))
    count, own = min(count, width - 1), np.arange(width) if of is None else np.asarray(of)
    blocks = np.pad(own, (0, -len(own) % size)).reshape(-1, size)
    parts = [_of_rows(padded, jnp.asarray(block, jnp.int32), width, count) for block in blocks]
    indices, cosines = (np.concatenate(each)[: len(own)] for each in zip(*parts, strict=True))
    return Neighbors(indices, cosines)


def geometry_metrics(neighbors: Neighbors) -> dict[str, float]:
    """The metrics that `CONVENTIONS` describes. Raises `ValueError` for a single latent."""
    if not neighbors.cosines.shape[1]:
        raise ValueError("a dictionary of one latent has no other directions")
    largest = np.abs(neighbors.cosines[:, 0])
    return {
        "largest_cosine": float(largest.mean(dtype=np.float64)),
        "near_duplicates": float((largest > NEAR).mean()),
    }


@partial(jax.jit, static_argnums=(2, 3))
def _of_rows(table: Array, own: Array, width: int, count: int) -> tuple[Array, Array]:
    """Indices and cosines of the nearest of all rows of `table`, for the rows `own` [tile]."""
    rows, tile = table[own], len(own)

    def one(best: tuple[Array, Array, Array], start: Array) -> tuple[Any, None]:
        cosines = jnp.matmul(rows, lax.dynamic_slice_in_dim(table, start, tile).T, precision=HIGH)
        others = start + jnp.arange(tile)
        real = (others < width) & (others != own[:, None])
        sizes = jnp.where(real, jnp.abs(cosines), -1.0)
        # The largest are in the groups with the largest maxima: no sort of a whole block.
        maxima = sizes.reshape(tile, GROUP, -1).max(1)
        _, groups = lax.top_k(maxima, min(count, maxima.shape[1]))
        steps = maxima.shape[1] * jnp.arange(GROUP)
        columns = (groups[:, :, None] + steps).reshape(tile, -1)
        of_block = [jnp.take_along_axis(each, columns, axis=1) for each in (sizes, cosines)]
        block = (*of_block, start + columns)
        both = [jnp.concatenate(pair, axis=1) for pair in zip(best, block, strict=True)]
        _, chosen = lax.top_k(both[0], count)
        return tuple(jnp.take_along_axis(each, chosen, axis=1) for each in both), None

    none = jnp.full((tile, count), -2.0)
    starts = jnp.arange(0, len(table), tile)
    (_, cosines, indices), _ = lax.scan(one, (none, none, none.astype(jnp.int32)), starts)
    return indices, cosines

"""Running a compiled function over a whole data set, however large."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from ae_jax.core import Batch, floats_in

BATCH = 1000


def real_rows(data: ArrayLike | Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns of `data` (an array is its ``"x"``), without the rows that its mask excludes."""
    columns = dict(data) if isinstance(data, Mapping) else {"x": np.asarray(data)}
    mask = columns.pop("mask", None)
    if mask is None:
        return columns
    rows = np.flatnonzero(mask)
    return {name: column[rows] for name, column in columns.items()}


def in_batches(
    fn: Callable[..., Any],
    operands: Any,
    data: Mapping[str, np.ndarray],
    *,
    batch_size: int = BATCH,
) -> Any:
    """``fn(operands, batch)`` for all examples of `data`, compiled once, on the host again.

    Args:
      fn: maps `operands` (parameters, say) and a batch, ``"x"`` as floats and what else `data` has,
        to a tree of arrays [B, ...]. A row of these may depend on its own example only.
      operands: any tree of arrays.
      data: ``"x"`` [N, ...] and other columns [N]; may be mapped into memory from disk.
      batch_size: examples that are on the device at once.

    Returns:
      The tree of NumPy arrays [N, ...].
    """
    count = len(data["x"])
    size = min(batch_size, count)

    @jax.jit
    def run(operands: Any, batch: Batch) -> Any:
        return fn(operands, floats_in(batch))

    def rows(first: int) -> dict[str, Array]:
        # A last batch that is short is made of rows that were there before it.
        start = min(first, count - size)
        return {name: jnp.asarray(column[start : start + size]) for name, column in data.items()}

    parts = []
    for first in range(0, count, size):
        skip = first - min(first, count - size)
        done = jax.device_get(run(operands, rows(first)))
        parts.append(jax.tree.map(lambda a, skip=skip: a[skip:], done))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *parts)

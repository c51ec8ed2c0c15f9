"""Running a compiled function over a whole data set, however large."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from ae_jax.core import Autoencoder, Batch, Variables, floats_in
from ae_jax.data import validated

BATCH = 1000
KEPT = ("length", "mask")


def checked(ae: Autoencoder, data: ArrayLike | Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Examples [N, ...] or columns of them; those that the model reads as checked arrays.

    Raises `ValueError` or `TypeError`, one line, for data that `fit` would refuse: integers that
    are no pixels, masked arrays, values outside [0, 1] for a cross-entropy, ...
    """
    columns: dict[str, Any] = dict(data) if isinstance(data, Mapping) else {"x": data}
    read = {name: columns[name] for name in ("x", *KEPT, *ae.reads) if name in columns}
    read = validated(read, support=ae.support)
    if ae.check is not None:
        ae.check(read, False)
    return columns | read


def of_examples(
    fn: Callable[[Variables, Batch], Any],
    ae: Autoencoder,
    variables: Variables,
    data: ArrayLike | Mapping[str, ArrayLike],
    *,
    batch_size: int = BATCH,
) -> Any:
    """`in_batches` of data for a model, after `checked`."""
    return in_batches(fn, variables, checked(ae, data), batch_size=batch_size)


def some(data: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """At most `count` examples of `data`, evenly spaced."""
    total = len(data["x"])
    rows = np.linspace(0, total - 1, min(count, total)).astype(int)
    return {name: column[rows] for name, column in data.items()}


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

    @jax.jit
    def run(operands: Any, batch: Batch) -> Any:
        return fn(operands, floats_in(batch))

    parts = []
    for batch, skip in each_batch(data, batch_size):
        done = jax.device_get(run(operands, batch))
        parts.append(jax.tree.map(lambda a, skip=skip: a[skip:], done))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *parts)


def each_batch(
    data: Mapping[str, np.ndarray], batch_size: int = BATCH
) -> Iterator[tuple[dict[str, Array], int]]:
    """Batches of one size that cover `data`, in order, on the device.

    Beside each is the number of rows at its start that the batch before it had too: a last batch
    that is short is made of rows that were there before it.
    """
    count = len(data["x"])
    size = min(batch_size, count)
    for first in range(0, count, size):
        start = min(first, count - size)
        rows = slice(start, start + size)
        yield {name: jnp.asarray(column[rows]) for name, column in data.items()}, first - start

"""The in-memory pipeline: the whole data set on the device, batches gathered inside the program.

The order of the examples is a pure function of ``(key, epoch)``, and a batch of its position in the
epoch: there is no iterator whose state could be lost.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Batches that cover `count` examples; the last one may be partly padding."""
    return -(-count // batch_size)


def epoch_order(
    key: Array, epoch: ArrayLike, *, count: int, batch_size: int, multiple: int = 1
) -> Array:
    """The example indices of an epoch, shuffled: [steps, width], -1 is padding.

    The width is `batch_size` rounded up to a `multiple`, for batches that are split evenly.
    """
    order = jax.random.permutation(jax.random.fold_in(key, epoch), count)
    return _batched(order, count, batch_size, multiple)


def sequential_order(*, count: int, batch_size: int, multiple: int = 1) -> Array:
    """Every example once, in the order of the data set: [steps, width], as `epoch_order`."""
    return _batched(jnp.arange(count), count, batch_size, multiple)


def take(data: Mapping[str, Array], indices: Array, *, padded: bool) -> dict[str, Array]:
    """The batch of these rows. With `padded`, its ``mask`` [B] is 0 where the index is -1 (and
    where the data's own mask is)."""
    batch = {name: jnp.take(rows, indices, axis=0, mode="clip") for name, rows in data.items()}
    if padded:
        batch["mask"] = batch.get("mask", 1.0) * (indices >= 0).astype(jnp.float32)
    return batch


def _batched(order: Array, count: int, batch_size: int, multiple: int) -> Array:
    steps = steps_per_epoch(count, batch_size)
    order = jnp.pad(order, (0, steps * batch_size - count), constant_values=-1)
    order = order.reshape(steps, batch_size).astype(jnp.int32)
    return jnp.pad(order, ((0, 0), (0, -batch_size % multiple)), constant_values=-1)

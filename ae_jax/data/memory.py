"""The in-memory pipeline: the data set is on the device, and the program gathers the batches.

The order of the examples is a pure function of ``(key, epoch)``, and a batch is a pure function of
its position in the epoch. So no iterator has a state that could be lost. The rows of `Generated`
data are computed instead of gathered.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.typing import ArrayLike

from ae_jax.data.generated import Generated
from ae_jax.devices.mesh import put, replicated, split

Order = Callable[[ArrayLike], Any]
"""A traceable function: epoch -> example indices of its batches, [steps, width].

A negative index is padding: a copy of example ``-1 - index`` (see `row_of`). It is an array, or
`Consecutive`, which is indexed like one.
"""


class InMemory:
    """Batches of data that is on every device; `ae_jax.data.stream.Streamed` has the same methods.

    `ae_jax.data.shards.Shards` in `data` are read as a whole.

    With `padded`, batches have a ``mask`` (see `take`), which is needed if `order` has padding.
    `place` is the sharding of the order; by default that of its batches, which are split.
    """

    def __init__(
        self,
        data: Mapping[str, np.ndarray] | Generated,
        order: Order,
        *,
        padded: bool,
        mesh: Mesh,
        place: NamedSharding | None = None,
    ) -> None:
        self.batch_at = partial(batch_at, padded=padded)
        if not isinstance(data, Generated):
            data = {name: np.asarray(column) for name, column in data.items()}
        self._data = put(data, replicated(mesh))
        self._order_of = jax.jit(order, out_shardings=place or split(mesh, 1))
        self._epoch, self._order = 0, self._order_of(0)

    def pieces(self, epoch: int, first: int, count: int) -> Iterator[tuple[Any, int, int]]:
        """Yield ``(data, first, count)`` for each part of these batches of an epoch."""
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._order_of(epoch)
        yield (self._data, self._order), first, count


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Batches that cover `count` examples; the last one may be partly padding."""
    return -(-count // batch_size)


def epoch_order(
    key: Array, epoch: ArrayLike, *, count: int, batch_size: int, multiple: int = 1
) -> Array:
    """The example indices of an epoch, shuffled: [steps, width], negative where it is padding.

    The width is `batch_size` rounded up to a `multiple`, for batches that are split evenly.
    """
    order = shuffled(jax.random.fold_in(key, epoch), count)
    return _batched(order, count, batch_size, multiple)


def shuffled(key: Array, count: int) -> Array:
    """``0 .. count - 1`` in random order, [count].

    All orders are equally likely, except for ties: two examples with equal random numbers (of at
    least 32 bits) keep their order. The expected number of such pairs is ``count**2 / 2**33``.

    `jax.random.permutation` sorts pairs of a random number and an index. Here the low bits of a
    random number are replaced by the index, so that single integers are sorted, which is faster on
    a CPU. Sorting several times, by fresh random bits, replaces the bits that the index occupies.
    """
    low = max((count - 1).bit_length(), 1)
    if low > 24:  # too few bits a round
        return jax.random.permutation(key, count)
    place = jnp.arange(count, dtype=jnp.uint32)
    order = place
    for one in jax.random.split(key, -(-32 // (32 - low))):
        bits = jax.random.bits(one, (count,), jnp.uint32) << low
        order = order[jnp.sort(bits | place) & (2**low - 1)]
    return order.astype(jnp.int32)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Consecutive:
    """The order of rows in turn, not stored: ``order[i]`` are the indices of batch i, [width].

    The leaves have the rank of an order, so that they are split over devices in the same way.
    """

    start: Array
    """The first row of the epoch, for every column of a batch: [1, width] of uint32."""
    column: Array
    """0 .. width - 1: [1, width] of uint32."""
    count: int = field(metadata={"static": True})
    batch_size: int = field(metadata={"static": True})

    def __getitem__(self, i: ArrayLike) -> Array:
        column = self.column[0]
        position = jnp.asarray(i).astype(jnp.uint32) * self.batch_size + column
        real = (column < self.batch_size) & (position < self.count)
        row = (self.start[0] + position % self.count) & jnp.uint32(2**31 - 1)
        row = row.astype(jnp.int32)
        return jnp.where(real, row, -1 - row)


def consecutive(epoch: ArrayLike, *, count: int, batch_size: int, multiple: int = 1) -> Consecutive:
    """The order of an epoch that has the `count` rows after those of the epoch before it.

    Row numbers are modulo 2^31. The width of a batch is that of `epoch_order`.
    """
    width = batch_size + -batch_size % multiple
    start = jnp.asarray(epoch).astype(jnp.uint32) * jnp.uint32(count)
    column = jnp.arange(width, dtype=jnp.uint32)[None]
    return Consecutive(jnp.broadcast_to(start, (1, width)), column, count, batch_size)


def draws_fresh(data: Mapping[str, Any]) -> bool:
    """Whether each epoch of this set has rows of its own, in turn (see `Generated.fresh`)."""
    return isinstance(data, Generated) and data.fresh


def training_order(data: Mapping[str, Any], key: Array, epoch: ArrayLike, **sizes: int) -> Any:
    """The order of an epoch of `data`: `epoch_order`, or `consecutive` for fresh draws."""
    return consecutive(epoch, **sizes) if draws_fresh(data) else epoch_order(key, epoch, **sizes)


def evaluation_order(data: Mapping[str, Any], **sizes: int) -> Any:
    """The order of the data itself: `sequential_order`, not stored if the rows are computed."""
    return consecutive(0, **sizes) if isinstance(data, Generated) else sequential_order(**sizes)


def sequential_order(*, count: int, batch_size: int, multiple: int = 1) -> Array:
    """The example indices of an epoch in the order of the data: [steps, width]; -1 is padding."""
    return _batched(jnp.arange(count), count, batch_size, multiple)


def batch_at(
    data: tuple[Mapping[str, Array] | Generated, Any], i: ArrayLike, *, padded: bool
) -> dict[str, Array]:
    """Batch i of ``data = (arrays, order)``, to be called inside the compiled program."""
    arrays, order = data
    return take(arrays, order[i], padded=padded)


def take(
    data: Mapping[str, Array] | Generated, indices: Array, *, padded: bool
) -> dict[str, Array]:
    """The batch of the rows `indices` [B].

    With `padded`, its ``mask`` [B] is 0 where the index is negative or the data's own mask is 0.
    """
    rows = row_of(indices)
    if isinstance(data, Generated):
        batch = data.at(rows)
    else:
        batch = {name: _rows(column, rows) for name, column in data.items()}
    if padded:
        batch["mask"] = batch.get("mask", 1.0) * (indices >= 0).astype(jnp.float32)
    return batch


def row_of(indices: Any) -> Any:
    """The example that each entry of an `Order` stands for, padding included."""
    return indices ^ (indices >> 31)  # -1 - i where i is negative, in int32


def _rows(rows: Array, indices: Array) -> Array:
    # Gathered as flat rows, which is faster on a CPU: XLA would compute three indices for every
    # byte of an image, here and in every operation that it fuses with the batch.
    flat = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    batch = jnp.take(flat, indices, axis=0, mode="clip")
    return batch.reshape(len(indices), *rows.shape[1:])


def _batched(order: Array, count: int, batch_size: int, multiple: int) -> Array:
    steps = steps_per_epoch(count, batch_size)
    order = order.astype(jnp.int32)
    surplus, extra = steps * batch_size - count, -batch_size % multiple
    # Padding rows are spread over the data set, so that no example is there many times.
    padding = -1 - jnp.resize(order, (surplus + steps * extra,))
    rows = jnp.concatenate([order, padding[:surplus]]).reshape(steps, batch_size)
    return jnp.concatenate([rows, padding[surplus:].reshape(steps, extra)], axis=1)

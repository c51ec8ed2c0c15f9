"""The streaming pipeline: data that stays on the host (or on its disk), read ahead by Grain.

The batches are those of the in-memory pipeline, in the same order. They travel in chunks of some
megabytes: while the device works on one, Grain's threads read the next ones, and the first of them
is already on its way. A chunk is a pure function of its number, so a run can begin at any; and each
process reads only the rows that its own devices work on.
"""

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from ae_jax.data.memory import Order
from ae_jax.data.records import Records
from ae_jax.parallel import split

CHUNK_BYTES = 4 * 2**20
"""Of one process. Enough to make the cost of a transfer and of a call small."""
AHEAD = 2  # chunks that are read before they are asked for
_FOREVER = 2**62


class Streamed:
    """Batches of `data`, of which a few chunks are on the devices at a time.

    The methods are those of `ae_jax.data.memory.InMemory`. The values of `data` are arrays [N, ...]
    (memory-mapped ones are read from disk as they are needed), or `Records`.
    """

    def __init__(
        self,
        data: Mapping[str, np.ndarray | Records],
        order: Order,
        *,
        padded: bool,
        mesh: Mesh,
    ) -> None:
        self.data, self.padded = data, padded
        jitted = jax.jit(order)
        self._order = lru_cache(2)(lambda epoch: np.asarray(jitted(epoch)))
        self._steps, width = self._order(0).shape
        self._sharding = split(mesh, 1)
        there = self._sharding.addressable_devices_indices_map((1, width)).values()
        starts = sorted({index[1].indices(width)[:2] for index in there if index is not None})
        self._columns = np.concatenate([np.arange(start, stop) for start, stop in starts])
        row = sum(array.nbytes // len(array) for array in data.values())
        steps = CHUNK_BYTES // (row * len(self._columns))
        self._chunk_steps = min(max(steps, 1), self._steps)
        self._per_epoch = -(-self._steps // self._chunk_steps)
        decoding = any(isinstance(array, Records) for array in data.values())
        self._threads = min(os.cpu_count() or 1, 16) if decoding else 1
        self._chunks: Iterator[dict[str, np.ndarray]] = iter(())
        self._number = -1
        self._chunk: dict[str, Array] = {}

    def pieces(self, epoch: int, first: int, count: int) -> Iterator[tuple[Any, int, int]]:
        """``(data, first, count)`` of the stretches that make up these batches of an epoch."""
        while count > 0:
            at, offset = divmod(first, self._chunk_steps)
            length = min(self._chunk_steps - offset, count)
            yield self._on_device(epoch * self._per_epoch + at), offset, length
            first, count = first + length, count - length

    @staticmethod
    def batch_at(data: Mapping[str, Array], i: ArrayLike) -> dict[str, Array]:
        """Batch i of a piece; for use inside the program."""
        return {name: rows[i] for name, rows in data.items()}

    def _on_device(self, number: int) -> dict[str, Array]:
        """The chunk of this number, of all epochs; chunks are read ahead from it on."""
        if number == self._number:
            return self._chunk
        if number != self._number + 1 or number == 0:
            self._chunks = self._read_from(number)
        self._chunk = {
            name: jax.make_array_from_process_local_data(
                self._sharding, rows, (len(rows), self._order(0).shape[1], *rows.shape[2:])
            )
            for name, rows in next(self._chunks).items()
        }
        self._number = number
        return self._chunk

    def _read_from(self, number: int) -> Iterator[dict[str, np.ndarray]]:
        import grain

        options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=AHEAD)
        numbers = grain.MapDataset.range(number, _FOREVER)
        return iter(numbers.map(self._read).to_iter_dataset(options))

    def _read(self, number: int) -> dict[str, np.ndarray]:
        """This process's rows of a chunk: name -> [steps, rows, ...], the last ones of an epoch
        made up to the length of the others."""
        epoch, at = divmod(int(number), self._per_epoch)
        first = at * self._chunk_steps
        indices = self._order(epoch)[first : first + self._chunk_steps, self._columns]
        shortage = self._chunk_steps - len(indices)
        rows = np.maximum(indices, 0).reshape(-1)
        chunk = {
            name: array[rows].reshape(*indices.shape, *array.shape[1:])
            for name, array in self.data.items()
        }
        if self.padded:
            real = (indices >= 0).astype(np.float32)
            chunk["mask"] = chunk["mask"] * real if "mask" in chunk else real
        if shortage:
            for name, rows in chunk.items():
                chunk[name] = np.pad(rows, ((0, shortage), *[(0, 0)] * (rows.ndim - 1)))
        return chunk

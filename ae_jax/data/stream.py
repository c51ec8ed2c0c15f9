"""The streaming pipeline: data stays on the host or its disk, and Grain reads it ahead.

The batches and their order are those of the in-memory pipeline. They are transferred in chunks of
some megabytes: while the device computes on one chunk, Grain's threads read the next ones. A chunk
is a pure function of its number, so a run can start at any chunk. Each process reads only the rows
for its own devices.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from ae_jax.data.memory import Order, row_of
from ae_jax.data.records import Records
from ae_jax.data.shards import Shards
from ae_jax.devices.mesh import AXIS, split

CHUNK_BYTES = 4 * 2**20
"""Size of a chunk on one device; large enough to make the cost of a transfer and a call small."""
AHEAD = 2  # chunks that are read in advance
_FOREVER = 2**62


def chunk_steps(row: int, width: int, mesh: Mesh) -> int:
    """Batches in a chunk, of `width` examples of `row` bytes each.

    It depends on the mesh alone, so that all processes use the same chunks.
    """
    return max(CHUNK_BYTES // max(row * width // mesh.shape[AXIS], 1), 1)


class Streamed:
    """Batches of data on the host; only a few chunks are on the devices at a time.

    The methods are those of `ae_jax.data.memory.InMemory`. The values of `data` are arrays [N, ...]
    (parts of memory-mapped ones are read from disk when they are needed), `Records` or `Shards`.
    """

    def __init__(
        self,
        data: Mapping[str, np.ndarray | Records | Shards],
        order: Order,
        *,
        padded: bool,
        mesh: Mesh,
    ) -> None:
        jitted = jax.jit(order)
        order_of = lru_cache(2)(lambda epoch: np.asarray(jitted(epoch)))
        steps, self._width = order_of(0).shape
        self._sharding = split(mesh, 1)
        indices = self._sharding.addressable_devices_indices_map((1, self._width)).values()
        starts = sorted({i[1].indices(self._width)[:2] for i in indices if i is not None})
        row = sum(array.nbytes // len(array) for array in data.values())
        length = min(chunk_steps(row, self._width, mesh), steps)
        self._reader = _Reader(
            data=data,
            padded=padded,
            order_of=order_of,
            columns=np.concatenate([np.arange(start, stop) for start, stop in starts]),
            steps=length,
            per_epoch=-(-steps // length),
        )
        decoding = any(isinstance(array, Records) for array in data.values())
        self._threads = min(os.cpu_count() or 1, 16) if decoding else 1
        self._chunks: Iterator[dict[str, np.ndarray]] = iter(())
        self._number = -1
        self._chunk: dict[str, Array] = {}

    def pieces(self, epoch: int, first: int, count: int) -> Iterator[tuple[Any, int, int]]:
        """Yield ``(data, first, count)`` for each part of these batches of an epoch."""
        steps = self._reader.steps
        while count > 0:
            at, offset = divmod(first, steps)
            length = min(steps - offset, count)
            yield self._on_device(epoch * self._reader.per_epoch + at), offset, length
            first, count = first + length, count - length

    @staticmethod
    def batch_at(data: Mapping[str, Array], i: ArrayLike) -> dict[str, Array]:
        """Batch i of a piece, to be called inside the compiled program."""
        return {name: rows[i] for name, rows in data.items()}

    def _on_device(self, number: int) -> dict[str, Array]:
        """The chunk of this number, counted over all epochs; the next chunks are read ahead."""
        if number == self._number:
            return self._chunk
        if number != self._number + 1 or number == 0:
            self._chunks = self._read_from(number)
        self._chunk = {
            name: jax.make_array_from_process_local_data(
                self._sharding, rows, (len(rows), self._width, *rows.shape[2:])
            )
            for name, rows in next(self._chunks).items()
        }
        self._number = number
        return self._chunk

    def _read_from(self, number: int) -> Iterator[dict[str, np.ndarray]]:
        import grain

        options = grain.ReadOptions(
            num_threads=self._threads, prefetch_buffer_size=max(AHEAD, self._threads)
        )
        numbers = grain.MapDataset.range(number, _FOREVER)
        return iter(numbers.map(self._reader.read).to_iter_dataset(options))


@dataclass(frozen=True)
class _Reader:
    """Reads chunks. It is separate so that the threads end when a `Streamed` is deleted."""

    data: Mapping[str, np.ndarray | Records | Shards]
    padded: bool
    order_of: Callable[[int], np.ndarray]
    columns: np.ndarray
    """Columns of a batch that belong to this process's devices."""
    steps: int
    """Batches per chunk."""
    per_epoch: int
    """Chunks per epoch."""

    def read(self, number: int) -> dict[str, np.ndarray]:
        """This process's rows of a chunk: name -> [steps, rows, ...].

        The last chunk of an epoch is padded to the length of the others.
        """
        epoch, at = divmod(int(number), self.per_epoch)
        first = at * self.steps
        indices = self.order_of(epoch)[first : first + self.steps, self.columns]
        shortage = self.steps - len(indices)
        rows = row_of(indices).reshape(-1)
        chunk = {
            name: array[rows].reshape(*indices.shape, *array.shape[1:])
            for name, array in self.data.items()
        }
        if self.padded:
            real = (indices >= 0).astype(np.float32)
            chunk["mask"] = chunk["mask"] * real if "mask" in chunk else real
        if shortage:
            for name, part in chunk.items():
                chunk[name] = np.pad(part, ((0, shortage), *[(0, 0)] * (part.ndim - 1)))
        return chunk

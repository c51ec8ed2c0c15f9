"""The rows that a function of a batch gives for the examples of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from ae_jax.core import Batch, floats_in
from ae_jax.spec import require

TRACE = ("row", "position")
"""The columns that say which example, and which of its positions, a row is of."""
_RESERVED = (*TRACE, "step", "axis_name")


class Rows:
    """The rows that a function of a batch gives for the examples of a data set, shard by shard.

    The arguments are those of `ae_jax.data.activations.write_activations`.
    """

    def __init__(
        self,
        fn: Callable[[Batch], Any],
        data: Mapping[str, np.ndarray],
        rows_per_shard: int,
        batch_size: int,
        dtype: np.dtype,
    ) -> None:
        self.data, self.batch_size, self.dtype = data, batch_size, dtype
        # An argument of the program: as constants, large arrays slow the compiler down.
        self._fn = fn if isinstance(fn, Partial) else Partial(lambda batch: fn(batch))
        self._run = jax.jit(lambda fn, batch: _as_columns(fn(floats_in(batch))))
        like = jax.eval_shape(self._run, self._fn, self._batch(0, 1))
        self.positions = _checked(like, batch_size)
        each = self.positions or 1
        problem = f"must be >= {each}, the positions of an example, which stay in one shard"
        require(rows_per_shard >= each, "rows_per_shard", rows_per_shard, problem)
        most = rows_per_shard // each
        self.batch_size = min(batch_size, most)
        self.per_shard = most // self.batch_size * self.batch_size
        """Examples in a shard, in whole batches."""
        trace = {name: np.zeros(0, np.int32) for name in TRACE if self.positions}
        skip = 1 + (self.positions is not None)
        self.columns = {}
        for name, leaf in (like | trace).items():
            if name != "mask":
                stored = dtype if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.dtype
                event = ("N", *leaf.shape[skip:])
                self.columns[name] = f"{stored}[{', '.join(map(str, event))}]"

    def shard(self, number: int) -> dict[str, np.ndarray]:
        """All rows of a shard, by column."""
        first = number * self.per_shard
        parts = list(self._parts(first, min(first + self.per_shard, len(self.data["x"]))))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def first_rows(self, number: int) -> dict[str, np.ndarray]:
        """The rows of the first batch of a shard."""
        first = number * self.per_shard
        stop = min(first + self.per_shard, len(self.data["x"]), first + self.batch_size)
        (part,) = self._parts(first, stop)
        return part

    def _parts(self, first: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
        """The rows of these examples, a batch at a time."""
        pending: tuple[int, int, Any] | None = None
        for start in range(first, stop, self.batch_size):
            end = min(start + self.batch_size, stop)
            outputs = self._run(self._fn, self._batch(start, end))
            if pending is not None:  # while the device computes the next one
                yield self._rows(*pending)
            pending = start, end, outputs
        if pending is not None:
            yield self._rows(*pending)

    def _batch(self, start: int, end: int) -> dict[str, np.ndarray]:
        """These examples, and copies of the last one to fill the batch."""
        rows = np.minimum(np.arange(start, start + self.batch_size), end - 1)
        return {name: column[rows] for name, column in self.data.items()}

    def _rows(self, start: int, end: int, outputs: Any) -> dict[str, np.ndarray]:
        """The rows to write, of outputs for the examples from `start` to `end`."""
        count, shape = end - start, (end - start, self.positions or 1)
        found = {name: np.asarray(leaf)[:count] for name, leaf in outputs.items()}
        grid = np.broadcast_to(np.arange(start, end)[:, None], shape)
        keep = np.ones(shape, bool)
        for mask in (found.pop("mask", None), self.data.get("mask", np.ones(end))[start:end]):
            if mask is not None:
                keep &= mask.reshape(count, -1) != 0
        if self.positions:
            found |= {"row": grid, "position": np.broadcast_to(np.arange(shape[1]), shape)}
        rows = {}
        for name, array in found.items():
            if self.positions and array.ndim == 1:
                array = np.broadcast_to(array[:, None], shape)
            if self.positions is None:
                array = array[:, None]
            kept = array[keep]
            if name in TRACE:
                kept = kept.astype(np.int32)
            elif jnp.issubdtype(kept.dtype, jnp.floating):
                kept = self._stored(name, kept, grid[keep])
            rows[name] = np.ascontiguousarray(kept)
        return rows

    def _stored(self, name: str, values: np.ndarray, examples: np.ndarray) -> np.ndarray:
        """Floats in the dtype of the file."""
        with np.errstate(over="ignore"):
            stored = values.astype(self.dtype)
        finite = np.isfinite(stored.astype(np.float32))
        if not finite.all():
            row, *at = np.unravel_index(np.argmin(finite), finite.shape)
            value = values[(row, *at)]
            remedy = "repair the function or the data"
            if np.isfinite(value):
                remedy = f"which {self.dtype} cannot hold: use dtype='bfloat16' or 'float32'"
            raise ValueError(
                f"{name} of example {examples[row]} has the value {float(value):.6g}, {remedy}"
            )
        return stored


def _as_columns(outputs: Any) -> dict[str, Any]:
    columns = dict(outputs) if isinstance(outputs, Mapping) else {"x": outputs}
    return {name: jnp.asarray(column) for name, column in columns.items() if column is not None}


def _checked(like: Mapping[str, Any], batch_size: int) -> int | None:
    """The positions of an example in these outputs, or None if it gives one row."""
    if "x" not in like:
        raise ValueError(f"the function gives no 'x', only {sorted(like)}: put the rows under 'x'")
    x = like["x"]
    positions = x.shape[1] if x.ndim == 3 else None
    for name, leaf in like.items():
        shape = list(leaf.shape)
        if name in _RESERVED:
            raise ValueError(f"the function gives {name!r}, which has a meaning here: rename it")
        if shape[:1] != [batch_size] or 0 in shape or (name == "x" and len(shape) < 2):
            raise ValueError(
                f"the function gives {name} of shape {shape} for a batch of {batch_size} examples: "
                f"needs [{batch_size}, ...]"
            )
        if positions and len(shape) > 1 and shape[1] != positions:
            raise ValueError(
                f"the function gives {name} of shape {shape}, and x has {positions} positions: "
                f"needs [{batch_size}, {positions}, ...] or [{batch_size}]"
            )
        if name == "mask" and len(shape) > 1 + bool(positions):
            raise ValueError(f"the function gives a mask of shape {shape}: needs one number a row")
    return positions

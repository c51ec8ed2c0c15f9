"""A column of a folder of shards, read from disk whenever it is indexed.

shard = columns(folder)["x"]  # rows of many files, as one array [N, ...event]
shard[np.array([70_001, 3])]  # float32 [2, ...event]
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.data.scan import BLOCK, Scan, scan
from ae_jax.data.shard_files import MANIFEST, Mapped, file_number, opened, shard_files
from ae_jax.data.splits import held_out, require_split
from ae_jax.devices.memory import size
from ae_jax.files import memory_limit

PLAIN = ("label", "length", "mask")
"""Columns of one number per row that `load_shards` returns as arrays in memory."""
_INT32 = np.iinfo(np.int32)


class Shards:
    """Rows [N, ...event] of many files that are mapped into memory, indexed like one array.

    Floats of any width, bfloat16 included, are read as float32, and integers other than uint8 as
    int32. The files stay as they are. An index is a slice or an array of row numbers, and gives an
    array. `ae_jax.training.fit` streams from shards; ``np.asarray(shards)`` reads all rows, if they
    fit into half of the memory.

    Args:
      parts: arrays of one dtype and event shape, in their order.
      rows: the rows to keep, counted over all parts, in their new order; by default all.
    """

    def __init__(self, parts: Sequence[Mapped], rows: np.ndarray | None = None) -> None:
        self._parts = tuple(parts)
        self._rows = None if rows is None else rows.astype(np.int32)
        self._starts = np.cumsum([0, *(len(part.array) for part in parts)])
        count = int(self._starts[-1]) if rows is None else len(rows)
        stored = parts[0].array.dtype
        if stored != np.uint8:
            stored = np.dtype(np.int32 if stored.kind in "iu" else np.float32)
        self.shape: tuple[int, ...] = (count, *parts[0].array.shape[1:])
        self.dtype = stored

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, in the order of their rows."""
        return tuple(part.path for part in self._parts)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the values as they are read."""
        return self.size * self.dtype.itemsize

    @cached_property
    def scan(self) -> Scan:
        """The result of one pass over all rows (see `ae_jax.data.scan`), which is kept."""
        return scan(self)

    def min(self) -> float:
        return self.scan.low

    def max(self) -> float:
        return self.scan.high

    def select(self, rows: np.ndarray) -> Shards:
        """The shards with these rows only; nothing is read."""
        return Shards(self._parts, rows if self._rows is None else self._rows[rows])

    def place(self, row: int) -> tuple[Path, int]:
        """The file of a row, and its number there."""
        at = int(row if self._rows is None else self._rows[row])
        part = int(np.searchsorted(self._starts, at, side="right")) - 1
        return self._parts[part].path, at - int(self._starts[part])

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Shards({len(self._parts)} files, {self.dtype}{list(self.shape)})"

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, tuple):
            raise IndexError(
                f"shards are indexed by rows only, not by {len(rows)} indices: write s[rows][...]"
            )
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        rows = np.asarray(rows)
        if rows.dtype == bool and rows.shape == (len(self),):
            rows = np.flatnonzero(rows)
        if rows.dtype.kind not in "iu" and rows.size:
            raise IndexError(f"shards are indexed by rows, a slice or integers, not {rows.dtype}")
        at = rows.astype(np.int64).reshape(-1)
        if at.size and (at.min() < -len(self) or at.max() >= len(self)):
            raise IndexError(f"rows {at.min()} to {at.max()} are not all among {len(self)}")
        at = np.where(at < 0, at + len(self), at)
        return self._read(at).reshape((*rows.shape, *self.shape[1:]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def _read(self, rows: np.ndarray) -> np.ndarray:
        need = len(rows) * math.prod(self.shape[1:]) * self.dtype.itemsize
        if need > BLOCK and need > memory_limit():
            raise ValueError(
                f"{self.files[0].parent}: {len(rows)} rows take {size(need)}, more than half of "
                "this machine's memory: stream them (fit does), or read fewer at a time"
            )
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        rows = rows if self._rows is None else self._rows[rows].astype(np.int64)
        order = np.argsort(rows, kind="stable")  # files are read forwards
        ordered = rows[order]
        numbers = np.searchsorted(self._starts, ordered, side="right") - 1
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1), len(ordered)]
        for mine in (slice(*cut) for cut in itertools.pairwise(cuts) if len(ordered)):
            part, start = self._parts[numbers[mine][0]], self._starts[numbers[mine][0]]
            values = _in_range(part, part.read(ordered[mine] - start))
            with np.errstate(over="ignore"):  # a float64 may become infinite: `scan` counts it
                out[order[mine]] = values
        return out


def columns(folder: Path) -> dict[str, Shards]:
    """The columns of the shards in a folder, by name (see `shard_files.opened`).

    Raises `ValueError`, one line that names a file, for shards that do not fit together or are
    damaged, `FileNotFoundError` if there are none.
    """
    parts = opened(folder)
    names = sorted(parts, key=lambda name: (name != "x", name))
    found = {name: Shards(parts[name]) for name in names}
    first, count = names[0], len(found[names[0]])
    for name in names[1:]:
        _require_paired(folder, parts[first], parts[name], first, name)
    if not 0 < count <= _INT32.max:
        raise ValueError(f"{folder} has {count} rows: needs 1 to {_INT32.max} of them")
    return found


def _require_paired(
    folder: Path, first: list[Mapped], other: list[Mapped], first_name: str, name: str
) -> None:
    """Raise `ValueError` unless the files of two columns have the same numbers and rows."""
    if first[0].path.suffix == ".npy":
        numbers, others = ({file_number(part.path): part for part in c} for c in (first, other))
        if alone := sorted(numbers.keys() ^ others.keys()):
            part, lacking = (
                (numbers | others)[alone[0]],
                name if alone[0] in numbers else first_name,
            )
            raise ValueError(
                f"{part.path} has no file of {lacking} with its number: every row needs all columns"
            )
    for pair in zip(first, other, strict=True):
        if len(pair[0].array) != len(pair[1].array):
            (one, count), (two, other_count) = ((part.path.name, len(part.array)) for part in pair)
            raise ValueError(
                f"{folder}: {one} and {two} have {count} and {other_count} rows: every row needs "
                "all columns"
            )


def load_shards(path: Path, split: str) -> dict[str, np.ndarray | Shards]:
    """Load a split of a folder of shards; their values stay on disk.

    The folder has a subfolder of shards for each split ("train" and "test"), or holds shards
    itself. Then `splits.hold_out` puts a fixed fifth of their rows into the test split: a row of
    one example may be in one split and another row of it in the other, so activations with several
    positions per example are better written to subfolders.

    Returns:
      {"x": `Shards`, ...}, further columns likewise; "label", "length" and "mask" are arrays.

    Raises:
      ValueError: an unknown split, shards without "x", or an error of `columns`.
      FileNotFoundError: there are no shards.
    """
    splits = {each.name: each for each in sorted(path.iterdir()) if _is_split(each)}
    if splits and holds_shards(path, deep=False):
        raise ValueError(
            f"{path} holds shards, and so does its subfolder {min(splits)}: move them to another"
        )
    require_split(split, splits or ("train", "test"), path)
    found = columns(splits.get(split, path))
    if "x" not in found:
        raise ValueError(
            f"{path} has no column 'x', only {', '.join(sorted(found))}: name the examples x"
        )
    if not splits:
        rows = held_out(len(found["x"]), split)
        if not len(rows):
            raise ValueError(f"{path} has {len(found['x'])} row: needs two, for train and test")
        found = {name: column.select(rows) for name, column in found.items()}
    return {
        name: np.asarray(column) if name in PLAIN and column.ndim == 1 else column
        for name, column in found.items()
    }


def holds_shards(folder: Path, *, deep: bool = True) -> bool:
    """Whether a folder holds shards, or (`deep`) one of its subfolders does."""
    if not folder.is_dir():
        return False
    if shard_files(folder) or (folder / MANIFEST).exists():
        return True
    return deep and any(map(_is_split, folder.iterdir()))


def _is_split(folder: Path) -> bool:
    """Whether a subfolder holds shards; one that cannot be read, such as lost+found, does not."""
    try:
        return holds_shards(folder, deep=False)
    except PermissionError:
        return False


def _in_range(part: Mapped, values: np.ndarray) -> np.ndarray:
    """`values`, which must fit into int32 if they are integers."""
    if values.dtype.kind in "iu" and values.dtype.itemsize >= 4:
        low, high = int(values.min()), int(values.max())
        if low < _INT32.min or high > _INT32.max:
            wrong = low if low < _INT32.min else high
            raise ValueError(f"{part.path} has the value {wrong}, which is no int32")
    return values

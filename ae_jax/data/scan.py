"""One pass over a column that may be larger than the memory: what is wrong with it, and its sum."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

BLOCK = 2**26  # bytes that are read at a time


class Scan(NamedTuple):
    """What one pass over a column [N, ...event] found."""

    bad_rows: int
    """Rows with a value that is NaN or infinite."""
    first_bad: int | None
    """The first of these rows."""
    constant: np.ndarray
    """The elements of an event, counted over all its axes, that are equal in all rows."""
    low: float
    high: float
    """The least and the largest value; NaN if there is one."""
    checksum: int
    """The CRC-32 of all values in their order."""


def scan(column: Any) -> Scan:
    """Read a column [N, ...event] once, in blocks: an array, or `ae_jax.data.shards.Shards`."""
    bad_rows, first_bad, checksum = 0, None, 0
    low, high = np.inf, -np.inf
    first = column[:1].reshape(-1)
    constant = np.arange(first.size)
    for start, block in blocks(column):
        checksum = zlib.crc32(np.ascontiguousarray(block).data, checksum)
        low, high = np.minimum(low, block.min()), np.maximum(high, block.max())
        flat = block.reshape(len(block), -1)
        # Nearly all elements differ in the first rows, and are not compared again.
        for part in (flat[:64], flat[64:]):
            constant = constant[(part[:, constant] == first[constant]).all(axis=0)]
        if not (np.isfinite(low) and np.isfinite(high)):  # here or in a block before
            bad = np.flatnonzero(~np.isfinite(flat).all(axis=1))
            bad_rows += len(bad)
            if first_bad is None and len(bad):
                first_bad = start + int(bad[0])
    return Scan(bad_rows, first_bad, constant, float(low), float(high), checksum)


def blocks(column: Any) -> Any:
    """Yield ``(first row, rows)`` of a column [N, ...], of at most about `BLOCK` bytes each."""
    rows = max(1, BLOCK * len(column) // max(column.nbytes, 1))
    for start in range(0, len(column), rows):
        yield start, column[start : start + rows]


def check_activations(data: Mapping[str, Any]) -> None:
    """Check the float columns [N, d] of `data`: arrays, or `ae_jax.data.shards.Shards`.

    `ae_jax.training.fit` refuses rows that are not finite in any data. In shards it also refuses a
    column without any variance, and only warns if some of its elements have none: a unit may be
    off in all examples. This function refuses these too.

    Raises `ValueError`, one line, for rows that are not finite (with their number, and the file and
    row of the first), and for elements that are equal in all rows.
    """
    for name, column in data.items():
        if column.dtype.kind == "f" and column.ndim > 1:
            found = _scan_of(column)
            require_finite(name, column, found)
            require_varied(name, column, found)
            if constant := describe_constant(name, column, found):
                raise ValueError(f"{constant}: drop them, or give data in which they vary")


def require_finite(name: str, column: Any, found: Scan | None = None) -> None:
    """Raise `ValueError` for a column with rows that are not finite."""
    found = found or _scan_of(column)
    if found.first_bad is not None:
        raise ValueError(
            f"{found.bad_rows} of the {len(column)} rows of {name} have values that are NaN, "
            f"infinite or too large for float32, the first is {place(column, found.first_bad)}: "
            "drop or replace them"
        )


def require_varied(name: str, column: Any, found: Scan | None = None) -> None:
    """Raise `ValueError` for a column [N, ...] whose rows are all equal."""
    found = found or _scan_of(column)
    if len(column) > 1 and len(found.constant) == column[:1].size:
        raise ValueError(
            f"{name} has zero variance: its {len(column)} rows are all equal to "
            f"{place(column, 0)}: check what wrote them"
        )


def describe_constant(name: str, column: Any, found: Scan | None = None) -> str:
    """A phrase with the number of constant elements of a column and the first of them, or ""."""
    constant = (found or _scan_of(column)).constant
    if not len(constant) or len(column) == 1:
        return ""
    first = [int(i) for i in np.unravel_index(constant[0], column.shape[1:])]
    value = column[:1].reshape(-1)[constant[0]]
    return (
        f"{len(constant)} of the {column[:1].size} elements of {name} have zero variance, the "
        f"first is {first[0] if len(first) == 1 else first}, always {value:.6g}"
    )


def place(column: Any, row: int) -> str:
    """Where a row is: "row 3", of the file that holds it if the column is of shards."""
    if not hasattr(column, "place"):
        return f"row {row}"
    path, at = column.place(row)
    return f"row {at} of {path}"


def _scan_of(column: Any) -> Scan:
    return column.scan if hasattr(column, "scan") else scan(column)

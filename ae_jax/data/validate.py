"""Check arrays before anything is traced or trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from ae_jax.core import Support
from ae_jax.data.generated import Generated
from ae_jax.data.real import real_rows, real_steps
from ae_jax.data.records import Records
from ae_jax.data.scan import BLOCK, require_finite
from ae_jax.data.shards import Shards

KEYS = ("x", "label", "length", "mask")
"""The columns that mean the same everywhere. Any other is for the model that reads it."""
LOOK = 1024
"""Rows of a generated set that are checked: all of them would have to be computed."""
_NEEDS = {
    "unit_interval": "the loss needs [0, 1]: rescale it (pixels: divide by 255) or train with a "
    "squared error",
    "bytes": "the likelihood needs 8-bit pixels: give them as uint8, or as k / 255",
    "counts": "the likelihood needs counts 0, 1, 2, ...: give such, or train with a Gaussian one",
}


def validated(
    data: ArrayLike | Mapping[str, ArrayLike | Records | Shards] | Generated,
    *,
    support: Support = "real",
    records: bool = False,
    generated: bool = False,
) -> dict[str, np.ndarray]:
    """The data set as a dict of checked NumPy arrays; errors are one line.

    Args:
      data: an array `[N, ...event]`, or a mapping with "x" `[N, ...event]` and optionally
        "label" `[N]` (integers), "length" `[N]` (real steps of a sequence, 1 to `x.shape[1]`),
        "mask" `[N]` (1 for a real row, 0 for padding), and any further columns `[N, ...]` that a
        model reads: NumPy arrays, JAX arrays, or anything that `np.asarray` accepts.
      support: refuse other values of "x" in real rows and steps (see `ae_jax.core.Support`). uint8
        values 0..255 stand for [0, 1]: they are refused as counts only.
      records: accept `Records` as "x" and `Shards` as any column that is not of `KEYS[1:]`. They
        are returned unchanged. Otherwise the rows of shards are read into memory.
      generated: accept `Generated`, which is returned unchanged. Its first rows are checked.

    Returns:
      "x" as uint8 (unchanged) or float32 (from bool and other floats), and, if present, "label" and
      "length" as int32, "mask" as float32, and further columns as uint8 (unchanged), int32 or
      float32. Arrays of the right dtype are not copied.

    Raises:
      TypeError: a dtype whose meaning as data is ambiguous (integers other than uint8, complex
        numbers, strings, objects).
      ValueError: a wrong shape, an empty data set, NaN or infinity, a value out of range.
    """
    if isinstance(data, str):
        raise TypeError(
            f"data is the string {data!r}: load it first with ae_jax.data.load({data!r}, 'train')"
        )
    if generated and isinstance(data, Generated):
        validated(first_rows(data), support=support)
        return cast(dict[str, np.ndarray], data)  # which has the same interface here
    arrays = dict(data) if isinstance(data, Mapping) else {"x": data}
    if reserved := [key for key in arrays if key in ("step", "axis_name")]:
        raise ValueError(f"data has the key {reserved[0]!r}: rename it, the train step provides it")
    if "x" not in arrays:
        raise ValueError(f"data has no 'x', only {sorted(arrays)}: put the examples under 'x'")

    x = _examples(arrays["x"], records)
    checked = {"x": x}
    for key in KEYS[1:]:
        if arrays.get(key) is not None:
            column = _column(key, arrays[key], len(x))
            checked[key] = column.astype(np.float32 if key == "mask" else np.int32, copy=False)
    for key in arrays.keys() - set(KEYS):
        if arrays[key] is not None:
            checked[key] = _further_column(key, arrays[key], len(x), records)
    if "length" in checked:
        _require_range("length", checked["length"], 1, x.shape[1])
    if "mask" in checked:
        _require_range("mask", checked["mask"], 0, 1)
    _require_support(checked, support)
    return checked


def first_rows(data: Mapping[str, np.ndarray] | Generated) -> dict[str, np.ndarray]:
    """The columns of `data` if they are arrays, and the first rows of a `Generated` set."""
    if isinstance(data, Generated):
        return data.read(np.arange(min(LOOK, data.length)))
    return dict(data)


def _examples(data: ArrayLike | Records | Shards, records: bool) -> np.ndarray:
    """The examples as uint8 or finite float32 `[N, ...event]`."""
    if records and isinstance(data, Records):
        return cast(np.ndarray, data)  # which has the same interface here
    x = _as_array("x", data, records)
    if x.dtype.kind in "iu" and x.dtype != np.uint8:
        raise TypeError(
            f"x has dtype {x.dtype}: use x.astype(np.uint8) for pixels 0..255, "
            "or x.astype(np.float32) for other values"
        )
    if x.ndim < 2:
        raise ValueError(
            f"x has shape {list(x.shape)}: needs [N, ...event], for example x.reshape(-1, 1)"
        )
    if x.size == 0:
        raise ValueError(
            f"x has shape {list(x.shape)}, an empty data set: needs at least one example"
        )
    return _floats("x", x)


def _floats(key: str, x: np.ndarray) -> np.ndarray:
    """`x` as uint8 (kept) or float32, with no NaN or infinity."""
    if x.dtype == np.uint8 or isinstance(x, Shards):  # which are checked already
        return x
    with np.errstate(over="ignore"):
        x = x.astype(np.float32, copy=False)
    rows = _rows_of_a_block(x)
    if not all(np.isfinite(x[i : i + rows]).all() for i in range(0, len(x), rows)):
        finite = np.isfinite(x)
        count = finite.size - np.count_nonzero(finite)
        first = [int(i) for i in np.unravel_index(np.argmin(finite), x.shape)]
        raise ValueError(
            f"{count} of the {finite.size} values of {key} are NaN, infinite or too large for "
            f"float32, the first at {first}: drop or replace them"
        )
    return x


def _rows_of_a_block(x: np.ndarray) -> int:
    return max(1, BLOCK * len(x) // x.nbytes)


def _require_support(data: Mapping[str, np.ndarray], support: Support) -> None:
    pixels = data["x"].dtype == np.uint8
    if support == "counts" and pixels:
        raise TypeError(
            "x has dtype uint8, which stands for pixels in [0, 1], and the likelihood needs "
            "counts: use x.astype(np.float32)"
        )
    if support == "real" or pixels:
        return
    if isinstance(data["x"], Shards) and ("mask" in data or "length" in data):
        data = {**data, "x": np.asarray(data["x"])}
    data = real_rows(data)
    x, real = data["x"], real_steps(data)
    x = x if real is None else x[real]
    low, high, steps = x.min(), x.max(), 1 if support == "counts" else 255
    if low < 0 or (high > 1 and support != "counts"):
        raise ValueError(f"x has values in [{low!s}, {high!s}], and {_NEEDS[support]}")
    if support == "unit_interval":
        return
    rows = _rows_of_a_block(x)
    for i in range(0, len(x), rows):
        scaled = x[i : i + rows] * np.float32(steps)
        wrong = np.abs(scaled - np.round(scaled)) > 1e-3
        if wrong.any():
            value = x[i : i + rows].reshape(-1)[np.argmax(wrong)]
            raise ValueError(f"x has the value {value:.6g}, and {_NEEDS[support]}")


def _further_column(
    key: str, data: ArrayLike | Records | Shards, n: int, records: bool
) -> np.ndarray:
    """A column `[N, ...]` that only some models read."""
    column = _as_array(key, data, records)
    if column.ndim == 0 or len(column) != n:
        shape = list(column.shape)
        raise ValueError(f"{key} has shape {shape} but x has {n} rows: needs [{n}, ...]")
    if column.dtype == np.uint8 or column.dtype.kind not in "iu":
        return _floats(key, column)
    if isinstance(column, Shards):
        return column
    limits = np.iinfo(np.int32)
    _require_range(key, column.reshape(-1), limits.min, limits.max)
    return column.astype(np.int32, copy=False)


def _column(key: str, data: ArrayLike | Records | Shards, n: int) -> np.ndarray:
    """One number per example, `[N]`; integers, except for "mask"."""
    column = _as_array(key, data)
    if column.dtype.kind not in "iub" and key != "mask":
        raise TypeError(f"{key} has dtype {column.dtype}: use {key}.astype(np.int32)")
    if column.ndim != 1:
        raise ValueError(
            f"{key} has shape {list(column.shape)}: needs one number per example, [{n}]"
        )
    if len(column) != n:
        raise ValueError(f"{key} has {len(column)} entries but x has {n}: needs one per example")
    if column.dtype.kind in "iu":
        limits = np.iinfo(np.int32)
        _require_range(key, column, limits.min, limits.max)
    return column


def _as_array(key: str, data: ArrayLike | Records | Shards, records: bool = False) -> np.ndarray:
    if isinstance(data, Shards):
        require_finite(key, data)
        return cast(np.ndarray, data) if records else np.asarray(data)
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError(f"{key} is a masked array: fill it, its mask would be ignored")
    try:
        array = np.asarray(data)
    except ValueError as error:  # nested lists of unequal lengths
        raise TypeError(f"{key} is not a rectangular array: pad its rows to one length") from error
    # bfloat16 and the other small floats that JAX adds to NumPy are of kind "V", like structures.
    small_float = array.dtype.kind == "V" and np.can_cast(array.dtype, np.float32)
    if array.dtype.kind not in "biuf" and not small_float:
        raise TypeError(
            f"{key} has dtype {array.dtype}: needs numbers, uint8 or float32 for x, "
            "integers for label and length"
        )
    return array


def _require_range(key: str, column: np.ndarray, low: int, high: int) -> None:
    wrong = ~((column >= low) & (column <= high))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(f"{key}[{i}] is {column[i]}: must lie in [{low}, {high}]")

"""The part of a data set that counts: the rows of its ``mask``, the steps of its ``length``.

Data are columns by name, as `validated` returns them: ``"x"`` [N, ...], maybe ``"mask"`` [N] and
``"length"`` [N].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

UNIT = (0.0, 1.0)


def real_rows(data: ArrayLike | Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The columns of `data` (an array is its ``"x"``) without ``"mask"``, and without the rows that
    it excludes.

    Raises `ValueError` if it excludes all of them.
    """
    columns: dict[str, Any] = dict(data) if isinstance(data, Mapping) else {"x": data}
    mask = columns.pop("mask", None)
    if mask is None:
        return columns
    rows = np.flatnonzero(mask)
    if not rows.size:
        raise ValueError(f"mask excludes all {len(mask)} rows: set it to 1 for those that count")
    return {name: column[rows] for name, column in columns.items()}


def real_steps(data: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Which steps of ``"x"`` [N, T, ...] are real: booleans [N, T], or None without ``length``."""
    if "length" not in data:
        return None
    real: np.ndarray = np.arange(data["x"].shape[1]) < np.asarray(data["length"])[:, None]
    return real


def counted(
    data: Mapping[str, np.ndarray], like: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """The real rows of `data`, with the mean real step of `like` (itself) in all padded steps.

    A number that does not know of lengths, such as a distance, then depends on no padding.
    """
    columns = real_rows(data)
    real = real_steps(columns)
    if real is None:
        return columns
    x, mean = columns["x"].copy(), _mean_step(real_rows(data if like is None else like))
    x[~real] = np.rint(mean) if x.dtype == np.uint8 else mean
    return columns | {"x": x}


def blanked(x: np.ndarray, data: Mapping[str, np.ndarray]) -> np.ndarray:
    """`x` [N, T, ...] with NaN in the steps that are padding in `data`, for pictures."""
    real = real_steps(data)
    if real is None or x.shape[:2] != real.shape:
        return x
    return np.where(real.reshape(real.shape + (1,) * (x.ndim - 2)), x, np.float32(np.nan))


def value_range(data: Mapping[str, np.ndarray], column: str = "x") -> tuple[float, float]:
    """The least and largest value in the real rows and steps of a column.

    uint8 stands for [0, 1], so its range is (0, 1), whichever values occur.
    """
    if data[column].dtype == np.uint8:
        return UNIT
    data = real_rows(data)
    x, real = data[column], real_steps(data)
    x = x if real is None or x.shape[:2] != real.shape else x[real]
    return float(x.min()), float(x.max())


def within(values: tuple[float, float], limits: tuple[float, float]) -> bool:
    """Whether the range `values` lies inside of `limits`."""
    return limits[0] <= values[0] and values[1] <= limits[1]


def drawn_range(data: Mapping[str, np.ndarray], column: str = "x") -> tuple[float, float]:
    """The values that pictures draw as black and as white: 0 and 1, or the range of other data."""
    values = value_range(data, column)
    return UNIT if within(values, UNIT) else values


def _mean_step(data: Mapping[str, np.ndarray]) -> np.ndarray:
    """The mean over the real steps of all rows, [...] for ``"x"`` [N, T, ...]."""
    x, real = data["x"], real_steps(data)
    steps = x.reshape(-1, *x.shape[2:]) if real is None else x[real]
    mean: np.ndarray = steps.mean(axis=0, dtype=np.float64)
    return mean

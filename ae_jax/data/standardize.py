"""Standardization: columns with mean 0 and standard deviation 1 in the training set.

For tables [N, columns] and series [N, steps, columns]. The statistics are plain data, which a run
keeps in its configuration. `ae_jax.models.standardized` undoes it in a trained model.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ae_jax.data.validate import validated

Statistics = Mapping[str, list[float]]
"""``{"mean": [...], "std": [...]}``, one of each for a column."""


def statistics_of(train: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """The mean and the standard deviation of each column of ``train["x"]``, the last axis.

    Steps after the ``"length"`` of a series and rows that ``"mask"`` excludes do not count. A
    column that is constant gets the standard deviation 1.

    Raises `ValueError` for data that is neither a table nor a series, or without a real row.
    """
    train = validated(train)
    x = train["x"]
    if x.dtype == np.uint8 or x.ndim > 3:
        raise ValueError(
            f"standardize=True: x is {x.dtype}{list(x.shape)}, and only tables [N, columns] and "
            "series [N, steps, columns] of floats are standardized: remove it"
        )
    if "length" in train and x.ndim < 3:
        raise ValueError(
            "standardize=True: x [N, steps] with a length is a series of one column: give it as "
            "x[..., None], [N, steps, 1]"
        )
    real = np.ones(x.shape[:-1], bool)
    if "length" in train:
        real &= np.arange(x.shape[1]) < train["length"][:, None]
    if "mask" in train:
        real &= train["mask"].reshape(-1, *[1] * (real.ndim - 1)) > 0
    rows = x[real]  # [rows or steps, columns]
    if not len(rows):
        raise ValueError("standardize=True: the mask excludes every row")
    # A mean is rounded, so the deviation of a constant column may be tiny instead of 0.
    varies = rows.min(axis=0) < rows.max(axis=0)
    std = np.where(varies, rows.std(axis=0, dtype=np.float64), 1.0)
    return {"mean": rows.mean(axis=0, dtype=np.float64).tolist(), "std": std.tolist()}


def standardize(data: Mapping[str, np.ndarray], statistics: Statistics) -> dict[str, np.ndarray]:
    """`data` with ``(x - mean) / std`` in place of ``"x"``, float32.

    Raises `ValueError` if ``"x"`` has another number of columns.
    """
    data = validated(data)
    x, columns = data["x"], len(statistics["mean"])
    if x.shape[-1] != columns or x.dtype == np.uint8:
        raise ValueError(
            f"x is {x.dtype}{list(x.shape)}; the model was trained on {columns} columns of floats"
        )
    z = (x - np.array(statistics["mean"])) / np.array(statistics["std"])
    return {**data, "x": z.astype(np.float32)}

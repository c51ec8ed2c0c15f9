"""Tables of numbers in text files, one example per row, as is usual for time series."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.data.splits import hold_out, require_split
from ae_jax.data.validate import validated
from ae_jax.files import memory_limit, require_regular

LABEL = "label"


def load_csv(path: Path, split: str) -> dict[str, np.ndarray]:
    """Load a split of a .csv file; `splits.hold_out` puts a fixed fifth into the test split.

    Each row is an example; all rows have the same number of values. The first row is a header if
    one of its cells is "label", or if no cell is a number. The column "label" (or "Label") contains
    integers and does not belong to the example.

    Returns:
      {"x": float32 [N, T]}, and "label": int32 [N] if the table has that column.

    Raises:
      ValueError: an unknown split, no rows, or a row that does not fit (with its line).
      OSError: the file cannot be opened.
    """
    require_split(split, ("train", "test"), path)
    require_regular(path, limit=memory_limit(), links=True)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names, table = _read(csv.reader(file))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a text table: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    try:
        data = validated(_columns(table, names))
        return validated(hold_out(data, split))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from error


def _read(reader: Any) -> tuple[list[str] | None, np.ndarray]:
    """The names of the columns, or None without a header, and the numbers [N, columns]."""
    names: list[str] | None = None
    rows: list[np.ndarray] = []
    width = 0
    for row in reader:
        if not row:
            continue
        cells = [cell.strip().lower() for cell in row]
        first = not rows and names is None
        if first and (LABEL in cells or not any(map(_is_number, cells))):
            names, width = cells, len(cells)
            continue
        width = width or len(row)
        if len(row) != width:
            raise ValueError(f"line {reader.line_num} has {len(row)} values, not {width}")
        try:
            rows.append(np.array([float(value) for value in row]))
        except ValueError as error:
            raise ValueError(f"line {reader.line_num}: {error}") from None
    if not rows:
        raise ValueError("it has no rows of numbers")
    return names, np.stack(rows)


def _columns(table: np.ndarray, names: list[str] | None) -> dict[str, np.ndarray]:
    if names is None or LABEL not in names:
        return {"x": table}
    at = names.index(LABEL)
    label = table[:, at]
    if not (label == np.rint(label)).all() or (np.abs(label) > np.iinfo(np.int32).max).any():
        raise ValueError(f"the column {LABEL!r} must contain integers")
    return {"x": np.delete(table, at, axis=1), "label": label.astype(np.int32)}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

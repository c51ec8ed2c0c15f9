"""Tables of numbers in text files: one example a row, as time series often come."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ae_jax.data.splits import hold_out, require_split
from ae_jax.data.validate import validated
from ae_jax.files import memory_limit, require_regular

LABEL = "label"


def load_csv(path: Path, split: str) -> dict[str, np.ndarray]:
    """Loads a split of a .csv file, of which `splits.hold_out` makes a fixed fifth the test split.

    A row is an example: numbers, all rows the same count of them. A first row that is not numbers
    names the columns; the one that is called "label" holds integers and is no part of the example.

    Returns:
      {"x": float32 [N, T]}, and "label": int32 [N] where there is such a column.

    Raises:
      ValueError: an unknown split, no rows, or a row that does not fit, named by its line.
      OSError: the file cannot be opened.
    """
    require_split(split, ("train", "test"), path)
    require_regular(path, limit=memory_limit(), links=True)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, row) for row in reader if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a table in text: {error}") from None
    names = None
    if lines and not any(map(_is_number, lines[0][1])):
        names = [name.strip() for name in lines.pop(0)[1]]
    if not lines:
        raise ValueError(f"{path} has no rows of numbers")
    width = len(names or lines[0][1])
    table = np.empty((len(lines), width))
    for i, (number, row) in enumerate(lines):
        if len(row) != width:
            raise ValueError(f"{path}: line {number} has {len(row)} values, not {width}")
        try:
            table[i] = [float(value) for value in row]
        except ValueError as error:
            raise ValueError(f"{path}: line {number}: {error}") from None
    try:
        data = validated(_columns(table, names))
        return validated(hold_out(data, split))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from error


def _columns(table: np.ndarray, names: list[str] | None) -> dict[str, np.ndarray]:
    if names is None or LABEL not in names:
        return {"x": table}
    at = names.index(LABEL)
    label = table[:, at]
    if not (label == np.rint(label)).all() or (np.abs(label) > np.iinfo(np.int32).max).any():
        raise ValueError(f"the column {LABEL!r} must hold integers")
    return {"x": np.delete(table, at, axis=1), "label": label.astype(np.int32)}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

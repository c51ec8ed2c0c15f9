"""Training and test splits, and the fixed split of a data set that has none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np


def require_split(split: str, available: Iterable[str], where: object) -> None:
    """Raise `ValueError`, which lists the available splits, unless `split` is one of them."""
    names = list(available)
    if split not in names:
        raise ValueError(f"{where} has no split {split!r}: choose from {', '.join(names)}")


def hold_out(arrays: dict[str, np.ndarray], split: str) -> dict[str, np.ndarray]:
    """The "train" split of `4 N // 5` rows of arrays `[N, ...]`, or the "test" split of the rest.

    The rows are permuted by `np.random.RandomState(0)`, whose numbers never change between versions
    of NumPy, so the test split is the same on every machine. Labels are not stratified.
    """
    n = len(arrays["x"])
    train = 4 * n // 5
    order = np.random.RandomState(0).permutation(n)
    rows = order[:train] if split == "train" else order[train:]
    return {key: value[rows] for key, value in arrays.items()}


def with_labels(data: Mapping[str, np.ndarray], labels: Sequence[int]) -> dict[str, np.ndarray]:
    """The examples of `data` with one of these labels; raises `ValueError` for an absent label."""
    if "label" not in data:
        raise ValueError(f"keep_labels={labels}: this data has no labels")
    present = np.unique(data["label"]).tolist()
    missing = sorted(set(labels) - set(present))
    if missing or not labels:
        known = ", ".join(map(str, present[:20]))
        lacking = (
            f"no example has {', '.join(map(str, missing))}" if missing else "give at least one"
        )
        raise ValueError(f"keep_labels={labels}: {lacking}; the labels are {known}")
    kept = np.flatnonzero(np.isin(data["label"], labels))
    return {name: column[kept] for name, column in data.items()}

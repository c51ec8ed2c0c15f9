"""Train and test splits, and the one way to cut a set that comes without them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def require_split(split: str, available: Iterable[str], where: object) -> None:
    """Raises a ValueError that lists the splits there are, unless `split` is one of them."""
    names = list(available)
    if split not in names:
        raise ValueError(f"{where} has no split {split!r}: choose from {', '.join(names)}")


def hold_out(arrays: dict[str, np.ndarray], split: str) -> dict[str, np.ndarray]:
    """Cuts a "train" split of `4 N // 5` rows, or the "test" split of the rest, from `[N, ...]`.

    The rows are permuted by `np.random.RandomState(0)`, whose stream NumPy never changes, so the
    same rows are in the test split on every machine. Labels are not stratified.
    """
    n = len(arrays["x"])
    train = 4 * n // 5
    order = np.random.RandomState(0).permutation(n)
    rows = order[:train] if split == "train" else order[train:]
    return {key: value[rows] for key, value in arrays.items()}

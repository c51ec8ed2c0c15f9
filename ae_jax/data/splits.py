"""Training and test splits, and the fixed split of a data set that has none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np


def require_split(split: str, available: Iterable[str], where: object) -> None:
    """Raise `ValueError`, which lists the available splits, unless `split` is one of them."""
    names = list(available)
    if split not in names:
        raise ValueError(f"{where} has no split {split!r}: choose from {', '.join(names)}")


def hold_out(arrays: Mapping[str, np.ndarray], split: str) -> dict[str, np.ndarray]:
    """The "train" or the "test" split of arrays `[N, ...]`, in their order.

    The test split is one of every five consecutive rows, drawn by `np.random.RandomState(7)`, whose
    numbers never change between versions of NumPy. The draw depends on the position of a row alone,
    so rows that are appended to a file leave the others in their split. Labels are not stratified.
    """
    rows = held_out(len(arrays["x"]), split)
    return {key: value[rows] for key, value in arrays.items()}


def held_out(n: int, split: str) -> np.ndarray:
    """The rows among n of the "train" or the "test" split (see `hold_out`), ascending."""
    # Of seed 7, because it draws the first row of all: two rows are enough for two splits.
    drawn = (5 * np.random.RandomState(7).random_sample(-(-n // 5))).astype(int)
    tested = np.arange(n) % 5 == np.repeat(drawn, 5)[:n]
    return np.flatnonzero(tested == (split == "test"))


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


def with_few_labels(
    data: Mapping[str, np.ndarray], count: int, *, seed: int = 0, copies: int = 1
) -> dict[str, np.ndarray]:
    """`data` with the labels of `count` random examples, as many of each class.

    Those of the others become -1.

    With `copies`, the labeled examples are repeated at the end, so that they are there that often.

    Raises `ValueError` for a number that the classes cannot share, or have too few examples for.
    """
    if "label" not in data:
        raise ValueError(f"few_labels={count}: this data has no labels")
    label, rng = np.asarray(data["label"]), np.random.default_rng(seed)
    classes, sizes = np.unique(label, return_counts=True)
    each, rest = divmod(count, len(classes))
    if count < 1 or rest or each > sizes.min():
        raise ValueError(
            f"few_labels={count}: must be a multiple of {len(classes)}, the classes, and at "
            f"most {len(classes) * sizes.min()}: the smallest class has {sizes.min()} examples"
        )
    rows = [rng.choice(np.flatnonzero(label == c), each, replace=False) for c in classes]
    chosen = np.sort(np.concatenate(rows))
    few = np.full_like(label, -1)
    few[chosen] = label[chosen]
    columns = {**data, "label": few}
    if copies == 1:
        return columns
    at = np.concatenate([np.arange(len(label)), np.tile(chosen, copies - 1)])
    return {name: column[at] for name, column in columns.items()}

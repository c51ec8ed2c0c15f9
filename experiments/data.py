"""The data that a configuration names."""

from typing import Any

import numpy as np

from ae_jax.data import load
from experiments.config import Data


def load_split(data: Data, split: str) -> dict[str, Any]:
    """A split of the set, with the labels that the configuration keeps; raises as `load`.

    A TFDS training set may be decoded while training; a test set is decoded at once.
    """
    arrays = load(data.name, split, data.dir, decode=data.decode if split == "train" else "once")
    return arrays if data.keep_labels is None else with_labels(arrays, data.keep_labels)


def with_labels(data: dict[str, Any], labels: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The examples of `data` with one of these labels; `ValueError` if one is not there."""
    if "label" not in data:
        raise ValueError(f"data.keep_labels={labels}: this data has no labels")
    there = np.unique(data["label"]).tolist()
    missing = sorted(set(labels) - set(there))
    if missing or not labels:
        known = ", ".join(map(str, there[:20]))
        lacking = (
            f"no example has {', '.join(map(str, missing))}" if missing else "give at least one"
        )
        raise ValueError(f"data.keep_labels={labels}: {lacking}; the labels are {known}")
    kept = np.flatnonzero(np.isin(data["label"], labels))
    return {name: column[kept] for name, column in data.items()}

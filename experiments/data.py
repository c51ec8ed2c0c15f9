"""The data that a configuration names."""

from typing import Any

from ae_jax.data import load
from ae_jax.data.splits import with_labels
from experiments.config import Data


def load_split(data: Data, split: str) -> dict[str, Any]:
    """A split of the set, with the labels that the configuration keeps; raises as `load`.

    A TFDS training set may be decoded while training; a test set is decoded at once.
    """
    arrays = load(data.name, split, data.dir, decode=data.decode if split == "train" else "once")
    return arrays if data.keep_labels is None else with_labels(arrays, data.keep_labels)

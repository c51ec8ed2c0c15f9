"""Load the data of a configuration."""

from typing import Any

from ae_jax.data import load
from ae_jax.data.splits import with_labels
from experiments.config import Data


def load_split(data: Data, split: str) -> dict[str, Any]:
    """Load a split of a data set, only with the labels that the configuration keeps.

    Only a TFDS training set may be decoded while training. Raises the errors of `load`.
    """
    arrays = load(data.name, split, data.dir, decode=data.decode if split == "train" else "once")
    return arrays if data.keep_labels is None else with_labels(arrays, data.keep_labels)

"""Load the data set of a configuration."""

import os
from dataclasses import replace
from typing import Any

from ae_jax.data import load
from ae_jax.data.sources import located
from ae_jax.data.splits import with_labels
from experiments.config import Data


def load_split(data: Data, split: str) -> dict[str, Any]:
    """Return a split of the data set, with only the labels in ``data.keep_labels``.

    A TFDS training set may be decoded while training; a test set is decoded at once. Raises the
    errors of `ae_jax.data.load`.
    """
    arrays = load(data.name, split, data.dir, decode=data.decode if split == "train" else "once")
    return arrays if data.keep_labels is None else with_labels(arrays, data.keep_labels)


def absolute(data: Data) -> Data:
    """Return `data` with absolute paths: a run that keeps them can be opened from any folder."""
    folder = None if data.dir is None else os.path.abspath(os.path.expanduser(data.dir))
    return replace(data, name=located(data.name), dir=folder)

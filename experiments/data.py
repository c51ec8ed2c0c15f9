"""Load the data set of a configuration."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ae_jax.data import load
from ae_jax.data.sources import located
from ae_jax.data.splits import with_few_labels, with_labels
from ae_jax.data.standardize import Statistics, standardize, statistics_of
from experiments.config import Data


def load_split(data: Data, split: str) -> dict[str, Any]:
    """Return a split of the data set, with only the labels in ``data.keep_labels``.

    Of a training set all but ``data.few_labels`` labels become -1.
    A TFDS training set may be decoded while training; a test set is decoded at once. Raises the
    errors of `ae_jax.data.load`.
    """
    arrays = load(data.name, split, data.dir, decode=data.decode if split == "train" else "once")
    if data.keep_labels is not None:
        arrays = with_labels(arrays, data.keep_labels)
    if data.few_labels is not None and split == "train":
        arrays = with_few_labels(arrays, data.few_labels)
    return arrays


def scaled(
    data: Data, sets: Sequence[Mapping[str, Any]], statistics: Statistics | None = None
) -> tuple[list[dict[str, Any]], Statistics | None]:
    """Return the data sets and the statistics of their standardization, as `data` says.

    They are not changed without ``data.standardize``. The statistics are those of the first set,
    the training set, unless a run has kept its `statistics`. Raises `ValueError` for images.
    """
    if not data.standardize:
        return [dict(each) for each in sets], None
    if data.decode == "always":
        raise ValueError("standardize=True: is for tables and series: remove decode='always'")
    statistics = statistics or statistics_of(sets[0])
    return [standardize(each, statistics) for each in sets], statistics


def described(data: Data) -> str:
    """Return the name of the data in tables: errors of standardized data are in other units."""
    return f"{data.name}, standardized" if data.standardize else data.name


def absolute(data: Data) -> Data:
    """Return `data` with absolute paths: a run that keeps them can be opened from any folder."""
    folder = None if data.dir is None else os.path.abspath(os.path.expanduser(data.dir))
    return replace(data, name=located(data.name), dir=folder)

"""Conditions of new examples, for models that draw them given columns of the data."""

from collections.abc import Mapping

import numpy as np

from ae_jax.core import Autoencoder
from ae_jax.evaluation.batches import some


def shown_conditions(
    ae: Autoencoder, data: Mapping[str, np.ndarray], count: int
) -> dict[str, np.ndarray]:
    """The columns that `ae` is given, for a figure of `count` new examples: [count, ...].

    The only column, if it is of classes, has each class of `data` equally often, in order: the
    rows of the figure. Others are those of examples that are evenly spaced in `data`, each of them
    ten times, to show how much draws of one condition differ.

    Raises `ValueError` where `data` lacks a column.
    """
    for name in ae.given:
        if name not in data:
            raise ValueError(f"the model reads {name!r}, which the data lacks")
    columns = {name: np.asarray(data[name]) for name in ae.given}
    first, *others = columns.values()
    if not others and first.ndim == 1 and first.dtype.kind in "iu":
        classes = np.unique(first)
        chosen = classes[np.arange(count) * len(classes) // count]
        return {ae.given[0]: chosen}
    rows = some({"x": np.arange(len(first))}, -(-count // 10))["x"]
    rows = np.resize(np.repeat(rows, 10), count)
    return {name: column[rows] for name, column in columns.items()}

"""Dictionaries that learned nothing, or only half: what a trained one must beat.

Random directions reconstruct and probe surprisingly well, so that numbers of a trained dictionary
say little without theirs.

Source: Korznikov et al., Sanity checks for sparse autoencoders: do SAEs beat random baselines?,
2026.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import optax

from ae_jax.core import Autoencoder, Variables, floats_in, init_state
from ae_jax.core.batch import module_columns
from ae_jax.evaluation.batches import some
from ae_jax.evaluation.dictionaries.geometry import (
    Neighbors,
    directions_of,
    geometry_metrics,
    nearest_directions,
)
from ae_jax.evaluation.dictionaries.metrics import DENSE_SHARE, dictionary_metrics
from ae_jax.evaluation.dictionaries.statistics import (
    BATCH,
    DictionaryStatistics,
    dictionary_statistics,
    read_columns,
)
from ae_jax.models import Dictionary
from ae_jax.models.dictionaries.dictionary import Freeze
from ae_jax.training import fit

SAMPLE = 4096


def random_control(ae: Autoencoder, train: Mapping[str, np.ndarray], *, seed: int = 0) -> Variables:
    """Fresh variables for `ae`, with random directions and its sparsifier as it is.

    The scale and the center of the data, which the model may start from, are those of at most 4096
    training examples. Untrained state, such as the threshold of `BatchTopK`, is that after one
    batch. A sparsifier whose number of active latents is not given may have far more of them than
    after training: compare ``l0`` too.
    """
    if isinstance(ae.spec, Dictionary) and ae.spec.start != "random":
        ae = replace(replace(ae.spec, start="random").build(ae.event_shape), dtype=ae.dtype)
    columns = read_columns(ae, train)
    sample, batch = (floats_in(some(columns, count)) for count in (SAMPLE, BATCH))

    @jax.jit
    def fresh(key: jax.Array, sample: Any, batch: Any) -> Variables:
        variables = init_state(ae, optax.identity(), key).variables
        if ae.initialize is not None:
            variables = ae.initialize(variables, sample, key)
        untrained = [name for name in variables if name != "params"]
        if not untrained:
            return variables
        read = module_columns(ae.columns, batch, 0)
        _, state = ae.apply(variables, batch["x"], **read, mutable=untrained)
        return {"params": variables["params"], **state}

    variables: Variables = fresh(jax.random.key(seed), sample, batch)
    return variables


def frozen_control(
    ae: Autoencoder,
    train: Mapping[str, np.ndarray],
    *,
    freeze: Freeze = "decoder",
    **options: Any,
) -> Variables:
    """The variables of the same `Dictionary`, trained with one random table that does not change.

    `options` are those of `ae_jax.training.fit`: give those of the trained one.

    Raises `ValueError` for a model that is no `Dictionary`, or whose specification is against it.
    """
    if not isinstance(ae.spec, Dictionary):
        raise ValueError(
            f"{type(ae.spec).__name__} is no Dictionary: only its tables can be frozen"
        )
    spec = replace(ae.spec, start="random", freeze=freeze)
    frozen = replace(spec.build(ae.event_shape), dtype=ae.dtype)
    return fit(frozen, train, **options).state.variables


def dictionary_rows(
    ae: Autoencoder,
    named: Mapping[str, Variables],
    test: Mapping[str, np.ndarray],
    *,
    dense_share: float = DENSE_SHARE,
    batch_size: int = BATCH,
) -> dict[str, dict[str, float]]:
    """`dictionary_metrics` and `geometry_metrics` of each of the variables on `test`, by name.

    ``dictionary_rows(ae, {"trained": variables, "random": random_control(ae, train)}, test)``
    """
    return {
        name: row_of(
            dictionary_statistics(ae, variables, test, batch_size=batch_size),
            nearest_directions(directions_of(ae, variables)),
            dense_share=dense_share,
        )
        for name, variables in named.items()
    }


def row_of(
    statistics: DictionaryStatistics, neighbors: Neighbors, *, dense_share: float = DENSE_SHARE
) -> dict[str, float]:
    """A row of `dictionary_rows`. A single latent has no metrics of geometry."""
    row = dictionary_metrics(statistics, dense_share=dense_share)
    return row | (geometry_metrics(neighbors) if neighbors.cosines.size else {})

"""The state that a run starts from."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding

from ae_jax.core import (
    Autoencoder,
    Batch,
    TrainState,
    by_path,
    floats_in,
    init_state,
    whole_optimizer,
)
from ae_jax.devices.mesh import put, replicated
from ae_jax.training.placement import check_partition, is_split, placed

INITIALIZE = 2**30  # folds the key of `Autoencoder.initialize` away from that of the module
SAMPLE = 4096
"""Training examples that `Autoencoder.initialize` sees, at most."""


def sample_of(ae: Autoencoder, data: Mapping[str, Any]) -> Batch | None:
    """The examples for `Autoencoder.initialize`, evenly spread over the data, where it is used."""
    if ae.initialize is None:
        return None
    rows = np.unique(np.linspace(0, len(data["x"]) - 1, SAMPLE).astype(int))
    return {name: np.asarray(column[rows]) for name, column in data.items()}


def start(
    ae: Autoencoder,
    tx: optax.GradientTransformation,
    key: Array,
    *,
    sample: Batch | None = None,
    params: Any = None,
    model_state: Any = None,
    ema: bool = False,
    mesh: Mesh,
) -> TrainState:
    """Return the initial state, placed on `mesh` (see `placed`).

    The model may take its start from a `sample` of the data (see `sample_of`). Copies of `params`
    and `model_state` replace the initial values. Raises `ValueError` unless they have the structure
    and shapes of the model's own.
    """
    init = partial(init_state, ae, tx, ema=ema)
    place = replicated(mesh)
    if is_split(mesh):
        place = shardings_of(shapes_of(ae, tx, mesh, ema=ema))
    if params is None and model_state is None and sample is None:
        return jax.jit(init, out_shardings=place)(key)
    given = jax.device_get((params, model_state, sample))  # they may be on another mesh
    initial = put(given, placed(ae, mesh, given))
    return jax.jit(partial(start_from, ae, tx, ema=ema), out_shardings=place)(key, *initial)


def shapes_of(
    ae: Autoencoder, tx: optax.GradientTransformation, mesh: Mesh, *, ema: bool = False
) -> TrainState:
    """Shapes, dtypes and shardings of the state that `start` returns. Nothing is computed.

    Raises `ValueError` for a model that does not split over the ``model`` axis of `mesh`.
    """
    state = jax.eval_shape(partial(init_state, ae, tx, ema=ema), jax.random.key(0))
    if is_split(mesh):
        check_partition(ae, mesh, state)

    def one(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(one, state, placed(ae, mesh, state))


def shardings_of(tree: Any) -> Any:
    """The sharding of each array of a tree."""
    return jax.tree.map(lambda leaf: leaf.sharding, tree)


def start_from(
    ae: Autoencoder,
    tx: optax.GradientTransformation,
    key: Array,
    params: Any = None,
    model_state: Any = None,
    sample: Batch | None = None,
    *,
    ema: bool = False,
) -> TrainState:
    """Return the state of `core.init_state` with these parameters and untrained state. Pure."""
    state = init_state(ae, tx, key, ema=ema)
    if ae.initialize is not None and sample is not None:
        variables = {"params": state.params, **state.model_state}
        key = jax.random.fold_in(key, INITIALIZE)
        own = dict(_like("initialize", ae.initialize(variables, floats_in(sample), key), variables))
        params = own["params"] if params is None else params
        own = {name: own[name] for name in state.model_state}
        model_state = own if model_state is None else model_state
    if params is not None:
        params = _like("params", params, state.params)
        state = state.replace(params=params, opt_state=whole_optimizer(ae, tx).init(params))
    if model_state is not None:
        state = state.replace(model_state=_like("model_state", model_state, state.model_state))
    return state.replace(ema={"params": state.params, **state.model_state} if ema else None)


def _like(name: str, tree: Any, reference: Any) -> Any:
    """Return a copy of `tree` with the structure and dtypes of `reference`."""
    actual, expected = by_path(tree), by_path(reference)
    for path in expected | actual:
        if path not in actual:
            raise ValueError(f"{name}: {path} is missing, but the model has it")
        if path not in expected:
            raise ValueError(f"{name}: {path} is not in the model")
        if actual[path].shape != expected[path].shape:
            raise ValueError(
                f"{name}: {path} has shape {actual[path].shape}; the model's is "
                f"{expected[path].shape}"
            )
    # Copies, because the training loop donates its state.
    leaves = [jnp.array(actual[path], leaf.dtype) for path, leaf in expected.items()]
    return jax.tree.unflatten(jax.tree.structure(reference), leaves)

"""The state a run starts from."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import NamedSharding

from ae_jax.core import Autoencoder, TrainState, by_path, init_state
from ae_jax.devices.mesh import put


def start(
    ae: Autoencoder,
    tx: optax.GradientTransformation,
    key: Array,
    *,
    params: Any = None,
    ema: bool = False,
    place: NamedSharding,
) -> TrainState:
    """A fresh state at `place`; with `params`, a tree of arrays, copies of those in it.

    Raises `ValueError` unless `params` has the structure and shapes of the model's parameters.
    """
    init = partial(init_state, ae, tx, ema=ema)
    if params is None:
        return jax.jit(init, out_shardings=place)(key)
    given = put(jax.device_get(params), place)  # which another mesh may have made
    return jax.jit(partial(_init_from, init, tx), out_shardings=place)(given, key)


def _init_from(init: Any, tx: optax.GradientTransformation, params: Any, key: Array) -> TrainState:
    state = init(key)
    given, fresh = by_path(params), by_path(state.params)
    for path in fresh | given:
        if path not in given:
            raise ValueError(f"params: {path} is missing, which the model has")
        if path not in fresh:
            raise ValueError(f"params: {path} is not in the model")
        if given[path].shape != fresh[path].shape:
            raise ValueError(
                f"params: {path} has shape {given[path].shape}; the model's is {fresh[path].shape}"
            )
    # Copies, because the training loop donates its state.
    leaves = [jnp.array(given[path], old.dtype) for path, old in fresh.items()]
    params = jax.tree.unflatten(jax.tree.structure(state.params), leaves)
    ema_params = None if state.ema_params is None else params
    return state.replace(params=params, opt_state=tx.init(params), ema_params=ema_params)

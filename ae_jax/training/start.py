"""The state that a run starts from."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import NamedSharding

from ae_jax.core import Autoencoder, TrainState, by_path, init_state, whole_optimizer
from ae_jax.devices.mesh import put


def start(
    ae: Autoencoder,
    tx: optax.GradientTransformation,
    key: Array,
    *,
    params: Any = None,
    model_state: Any = None,
    ema: bool = False,
    place: NamedSharding,
) -> TrainState:
    """A fresh state at `place`, with copies of `params` and `model_state` where they are given.

    Raises `ValueError` unless these have the structure and shapes of the model's own.
    """
    init = partial(init_state, ae, tx, ema=ema)
    if params is None and model_state is None:
        return jax.jit(init, out_shardings=place)(key)
    given = put(jax.device_get((params, model_state)), place)  # which another mesh may have made
    return jax.jit(partial(start_from, ae, tx, ema=ema), out_shardings=place)(key, *given)


def start_from(
    ae: Autoencoder,
    tx: optax.GradientTransformation,
    key: Array,
    params: Any = None,
    model_state: Any = None,
    *,
    ema: bool = False,
) -> TrainState:
    """`core.init_state` with the given parameters and untrained state. Pure."""
    state = init_state(ae, tx, key, ema=ema)
    if params is not None:
        params = _like("params", params, state.params)
        state = state.replace(params=params, opt_state=whole_optimizer(ae, tx).init(params))
    if model_state is not None:
        state = state.replace(model_state=_like("model_state", model_state, state.model_state))
    return state.replace(ema={"params": state.params, **state.model_state} if ema else None)


def _like(name: str, tree: Any, fresh: Any) -> Any:
    given, wanted = by_path(tree), by_path(fresh)
    for path in wanted | given:
        if path not in given:
            raise ValueError(f"{name}: {path} is missing, which the model has")
        if path not in wanted:
            raise ValueError(f"{name}: {path} is not in the model")
        if given[path].shape != wanted[path].shape:
            raise ValueError(
                f"{name}: {path} has shape {given[path].shape}; the model's is {wanted[path].shape}"
            )
    # Copies, because the training loop donates its state.
    leaves = [jnp.array(given[path], old.dtype) for path, old in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(fresh), leaves)

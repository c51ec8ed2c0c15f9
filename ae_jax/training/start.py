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
    """Return the initial state with sharding `place`.

    Copies of `params` and `model_state` replace the random initial values. Raises `ValueError`
    unless they have the structure and shapes of the model's own.
    """
    init = partial(init_state, ae, tx, ema=ema)
    if params is None and model_state is None:
        return jax.jit(init, out_shardings=place)(key)
    initial = put(jax.device_get((params, model_state)), place)  # they may be on another mesh
    return jax.jit(partial(start_from, ae, tx, ema=ema), out_shardings=place)(key, *initial)


def start_from(
    ae: Autoencoder,
    tx: optax.GradientTransformation,
    key: Array,
    params: Any = None,
    model_state: Any = None,
    *,
    ema: bool = False,
) -> TrainState:
    """Return the state of `core.init_state` with these parameters and untrained state. Pure."""
    state = init_state(ae, tx, key, ema=ema)
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

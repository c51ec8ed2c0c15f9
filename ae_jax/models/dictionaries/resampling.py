"""Resampling: dead latents start again from examples that are reconstructed badly."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from ae_jax.core import Batch, TrainState, by_path
from ae_jax.models.dictionaries.unit_rows import normalized

ENCODER_SHARE = 0.2
"""The norm of a new encoder row, over the mean of live ones: it disturbs little."""


def resampled(
    spec: Any, state: TrainState, batch: Batch, key: Array, axis_name: str | None
) -> TrainState:
    """`state`; at every ``resample_every``-th update with its dead latents resampled.

    Each takes the direction of the error of an example of the batch. Examples are drawn with
    probabilities that are proportional to the squares of their squared errors. Its parameters in
    the sparsifier start again, and its optimizer moments and its age become 0.

    Source: Bricken et al., Towards monosemanticity, 2023, appendix on resampling, where the
    direction is that of the example itself.
    """
    due = (state.step + 1) % spec.resample_every == 0
    dead = state.model_state["latents"]["age"] >= spec.dead_after

    def resample() -> TrainState:
        return _resampled(spec, state, batch, key, axis_name, dead)

    return lax.cond(due & dead.any(), resample, lambda: state)


def _resampled(
    spec: Any, state: TrainState, batch: Batch, key: Array, axis_name: str | None, dead: Array
) -> TrainState:
    columns = {name: batch[name] for name in ("x", "target", "mask") if name in batch}
    columns.setdefault("mask", jnp.ones(len(batch["x"]), jnp.float32))
    if axis_name is not None:
        columns = {name: _gathered(column, axis_name) for name, column in columns.items()}
    ae = spec.build(columns["x"].shape[1:])
    variables = {"params": state.params, **state.model_state}
    x, rest = columns["x"], {n: c for n, c in columns.items() if n != "x"}
    outputs = ae.apply(variables, x, step=state.step, axis_name=None, **rest)
    error = outputs["error"]
    squared = jnp.square(error).sum(1) * columns["mask"]
    # In proportion to the square of the loss: twice the logarithm.
    drawn = jax.random.categorical(key, 2.0 * jnp.log(squared), shape=dead.shape)
    new = normalized(error[drawn])
    params = dict(state.params)
    some = jnp.square(new).sum(1, keepdims=True) > 0  # no error, no direction
    params["decoder"] = jnp.where(dead[:, None] & some, new, params["decoder"])
    if "encoder_bias" in params:
        params["encoder_bias"] = jnp.where(dead, 0.0, params["encoder_bias"])
    if "encoder" in params:
        norms = jnp.linalg.norm(params["encoder"], axis=1)
        mean = jnp.where(dead, 0.0, norms).sum() / jnp.maximum((~dead).sum(), 1).astype(norms.dtype)
        inputs = new
        if spec.target_dim:
            inputs = normalized(x.reshape(len(x), -1)[drawn])
        new_encoder = ENCODER_SHARE * mean * inputs
        params["encoder"] = jnp.where(dead[:, None], new_encoder, params["encoder"])
    if starts := spec.sparsifier.starts():
        own = dict(params["sparsifier"])
        for name, value in starts.items():
            own[name] = jnp.where(dead, value, own[name])
        params["sparsifier"] = own
    latents = dict(state.model_state["latents"])
    latents["age"] = jnp.where(dead, 0, latents["age"])
    return state.replace(
        params=params,
        model_state={**state.model_state, "latents": latents},
        opt_state=_forget(state.opt_state, dead, tuple(starts)),
    )


def _gathered(column: Array, axis_name: str) -> Array:
    """The rows of all devices, [devices * B, ...], the same on each also for shard_map."""
    count = lax.psum(1, axis_name)
    everywhere = jnp.zeros((count, *column.shape), column.dtype)
    mine = everywhere.at[lax.axis_index(axis_name)].set(column)
    summed: Array = lax.psum(mine, axis_name)
    return summed.reshape(-1, *column.shape[1:])


def _forget(opt_state: Any, dead: Array, names: tuple[str, ...]) -> Any:
    """The optimizer's arrays with 0 for dead latents, where they are of the tables or `names`."""
    tables = ("decoder", "encoder", "encoder_bias", *names)
    paths = by_path(opt_state)
    leaves = []
    for path, leaf in paths.items():
        of_table = path.rsplit("/", 1)[-1] in tables and jnp.shape(leaf)[:1] == dead.shape
        rows = dead.reshape(dead.shape + (1,) * (jnp.ndim(leaf) - 1)) if of_table else None
        leaves.append(leaf if rows is None else jnp.where(rows, 0, leaf).astype(leaf.dtype))
    return jax.tree.unflatten(jax.tree.structure(opt_state), leaves)

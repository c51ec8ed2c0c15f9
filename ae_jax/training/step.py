"""The one training step and the one evaluation step, for every model.

Both are pure functions. The caller applies jit, vmap, pmap or shard_map:

    step = jax.jit(make_train_step(ae, tx), donate_argnums=0)
    step = jax.pmap(make_train_step(ae, tx, axis_name="data"), axis_name="data",
                    in_axes=(None, 0), out_axes=None)
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from ae_jax.core import (
    Autoencoder,
    Batch,
    TrainState,
    as_floats,
    check_accumulation,
    compute_loss,
    streams,
)

Metrics = dict[str, Array]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
EvalStep = Callable[..., Metrics]

SCALE = 2.0**64  # times x is beyond float32 where the square of x is


def make_train_step(
    ae: Autoencoder,
    tx: optax.GradientTransformation,
    *,
    axis_name: str | None = None,
    ema_decay: float | None = None,
    accumulate: int = 1,
    guard: bool = False,
) -> TrainStep:
    """``(state, batch) -> (state, metrics)``: one gradient step.

    Metrics are scalars on the device: ``loss`` and every raw term (see `core.compute_loss`).

    Args:
      ae: the model and its objective.
      tx: the optimizer.
      axis_name: the mapped axis the batch is split over, under pmap or shard_map. Each device draws
        its own noise, so stochastic models then depend on the number of devices; under jit with
        sharded arrays (leave it None) they do not.
      ema_decay: keep ``ema = decay * ema + (1 - decay) * params``; the state needs
        ``init_state(..., ema=True)``.
      accumulate: compute the gradient of the batch in so many parts, one after another, in a part
        of the memory. The same step, to the accuracy of sums, but for the noise, which each part
        draws for itself. The batch is split into them, so it must divide.
      guard: leave out an update whose loss or `scaled_sum` of the gradient is not finite: of the
        state only ``step`` then moves. The metrics say so in ``finite``, bool.

    Raises `ValueError` with `accumulate` if a term is of the whole batch, which no part knows.
    """
    check_accumulation(ae.objective, accumulate)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        batch = {**batch, "x": as_floats(batch["x"])}
        key = jax.random.fold_in(state.key, state.step)
        params = state.params
        if axis_name is not None:
            key = jax.random.fold_in(key, lax.axis_index(axis_name))
            # Without it shard_map sums the gradient over devices before we average it.
            params = lax.pcast(params, axis_name, to="varying")

        def loss_fn(params, model_state, batch, key):
            outputs, model_state = _apply(ae, params, model_state, batch, streams(key))
            loss, metrics = compute_loss(
                ae.objective, outputs, batch, state.step, axis_name=axis_name
            )
            return loss, (metrics, model_state)

        grad_fn = jax.grad(loss_fn, has_aux=True)
        if accumulate == 1:
            grads, (metrics, model_state) = grad_fn(params, state.model_state, batch, key)
        else:
            grads, metrics, model_state = _in_parts(
                partial(grad_fn, params), state.model_state, batch, key, accumulate, axis_name
            )
        if axis_name is not None:
            grads, metrics, model_state = lax.pmean((grads, metrics, model_state), axis_name)

        def update() -> TrainState:
            updates, opt_state = tx.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
            ema_params = state.ema_params
            if ema_decay is not None:
                ema_params = optax.incremental_update(params, ema_params, 1.0 - ema_decay)
            return state.replace(
                params=params, model_state=model_state, opt_state=opt_state, ema_params=ema_params
            )

        if not guard:
            state = update()
        else:
            finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(scaled_sum(grads))
            # A branch and not a selection, which would keep a copy of all that is updated.
            state = lax.cond(finite, update, lambda: state)
            metrics = {**metrics, "finite": finite}
        return state.replace(step=state.step + 1), metrics

    return step


def make_eval_step(ae: Autoencoder, *, axis_name: str | None = None) -> EvalStep:
    """``(state, batch, key=None) -> metrics``: the same metrics as in training, nothing updated.

    With a `key` the posterior is sampled and inputs are corrupted as in training (a negative ELBO
    needs that); without, the module is deterministic. Dropout is off either way. Averaged
    parameters are used where the state has them.
    """

    def step(state: TrainState, batch: Batch, key: Array | None = None) -> Metrics:
        batch = {**batch, "x": as_floats(batch["x"])}
        if key is not None and axis_name is not None:
            key = jax.random.fold_in(key, lax.axis_index(axis_name))
        rngs = {} if key is None else streams(key, ("latent", "corrupt"))
        outputs: Any = ae.apply(state.variables, *_inputs(batch), rngs=rngs)
        _, metrics = compute_loss(ae.objective, outputs, batch, state.step, axis_name=axis_name)
        return metrics if axis_name is None else lax.pmean(metrics, axis_name)

    return step


def scaled_sum(grads: Any) -> Array:
    """2^64 times the sum of all numbers in `grads`, which no number that is not finite survives.

    Nor, in float32, one whose square is not finite: it would stay in Adam's second moment. (Many
    that are nearly as large may be too much as well.)
    """

    def sums(leaf: Array) -> Array:
        if leaf.ndim < 2:
            return SCALE * leaf
        # A product: with the usual sum of squares a step of 784-512-2 takes 1.01 to 1.04 times as
        # long on a CPU, of 784-128-64-32 1.00 to 1.04. In two halves, which are tasks for two
        # cores: with one product the step of 784-512-2 takes 1.03 times as long.
        rows = leaf.size // leaf.shape[-1]
        parts = 1 if rows % 2 else 2
        ones = jnp.full((parts, 1, rows // parts), SCALE, leaf.dtype)
        return ones @ leaf.reshape(parts, rows // parts, leaf.shape[-1])

    return sum((sums(leaf).sum() for leaf in jax.tree.leaves(grads)), jnp.zeros(()))


def _in_parts(grad_fn, model_state, batch, key, parts, axis_name):
    """Gradient and metrics of the batch as means of those of its parts, by their real rows."""
    # Every parts-th row is a part, so that each device of a split batch has its share of each.
    split = jax.tree.map(
        lambda a: a.reshape(len(a) // parts, parts, *a.shape[1:]).swapaxes(0, 1), batch
    )

    def weighted(model_state, part, index):
        noise = jax.random.fold_in(key, index)
        grads, (metrics, model_state) = grad_fn(model_state, part, noise)
        rows = part["mask"].sum() if "mask" in part else jnp.float32(len(part["x"]))
        rows = rows if axis_name is None else lax.psum(rows, axis_name)
        return jax.tree.map(lambda a: rows * a, (grads, metrics)), rows, model_state

    def one(carry, inputs):
        total, rows, model_state = carry
        found, more, model_state = weighted(model_state, *inputs)
        return (jax.tree.map(jnp.add, total, found), rows + more, model_state), None

    first = jax.tree.map(lambda a: a[0], split)
    rest = jax.tree.map(lambda a: a[1:], split)
    carry = weighted(model_state, first, 0)
    (total, rows, model_state), _ = lax.scan(one, carry, (rest, jnp.arange(1, parts)))
    # A batch without a real row has no gradient, as when it is taken whole.
    grads, metrics = jax.tree.map(lambda a: a / jnp.maximum(rows, 1.0), total)
    return grads, metrics, model_state


def _apply(ae, params, model_state, batch, rngs):
    """The module's outputs, and its untrained collections after the batch."""
    variables = {"params": params, **model_state}
    if not model_state:
        return ae.apply(variables, *_inputs(batch), rngs=rngs), model_state
    return ae.apply(variables, *_inputs(batch), rngs=rngs, mutable=list(model_state))


def _inputs(batch: Batch) -> tuple[Array, ...]:
    return (batch["x"], batch["length"]) if "length" in batch else (batch["x"],)

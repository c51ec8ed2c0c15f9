"""The one training step and the one evaluation step, for every model.

Both are pure functions. The caller applies jit, vmap, pmap or shard_map:

    step = jax.jit(make_train_step(ae, tx), donate_argnums=0)
    step = jax.pmap(make_train_step(ae, tx, axis_name="data"), axis_name="data",
                    in_axes=(None, 0), out_axes=None)
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from ae_jax.core import (
    Autoencoder,
    Batch,
    TrainState,
    check_accumulation,
    compute_loss,
    floats_in,
    loss_name,
    module_columns,
    player_labels,
    player_names,
    streams,
    whole_optimizer,
)

Metrics = dict[str, Array]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
EvalStep = Callable[..., Metrics]

SCALE = 2.0**64  # times x is beyond float32 where the square of x is
AFTER_UPDATE = 2**30  # folds the key of `Autoencoder.after_update` away from those of the streams


def make_train_step(
    ae: Autoencoder,
    tx: optax.GradientTransformation,
    *,
    axis_name: str | None = None,
    ema_decay: float | None = None,
    accumulate: int = 1,
    guard: bool | Literal["whole"] = False,
) -> TrainStep:
    """``(state, batch) -> (state, metrics)``: one gradient step.

    Metrics are scalars on the device (see `core.compute_loss`).

    Args:
      ae: the model and its objective.
      tx: the optimizer, from which the model may make its own (`core.whole_optimizer`).
      axis_name: the mapped axis the batch is split over, under pmap or shard_map. Each device draws
        its own noise, so stochastic models then depend on the number of devices; under jit with
        sharded arrays (leave it None) they do not.
      ema_decay: keep ``ema = decay * ema + (1 - decay) * variables``; the state needs
        ``init_state(..., ema=True)``. Integers in untrained state are kept as they are.
      accumulate: compute the gradient of the batch in this number of parts, one after another, in
        a part of the memory. The same step, to the accuracy of sums, except for the noise, which
        each part draws for itself. The batch is split into them, so it must divide.
      guard: skip an update whose loss, gradient (`scaled_sum`) or new untrained state is not
        finite: of the state only ``step`` then moves. The metrics report it in ``finite``, bool.
        With "whole", also one whose new parameters or optimizer arrays are not finite, as of an
        optimizer that overflows. That computes the optimizer twice.

    Raises `ValueError` with `accumulate` for a model with a `BatchTerm` or untrained state, which
    depend on the whole batch; and where the model reads a column that the batch lacks.
    """
    check_accumulation(ae.objective, accumulate)
    tx = whole_optimizer(ae, tx)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        if accumulate > 1 and state.model_state:
            raise ValueError(
                f"accumulate={accumulate}: the model keeps untrained state "
                f"({', '.join(state.model_state)}), which a whole batch updates: remove accumulate"
            )
        batch = floats_in(batch)
        key = jax.random.fold_in(state.key, state.step)
        params = state.params
        if axis_name is not None:
            key = jax.random.fold_in(key, lax.axis_index(axis_name))
            # Without it shard_map sums the gradient over devices before we average it.
            params = lax.pcast(params, axis_name, to="varying")

        gradient = partial(_gradient, ae, params, state.model_state, state.step, axis_name)
        if accumulate == 1:
            grads, metrics, model_state = gradient(batch, key)
        else:
            grads, metrics = _in_parts(gradient, batch, key, accumulate, axis_name)
            model_state = state.model_state
        if axis_name is not None:
            grads, metrics = lax.pmean((grads, metrics), axis_name)
            model_state = jax.tree.map(partial(_same_on_all, axis_name), model_state)

        def update() -> TrainState:
            new = updated(ae, tx, state, grads, model_state, batch, axis_name)
            if ema_decay is not None:
                variables = {"params": new.params, **new.model_state}
                new = new.replace(ema=_average(ema_decay, state.ema, variables))
            return new

        if not guard:
            state = update()
        else:
            losses = [metrics[loss_name(player)] for player in player_names(ae.objective)]
            finite = jnp.isfinite(jnp.stack(losses)).all() & jnp.isfinite(scaled_sum(grads))
            if model_state:
                finite &= all_finite(model_state)
            old = state
            if guard == "whole":
                new = update()  # only to look at: a branch that returned it would keep both states
                arrays = [a for a in jax.tree.leaves(new.opt_state) if a.ndim]
                finite &= all_finite((new.params, arrays))

            def checked() -> tuple[TrainState, Array]:
                new = update()
                if ae.after_update is None:
                    return new, jnp.bool(True)
                ok = all_finite((new.params, new.model_state))
                return lax.cond(ok, lambda: new, lambda: old), ok

            # A branch and not a selection, which would keep a copy of all that is updated.
            state, ok = lax.cond(finite, checked, lambda: (old, jnp.bool(False)))
            metrics = {**metrics, "finite": finite & ok}
        return state.replace(step=state.step + 1), metrics

    return step


def make_eval_step(ae: Autoencoder, *, axis_name: str | None = None) -> EvalStep:
    """``(state, batch, key=None) -> metrics``: the same metrics as in training, nothing updated.

    With a `key` the posterior is sampled and inputs are corrupted as in training (a negative ELBO
    needs that); without, the module is deterministic. Dropout is off either way. Averaged
    variables are used where the state has them.
    """

    def step(state: TrainState, batch: Batch, key: Array | None = None) -> Metrics:
        batch = floats_in(batch)
        if key is not None and axis_name is not None:
            key = jax.random.fold_in(key, lax.axis_index(axis_name))
        rngs = {} if key is None else streams(key, ("latent", "corrupt"))
        columns = module_columns(ae.columns, batch, state.step, axis_name)
        outputs = ae.apply(state.variables, batch["x"], **columns, rngs=rngs)
        _, metrics = compute_loss(ae.objective, outputs, batch, state.step, axis_name=axis_name)
        return metrics if axis_name is None else lax.pmean(metrics, axis_name)

    return step


def updated(
    ae: Autoencoder,
    tx: optax.GradientTransformation,
    state: TrainState,
    grads: Any,
    model_state: Any,
    batch: Batch,
    axis_name: str | None = None,
) -> TrainState:
    """`state` after the update of `tx`, the whole optimizer, and after `ae.after_update`."""
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    new = state.replace(params=params, model_state=model_state, opt_state=opt_state)
    if ae.after_update is None:
        return new
    key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), AFTER_UPDATE)
    return _same_types(ae.after_update(new, batch, key, axis_name), new)


def scaled_sum(grads: Any) -> Array:
    """2^64 times the sum of all numbers in `grads`, which no number that is not finite survives.

    Nor, in float32, one whose square is not finite: it would stay in Adam's second moment. (Many
    that are nearly as large may be too much as well.)
    """

    def sums(leaf: Array) -> Array:
        if leaf.ndim < 2:
            return SCALE * leaf
        # A product, which a CPU computes faster than the usual sum of squares; in two halves,
        # which are tasks for two cores.
        rows = leaf.size // leaf.shape[-1]
        parts = 1 if rows % 2 else 2
        ones = jnp.full((parts, 1, rows // parts), SCALE, leaf.dtype)
        return ones @ leaf.reshape(parts, rows // parts, leaf.shape[-1])

    return sum((sums(leaf).sum() for leaf in jax.tree.leaves(grads)), jnp.zeros(()))


def all_finite(tree: Any) -> Array:
    """Whether every float in `tree` is finite: [], bool."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in floats] or [jnp.bool(True)]).all()


def _gradient(
    ae: Autoencoder,
    params: Any,
    model_state: Any,
    step: Array,
    axis_name: str | None,
    batch: Batch,
    key: Array,
) -> tuple[Any, Metrics, Any]:
    """The gradient of each player's loss with respect to its own parameters, the metrics, and the
    untrained collections after the batch."""

    def loss_of(player: str, own: Any) -> tuple[Array, tuple[Metrics, Any]]:
        variables = {"params": {**params, **own} if ae.players else own, **model_state}
        columns = module_columns(ae.columns, batch, step, axis_name)
        options = {"rngs": streams(key), **({"mutable": list(model_state)} if model_state else {})}
        outputs = ae.apply(variables, batch["x"], **columns, **options)
        outputs, new_state = outputs if model_state else (outputs, model_state)
        loss, metrics = compute_loss(
            ae.objective, outputs, batch, step, axis_name=axis_name, player=player
        )
        return loss, (metrics, new_state)

    if not ae.players:
        grads, (metrics, new_state) = jax.grad(partial(loss_of, ""), has_aux=True)(params)
        return grads, metrics, new_state
    labels = player_labels(ae.players, params)
    grads = {}
    # The main player comes last: its metrics are returned.
    for player in reversed(player_names(ae.objective)):
        own = {name: params[name] for name in params if labels[name] == player}
        part, (metrics, new_state) = jax.grad(partial(loss_of, player), has_aux=True)(own)
        grads |= part
    return {name: grads[name] for name in params}, metrics, new_state


def _in_parts(
    gradient: Callable[[Batch, Array], tuple[Any, Metrics, Any]],
    batch: Batch,
    key: Array,
    parts: int,
    axis_name: str | None,
) -> tuple[Any, Metrics]:
    """Gradient and metrics of the batch as means of those of its parts, by their real rows."""
    # Every parts-th row is a part, so that each device of a split batch has its share of each.
    split = jax.tree.map(
        lambda a: a.reshape(len(a) // parts, parts, *a.shape[1:]).swapaxes(0, 1), batch
    )

    def weighted(part: Batch, index: Any) -> tuple[Any, Array]:
        grads, metrics, _ = gradient(part, jax.random.fold_in(key, index))
        rows = part["mask"].sum() if "mask" in part else jnp.float32(len(part["x"]))
        rows = rows if axis_name is None else lax.psum(rows, axis_name)
        return jax.tree.map(lambda a: rows * a, (grads, metrics)), rows

    def one(carry: Any, inputs: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, carry, weighted(*inputs)), None

    first = jax.tree.map(lambda a: a[0], split)
    rest = jax.tree.map(lambda a: a[1:], split)
    (total, rows), _ = lax.scan(one, weighted(first, 0), (rest, jnp.arange(1, parts)))
    # A batch without a real row has no gradient, as when it is taken whole.
    grads, metrics = jax.tree.map(lambda a: a / jnp.maximum(rows, 1.0), total)
    return grads, metrics


def _same_on_all(axis_name: str, leaf: Array) -> Array:
    """The mean over devices; of integers, which must agree already, one of them."""
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return lax.pmean(leaf, axis_name)
    whole = leaf.astype(jnp.int32) if leaf.dtype == jnp.bool_ else leaf
    return lax.pmax(whole, axis_name).astype(leaf.dtype)


def _average(decay: float, old: Any, new: Any) -> Any:
    def one(old: Array, new: Array) -> Array:
        if not jnp.issubdtype(new.dtype, jnp.inexact):
            return new
        step_size = 1.0 - decay
        return step_size * new + (1.0 - step_size) * old

    return jax.tree.map(one, old, new)


def _same_types(new: Any, old: Any) -> Any:
    """`new`, which must be a state of the same structure, shapes and dtypes as `old`."""
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (old, new))
    if shapes[0] != shapes[1]:
        raise ValueError(
            "after_update returned a state of another structure, shape or dtype than it was given"
        )
    return new

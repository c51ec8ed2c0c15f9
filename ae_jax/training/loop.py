"""Many steps as one program: batches are gathered and metrics summed on the device.

Both loops are pure functions; the caller compiles them (and donates the state), or maps them first.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array, lax

from ae_jax.data.memory import take
from ae_jax.state import TrainState
from ae_jax.training.step import EvalStep, Metrics, TrainStep

Data = Mapping[str, Array]
TrainLoop = Callable[[TrainState, Data, Array, Array, Array], tuple[TrainState, Metrics]]
EvalLoop = Callable[[TrainState, Data, Array, Array], Metrics]


def make_train_loop(step: TrainStep, *, padded: bool) -> TrainLoop:
    """``(state, data, order, first, count) -> (state, metrics)``.

    Runs steps ``first .. first + count - 1`` of an epoch whose batches are the rows of `order`
    (see `data.memory`), and returns the mean of each metric over the examples seen. `count` is
    traced: one compilation serves every chunk length.
    """

    def run(state, data, order, first, count):
        def one(i, carry):
            state, total, rows = carry
            batch = take(data, order[first + i], padded=padded)
            state, metrics = step(state, batch)
            return state, *_add(total, rows, metrics, batch)

        shapes = jax.eval_shape(lambda: step(state, take(data, order[0], padded=padded))[1])
        state, total, rows = lax.fori_loop(0, count, one, (state, _zeros(shapes), jnp.float32(0)))
        return state, _mean(total, rows)

    return run


def make_eval_loop(step: EvalStep) -> EvalLoop:
    """``(state, data, order, key) -> metrics``: their means over all examples of `order`.

    The noise of a batch is a function of `key` and of its place, so that evaluations compare.
    Terms of the whole batch are averaged over batches.
    """

    def run(state, data, order, key):
        def one(i, carry):
            batch = take(data, order[i], padded=True)
            metrics = step(state, batch, jax.random.fold_in(key, i))
            return _add(*carry, metrics, batch)

        shapes = jax.eval_shape(lambda: step(state, take(data, order[0], padded=True), key))
        total, rows = lax.fori_loop(0, len(order), one, (_zeros(shapes), jnp.float32(0)))
        return _mean(total, rows)

    return run


def _zeros(shapes: Metrics) -> Metrics:
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def _add(total: Metrics, rows: Array, metrics: Metrics, batch: Data) -> tuple[Metrics, Array]:
    count = batch["mask"].sum() if "mask" in batch else jnp.float32(len(batch["x"]))
    return jax.tree.map(lambda t, m: t + count * m, total, metrics), rows + count


def _mean(total: Metrics, rows: Array) -> Metrics:
    return jax.tree.map(lambda t: t / rows, total)

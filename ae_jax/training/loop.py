"""Many steps as one program: batches are taken and metrics summed on the device.

Both loops are pure functions; the caller compiles them (and donates the state), or maps them first.
They go over whatever a pipeline of `ae_jax.data` hands them: ``batch_at(data, i)`` is its batch i.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from ae_jax.objective import Batch
from ae_jax.state import TrainState
from ae_jax.training.step import EvalStep, Metrics, TrainStep

BatchAt = Callable[[Any, Array], Batch]


class Sums(NamedTuple):
    """Metrics times examples, and examples: what means over several loops are made of."""

    total: Metrics
    examples: Array

    def mean(self) -> Metrics:
        """The mean of each metric over the examples seen."""
        return jax.tree.map(lambda total: total / self.examples, self.total)


TrainLoop = Callable[[TrainState, Sums, Any, ArrayLike, ArrayLike], tuple[TrainState, Sums]]
EvalLoop = Callable[[TrainState, Sums, Any, ArrayLike, ArrayLike, Array, ArrayLike], Sums]


def make_train_loop(step: TrainStep, batch_at: BatchAt) -> TrainLoop:
    """``(state, sums, data, first, count) -> (state, sums)``: batches first .. first + count - 1.

    `count` is traced: one compilation serves every length.
    """

    def run(state, sums, data, first, count):
        def one(i, carry):
            state, sums = carry
            batch = batch_at(data, first + i)
            state, metrics = step(state, batch)
            return state, _add(sums, metrics, batch)

        return lax.fori_loop(0, count, one, (state, sums))

    return run


def make_eval_loop(step: EvalStep, batch_at: BatchAt) -> EvalLoop:
    """``(state, sums, data, first, count, key, place) -> sums``.

    The noise of a batch is a function of `key` and of its place in the whole set, which is `place`
    for the first one here, so that evaluations compare. Terms of the whole batch are averaged over
    batches.
    """

    def run(state, sums, data, first, count, key, place):
        def one(i, sums):
            batch = batch_at(data, first + i)
            return _add(sums, step(state, batch, jax.random.fold_in(key, place + i)), batch)

        return lax.fori_loop(0, count, one, sums)

    return run


def no_sums(metrics: Iterable[str]) -> Sums:
    """What to start from: zeros, for metrics of these names."""
    return Sums({name: jnp.float32(0) for name in metrics}, jnp.float32(0))


def _add(sums: Sums, metrics: Metrics, batch: Batch) -> Sums:
    examples = batch["mask"].sum() if "mask" in batch else jnp.float32(len(batch["x"]))
    total = jax.tree.map(lambda t, m: t + examples * m.astype(t.dtype), sums.total, metrics)
    return Sums(total, sums.examples + examples)

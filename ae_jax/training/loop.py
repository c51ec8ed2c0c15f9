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

from ae_jax.core import Batch, TrainState
from ae_jax.training.step import EvalStep, Metrics, TrainStep

BatchAt = Callable[[Any, Array], Batch]


class Skips(NamedTuple):
    """Updates that were skipped because they were not finite (see `step.make_train_step`)."""

    streak: Array
    """How many in a row, at the end."""
    total: Array
    """How many since the sums began."""
    last: Array
    """The step of the last one, or -1."""


class Sums(NamedTuple):
    """Metrics times examples, and examples: what means over several loops are made of.

    Skipped updates are in neither; `skips` counts them."""

    total: Metrics
    examples: Array
    skips: Skips

    def mean(self) -> Metrics:
        """The mean of each metric over the examples seen."""
        return jax.tree.map(lambda total: total / self.examples, self.total)


TrainLoop = Callable[[TrainState, Sums, Any, ArrayLike, ArrayLike], tuple[TrainState, Sums]]
EvalLoop = Callable[[TrainState, Sums, Any, ArrayLike, ArrayLike, Array, ArrayLike], Sums]


def make_train_loop(
    step: TrainStep, batch_at: BatchAt, *, max_skips: int | None = None
) -> TrainLoop:
    """``(state, sums, data, first, count) -> (state, sums)``: batches first .. first + count - 1.

    `count` is traced: one compilation serves every length. With a guarded step, the loop ends when
    more than `max_skips` updates in a row were skipped, and does nothing when it is called with
    those sums again.
    """

    def run(state, sums, data, first, count):
        def unfinished(carry):
            i, _, sums = carry
            return (i < count) & (True if max_skips is None else sums.skips.streak <= max_skips)

        def one(carry):
            i, state, sums = carry
            batch, at = batch_at(data, first + i), state.step
            state, metrics = step(state, batch)
            finite = metrics.pop("finite", None)
            if finite is None:
                return i + 1, state, _add(sums, metrics, batch)
            return i + 1, state, _add_finite(sums, metrics, batch, finite, at)

        _, state, sums = lax.while_loop(unfinished, one, (jnp.int32(0), state, sums))
        return state, sums

    return run


def make_eval_loop(step: EvalStep, batch_at: BatchAt) -> EvalLoop:
    """``(state, sums, data, first, count, key, place) -> sums``.

    The noise of a batch is a function of `key` and of its place in the whole set, which is `place`
    for the first one here, so that evaluations compare. A `BatchTerm` is averaged over
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
    skips = Skips(jnp.int32(0), jnp.int32(0), jnp.int32(-1))
    return Sums({name: jnp.float32(0) for name in metrics}, jnp.float32(0), skips)


def _add(sums: Sums, metrics: Metrics, batch: Batch) -> Sums:
    examples = batch["mask"].sum() if "mask" in batch else jnp.float32(len(batch["x"]))
    total = jax.tree.map(lambda t, m: t + examples * m.astype(t.dtype), sums.total, metrics)
    return sums._replace(total=total, examples=sums.examples + examples)


def _add_finite(sums: Sums, metrics: Metrics, batch: Batch, finite: Array, step: Array) -> Sums:
    """With the metrics of an update that was made, or the count of one that was skipped."""
    added = _add(sums, metrics, batch)
    total, examples = jax.tree.map(
        lambda new, old: jnp.where(finite, new, old), added[:2], sums[:2]
    )
    skipped = (~finite).astype(jnp.int32)
    streak, before, last = sums.skips
    skips = Skips(skipped * (streak + 1), before + skipped, jnp.where(finite, last, step))
    return Sums(total, examples, skips)

"""Loops of many steps in one program: the device gathers the batches and sums the metrics.

Both loops are pure functions. The caller compiles them and donates the state, or maps them with
`jax.vmap` first. ``batch_at(data, i)`` returns batch i of the data of an `ae_jax.data` pipeline.
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
    """Counts of updates that were skipped because they were not finite (see `make_train_step`)."""

    streak: Array
    """Skipped updates in a row, up to the latest update."""
    total: Array
    """Skipped updates since the sums were zero."""
    last: Array
    """The step of the last skipped update, or -1."""


class Sums(NamedTuple):
    """Sums of metrics over examples, from which `mean` computes means over several loops.

    Skipped updates add nothing to `total` and `examples`; `skips` counts them.
    """

    total: Metrics
    """Sum over batches of each metric times the batch's number of examples."""
    examples: Array
    """Number of examples in the sums."""
    skips: Skips

    def mean(self) -> Metrics:
        """Return the mean of each metric over the examples."""
        return jax.tree.map(lambda total: total / self.examples, self.total)


TrainLoop = Callable[[TrainState, Sums, Any, ArrayLike, ArrayLike], tuple[TrainState, Sums]]
EvalLoop = Callable[[TrainState, Sums, Any, ArrayLike, ArrayLike, Array, ArrayLike], Sums]


def make_train_loop(
    step: TrainStep, batch_at: BatchAt, *, max_skips: int | None = None
) -> TrainLoop:
    """Return ``loop(state, sums, data, first, count) -> (state, sums)``.

    The loop trains on the batches first .. first + count - 1. `count` is traced, so one compilation
    serves every length. With a guarded step, the loop ends when more than `max_skips` updates in a
    row are skipped, and a later call with the same sums does nothing.
    """

    def run(state, sums, data, first, count):
        def unfinished(carry):
            i, _, sums = carry
            return (i < count) & (True if max_skips is None else sums.skips.streak <= max_skips)

        def update(carry):
            i, state, sums = carry
            batch, number = batch_at(data, first + i), state.step
            state, metrics = step(state, batch)
            finite = metrics.pop("finite", None)
            if finite is None:
                return i + 1, state, _add(sums, metrics, batch)
            return i + 1, state, _add_finite(sums, metrics, batch, finite, number)

        _, state, sums = lax.while_loop(unfinished, update, (jnp.int32(0), state, sums))
        return state, sums

    return run


def make_eval_loop(step: EvalStep, batch_at: BatchAt) -> EvalLoop:
    """Return ``loop(state, sums, data, first, count, key, position) -> sums``.

    `position` is that of the first batch in the data set. The noise of a batch depends only on
    `key` and on the batch's position in the data set, so evaluations are comparable. A `BatchTerm`
    is averaged over batches.
    """

    def run(state, sums, data, first, count, key, position):
        def evaluate(i, sums):
            batch = batch_at(data, first + i)
            return _add(sums, step(state, batch, jax.random.fold_in(key, position + i)), batch)

        return lax.fori_loop(0, count, evaluate, sums)

    return run


def no_sums(metrics: Iterable[str]) -> Sums:
    """Return sums of zero for metrics of these names, to start a loop with."""
    skips = Skips(jnp.int32(0), jnp.int32(0), jnp.int32(-1))
    return Sums({name: jnp.float32(0) for name in metrics}, jnp.float32(0), skips)


def _add(sums: Sums, metrics: Metrics, batch: Batch) -> Sums:
    examples = batch["mask"].sum() if "mask" in batch else jnp.float32(len(batch["x"]))
    total = jax.tree.map(lambda t, m: t + examples * m.astype(t.dtype), sums.total, metrics)
    return sums._replace(total=total, examples=sums.examples + examples)


def _add_finite(sums: Sums, metrics: Metrics, batch: Batch, finite: Array, step: Array) -> Sums:
    """Add the metrics of a finite update, or count a skipped one."""
    added = _add(sums, metrics, batch)
    total, examples = jax.tree.map(
        lambda new, old: jnp.where(finite, new, old), added[:2], sums[:2]
    )
    skipped = (~finite).astype(jnp.int32)
    streak, before, last = sums.skips
    skips = Skips(skipped * (streak + 1), before + skipped, jnp.where(finite, last, step))
    return Sums(total, examples, skips)

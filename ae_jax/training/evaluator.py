"""Evaluate a training state on an entire data set, with one compiled program."""

import itertools
from collections.abc import Callable, Mapping
from functools import partial

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh

from ae_jax.core import Autoencoder, TrainState, metric_names
from ae_jax.data.memory import InMemory, evaluation_order, steps_per_epoch
from ae_jax.data.stream import Streamed
from ae_jax.devices.compilation import compile_program
from ae_jax.devices.mesh import AXIS, put, replicated
from ae_jax.training.drive import Pace, drive
from ae_jax.training.loop import Sums, make_eval_loop, no_sums
from ae_jax.training.step import make_eval_step

Evaluate = Callable[[TrainState, Callable[[], bool]], Sums | None]
"""``(state, stop) -> sums`` over the data set, or None if `stop` ended it early."""


def make_evaluator(
    ae: Autoencoder,
    state: TrainState,
    data: Mapping[str, np.ndarray],
    *,
    batch_size: int,
    key: Array,
    mesh: Mesh,
    stream: bool,
) -> Evaluate:
    """Compile the evaluation on `data` of states like `state`, with the same noise every time.

    Args:
      ae: the model.
      state: gives shapes, dtypes and shardings only.
      data: validated columns, "x" and others.
      batch_size: examples per batch; reduced to the number of examples.
      key: the random key of the noise.
      mesh: the devices to split each batch over.
      stream: leave the data on the host and stream it.
    """
    everywhere, rows = replicated(mesh), len(data["x"])
    batch_size = min(batch_size, rows)
    batches = steps_per_epoch(rows, batch_size)
    multiple = mesh.shape[AXIS]
    order = partial(evaluation_order, data, count=rows, batch_size=batch_size, multiple=multiple)
    pipeline = Streamed if stream else InMemory
    feed = pipeline(data, lambda _: order(), padded=True, mesh=mesh)
    zeros, key = put((no_sums(metric_names(ae.objective)), key), everywhere)
    sample, _, _ = next(feed.pieces(0, 0, 1))
    loop = jax.jit(make_eval_loop(make_eval_step(ae), feed.batch_at), out_shardings=everywhere)
    zero = np.int32(0)
    compiled = compile_program(loop.lower(state, zeros, sample, zero, zero, key, zero))

    def call(state, sums, piece, first, count, position):
        return compiled(state, sums, piece, first, count, key, position)

    return evaluator(call, zeros, feed, batches)


def evaluator(
    loop: Callable[..., Sums], zeros: Sums, feed: InMemory | Streamed, batches: int
) -> Evaluate:
    """The evaluation by ``loop(state, sums, data, first, count, position) -> sums``."""
    epochs, pace = itertools.count(), Pace()

    def evaluate(state: TrainState, stop: Callable[[], bool]) -> Sums | None:
        position = 0  # of the next batch in the data set

        def call(carry, piece, first, count):
            nonlocal position
            state, sums = carry
            sums = loop(state, sums, piece, first, count, np.int32(position))
            position += int(count)
            return state, sums

        pieces = feed.pieces(next(epochs), 0, batches)
        _, sums = drive(call, (state, zeros), pieces, pace, lambda _: stop())
        return sums if position == batches else None

    return evaluate

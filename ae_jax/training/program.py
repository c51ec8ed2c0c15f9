"""The compiled loop that a training runs, and what it starts from."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from ae_jax.core import Autoencoder, TrainState
from ae_jax.data.memory import InMemory, Order, epoch_order
from ae_jax.data.stream import Streamed
from ae_jax.devices.compilation import compile_program
from ae_jax.devices.mesh import put, replicated
from ae_jax.training.loop import Sums, make_train_loop, no_sums
from ae_jax.training.start import start
from ae_jax.training.step import make_train_step


class Program(NamedTuple):
    """``state, sums = loop(state, none, data, first, count)`` for the pieces of `feed`."""

    state: TrainState
    """The fresh one; a call of `loop` takes its buffers."""
    none: Sums
    feed: InMemory | Streamed
    order: Order
    loop: Any
    """Compiled: it has ``memory_analysis()`` and ``cost_analysis()``."""


def make_program(
    ae: Autoencoder,
    train: Mapping[str, np.ndarray],
    tx: optax.GradientTransformation,
    init_key: Array,
    order_key: Array,
    *,
    mesh: Mesh,
    batch_size: int,
    accumulate: int = 1,
    ema_decay: float | None = None,
    max_skips: int = 0,
    params: Any = None,
    stream: bool = False,
) -> Program:
    """What `fit` runs, for updates of `batch_size` examples in `accumulate` parts.

    It is compiled ahead of time: what cannot be compiled leaves no run directory behind, a run
    cannot compile its step twice, and no figure includes compiling it.
    """
    count, everywhere, multiple = len(train["x"]), replicated(mesh), mesh.size * accumulate
    state = start(ae, tx, init_key, params=params, ema=ema_decay is not None, place=everywhere)
    order = partial(epoch_order, order_key, count=count, batch_size=batch_size, multiple=multiple)
    padded = count % batch_size != 0 or batch_size % multiple != 0
    feed = (Streamed if stream else InMemory)(train, order, padded=padded, mesh=mesh)
    step = make_train_step(ae, tx, ema_decay=ema_decay, accumulate=accumulate, guard=True)
    none = put(no_sums(("loss", *ae.objective)), everywhere)
    jitted = jax.jit(
        make_train_loop(step, feed.batch_at, max_skips=max_skips),
        donate_argnums=0,
        out_shardings=everywhere,
    )
    sample, _, _ = next(feed.pieces(0, 0, 1))
    loop = compile_program(jitted.lower(state, none, sample, np.int32(0), np.int32(0)))
    return Program(state, none, feed, order, loop)

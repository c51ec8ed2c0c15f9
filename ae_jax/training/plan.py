"""The plan of a training: everything checked, sized and compiled, and nothing run or written.

`fit` runs a plan. A dry run and the benchmark look at the same one.
"""

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from ae_jax.core import Autoencoder, Batch, TrainState, metric_names
from ae_jax.data.memory import InMemory, Order, steps_per_epoch, training_order
from ae_jax.data.pipeline import which_to_stream
from ae_jax.data.stream import Streamed
from ae_jax.devices.compilation import compile_program
from ae_jax.devices.memory import check_batch, data_bytes
from ae_jax.devices.mesh import AXIS, data_mesh, put, replicated
from ae_jax.spec import require
from ae_jax.training.checks import (
    Examples,
    check_average,
    check_examples,
    check_reach,
    check_seed,
    checked_data,
)
from ae_jax.training.evaluator import Evaluate, make_evaluator
from ae_jax.training.loop import Sums, no_sums
from ae_jax.training.lowering import lower_loop
from ae_jax.training.start import sample_of, start

BATCH = 256
"""Examples to a batch, of a set that has as many."""


class Sizes(NamedTuple):
    """How a run is cut into updates, rows and checkpoints; counts are of updates."""

    examples: int
    """In the training set."""
    part: int
    """Examples to a batch; `accumulate` batches make an update."""
    batch_size: int
    """Examples to an update."""
    accumulate: int
    per_epoch: int
    total: int
    chunk: int
    """Between train rows, at most."""
    save_every: int
    max_skips: int


@dataclass(kw_only=True)
class Program:
    """``state, sums = loop(state, zeros, data, first, count)`` for the pieces of `feed`."""

    sizes: Sizes
    state: TrainState | None
    """The first state. A call of `loop` reuses its buffers: see `take_state`."""
    zeros: Sums
    """What `loop` adds to, at the start of a row."""
    feed: InMemory | Streamed
    loop: Any
    evaluate: Evaluate | None
    guarded: bool
    """Whether `loop` skips updates that are not finite."""

    def take_state(self) -> TrainState:
        """The first state, which a program can give only once."""
        assert self.state is not None, "the state of this program was taken already"
        state, self.state = self.state, None
        return state


@dataclass(kw_only=True)
class Plan(Program):
    """The program of one run. Its `loop` has ``memory_analysis()`` and ``cost_analysis()``."""

    ae: Autoencoder
    tx: optax.GradientTransformation
    mesh: Mesh
    train: dict[str, np.ndarray]
    eval_data: dict[str, np.ndarray] | None
    streamed: dict[str, bool]
    """By "train" and "eval_data", whether that set is streamed."""
    order: Order
    compile_seconds: float
    """That tracing and compiling `loop` took."""
    ema_decay: float | None
    learning_rate: float | None
    """The learning rate of Adam, if the optimizer was given as a number."""
    seed: int

    def example_batch(self) -> Batch:
        """Shapes and dtypes of one batch."""
        piece, _, _ = next(self.feed.pieces(0, 0, 1))
        batch: Batch = jax.eval_shape(self.feed.batch_at, piece, 0)
        return batch


def make_plan(
    ae: Autoencoder,
    train: Examples,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    optimizer: optax.GradientTransformation | float = 1e-3,
    seed: int = 0,
    params: Any = None,
    model_state: Any = None,
    eval_data: Examples | None = None,
    max_skips: int = 0,
    log_every: int | None = None,
    checkpoint_every: int | None = None,
    ema_decay: float | None = None,
    accumulate: int = 1,
    devices: int | None = 1,
    model_devices: int = 1,
    stream: bool | None = None,
) -> Plan:
    """Check, size and compile what `fit` runs, with the arguments of `fit`.

    It is compiled ahead of time: what cannot be compiled leaves no run directory behind, a run
    cannot compile its step twice, and no metric includes compiling it.

    Raises `ValueError` or `TypeError`, one line, for data or settings that cannot work.
    """
    train = checked_data(ae, train, "train", records=True)
    check_examples(ae, train)
    check_reach(ae, train)
    sets = {"train": train}
    if eval_data is not None:
        eval_data = sets["eval_data"] = checked_data(ae, eval_data, "eval_data", records=True)
    sizes = make_sizes(
        len(train["x"]),
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        accumulate=accumulate,
        log_every=log_every,
        checkpoint_every=checkpoint_every,
        max_skips=max_skips,
    )
    check_average(ema_decay)
    check_seed(seed)
    mesh = data_mesh(devices, model_devices)
    rate = None if isinstance(optimizer, optax.GradientTransformation) else float(optimizer)
    tx = optimizer if isinstance(optimizer, optax.GradientTransformation) else optax.adam(optimizer)
    init_key, order_key, eval_key = jax.random.split(jax.random.key(seed), 3)
    streamed = which_to_stream(sets, mesh, stream)

    everywhere, multiple = replicated(mesh), mesh.shape[AXIS] * sizes.accumulate
    # Made before the data is on the device: a model that cannot be made fails in an instant.
    state = start(
        ae,
        tx,
        init_key,
        sample=sample_of(ae, train),
        params=params,
        model_state=model_state,
        ema=ema_decay is not None,
        mesh=mesh,
    )
    order = partial(
        training_order,
        train,
        order_key,
        count=sizes.examples,
        batch_size=sizes.batch_size,
        multiple=multiple,
    )
    padded = sizes.examples % sizes.batch_size != 0 or sizes.batch_size % multiple != 0
    feed = (Streamed if streamed["train"] else InMemory)(train, order, padded=padded, mesh=mesh)
    zeros = put(no_sums(metric_names(ae.objective)), everywhere)
    piece, _, _ = next(feed.pieces(0, 0, 1))
    began = time.perf_counter()
    lowered = lower_loop(
        ae,
        tx,
        feed.batch_at,
        state,
        piece,
        mesh=mesh,
        max_skips=sizes.max_skips,
        ema_decay=ema_decay,
        accumulate=sizes.accumulate,
    )
    loop = compile_program(lowered)
    compile_seconds = time.perf_counter() - began
    evaluate, beside = None, 0
    if eval_data is not None:
        evaluate = make_evaluator(
            ae,
            state,
            eval_data,
            batch_size=sizes.part,
            key=eval_key,
            mesh=mesh,
            stream=streamed["eval_data"],
        )
        beside = 0 if streamed["eval_data"] else data_bytes(eval_data)
    check_batch(loop, mesh, sizes.part, beside=beside)
    return Plan(
        ae=ae,
        tx=tx,
        sizes=sizes,
        mesh=mesh,
        train=train,
        eval_data=eval_data,
        streamed=streamed,
        state=state,
        zeros=zeros,
        guarded=True,
        feed=feed,
        order=order,
        loop=loop,
        compile_seconds=compile_seconds,
        evaluate=evaluate,
        ema_decay=ema_decay,
        learning_rate=rate,
        seed=int(seed),
    )


def make_sizes(
    count: int,
    *,
    batch_size: int | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    log_every: int | None = None,
    checkpoint_every: int | None = None,
    accumulate: int = 1,
    max_skips: int = 0,
) -> Sizes:
    """The sizes of a run over `count` examples; `ValueError` for settings that cannot work."""
    if (epochs is None) == (steps is None):
        raise ValueError(f"epochs={epochs}, steps={steps}: give exactly one of them")
    counts = {
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "log_every": log_every,
        "checkpoint_every": checkpoint_every,
        "accumulate": accumulate,
    }
    for name, value in counts.items():
        if value is not None:
            ok = isinstance(value, int | np.integer) and int(value) >= 1
            require(ok, name, value, "must be an integer >= 1")
    ok = isinstance(max_skips, int | np.integer) and max_skips >= 0
    require(ok, "max_skips", max_skips, "must be an integer >= 0")
    require(accumulate <= count, "accumulate", accumulate, f"must be at most {count}, the data")
    most = count // accumulate
    if batch_size is None:
        batch_size = min(BATCH, most)
    if batch_size * accumulate > count:
        times = f", {accumulate} times" if accumulate > 1 else ""
        raise ValueError(
            f"batch_size={batch_size}{times}: larger than the data, {count} examples: use at most "
            f"{most}"
        )
    whole = int(batch_size) * int(accumulate)
    per_epoch = steps_per_epoch(count, whole)
    total = int(steps or (epochs or 0) * per_epoch)  # exactly one is given
    return Sizes(
        examples=count,
        part=int(batch_size),
        batch_size=whole,
        accumulate=int(accumulate),
        per_epoch=per_epoch,
        total=total,
        chunk=int(min(log_every or per_epoch, per_epoch)),
        save_every=(checkpoint_every or -(-total // (10 * per_epoch))) * per_epoch,
        max_skips=int(max_skips),
    )

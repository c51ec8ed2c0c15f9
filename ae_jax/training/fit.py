"""Train an autoencoder: epochs of compiled chunks, logged and checkpointed at their ends."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.experimental.multihost_utils import broadcast_one_to_all

from ae_jax.capacity import check_batch, data_bytes
from ae_jax.data.memory import InMemory, epoch_order, sequential_order, steps_per_epoch
from ae_jax.data.pipeline import which_to_stream
from ae_jax.data.stream import Streamed
from ae_jax.objective import Autoencoder, check_accumulation
from ae_jax.parallel import data_mesh, is_first_process, put, replicated
from ae_jax.runs import Run
from ae_jax.spec import to_dict
from ae_jax.state import TrainState, init_state
from ae_jax.training.checks import Examples, check_settings, checked_data
from ae_jax.training.loop import Sums, make_eval_loop, make_train_loop, no_sums
from ae_jax.training.step import make_eval_step, make_train_step

Row = dict[str, Any]
Callback = Callable[[TrainState, Row], object]


class FitResult(NamedTuple):
    """The final state, and the rows that were logged, oldest first (see `fit`)."""

    state: TrainState
    history: list[Row]


def fit(
    ae: Autoencoder,
    train: Examples,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 256,
    optimizer: optax.GradientTransformation | float = 1e-3,
    seed: int = 0,
    params: Any = None,
    eval_data: Examples | None = None,
    callbacks: Sequence[Callback] = (),
    run_dir: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    resume: bool = False,
    log_every: int | None = None,
    checkpoint_every: int | None = None,
    ema_decay: float | None = None,
    accumulate: int = 1,
    devices: int | None = 1,
    stream: bool | None = None,
) -> FitResult:
    """Train `ae` on `train`: a pure function of its arguments, bit for bit on CPU.

    The data sits on the device (uint8 stays uint8 until it is in a batch), and each stretch between
    two log rows is one compiled loop over batches gathered there, in an order drawn there too. The
    train step compiles once. Data that would not fit is streamed: the same batches in the same
    order, in chunks that are read while the device works.

    A history row is ``{"step", "epoch", "split", "loss", every raw term, "images_per_second"}``;
    `step` counts updates and `epoch` passes over the data (a fraction inside one). Train rows are
    means over the examples since the row before, as the parameters moved; test rows are means over
    all of `eval_data` after the epoch, with the posterior sampled and inputs corrupted as in
    training, with the same noise every time.

    Args:
      ae: from ``spec.build(event_shape)``, or made by hand.
      train: an array [N, *event_shape], uint8 or float, or a mapping with that as ``"x"``, and
        optionally ``"label"`` or ``"length"`` [N]. Arrays may be mapped into memory from disk.
      epochs, steps: how long; exactly one of them.
      batch_size: examples per update; the last batch of an epoch is padded and masked.
      optimizer: an optax optimiser, or a learning rate for Adam.
      seed: of the initial parameters, the order of the data, and all noise.
      params: initial parameters, instead of fresh ones: a tree of the same structure and shapes
        (see `init_state`). They are copied, and the optimiser starts from them. A resumed run takes
        them only if it has no checkpoint yet.
      eval_data: like `train`; evaluated after every epoch and at the end.
      callbacks: each called as ``callback(state, row)`` for every row; one that returns True stops
        the training. It must copy what it keeps of `state`, whose buffers the next step reuses.
      run_dir: where to write the run directory (see `ae_jax.runs`); must be new, unless `resume`.
      config: what to add to the run's ``config.json``.
      resume: continue the run in `run_dir` from its newest checkpoint.
      log_every: steps between train rows, at most (and by default) an epoch.
      checkpoint_every: epochs between checkpoints; by default about ten in a run. The last state is
        always saved.
      ema_decay: keep an exponential moving average of the parameters, used for evaluation.
      accumulate: make each update from so many batches, as if it were one of
        ``accumulate * batch_size`` examples, in the memory that one of `batch_size` takes.
      devices: how many to split every batch over (None: all there are). The result is that of one
        device, to the accuracy of sums (see `ae_jax.parallel`); with `accumulate` a stochastic
        model's noise is another if its batch does not divide by ``devices * accumulate``.
      stream: whether to leave the data on the host. By default a set is, with a warning in the log,
        if it would take more than half of a device's memory.

    Raises:
      ValueError, TypeError: for data or settings that cannot work, before anything is written; one
        line that names the value and the remedy. So too for a batch that the memory of a device
        does not suffice for. A damaged image of a set that is decoded while training is found
        when it is read.
    """
    train = checked_data(ae, train, "train", records=True)
    sets = {"train": train}
    if eval_data is not None:
        eval_data = sets["eval_data"] = checked_data(ae, eval_data, "eval_data", records=True)
    count = len(train["x"])
    check_settings(
        count, epochs=epochs, steps=steps, batch_size=batch_size, log_every=log_every,
        checkpoint_every=checkpoint_every, ema_decay=ema_decay, accumulate=accumulate,
    )  # fmt: skip
    mesh = data_mesh(devices)
    everywhere, multiple = replicated(mesh), mesh.size * accumulate
    check_accumulation(ae.objective, accumulate)
    eval_batch = batch_size
    batch_size *= accumulate
    per_epoch = steps_per_epoch(count, batch_size)
    total = steps or (epochs or 0) * per_epoch  # exactly one is given
    chunk = min(log_every or per_epoch, per_epoch)
    save_every = (checkpoint_every or -(-total // (10 * per_epoch))) * per_epoch

    tx = optimizer if isinstance(optimizer, optax.GradientTransformation) else optax.adam(optimizer)
    init_key, order_key, eval_key = jax.random.split(jax.random.key(seed), 3)
    init = partial(init_state, ae, tx, ema=ema_decay is not None)
    if params is None:
        state = jax.jit(init, out_shardings=everywhere)(init_key)
    else:
        init = partial(_init_from, init, tx)
        given = put(jax.device_get(params), everywhere)  # which another mesh may have made
        state = jax.jit(init, out_shardings=everywhere)(given, init_key)
    order = partial(epoch_order, order_key, count=count, batch_size=batch_size, multiple=multiple)
    padded = count % batch_size != 0 or batch_size % multiple != 0
    streamed = which_to_stream(sets, mesh, stream)
    feed = (Streamed if streamed["train"] else InMemory)(train, order, padded=padded, mesh=mesh)
    step_fn = make_train_step(ae, tx, ema_decay=ema_decay, accumulate=accumulate)
    none = put(no_sums(("loss", *ae.objective)), everywhere)
    jitted = jax.jit(
        make_train_loop(step_fn, feed.batch_at), donate_argnums=0, out_shardings=everywhere
    )
    # Ahead of time: what cannot be compiled leaves no run directory behind, the run cannot compile
    # its step twice, and no figure includes compiling it.
    sample, _, _ = next(feed.pieces(0, 0, 1))
    loop = jitted.lower(state, none, sample, np.int32(0), np.int32(0)).compile()
    del sample
    beside = 0
    if eval_data is not None:
        pipeline = Streamed if streamed["eval_data"] else InMemory
        evaluate = _evaluator(ae, state, eval_data, pipeline, eval_batch, eval_key, mesh)
        beside = 0 if streamed["eval_data"] else data_bytes(eval_data)
    check_batch(loop, mesh, eval_batch, beside=beside)

    logger, store = _Logger(callbacks), None
    if run_dir is not None:
        described = {**_description(ae, seed, ema_decay), **(config or {})}
        run = Run.open(run_dir) if resume else _create_run(run_dir, described)
        store = run.checkpoints()
        if resume:
            # A run that was stopped before its first checkpoint starts again from the beginning.
            state = store.restore(state) if store.steps() else state
            logger.history = run.rows_until(int(state.step))
        if is_first_process():
            logger.run = run
            if resume:
                run.rewrite(logger.history)
                if config is not None:
                    run.write_config(described)

    step = int(state.step)
    while step < total and not logger.stop:
        epoch, first = divmod(step, per_epoch)
        length = min(chunk - first % chunk, per_epoch - first, total - step)
        images = min((first + length) * batch_size, count) - first * batch_size
        logger.start()
        sums = none
        for data, at, steps_there in feed.pieces(epoch, first, length):
            before = sums
            state, sums = loop(state, sums, data, np.int32(at), np.int32(steps_there))
            jax.block_until_ready(before)  # so that pieces do not queue up on the device
        step += length
        when = {"step": step, "epoch": step / per_epoch}
        logger.log({**when, "split": "train"}, sums, images, state)
        if eval_data is not None and (step % per_epoch == 0 or step >= total or logger.stop):
            logger.start()
            logger.log({**when, "split": "test"}, evaluate(state), len(eval_data["x"]), state)
        if store is not None and (step % save_every == 0 or step >= total or logger.stop):
            store.save(state)
    return FitResult(state, logger.history)


def _init_from(
    init: Callable[[Array], TrainState], tx: optax.GradientTransformation, params: Any, key: Array
) -> TrainState:
    """``init(key)`` with copies of these parameters; `ValueError` unless they are of its shapes."""
    state = init(key)
    given, fresh = _by_path(params), _by_path(state.params)
    for path in fresh | given:
        if path not in given:
            raise ValueError(f"params: {path} is missing, which the model has")
        if path not in fresh:
            raise ValueError(f"params: {path} is not in the model")
        if given[path].shape != fresh[path].shape:
            raise ValueError(
                f"params: {path} has shape {given[path].shape}; the model's is {fresh[path].shape}"
            )
    # Copies, because the training loop donates its state.
    leaves = [jnp.array(given[path], old.dtype) for path, old in fresh.items()]
    params = jax.tree.unflatten(jax.tree.structure(state.params), leaves)
    ema_params = None if state.ema_params is None else params
    return state.replace(params=params, opt_state=tx.init(params), ema_params=ema_params)


def _by_path(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _create_run(path: str | Path, config: Mapping[str, Any]) -> Run:
    """`Run.create` by the first process; the others wait for it, and fail where it does."""
    error = ""
    if is_first_process():
        try:
            Run.create(path, config)
        except ValueError as refused:
            error = str(refused)
    if jax.process_count() > 1 and broadcast_one_to_all(np.int32(bool(error))):
        error = error or f"process 0 could not make the run directory {path}"
    if error:
        raise ValueError(error)
    return Run.open(path)


class _Logger:
    """Turns metrics into rows: into the history, the run directory and the callbacks."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = callbacks
        self.history: list[Row] = []
        self.run: Run | None = None
        self.stop = False
        self.began = 0.0

    def start(self) -> None:
        self.began = time.perf_counter()

    def log(self, row: Row, sums: Sums, images: int, state: TrainState) -> None:
        row |= {name: float(value) for name, value in jax.device_get(sums).mean().items()}
        row["images_per_second"] = images / (time.perf_counter() - self.began)
        self.history.append(row)
        if self.run is not None:
            self.run.log(row)
        for callback in self.callbacks:
            self.stop |= callback(state, row) is True


def _evaluator(ae, state, data, pipeline, batch_size, key, mesh):
    """``state -> sums`` of the metrics over all of `data`, compiled."""
    everywhere, rows = replicated(mesh), len(data["x"])
    batch_size = min(batch_size, rows)
    order = partial(sequential_order, count=rows, batch_size=batch_size, multiple=mesh.size)
    feed = pipeline(data, lambda _: order(), padded=True, mesh=mesh)
    none, key = put((no_sums(("loss", *ae.objective)), key), everywhere)
    sample, _, _ = next(feed.pieces(0, 0, 1))
    loop = jax.jit(make_eval_loop(make_eval_step(ae), feed.batch_at), out_shardings=everywhere)
    zero = np.int32(0)
    compiled = loop.lower(state, none, sample, zero, zero, key, zero).compile()
    epochs = itertools.count()

    def evaluate(state: TrainState) -> Sums:
        sums, place = none, 0
        for piece, first, count in feed.pieces(next(epochs), 0, steps_per_epoch(rows, batch_size)):
            before = sums
            at, steps = np.int32(first), np.int32(count)
            sums = compiled(state, sums, piece, at, steps, key, np.int32(place))
            place += count
            jax.block_until_ready(before)
        return sums

    return evaluate


def _description(ae: Autoencoder, seed: int, ema_decay: float | None) -> dict[str, Any]:
    """The part of ``config.json`` that `load_run` needs."""
    return {
        "model": None if ae.spec is None else to_dict(ae.spec),
        "event_shape": list(ae.event_shape),
        "dtype": str(jnp.dtype(ae.dtype)),
        "train": {"ema_decay": ema_decay},
        "seed": seed,
    }

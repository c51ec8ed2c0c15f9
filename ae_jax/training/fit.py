"""Train an autoencoder: epochs of compiled chunks, logged and checkpointed at their ends."""

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
from jax.typing import ArrayLike

from ae_jax.data import validated
from ae_jax.data.memory import epoch_order, sequential_order, steps_per_epoch
from ae_jax.networks import Recurrent
from ae_jax.objective import Autoencoder, check_accumulation
from ae_jax.parallel import data_mesh, is_first_process, put, replicated, split
from ae_jax.runs import Run
from ae_jax.spec import require, to_dict
from ae_jax.state import TrainState, init_state
from ae_jax.training.loop import make_eval_loop, make_train_loop
from ae_jax.training.step import make_eval_step, make_train_step

Row = dict[str, Any]
Callback = Callable[[TrainState, Row], object]
Examples = ArrayLike | Mapping[str, ArrayLike]


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
) -> FitResult:
    """Train `ae` on `train`: a pure function of its arguments, bit for bit on CPU.

    The data sits on the device (uint8 stays uint8 until it is in a batch), and each stretch between
    two log rows is one compiled loop over batches gathered there, in an order drawn there too. The
    train step compiles once.

    A history row is ``{"step", "epoch", "split", "loss", every raw term, "images_per_second"}``;
    `step` counts updates and `epoch` passes over the data (a fraction inside one). Train rows are
    means over the examples since the row before, as the parameters moved; test rows are means over
    all of `eval_data` after the epoch, with the posterior sampled and inputs corrupted as in
    training, with the same noise every time.

    Args:
      ae: from ``spec.build(event_shape)``, or made by hand.
      train: an array [N, *event_shape], uint8 or float, or a mapping with that as ``"x"``, and
        optionally ``"label"`` or ``"length"`` [N].
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

    Raises:
      ValueError, TypeError: for data or settings that cannot work, before anything is written; one
        line that names the value and the remedy.
    """
    train = checked_data(ae, train, "train")
    eval_data = None if eval_data is None else checked_data(ae, eval_data, "eval_data")
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
    order_of = jax.jit(
        partial(epoch_order, count=count, batch_size=batch_size, multiple=multiple),
        out_shardings=split(mesh, 1),
    )
    order = order_of(order_key, 0)
    train = put(train, everywhere)
    step_fn = make_train_step(ae, tx, ema_decay=ema_decay, accumulate=accumulate)
    padded = count % batch_size != 0 or batch_size % multiple != 0
    jitted = jax.jit(
        make_train_loop(step_fn, padded=padded), donate_argnums=0, out_shardings=everywhere
    )
    # Ahead of time: what cannot be traced leaves no run directory behind, the run cannot compile
    # its step twice, and no figure includes compiling it.
    traced = jitted.lower(state, train, order, np.int32(0), np.int32(0))

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
    loop = traced.compile()
    if eval_data is not None:
        evaluate = _evaluator(ae, state, eval_data, eval_batch, eval_key, mesh)

    step = saved = int(state.step)
    while step < total and not logger.stop:
        epoch, first = divmod(step, per_epoch)
        if first == 0 or step == saved:
            order = order_of(order_key, epoch)
        length = min(chunk - first % chunk, per_epoch - first, total - step)
        images = min((first + length) * batch_size, count) - first * batch_size
        logger.start()
        state, metrics = loop(state, train, order, np.int32(first), np.int32(length))
        step += length
        at = {"step": step, "epoch": step / per_epoch}
        logger.log({**at, "split": "train"}, metrics, images, state)
        if eval_data is not None and (step % per_epoch == 0 or step >= total or logger.stop):
            logger.start()
            logger.log({**at, "split": "test"}, evaluate(state), len(eval_data["x"]), state)
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

    def log(self, row: Row, metrics: Mapping[str, Array], images: int, state: TrainState) -> None:
        # The only place where the host waits for the device.
        row |= {name: float(value) for name, value in jax.device_get(metrics).items()}
        row["images_per_second"] = images / (time.perf_counter() - self.began)
        self.history.append(row)
        if self.run is not None:
            self.run.log(row)
        for callback in self.callbacks:
            self.stop |= callback(state, row) is True


def _evaluator(ae, state, data, batch_size, key, mesh):
    """``state -> metrics`` over all of `data`, compiled."""
    data, rows = put(data, replicated(mesh)), len(data["x"])
    order = sequential_order(count=rows, batch_size=min(batch_size, rows), multiple=mesh.size)
    order, key = put(order, split(mesh, 1)), put(key, replicated(mesh))
    loop = jax.jit(make_eval_loop(make_eval_step(ae)), out_shardings=replicated(mesh))
    compiled = loop.lower(state, data, order, key).compile()
    return lambda state: compiled(state, data, order, key)


def checked_data(ae: Autoencoder, data: Examples, name: str) -> dict[str, np.ndarray]:
    """`data` validated, and of the shape the model was built for."""
    try:
        data = validated(data, unit_interval=ae.unit_interval)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    network = getattr(ae.spec, "network", None)
    if "length" in data and network is not None and not isinstance(network, Recurrent):
        raise ValueError(
            f"{name}: length: only a recurrent network reads sequences of several lengths, and "
            f"this one is {network.kind}: leave it out"
        )
    if data["x"].shape[1:] != ae.event_shape:
        raise ValueError(
            f"{name}: x has shape {list(data['x'].shape)}; the model was built for "
            f"[N, {', '.join(map(str, ae.event_shape))}]"
        )
    return data


def check_settings(
    count: int,
    *,
    batch_size: int,
    epochs: int | None = None,
    steps: int | None = None,
    log_every: int | None = None,
    checkpoint_every: int | None = None,
    ema_decay: float | None = None,
    accumulate: int = 1,
) -> None:
    """Raises `ValueError` for settings of `fit` that cannot work with `count` examples."""
    if (epochs is None) == (steps is None):
        raise ValueError(f"epochs={epochs}, steps={steps}: give exactly one of them")
    for name, value in (
        ("epochs", epochs), ("steps", steps), ("batch_size", batch_size),
        ("log_every", log_every), ("checkpoint_every", checkpoint_every),
        ("accumulate", accumulate),
    ):  # fmt: skip
        if value is not None:
            ok = isinstance(value, int | np.integer) and int(value) >= 1
            require(ok, name, value, "must be an integer >= 1")
    if batch_size * accumulate > count:
        times = f", {accumulate} times" if accumulate > 1 else ""
        raise ValueError(f"batch_size={batch_size}{times}: larger than the data, {count} examples")
    if ema_decay is not None:
        require(0.0 <= ema_decay < 1.0, "ema_decay", ema_decay, "must be in [0, 1)")


def _description(ae: Autoencoder, seed: int, ema_decay: float | None) -> dict[str, Any]:
    """The part of ``config.json`` that `load_run` needs."""
    return {
        "model": None if ae.spec is None else to_dict(ae.spec),
        "event_shape": list(ae.event_shape),
        "dtype": str(jnp.dtype(ae.dtype)),
        "train": {"ema_decay": ema_decay},
        "seed": seed,
    }

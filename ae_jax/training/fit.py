"""Train an autoencoder: epochs of compiled chunks, logged and checkpointed at their ends."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import optax

from ae_jax.core import Autoencoder, TrainState
from ae_jax.devices.mesh import is_first_process
from ae_jax.trackers import Tracker, Tracking
from ae_jax.training.checks import Examples
from ae_jax.training.description import describe
from ae_jax.training.diagnosis import diagnosis
from ae_jax.training.plan import make_plan
from ae_jax.training.rows import Callback, Logger, Row
from ae_jax.training.run import begin, has_checkpoint, output, train_program


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
    batch_size: int | None = None,
    optimizer: optax.GradientTransformation | float = 1e-3,
    seed: int = 0,
    params: Any = None,
    model_state: Any = None,
    eval_data: Examples | None = None,
    callbacks: Sequence[Callback] = (),
    run_dir: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    trackers: Sequence[Tracker] = (),
    resume: bool = False,
    allow_changes: bool = False,
    max_skips: int = 0,
    log_every: int | None = None,
    checkpoint_every: int | None = None,
    ema_decay: float | None = None,
    accumulate: int = 1,
    devices: int | None = 1,
    model_devices: int = 1,
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
      train: an array [N, *event_shape], uint8 or float, or a mapping with that as ``"x"`` and any
        further columns [N, ...], such as ``"label"``, ``"length"`` and what the model reads.
        Arrays may be mapped into memory from disk, or be `ae_jax.data.shards.Shards`. Or
        `ae_jax.data.Generated`, whose rows are computed in the compiled step.
      epochs, steps: how long; exactly one of them.
      batch_size: examples per update, by default 256, or all of a smaller set; the last batch of
        an epoch is padded and masked.
      optimizer: an optax optimizer, or a learning rate for Adam.
      seed: of the initial parameters, the order of the data, and all noise: 0 .. 2^32 - 1.
      params: initial parameters, instead of fresh ones: a tree of the same structure and shapes
        (see `init_state`). They are copied, and the optimizer starts from them. A resumed run uses
        them only if it has no checkpoint yet. Instead of the tree, a function without arguments
        that makes it: it is called when the run directory is made, and only if it is needed.
      model_state: likewise the initial untrained state: statistics, codebooks.
      eval_data: like `train`; evaluated after every epoch and at the end.
      callbacks: each called as ``callback(state, row)`` for every row; one that returns True stops
        the training. It must copy the arrays of `state` that it keeps: the next step reuses them.
      run_dir: where to write the run directory (see `ae_jax.storage.runs`); must be new, unless
        `resume`. No two processes train in it at the same time (see `ae_jax.storage.claim`).
      config: what to add to the run's ``config.json``.
      trackers: where else the rows go (see `ae_jax.trackers`); they need a `run_dir`. They are
        started before the first step and closed however the training ends.
      resume: continue the run in `run_dir` from its newest intact checkpoint, as if it had never
        stopped. The model, optimizer, data, seed and batches must be the same, or it is refused.
      allow_changes: resume anyway, and log each change as a warning.
      max_skips: how many updates in a row may be skipped because their loss, gradient or new state
        is not finite, before the training stops. By default the first one stops it. Rows count
        them.
      log_every: steps between train rows, at most (and by default) an epoch.
      checkpoint_every: epochs between checkpoints; by default about ten in a run. The last state is
        always saved.
      ema_decay: keep an exponential moving average of the parameters and of untrained state, used
        for evaluation.
      accumulate: make each update from this number of batches, as if it were one of
        ``accumulate * batch_size`` examples, with the memory of one batch.
      devices: how many to split every batch over (None: all there are). The result is that of one
        device, to the accuracy of sums (see `ae_jax.devices.mesh`); with `accumulate` a stochastic
        model's noise differs if its batch does not divide by ``devices * accumulate``.
      model_devices: how many of the devices share the arrays that a model can split, such as the
        latents of a `Dictionary` that is too wide for one (see `Autoencoder.partition`). Each holds
        its part of them, of their averages and of the optimizer's; batches are split over the
        other ``devices / model_devices``. The result is the same again, and a run may resume with
        other numbers.
      stream: whether to leave the data on the host. By default a set is streamed, with a warning in
        the log, if it would take more than half of a device's memory.

    With a `run_dir`, the first SIGTERM, SIGHUP or Ctrl-C saves within a step (or, of short steps,
    about a second) and ends with exit code 143 or 129, or `KeyboardInterrupt`.

    Raises:
      DivergedError: updates were not finite. It names the step, the term and the first layer, and
        ``nonfinite.json`` in the run directory the examples. Checkpoints are as they were.
      OSError: the run directory cannot be written; earlier checkpoints are intact.
      ValueError, TypeError: for data, settings or a run directory that cannot work, before anything
        is written; one line that names the value and the remedy. So too for a batch that does not
        fit the memory of a device. A damaged image of a set that is decoded while training is
        reported when it is read.
    """
    if trackers and run_dir is None:
        raise ValueError("trackers: need run_dir too, where a run keeps its identity in each")
    tracking = Tracking(trackers if is_first_process() else ())
    logger = Logger([*callbacks, tracking])
    with output(run_dir, resume=resume) as path:
        if callable(params):
            params = None if resume and has_checkpoint(path) else params()
        plan = make_plan(
            ae,
            train,
            epochs=epochs,
            steps=steps,
            batch_size=batch_size,
            optimizer=optimizer,
            seed=seed,
            params=params,
            model_state=model_state,
            eval_data=eval_data,
            max_skips=max_skips,
            log_every=log_every,
            checkpoint_every=checkpoint_every,
            ema_decay=ema_decay,
            accumulate=accumulate,
            devices=devices,
            model_devices=model_devices,
            stream=stream,
        )
        run = resumed = None
        if path is not None:
            run, resumed = begin(
                path, describe(plan), config or {}, resume=resume, changes=allow_changes
            )
        state = train_program(
            plan, logger, tracking, run, resumed, diagnose=partial(diagnosis, plan, run=run)
        )
    return FitResult(state, logger.history)

"""Train an autoencoder: epochs of compiled chunks, logged and checkpointed at their ends."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax

from ae_jax.core import Autoencoder, TrainState, check_accumulation
from ae_jax.data.memory import steps_per_epoch
from ae_jax.data.pipeline import which_to_stream
from ae_jax.devices.memory import check_batch, data_bytes
from ae_jax.devices.mesh import data_mesh, is_first_process, put, replicated
from ae_jax.trackers import Tracker, Tracking
from ae_jax.training.checks import Examples, check_settings, checked_data
from ae_jax.training.diagnose import diagnosis
from ae_jax.training.directory import create_run, describe, from_notes, open_run, to_notes
from ae_jax.training.drive import Pace, drive
from ae_jax.training.evaluator import make_evaluator
from ae_jax.training.interrupt import Interrupt
from ae_jax.training.logger import Callback, Logger, Row
from ae_jax.training.program import make_program


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
    trackers: Sequence[Tracker] = (),
    resume: bool = False,
    allow_changes: bool = False,
    max_skips: int = 0,
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
      optimizer: an optax optimizer, or a learning rate for Adam.
      seed: of the initial parameters, the order of the data, and all noise.
      params: initial parameters, instead of fresh ones: a tree of the same structure and shapes
        (see `init_state`). They are copied, and the optimizer starts from them. A resumed run takes
        them only if it has no checkpoint yet.
      eval_data: like `train`; evaluated after every epoch and at the end.
      callbacks: each called as ``callback(state, row)`` for every row; one that returns True stops
        the training. It must copy what it keeps of `state`, whose buffers the next step reuses.
      run_dir: where to write the run directory (see `ae_jax.storage.runs`); must be new, unless
        `resume`.
      config: what to add to the run's ``config.json``.
      trackers: where else the rows go (see `ae_jax.trackers`); they need a `run_dir`. They are
        started before the first step and closed however the training ends.
      resume: continue the run in `run_dir` from its newest checkpoint that is whole, as if it had
        never ended: with the same model, data, seed and batches, or it is refused.
      allow_changes: resume all the same.
      max_skips: how many updates in a row to leave out where their loss or gradient is not finite,
        before stopping. By default the first stops the training. They are counted in the rows.
      log_every: steps between train rows, at most (and by default) an epoch.
      checkpoint_every: epochs between checkpoints; by default about ten in a run. The last state is
        always saved.
      ema_decay: keep an exponential moving average of the parameters, used for evaluation.
      accumulate: make each update from so many batches, as if it were one of
        ``accumulate * batch_size`` examples, in the memory that one of `batch_size` takes.
      devices: how many to split every batch over (None: all there are). The result is that of one
        device, to the accuracy of sums (see `ae_jax.devices.mesh`); with `accumulate` a stochastic
        model's noise is another if its batch does not divide by ``devices * accumulate``.
      stream: whether to leave the data on the host. By default a set is, with a warning in the log,
        if it would take more than half of a device's memory.

    With a `run_dir`, the first SIGTERM or Ctrl-C saves within a step (or, of short steps, about a
    second) and ends with exit code 143, or `KeyboardInterrupt`.

    Raises:
      DivergedError: updates were not finite. It names the step, the term and the first layer, and
        ``nonfinite.json`` in the run directory the examples. Checkpoints are as they were.
      OSError: the run directory cannot be written; earlier checkpoints are intact.
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
        max_skips=max_skips,
    )  # fmt: skip
    if trackers and run_dir is None:
        raise ValueError("trackers: need run_dir too, where a run keeps what they know it by")
    mesh = data_mesh(devices)
    check_accumulation(ae.objective, accumulate)
    eval_batch, accumulate = int(batch_size), int(accumulate)
    batch_size = eval_batch * accumulate
    per_epoch = steps_per_epoch(count, batch_size)
    total = int(steps or (epochs or 0) * per_epoch)  # exactly one is given
    chunk = int(min(log_every or per_epoch, per_epoch))
    save_every = (checkpoint_every or -(-total // (10 * per_epoch))) * per_epoch

    tx = optimizer if isinstance(optimizer, optax.GradientTransformation) else optax.adam(optimizer)
    init_key, order_key, eval_key = jax.random.split(jax.random.key(seed), 3)
    streamed = which_to_stream(sets, mesh, stream)
    program = make_program(
        ae, train, tx, init_key, order_key,
        mesh=mesh, batch_size=batch_size, accumulate=accumulate, ema_decay=ema_decay,
        max_skips=max_skips, params=params, stream=streamed["train"],
    )  # fmt: skip
    state, none, feed, order, loop = program
    del program  # and with it the buffers that the loop takes
    evaluate, eval_count, beside = None, 0, 0
    if eval_data is not None:
        eval_count = len(eval_data["x"])
        evaluate = make_evaluator(
            ae, state, eval_data,
            batch_size=eval_batch, key=eval_key, mesh=mesh, stream=streamed["eval_data"],
        )  # fmt: skip
        beside = 0 if streamed["eval_data"] else data_bytes(eval_data)
    check_batch(loop, mesh, eval_batch, beside=beside)

    tracking = Tracking(trackers if is_first_process() else ())
    logger, sums, run, store = Logger([*callbacks, tracking]), none, None, None
    if run_dir is not None:
        rate = None if isinstance(optimizer, optax.GradientTransformation) else float(optimizer)
        settings = {
            "batch_size": eval_batch, "accumulate": accumulate, "learning_rate": rate,
        }  # fmt: skip
        described = describe(ae, train, seed=seed, ema_decay=ema_decay, settings=settings)
        if resume:
            run, whole = open_run(run_dir, described, config or {}, changes=allow_changes)
            store = run.checkpoints()
            # A run that was stopped before its first checkpoint starts again from the beginning.
            if store.steps():
                state = store.restore(state)
                sums = put(from_notes(store.notes(int(state.step)), none), replicated(mesh))
                store.discard_after(int(state.step))
            if is_first_process():
                run.write_config(whole)
        else:
            run = create_run(run_dir, {**described, **(config or {})})
            store = run.checkpoints()
        logger.write_to(run, int(state.step))

    pace = Pace()
    tracked = tracking.running(run, logger.history)
    with tracked, Interrupt(saves=store is not None) as interrupt:
        while True:
            step = int(state.step)
            last = step >= total or logger.stop
            due = step > 0 and (step % per_epoch == 0 or last) and not interrupt.agreed
            if evaluate is not None and due and not logger.has(step, "test"):
                logger.start()
                tested = evaluate(state, interrupt.asked)
                if tested is not None:
                    row = {"step": step, "epoch": step / per_epoch, "split": "test"}
                    logger.log(row, tested, eval_count, state)
            last |= logger.stop or interrupt.agreed
            if store is not None and step > 0 and (step % save_every == 0 or last):
                store.save(state, to_notes(sums))
            if last:
                break

            epoch, first = divmod(step, per_epoch)
            length = min(chunk - first % chunk, per_epoch - first, total - step)
            images = min((first + length) * batch_size, count) - first * batch_size
            logger.start()
            state, sums = drive(
                lambda carry, *piece: loop(*carry, *piece),
                (state, sums),
                feed.pieces(epoch, first, length),
                pace,
                lambda sums: interrupt.asked() or int(sums.skips.streak) > max_skips,
            )
            if int(sums.skips.streak) > max_skips:
                at = divmod(int(sums.skips.last), per_epoch)
                raise diagnosis(ae, state, (int(sums.skips.last), *at), feed, order, mesh, run)
            if int(state.step) == step + length:
                row = {"step": step + length, "epoch": (step + length) / per_epoch}
                logger.log({**row, "split": "train"}, sums, images, state)
                # A streak goes on, whatever is logged.
                sums = none._replace(skips=sums.skips._replace(total=none.skips.total))
        if interrupt.asked():  # also while the last state was saved
            interrupt.end(step, None if run is None else run.path)
    return FitResult(state, logger.history)

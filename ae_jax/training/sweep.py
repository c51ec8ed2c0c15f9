"""Train many runs in one compiled program: a grid of hyper-parameters times several seeds."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ae_jax.core import TrainState
from ae_jax.spec import require
from ae_jax.trackers import Tracking
from ae_jax.training.checks import Examples
from ae_jax.training.rows import Logger
from ae_jax.training.run import begin, output, train_program
from ae_jax.training.sweep_plan import MakeAutoencoder, MakeOptimizer, make_sweep_plan


class SweepResult(NamedTuple):
    """The R runs of a sweep: every point of the grid with every seed, the seeds varying fastest."""

    state: TrainState
    """Final states. Each array has a leading axis of length R (see `replica`)."""
    runs: list[dict[str, float]]
    """The hyper-parameters and the seed of each run."""
    history: list[dict[str, Any]]
    """Rows like those of `fit`. Each metric is an array [R]; the speed is that of all runs."""

    def replica(self, index: int) -> TrainState:
        """Return the state of one run, as `fit` would return it."""
        return jax.tree.map(lambda leaf: leaf[index], self.state)

    def table(self, split: str | None = None) -> list[dict[str, Any]]:
        """Return one row for each point of the grid, with the last metrics of `split`.

        A row has the point's hyper-parameters, its number of ``"seeds"``, and each metric as
        ``(mean, standard deviation)`` over the seeds. The deviation is that of a sample (divided by
        n - 1), and NaN for a single seed. The default split is the test set if there is one,
        otherwise the training set.

        Raises `ValueError` if the history has no rows of `split`.
        """
        rows = [row for row in self.history if split is None or row["split"] == split]
        splits = ", ".join(dict.fromkeys(row["split"] for row in self.history))
        require(len(rows) > 0, "split", split, f"must be one of {splits}")
        last = rows[-1]
        skipped = {"step", "epoch", "split", "images_per_second"}
        groups: dict[tuple, list[int]] = {}
        for i, run in enumerate(self.runs):
            point = tuple((k, v) for k, v in run.items() if k != "seed")
            groups.setdefault(point, []).append(i)
        table = []
        for point, members in groups.items():
            row: dict[str, Any] = {**dict(point), "seeds": len(members)}
            for name, values in last.items():
                if name not in skipped:
                    samples = np.asarray(values, np.float64)[members]
                    deviation = samples.std(ddof=1) if len(samples) > 1 else math.nan
                    row[name] = (float(samples.mean()), float(deviation))
            table.append(row)
        return table


def sweep(
    make_ae: MakeAutoencoder,
    hparams: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    train: Examples,
    *,
    epochs: int,
    batch_size: int | None = None,
    optimizer: MakeOptimizer = optax.adam,
    learning_rate: float = 1e-3,
    params: Any = None,
    model_state: Any = None,
    eval_data: Examples | None = None,
    ema_decay: float | None = None,
    log_every: int | None = None,
    checkpoint_every: int | None = None,
    devices: int | None = 1,
    callbacks: Sequence[Callable[[dict[str, Any]], object]] = (),
    run_dir: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    resume: bool = False,
    allow_changes: bool = False,
) -> SweepResult:
    """Train every point of the grid `hparams` with every seed, mapped with `jax.vmap`.

    Each run gives the result of `fit` with the same seed, data and settings, to the accuracy of
    floats, because a batched product may sum in another order. The runs share the data. Each has
    its own parameters, optimizer state, data order and noise, so memory grows with the number of
    runs.

    Args:
      make_ae: ``make_ae(**values) -> Autoencoder`` for values of `hparams`. The values are traced
        scalars, so weights and noise levels can be swept, but shapes cannot. For example
        ``lambda beta: Variational(beta=beta).build((28, 28, 1))``.
      hparams: name -> list of values. ``"learning_rate"`` is passed to the optimizer, all others
        to `make_ae`. The grid is the product of the lists, the last varying fastest. It may be
        empty.
      seeds: one or more seeds (see `fit`).
      train, epochs, batch_size, eval_data, ema_decay, log_every, checkpoint_every: see `fit`. Fresh
        rows (see `ae_jax.data.Generated`) have one order, so all runs share their batches.
      optimizer: ``optimizer(learning_rate) -> optax optimizer``.
      learning_rate: the learning rate if it is not in the grid.
      params, model_state: initial values for every run, instead of random ones (see `fit`).
      devices: number of devices to split the runs over (None: all). The last run is repeated until
        the number of runs is a multiple of it.
      callbacks: functions that are called with every row of the history; one that returns True
        stops the sweep.
      run_dir, config, resume, allow_changes: see `fit`. The directory holds all runs together: rows
        as they are logged, and checkpoints. A resumed sweep ends with the bits of one that never
        stopped; signals save it.

    Raises:
      OSError: the run directory cannot be written; earlier checkpoints are intact.
      ValueError, TypeError: invalid data, settings or run directory.
    """
    with output(run_dir, resume=resume) as path:
        plan = make_sweep_plan(
            make_ae,
            hparams,
            seeds,
            train,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            learning_rate=learning_rate,
            params=params,
            model_state=model_state,
            eval_data=eval_data,
            ema_decay=ema_decay,
            log_every=log_every,
            checkpoint_every=checkpoint_every,
            devices=devices,
        )
        count = len(plan.runs)
        shown = [lambda state, row, show=show: show(row) for show in callbacks]
        logger, run, resumed = Logger(shown, count), None, None
        if path is not None:
            run, resumed = begin(
                path, plan.describe(), config or {}, resume=resume, changes=allow_changes
            )
        state = train_program(plan, logger, Tracking(()), run, resumed, diagnose=_never)
    state = state.replace(step=jnp.broadcast_to(state.step, plan.rows))
    return SweepResult(jax.tree.map(lambda leaf: leaf[:count], state), plan.runs, logger.history)


def _never(state: TrainState, step: int) -> Exception:
    raise AssertionError("a sweep skips no updates")

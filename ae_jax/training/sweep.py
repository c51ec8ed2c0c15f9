"""Train many runs in one compiled program: a grid of hyper-parameters times several seeds."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from ae_jax.core import Autoencoder, TrainState, metric_names
from ae_jax.data.memory import batch_at, epoch_order, sequential_order
from ae_jax.devices.compilation import compiler_options
from ae_jax.devices.mesh import data_mesh, replicated, split
from ae_jax.spec import require
from ae_jax.training.loop import make_eval_loop, make_train_loop, no_sums
from ae_jax.training.plan import (
    Examples,
    check_average,
    check_reach,
    check_seed,
    checked_data,
    make_sizes,
)
from ae_jax.training.start import start_from
from ae_jax.training.step import make_eval_step, make_train_step

MakeAutoencoder = Callable[..., Autoencoder]
MakeOptimizer = Callable[..., optax.GradientTransformation]


class SweepResult(NamedTuple):
    """The R runs of a sweep: every point of the grid with every seed, the seeds varying fastest."""

    state: TrainState
    """Final states. Each array has a leading axis of length R (see `replica`)."""
    runs: list[dict[str, float]]
    """The hyper-parameters and the seed of each run."""
    history: list[dict[str, Any]]
    """Rows like those of `fit`, one per epoch and split. Each metric is an array [R]."""

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
        skipped = {"step", "epoch", "split"}
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
    batch_size: int = 256,
    optimizer: MakeOptimizer = optax.adam,
    learning_rate: float = 1e-3,
    params: Any = None,
    model_state: Any = None,
    eval_data: Examples | None = None,
    ema_decay: float | None = None,
    devices: int | None = 1,
    callbacks: Sequence[Callable[[dict[str, Any]], object]] = (),
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
      train, epochs, batch_size, eval_data, ema_decay: see `fit`.
      optimizer: ``optimizer(learning_rate) -> optax optimizer``.
      learning_rate: the learning rate if it is not in the grid.
      params, model_state: initial values for every run, instead of random ones (see `fit`).
      devices: number of devices to split the runs over (None: all). The last run is repeated until
        the number of runs is a multiple of it.
      callbacks: functions that are called with every row of the history.

    Raises:
      ValueError, TypeError: invalid data or settings.
    """
    runs, values = _grid(hparams, seeds)
    mesh = data_mesh(devices)
    # Traced values cannot be checked, so every point is built from concrete values first.
    points = [{k: run[k] for k in hparams if k != "learning_rate"} for run in runs[:: len(seeds)]]
    probe, *_ = [make_ae(**point) for point in points]
    train = checked_data(probe, train, "train")
    check_reach(probe, train)
    eval_data = None if eval_data is None else checked_data(probe, eval_data, "eval_data")
    count = len(train["x"])
    per_epoch = make_sizes(count, epochs=epochs, batch_size=batch_size).per_epoch
    check_average(ema_decay)
    names = metric_names(probe.objective)

    def parts(hp: Mapping[str, Array]) -> tuple[Autoencoder, optax.GradientTransformation]:
        swept = {name: value for name, value in hp.items() if name != "learning_rate"}
        return make_ae(**swept), optimizer(hp.get("learning_rate", learning_rate))

    def init(hp: Mapping[str, Array], key: Array) -> TrainState:
        return start_from(*parts(hp), key, params, model_state, ema=ema_decay is not None)

    def train_epoch(state, hp, key, data, epoch):
        ae, tx = parts(hp)
        step = make_train_step(ae, tx, ema_decay=ema_decay)
        loop = make_train_loop(step, partial(batch_at, padded=count % batch_size != 0))
        order = epoch_order(key, epoch, count=count, batch_size=batch_size)
        state, sums = loop(state, no_sums(names), (data, order), 0, per_epoch)
        return state, sums.mean()

    def test_epoch(state, hp, key, data):
        rows = len(data["x"])
        order = sequential_order(count=rows, batch_size=min(batch_size, rows))
        loop = make_eval_loop(make_eval_step(parts(hp)[0]), partial(batch_at, padded=True))
        return loop(state, no_sums(names), (data, order), 0, len(order), key, 0).mean()

    per_run, shared = split(mesh), replicated(mesh)
    padding = -len(runs) % mesh.size
    rows = [*range(len(runs)), *([len(runs) - 1] * padding)]
    hp = jax.device_put({k: jnp.asarray(v)[jnp.asarray(rows)] for k, v in values.items()}, per_run)
    # The same keys that `fit` derives from a seed.
    keys = jnp.stack([jax.random.split(jax.random.key(runs[i]["seed"]), 3) for i in rows])
    init_keys, order_keys, eval_keys = (jax.device_put(keys[:, i], per_run) for i in range(3))

    state = jax.jit(jax.vmap(init), out_shardings=per_run)(hp, init_keys)
    data = jax.device_put(train, shared)
    train_all = jax.jit(
        jax.vmap(train_epoch, in_axes=(0, 0, 0, None, None)),
        donate_argnums=0,
        out_shardings=per_run,
        compiler_options=compiler_options(),
    )
    test_all = jax.jit(
        jax.vmap(test_epoch, in_axes=(0, 0, 0, None)), compiler_options=compiler_options()
    )
    if eval_data is not None:
        eval_data = jax.device_put(eval_data, shared)
    history: list[dict[str, Any]] = []

    def log(split: str, epoch: int, metrics: Mapping[str, Array]) -> None:
        values = {name: np.asarray(value)[: len(runs)] for name, value in metrics.items()}
        history.append({"step": epoch * per_epoch, "epoch": epoch, "split": split, **values})
        for callback in callbacks:
            callback(history[-1])

    for epoch in range(epochs):
        state, metrics = train_all(state, hp, order_keys, data, np.int32(epoch))
        log("train", epoch + 1, metrics)
        if eval_data is not None:
            log("test", epoch + 1, test_all(state, hp, eval_keys, eval_data))
    return SweepResult(jax.tree.map(lambda leaf: leaf[: len(runs)], state), runs, history)


def _grid(
    hparams: Mapping[str, Sequence[float]], seeds: Sequence[int]
) -> tuple[list[dict[str, float]], dict[str, np.ndarray]]:
    """Return each run's hyper-parameters and seed, and each hyper-parameter as an array [R]."""
    require("seed" not in hparams, "hparams", list(hparams), "use seeds=[...] for the seed")
    for seed in seeds:
        check_seed(seed)
    for name, points in {"seeds": seeds, **hparams}.items():
        ok = 0 < len(set(points)) == len(points)
        require(ok, name, list(points), "must have at least one value, and no value twice")
    runs = [
        {**dict(zip(hparams, point, strict=True)), "seed": seed}
        for point in itertools.product(*hparams.values())
        for seed in seeds
    ]
    return runs, {name: np.array([run[name] for run in runs], np.float32) for name in hparams}

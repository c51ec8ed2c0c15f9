"""Many runs in one compiled program: seeds times hyper-parameters, mapped with `jax.vmap`."""

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
from ae_jax.training.plan import Examples, check_average, check_seed, checked_data, make_sizes
from ae_jax.training.start import start_from
from ae_jax.training.step import make_eval_step, make_train_step

MakeAutoencoder = Callable[..., Autoencoder]
MakeOptimizer = Callable[..., optax.GradientTransformation]


class SweepResult(NamedTuple):
    """The runs of a sweep, R of them: every value of the grid with every seed, seeds innermost."""

    state: TrainState
    """Final states; each array has a leading axis of R. `replica` takes one out."""
    runs: list[dict[str, float]]
    """What each run was: its hyper-parameters and its seed."""
    history: list[dict[str, Any]]
    """Rows as of `fit`, an epoch each, whose metrics are arrays [R]."""

    def replica(self, index: int) -> TrainState:
        """The state of one run, as `fit` would return it."""
        return jax.tree.map(lambda leaf: leaf[index], self.state)

    def table(self, split: str | None = None) -> list[dict[str, Any]]:
        """One row for each value of the grid: its hyper-parameters, the number of its seeds, and
        the last metrics of `split` as ``(mean, standard deviation)`` over them.

        The deviation is that of a sample (n - 1), and nan for a single seed. By default the split
        is the test set, where there was one.
        """
        rows = [row for row in self.history if split is None or row["split"] == split]
        require(len(rows) > 0, "split", split, "the history has no such rows")
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
                    of = np.asarray(values, np.float64)[members]
                    spread = of.std(ddof=1) if len(of) > 1 else math.nan
                    row[name] = (float(of.mean()), float(spread))
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
    """Train the whole grid of `hparams`, every point with every seed, as one program.

    Each run is what `fit` does with the same seed, data and settings (to the accuracy of floats:
    a batched product may sum in another order). Data is shared; parameters, optimizers, orders and
    noise are each run's own, so memory for those grows with the number of runs.

    Args:
      make_ae: ``make_ae(**values) -> Autoencoder`` for values of `hparams`, which are traced
        scalars: weights and noise levels can be swept, shapes cannot. For example
        ``lambda beta: Variational(beta=beta).build((28, 28, 1))``.
      hparams: name -> its values. ``"learning_rate"`` goes to the optimizer, all others to
        `make_ae`. The grid is their product, the last varying fastest; it may be empty.
      seeds: as `fit` takes them, any number.
      train, epochs, batch_size, eval_data, ema_decay: see `fit`.
      optimizer: ``optimizer(learning_rate) -> optax optimizer``.
      learning_rate: where the grid has none.
      params, model_state: initial ones for every run, instead of fresh ones; see `fit`.
      devices: how many devices to spread the runs over (None: all there are). The last run is
        repeated until their number divides.
      callbacks: each called with every row of the history.

    Raises:
      ValueError, TypeError: for data or settings that cannot work; one line.
    """
    runs, values = _grid(hparams, seeds)
    mesh = data_mesh(devices)
    # Traced values are not checked: these are, all of them, before anything is trained.
    points = [{k: run[k] for k in hparams if k != "learning_rate"} for run in runs[:: len(seeds)]]
    probe, *_ = [make_ae(**point) for point in points]
    train = checked_data(probe, train, "train")
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

    spread, shared = split(mesh), replicated(mesh)
    padding = -len(runs) % mesh.size
    rows = [*range(len(runs)), *([len(runs) - 1] * padding)]
    hp = jax.device_put({k: jnp.asarray(v)[jnp.asarray(rows)] for k, v in values.items()}, spread)
    # The keys that `fit` derives from a seed.
    keys = jnp.stack([jax.random.split(jax.random.key(runs[i]["seed"]), 3) for i in rows])
    init_keys, order_keys, eval_keys = (jax.device_put(keys[:, i], spread) for i in range(3))

    state = jax.jit(jax.vmap(init), out_shardings=spread)(hp, init_keys)
    data = jax.device_put(train, shared)
    train_all = jax.jit(
        jax.vmap(train_epoch, in_axes=(0, 0, 0, None, None)),
        donate_argnums=0,
        out_shardings=spread,
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
    """Every run's hyper-parameters and seed, and the former as arrays [R] by name."""
    require("seed" not in hparams, "hparams", list(hparams), "give seeds= instead of a seed")
    for seed in seeds:
        check_seed(seed)
    for name, points in {"seeds": seeds, **hparams}.items():
        ok = 0 < len(set(points)) == len(points)
        require(ok, name, list(points), "give at least one value, and none twice")
    runs = [
        {**dict(zip(hparams, point, strict=True)), "seed": seed}
        for point in itertools.product(*hparams.values())
        for seed in seeds
    ]
    return runs, {name: np.array([run[name] for run in runs], np.float32) for name in hparams}

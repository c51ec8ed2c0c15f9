"""The plan of a sweep: everything checked, sized and compiled, and nothing run or written."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from ae_jax.core import Autoencoder, TrainState, metric_names
from ae_jax.data.fingerprint import fingerprint
from ae_jax.data.memory import (
    InMemory,
    draws_fresh,
    evaluation_order,
    steps_per_epoch,
    training_order,
)
from ae_jax.devices.compilation import compile_program
from ae_jax.devices.mesh import data_mesh, put, replicated, split
from ae_jax.spec import require
from ae_jax.training.checks import (
    Examples,
    check_average,
    check_examples,
    check_reach,
    check_seed,
    checked_data,
)
from ae_jax.training.description import digest
from ae_jax.training.evaluator import Evaluate, evaluator
from ae_jax.training.loop import Sums, make_eval_loop, make_train_loop, no_sums
from ae_jax.training.plan import Program, make_sizes
from ae_jax.training.start import sample_of, start_from
from ae_jax.training.step import make_eval_step, make_train_step

MakeAutoencoder = Callable[..., Autoencoder]
MakeOptimizer = Callable[..., optax.GradientTransformation]

# What the runs share is not mapped: the step, and the counts of skipped updates, all 0.
_AXES: dict[str, Any] = {"key": 0, "params": 0, "model_state": 0, "opt_state": 0, "ema": 0}
STATE: Any = TrainState(**_AXES, step=cast(Any, None))
SUMS: Any = Sums(*cast(Any, (0, 0, None)))


@dataclass(kw_only=True)
class SweepPlan(Program):
    """The program of all runs. Arrays of the state, except its step, have a leading axis `rows`."""

    runs: list[dict[str, float]]
    """The hyper-parameters and the seed of each run."""
    rows: int
    """The number of runs, with the last one repeated so that they split over the devices."""
    describe: Callable[[], dict[str, Any]]
    """The part of ``config.json`` that determines the result."""


def make_sweep_plan(
    make_ae: MakeAutoencoder,
    hparams: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    train: Examples,
    *,
    epochs: int,
    batch_size: int | None,
    optimizer: MakeOptimizer,
    learning_rate: float,
    params: Any,
    model_state: Any,
    eval_data: Examples | None,
    ema_decay: float | None,
    log_every: int | None,
    checkpoint_every: int | None,
    devices: int | None,
) -> SweepPlan:
    """Check, size and compile what `sweep` runs, with its arguments.

    Raises `ValueError` or `TypeError`, one line, for data or settings that cannot work.
    """
    runs = _runs(hparams, seeds)
    mesh = data_mesh(devices)
    # Traced values cannot be checked, so every point is built from concrete values first.
    points = [{k: run[k] for k in hparams if k != "learning_rate"} for run in runs[:: len(seeds)]]
    probe, *_ = [make_ae(**point) for point in points]
    train = checked_data(probe, train, "train")
    check_examples(probe, train)
    check_reach(probe, train)
    eval_data = None if eval_data is None else checked_data(probe, eval_data, "eval_data")
    sizes = make_sizes(
        len(train["x"]),
        epochs=epochs,
        batch_size=batch_size,
        log_every=log_every,
        checkpoint_every=checkpoint_every,
    )
    check_average(ema_decay)
    sample = sample_of(probe, train)

    def parts(hp: Mapping[str, Array]) -> tuple[Autoencoder, optax.GradientTransformation]:
        swept = {name: value for name, value in hp.items() if name != "learning_rate"}
        return make_ae(**swept), optimizer(hp.get("learning_rate", learning_rate))

    def init(hp: Mapping[str, Array], key: Array) -> TrainState:
        return start_from(*parts(hp), key, params, model_state, sample, ema=ema_decay is not None)

    def train_one(state, sums, hp, piece, first, count):
        step = make_train_step(*parts(hp), ema_decay=ema_decay)
        return make_train_loop(step, feed.batch_at)(state, sums, piece, first, count)

    per_run, shared = split(mesh), replicated(mesh)
    rows = [*range(len(runs)), *[len(runs) - 1] * (-len(runs) % mesh.size)]
    values = {k: np.array([runs[i][k] for i in rows], np.float32) for k in hparams}
    hp = put(values, per_run)
    # The same keys that `fit` derives from a seed.
    keys = jnp.stack([jax.random.split(jax.random.key(runs[i]["seed"]), 3) for i in rows])
    init_keys, order_keys, eval_keys = (put(keys[:, i], per_run) for i in range(3))

    states = STATE.replace(step=shared, key=per_run, params=per_run, model_state=per_run)
    states = states.replace(opt_state=per_run, ema=per_run)
    sums = SUMS._replace(total=per_run, examples=per_run, skips=shared)
    mapped = jax.vmap(init, out_axes=STATE)
    state = jax.jit(mapped, out_shardings=states)(hp, init_keys)
    zeros = no_sums(metric_names(probe.objective))
    of_runs = jax.tree.map(lambda zero: jnp.zeros(len(rows), zero.dtype), zeros)
    zeros = jax.device_put(of_runs._replace(skips=zeros.skips), sums)

    # Fresh draws come in one order, so all runs train on the same batches, each computed once.
    fresh = draws_fresh(train)
    order_axis = None if fresh else 0

    def orders(epoch: Any) -> Any:
        size, count = sizes.batch_size, sizes.examples
        one = partial(training_order, train, count=count, batch_size=size)
        return one(order_keys, epoch) if fresh else jax.vmap(one, (0, None))(order_keys, epoch)

    padded = sizes.examples % sizes.batch_size != 0
    place = shared if fresh else per_run
    feed = InMemory(train, orders, padded=padded, mesh=mesh, place=place)
    axes = (STATE, SUMS, 0, (None, order_axis), None, None)
    jitted = jax.jit(
        jax.vmap(train_one, in_axes=axes, out_axes=(STATE, SUMS)),
        donate_argnums=0,
        out_shardings=(states, sums),
    )
    piece, _, _ = next(feed.pieces(0, 0, 1))
    zero = np.int32(0)
    compiled = compile_program(jitted.lower(state, zeros, hp, piece, zero, zero))

    def loop(state, sums, piece, first, count):
        return compiled(state, sums, hp, piece, first, count)

    evaluate = None
    if eval_data is not None:
        evaluate = _evaluator(parts, state, zeros, hp, eval_keys, eval_data, sizes.batch_size, mesh)

    shapes = jax.eval_shape(lambda: state)

    def step_one(state, hp, batch):
        return make_train_step(*parts(hp), ema_decay=ema_decay)(state, batch)

    def describe() -> dict[str, Any]:
        batch_at = feed.batch_at if fresh else jax.vmap(feed.batch_at, ((None, 0), None))
        batch = jax.eval_shape(batch_at, piece, zero)
        step = jax.vmap(step_one, (STATE, 0, order_axis), (STATE, 0))
        sets = {"train": train, "test": eval_data}
        points = {name: list(map(float, points)) for name, points in hparams.items()}
        return {
            "event_shape": list(probe.event_shape),
            "dtype": str(jnp.dtype(probe.dtype)),
            "fingerprint": {k: fingerprint(v) for k, v in sets.items() if v is not None},
            "sweep": {"grid": points, "seeds": list(map(int, seeds)), "rows": len(rows)},
            "fit": {
                "batch_size": sizes.batch_size,
                "ema_decay": ema_decay,
                "program": digest(step, shapes, hp, batch),
            },
        }

    return SweepPlan(
        sizes=sizes,
        state=state,
        zeros=zeros,
        feed=feed,
        loop=loop,
        evaluate=evaluate,
        guarded=False,
        runs=runs,
        rows=len(rows),
        describe=describe,
    )


def _evaluator(
    parts: Callable[..., Any],
    state: TrainState,
    zeros: Sums,
    hp: Mapping[str, Array],
    keys: Array,
    data: Mapping[str, np.ndarray],
    batch_size: int,
    mesh: Mesh,
) -> Evaluate:
    """Compile the evaluation of all runs on `data`, each with the noise of its own key."""
    rows = len(data["x"])
    batch_size = min(batch_size, rows)
    order = evaluation_order(data, count=rows, batch_size=batch_size)
    feed = InMemory(data, lambda _: order, padded=True, mesh=mesh, place=replicated(mesh))

    def one(state, sums, hp, piece, first, count, key, position):
        loop = make_eval_loop(make_eval_step(parts(hp)[0]), feed.batch_at)
        return loop(state, sums, piece, first, count, key, position)

    mapped = jax.vmap(one, in_axes=(STATE, SUMS, 0, None, None, None, 0, None), out_axes=SUMS)
    jitted = jax.jit(mapped, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, zeros))
    piece, _, _ = next(feed.pieces(0, 0, 1))
    zero = np.int32(0)
    compiled = compile_program(jitted.lower(state, zeros, hp, piece, zero, zero, keys, zero))

    def loop(state, sums, piece, first, count, position):
        return compiled(state, sums, hp, piece, first, count, keys, position)

    return evaluator(loop, zeros, feed, steps_per_epoch(rows, batch_size))


def _runs(hparams: Mapping[str, Sequence[float]], seeds: Sequence[int]) -> list[dict[str, float]]:
    """The hyper-parameters and the seed of each run, the seeds varying fastest."""
    require("seed" not in hparams, "hparams", list(hparams), "use seeds=[...] for the seed")
    for seed in seeds:
        check_seed(seed)
    for name, points in {"seeds": seeds, **hparams}.items():
        ok = 0 < len(set(points)) == len(points)
        require(ok, name, list(points), "must have at least one value, and no value twice")
    return [
        {**dict(zip(hparams, point, strict=True)), "seed": seed}
        for point in itertools.product(*hparams.values())
        for seed in seeds
    ]

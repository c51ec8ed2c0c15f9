"""Estimate the cost of a training run: parameters, memory, FLOPs and time.

The same program as that of `fit` is compiled, and run for about a second on a temporary state. Only
the caches of programs and of decoded data sets are written; there is no run directory.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from ae_jax.core import TrainState, by_path
from ae_jax.devices.memory import data_bytes, device_bytes, size
from ae_jax.devices.mesh import data_mesh
from ae_jax.devices.names import device_name
from ae_jax.training import Plan, make_plan, make_train_step
from ae_jax.training.drive import Pace, drive
from experiments.benchmarks.flops import count_flops
from experiments.config import Config

SECONDS = 1.0
"""Approximate length of the measurement."""


class Estimate(NamedTuple):
    """The estimated cost of a training run."""

    modules: dict[str, dict[str, tuple[int, ...]]]
    """Module -> parameter -> shape."""
    parameters: int
    """Number of parameters."""
    memory: dict[str, int]
    """Bytes on a device per use: parameters, optimizer, data (or a chunk of it), temporary."""
    flops: int
    """FLOPs of products and convolutions in one update (see `experiments.benchmarks.flops`)."""
    xla_flops: float | None
    """FLOPs of the compiled program as XLA counts them, if it does."""
    per_epoch: int
    """Updates per epoch."""
    measured: int
    """Number of timed updates."""
    seconds: float
    """Seconds per update."""


def estimate(
    config: Config,
    data: Mapping[str, np.ndarray],
    test: Mapping[str, np.ndarray],
    *,
    devices: int | None = 1,
    model_devices: int = 1,
) -> Estimate:
    """Compile and time the training of `config`, without its pretraining.

    Raises the errors of `fit` for invalid data or settings, and `ValueError` if an update is not
    finite.
    """
    settings = config.train
    ae = replace(config.model.build(data["x"].shape[1:]), dtype=jnp.dtype(settings.dtype))
    tx = settings.make_optimizer(settings.sizes(len(data["x"])).total)
    plan = make_plan(
        ae,
        data,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        optimizer=tx,
        seed=config.seed,
        eval_data=test,
        max_skips=settings.max_skips,
        ema_decay=settings.ema_decay,
        accumulate=settings.accumulate,
        devices=devices,
        model_devices=model_devices,
        stream=settings.stream,
    )
    streamed = plan.streamed
    test_bytes = 0 if streamed["eval_data"] else data_bytes(plan.eval_data or {})

    state = jax.eval_shape(lambda: plan.state)
    piece, _, _ = next(plan.feed.pieces(0, 0, 1))
    batch_shapes = plan.example_batch()
    shapes = {path: leaf.shape for path, leaf in by_path(state.params).items()}
    modules: dict[str, dict[str, tuple[int, ...]]] = {}
    for path, shape in shapes.items():
        module, _, name = path.rpartition("/")
        modules.setdefault(module, {})[name] = shape
    memory = {
        **_state_bytes(plan.state),
        "training data" + (", a chunk" if streamed["train"] else ""): _bytes(piece),
    }
    if test_bytes:
        memory["test data"] = test_bytes
    analysis = plan.loop.memory_analysis()
    if analysis is not None:
        memory["temporary"] = analysis.temp_size_in_bytes
    xla_flops = (plan.loop.cost_analysis() or {}).get("flops")
    # A step without the check for finite values, whose products are not part of the model.
    step = make_train_step(ae, tx, accumulate=settings.accumulate)
    flops = count_flops(step, state, batch_shapes)
    del piece
    measured, seconds = _measure(plan)
    return Estimate(
        modules=modules,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        memory=memory,
        flops=flops,
        xla_flops=xla_flops,
        per_epoch=plan.sizes.per_epoch,
        measured=measured,
        seconds=seconds,
    )


def _measure(plan: Plan) -> tuple[int, float]:
    """Return the number of timed updates and the seconds per update, after a warm-up."""
    carry, pace, done = (plan.take_state(), plan.zeros), Pace(), 0

    def run(count: int) -> float:
        nonlocal carry, done
        began, end = time.perf_counter(), done + count
        while done < end:
            epoch, first = divmod(done, plan.sizes.per_epoch)
            length = min(end - done, plan.sizes.per_epoch - first)
            pieces = plan.feed.pieces(epoch, first, length)
            carry = drive(lambda carry, *piece: plan.loop(*carry, *piece), carry, pieces, pace)
            done += length
        skips = jax.block_until_ready(carry)[1].skips
        if int(skips.streak) > plan.sizes.max_skips:
            raise ValueError(
                f"the update of step {int(skips.last)} is not finite, and the training would stop: "
                "repair the data, or lower --train.learning-rate"
            )
        return time.perf_counter() - began

    run(1)
    count = 1
    while (took := run(count)) < SECONDS / 2:
        count *= 2
    return count, took / count


def _state_bytes(state: TrainState | None) -> dict[str, int]:
    assert state is not None
    variables = state.params, state.ema, state.model_state
    return {"parameters": _bytes(variables), "optimizer": _bytes(state.opt_state)}


def _bytes(tree: Any) -> int:
    """The bytes of arrays on one device."""
    keys = jax.dtypes.prng_key
    leaves = [leaf for leaf in jax.tree.leaves(tree) if not jax.dtypes.issubdtype(leaf.dtype, keys)]
    parts = [(leaf.sharding.shard_shape(leaf.shape), leaf.dtype.itemsize) for leaf in leaves]
    return sum(math.prod(shape) * size for shape, size in parts)


def show(
    estimated: Estimate,
    config: Config,
    examples: int,
    tests: int,
    console: Console,
    devices: int | None,
) -> None:
    """Print an estimate as two tables."""
    table = Table(title="parameters", title_justify="left")
    for title in ("module", "shapes", "parameters", "float32"):
        table.add_column(title, justify="right" if title in ("parameters", "float32") else "left")
    for module, shapes in estimated.modules.items():
        text = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        count = sum(int(np.prod(shape)) for shape in shapes.values())
        table.add_row(module or "(top)", text, f"{count:,}", size(4 * count))
    table.add_row("total", "", f"{estimated.parameters:,}", size(4 * estimated.parameters))
    console.print(table)

    settings, limit = config.train, device_bytes(data_mesh(devices))
    batch = settings.sizes(examples).batch_size
    epoch = estimated.seconds * estimated.per_epoch
    updates = f"{estimated.per_epoch * settings.epochs:,} in {settings.epochs} epochs"
    of_device = f" of a device's {size(limit)}" if limit else ""
    xla = "unknown"
    if estimated.xla_flops is not None:
        xla = f"{estimated.xla_flops:.4g} (all operations of one device; an inner loop counts once)"
    speed = batch / estimated.seconds
    excluded = "without evaluation and checkpoints"
    rows = {
        "examples": f"{examples:,} to train, {tests:,} to test",
        "updates": f"{estimated.per_epoch:,} of {batch} examples per epoch, {updates}",
        **{f"memory: {name}": size(count) for name, count in estimated.memory.items()},
        "memory: sum": size(sum(estimated.memory.values())) + of_device,
        "FLOPs of an update": f"{estimated.flops:.4g} in products and convolutions",
        "FLOPs as XLA counts them": xla,
        "time of an update": f"{1e3 * estimated.seconds:.4g} ms, measured on "
        f"{estimated.measured:,} updates on {device_name()}",
        "speed": f"{speed:,.0f} images/s, {estimated.flops / estimated.seconds / 1e9:.4g} GFLOP/s",
        "time of an epoch": f"{_duration(epoch)}, {excluded}",
        "time of the run": f"{_duration(epoch * settings.epochs)}, {excluded}",
    }
    if settings.pretrain != "none":
        rows["time of pretraining"] = f"not measured ({settings.pretrain})"
    table = Table(title="training", title_justify="left", show_header=False)
    for name, text in rows.items():
        table.add_row(name, text)
    console.print(table)
    console.print("dry run: no run directory was made")


def _duration(seconds: float) -> str:
    """Return a readable duration: 12.3 s, 4 min 05 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"

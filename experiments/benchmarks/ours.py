"""Measure one net in this process and print the result as JSON (see `experiments.bench`).

python -m experiments.benchmarks.ours conv --dtype float32 --mode scan
"""

import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from ae_jax.core import Autoencoder, metric_names
from ae_jax.data import load
from ae_jax.data.memory import batch_at, epoch_order
from ae_jax.data.records import Records
from ae_jax.devices.compilation import compile_program, compiler_options
from ae_jax.devices.host import peak_bytes
from ae_jax.devices.mesh import replicated, split
from ae_jax.devices.names import device_name
from ae_jax.spec import nearest, require
from ae_jax.training import init_state, make_plan, make_train_step
from ae_jax.training.drive import Pace, drive
from ae_jax.training.loop import make_train_loop, no_sums
from experiments.benchmarks import MODES, NETS, REPLICAS
from experiments.benchmarks.flops import count_flops
from experiments.cli import one_line_errors, parse_options, use_cpu_devices

Epoch = Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Options:
    net: Annotated[str, tyro.conf.Positional]
    dtype: str = "float32"
    mode: str = "scan"
    devices: int = 1
    batch: int | None = None
    images: int | None = None
    data: str | None = None
    rounds: int = 3

    def __post_init__(self) -> None:
        for name, known in (("net", NETS), ("mode", MODES)):
            value = getattr(self, name)
            require(value in known, name, value, nearest(value, known))


def main(argv: Sequence[str]) -> None:
    options = parse_options(
        argv, Options, prog="python -m experiments.benchmarks.ours", about=__doc__
    )
    use_cpu_devices(options.devices)
    print(json.dumps(measure(**vars(options))))


def measure(
    net: str,
    *,
    dtype: str = "float32",
    mode: str = "scan",
    devices: int = 1,
    batch: int | None = None,
    images: int | None = None,
    data: str | None = None,
    rounds: int = 3,
) -> dict[str, Any]:
    """Train one epoch that is not counted, then `rounds` epochs; the result is JSON-ready.

    Examples are random, or the first images in the file `data`, uint8 [N, 28, 28, 1]. Speeds are
    images/s of full epochs, until all results are ready. FLOPs are those of the products and
    convolutions of one step (see `flops`); bytes are counted by XLA (None if the program has loops,
    whose bytes it does not count). Utilization is relative to a matrix product on this device, of
    this dtype. Compile time is that of the training program alone.
    """
    batch, images = batch or NETS[net].batch, images or NETS[net].images
    require(batch <= images, "batch", batch, f"must be at most {images}, the images of an epoch")
    ok = mode != "pmap" or batch % devices == 0
    require(ok, "batch", batch, f"pmap splits it over {devices} devices evenly")
    shape = NETS[net].shape
    is_images = len(shape) == 3
    needs = f"{net} is of vectors: use random ones, and no mode of images"
    require(is_images or (data is None and mode != "records"), "net", net, needs)
    ae = replace(NETS[net].model.build(shape), dtype=jnp.dtype(dtype))
    if mode == "records":
        x = load("mnist", "train", decode="always")["x"]
        images = len(x)
    elif data is not None:
        x = np.load(data, allow_pickle=False)[:images]
    elif is_images:
        x = np.random.default_rng(0).integers(0, 256, (images, *shape), np.uint8)
    else:
        x = np.random.default_rng(0).standard_normal((images, *shape), np.float32)
    if mode == "stream":
        x = _on_disk(x)
    if mode == "sweep":
        epoch, program, compile_seconds = _sweep(ae, x, batch)
    elif mode in ("step", "pmap"):
        epoch, program, compile_seconds = _batches(ae, x, batch, devices, pmap=mode == "pmap")
    else:
        stream = mode in ("stream", "records")
        epoch, program, compile_seconds = _loop(ae, {"x": x}, batch, devices, stream=stream)
    epoch()
    speeds = []
    runs = REPLICAS if mode == "sweep" else 1
    for _ in range(rounds):
        began = time.perf_counter()
        jax.block_until_ready(epoch())
        speeds.append(runs * (images // batch) * batch / (time.perf_counter() - began))
    speed = statistics.median(speeds)
    cost, memory = program.cost_analysis() or {}, program.memory_analysis()
    # The peak before the products that measure the device.
    stats, held = jax.devices()[0].memory_stats() or {}, round(peak_bytes() / 1e6, 1)
    parts = devices if batch % devices == 0 else 1  # the program is that of one device
    # Simulated devices of a CPU share its cores and its memory.
    units = 1 if jax.default_backend() == "cpu" else devices
    flops, peak = _step_flops(ae, batch), _peak_flops(dtype) * units
    loops = "while(" in program.as_text()  # XLA counts the bytes of one iteration only
    moved = None if loops else round(parts * cost.get("bytes accessed", math.nan) / 1e6, 2)
    bandwidth = _bandwidth() * units
    return {
        "net": net,
        "dtype": dtype,
        "mode": mode,
        "devices": devices,
        "batch": batch,
        "images": images,
        "compile_seconds": round(compile_seconds, 2),
        "images_per_second": round(speed),
        "epochs": [round(speed) for speed in speeds],
        "step_ms": round(1e3 * runs * batch / speed, 3),
        "step_gflops": round(flops / 1e9, 4),
        "step_megabytes": moved,
        "step_temporary_megabytes": round(memory.temp_size_in_bytes / 1e6, 2),
        "device_peak_megabytes": round(stats.get("peak_bytes_in_use", 0) / 1e6, 1) or None,
        "process_megabytes": held,
        "achieved_gflops": round(flops * speed / batch / 1e9, 2),
        "peak_gflops": round(peak / 1e9, 1),
        "peak_gigabytes_per_second": round(bandwidth / 1e9, 1),
        "utilization": round(flops * speed / batch / peak, 4),
        "device": device_name(),
        "jax": jax.__version__,
    }


def _loop(
    ae: Autoencoder, data: dict[str, Any], batch: int, devices: int, *, stream: bool
) -> tuple[Epoch, Any, float]:
    """The loop that `fit` compiles, without a partial batch."""
    if not isinstance(data["x"], Records):  # those are decoded where they are sliced
        data = {name: column[: len(column) // batch * batch] for name, column in data.items()}
    plan = make_plan(ae, data, epochs=1, batch_size=batch, devices=devices, stream=stream)
    place = replicated(plan.mesh)
    one = jax.jit(make_train_step(ae, plan.tx, guard=True), out_shardings=place)
    where = place if batch % devices else split(plan.mesh)
    shape = jax.ShapeDtypeStruct((batch, *ae.event_shape), data["x"].dtype, sharding=where)
    program = one.lower(plan.state, {"x": shape}).compile()
    held: list[Any] = [plan.take_state(), 0]
    pace = Pace()

    def epoch() -> Any:
        held[0], sums = drive(
            lambda carry, *piece: plan.loop(*carry, *piece),
            (held[0], plan.zeros),
            plan.feed.pieces(held[1], 0, plan.sizes.per_epoch),
            pace,
        )
        held[1] += 1
        return sums

    return epoch, program, plan.compile_seconds


def _sweep(ae: Autoencoder, x: np.ndarray, batch: int) -> tuple[Epoch, Any, float]:
    """Several seeds in one program, mapped as in `ae_jax.training.sweep`."""
    tx, count = optax.adam(1e-3), len(x) // batch * batch
    data, no_metrics = {"x": jnp.asarray(x[:count])}, no_sums(metric_names(ae.objective))
    step = make_train_step(ae, tx)
    loop = make_train_loop(step, partial(batch_at, padded=False))

    def train_epoch(state, key, data, number):
        order = epoch_order(key, number, count=count, batch_size=batch)
        return loop(state, no_metrics, (data, order), 0, count // batch)

    keys = jax.random.split(jax.random.key(0), REPLICAS)
    state = jax.jit(jax.vmap(partial(init_state, ae, tx)))(keys)
    mapped = jax.jit(
        jax.vmap(train_epoch, in_axes=(0, 0, None, None)),
        donate_argnums=0,
        compiler_options=compiler_options(),
    )
    began = time.perf_counter()
    compiled = mapped.lower(state, keys, data, np.int32(0)).compile()
    seconds = time.perf_counter() - began
    held = [state, 0]

    def epoch() -> Any:
        held[0], sums = compiled(held[0], keys, data, np.int32(held[1]))
        held[1] += 1
        return sums

    return epoch, compiled, seconds


def _batches(
    ae: Autoencoder, x: np.ndarray, batch: int, devices: int, *, pmap: bool
) -> tuple[Epoch, Any, float]:
    """One call of the compiled step per batch, with batches from the host."""
    tx = optax.adam(1e-3)
    state = jax.jit(partial(init_state, ae, tx))(jax.random.key(0))
    if pmap:
        step = make_train_step(ae, tx, axis_name="data")
        chosen = jax.devices()[:devices]
        mapped = jax.pmap(step, axis_name="data", in_axes=(None, 0), out_axes=None, devices=chosen)
        shape = (devices, batch // devices, *x.shape[1:])
        run, example = mapped, jax.ShapeDtypeStruct(shape, x.dtype)
    else:
        step = make_train_step(ae, tx)
        run = jax.jit(step, donate_argnums=0)
        example = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)
    began = time.perf_counter()
    program = compile_program(run.lower(state, {"x": example}))
    seconds = time.perf_counter() - began
    call = run if pmap else program
    rng, held = np.random.default_rng(0), [state]

    def epoch() -> Any:
        order = rng.permutation(len(x))
        for i in range(len(x) // batch):
            rows = x[order[i * batch : (i + 1) * batch]].reshape(example.shape)
            held[0], metrics = call(held[0], {"x": jnp.asarray(rows)})
        return jax.block_until_ready(metrics)

    return epoch, program, seconds


def _on_disk(x: np.ndarray) -> np.ndarray:
    """The same array, mapped from a temporary file that disappears with the process."""
    with tempfile.TemporaryFile(suffix=".npy") as file:
        np.save(file, x)
        file.flush()
        return np.memmap(file, x.dtype, "r", offset=file.tell() - x.nbytes, shape=x.shape)


def _step_flops(ae: Autoencoder, batch: int) -> int:
    tx = optax.adam(1e-3)
    state = jax.eval_shape(lambda: init_state(ae, tx, jax.random.key(0)))
    x = jax.ShapeDtypeStruct((batch, *ae.event_shape), np.float32)
    return count_flops(make_train_step(ae, tx), state, {"x": x})


def _peak_flops(dtype: str) -> float:
    """FLOP/s of a product of two 2048 x 2048 matrices, the best of a few."""
    a = jnp.ones((2048, 2048), dtype)
    multiply = jax.jit(partial(jnp.matmul, preferred_element_type=jnp.float32))
    best = math.inf
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready([multiply(a, a) for _ in range(4)])
        best = min(best, (time.perf_counter() - began) / 4)
    return 2 * 2048**3 / best


def _bandwidth() -> float:
    """Bytes/s of reading one large array and writing another, the best of a few."""
    a = jnp.ones(2**25)
    add = jax.jit(lambda a: a + 1.0, donate_argnums=0)
    a, best = jax.block_until_ready(add(a)), math.inf
    for _ in range(5):
        began = time.perf_counter()
        a = jax.block_until_ready(add(a))
        best = min(best, time.perf_counter() - began)
    return 2 * a.nbytes / best


if __name__ == "__main__":
    with one_line_errors():  # without `run_main`, whose cache would hide the compile time
        main(sys.argv[1:])

"""How training scales over devices: bytes exchanged, measured speeds, predicted efficiency.

python -m experiments.scaling                               bytes, and predictions for accelerators
python -m experiments.scaling simple conv --measure 1 2 4   also measure simulated devices

A step exchanges gradients and metrics by all-reduce: G bytes, as XLA compiles it for two CPU
devices. (On a CPU, convolutions exchange the gradients of more than one form of a kernel.) The
prediction for N devices is this, with a global batch B, a peak of P FLOP/s, a fraction u of it that
is reached, links of W bytes/s in each direction, and a latency of a seconds per hop:

    compute  c = FLOPs(B / N) / (u P)
    exchange r = 2 (N - 1) / N * G / W + 2 ceil(log2 N) a       (bandwidth-optimal, tree latency)
    efficiency = c / (c + r)

Weak scaling keeps the batch of each device, strong scaling the global batch. The last column is the
smallest batch per device, for 512 devices, with an efficiency of 90% (c = 9 r). The prediction is
pessimistic, because it overlaps no exchange with computation. For small nets it is optimistic,
because it ignores the time to launch kernels.
"""

import math
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple

import jax
import numpy as np
import optax
import tyro
from rich.console import Console
from rich.table import Table

from ae_jax.devices.mesh import data_mesh, replicated, split
from ae_jax.spec import require
from ae_jax.training import init_state, make_train_step
from experiments.bench import require_known, run_apart
from experiments.benchmarks import NETS
from experiments.benchmarks.flops import count_flops
from experiments.cli import parse_options, run_main, use_cpu_devices

SIZES = (8, 64, 512)


class Accelerator(NamedTuple):
    """Published numbers of one device, with the slower network between hosts."""

    peak: float
    """FLOP/s of dense bfloat16 products."""
    near: float
    """Bytes/s in each direction between the devices of one host."""
    host: int
    """Devices per host."""
    far: float
    """Bytes/s in each direction between hosts."""


ACCELERATORS = {
    # NVIDIA H100 SXM data sheet: NVLink 900 GB/s both ways; a 400 Gb/s adapter for each GPU.
    "h100": Accelerator(989e12, 450e9, 8, 50e9),
    # Google Cloud, TPU v5p: inter-chip interconnect 1200 GB/s both ways, pods of 8960.
    "tpu-v5p": Accelerator(459e12, 600e9, 8960, 6.25e9),
    # Google Cloud, TPU v5e: 400 GB/s both ways, pods of 256 with 6.4 Tb/s to the network.
    "tpu-v5e": Accelerator(197e12, 200e9, 256, 3.1e9),
}


def exchanged_bytes(net: str) -> int:
    """Bytes that a device contributes to the all-reduces of one step, compiled for two devices."""
    mesh, tx = data_mesh(2), optax.adam(1e-3)
    ae, batch = NETS[net].model.build(NETS[net].shape), NETS[net].batch
    here = partial(jax.ShapeDtypeStruct, sharding=replicated(mesh))
    state = jax.tree.map(
        lambda leaf: here(leaf.shape, leaf.dtype),
        jax.eval_shape(lambda: init_state(ae, tx, jax.random.key(0))),
    )
    x = jax.ShapeDtypeStruct((batch, 28, 28, 1), np.uint8, sharding=split(mesh))
    step = jax.jit(make_train_step(ae, tx), out_shardings=replicated(mesh))
    return all_reduced_bytes(step.lower(state, {"x": x}).compile().as_text() or "")


def all_reduced_bytes(program: str) -> int:
    """The bytes of the results of all all-reduces in a compiled program."""
    total = 0
    for shapes in re.findall(r"= (.*?) all-reduce(?:-start)?\(", program):
        for bits, sizes in re.findall(r"[a-z]+(\d+)\[([\d,]*)\]", shapes):
            total += int(bits) // 8 * math.prod(int(n) for n in sizes.split(",") if n)
    return total


def exchange_seconds(sent: float, devices: int, kind: Accelerator, latency: float) -> float:
    """The time r of the formula above."""
    bandwidth = kind.near if devices <= kind.host else kind.far
    moved = 2 * (devices - 1) / devices * sent / bandwidth
    return moved + 2 * math.ceil(math.log2(devices)) * latency


@dataclass(frozen=True, kw_only=True)
class Options:
    nets: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """By default all of them."""
    measure: tuple[int, ...] = ()
    """Numbers of simulated CPU devices to measure."""
    rounds: int = 2
    """Number of timed epochs."""
    accelerator: str = "h100"
    """The device of the predictions: h100, tpu-v5p or tpu-v5e."""
    utilization: float = 0.3
    """The share of the peak that is reached."""
    latency: float = 3e-6
    """Seconds per hop."""

    def __post_init__(self) -> None:
        require_known("net", self.nets, NETS)
        require_known("--accelerator", [self.accelerator], ACCELERATORS)
        for count in (*self.measure, self.rounds):
            require(count >= 1, "--measure, --rounds", count, "must be at least 1")
        require(0 < self.utilization <= 1, "--utilization", self.utilization, "is in (0, 1]")
        require(self.latency >= 0, "--latency", self.latency, "must not be negative")


def main(argv: Sequence[str]) -> None:
    options = parse_options(argv, Options, prog="python -m experiments.scaling", about=__doc__)
    console = Console()
    if not console.is_terminal:
        console.width = 150
    os.environ["JAX_PLATFORMS"] = "cpu"  # for the measurements
    jax.config.update("jax_platforms", "cpu")
    use_cpu_devices(2)
    nets = options.nets or list(NETS)
    kind = ACCELERATORS[options.accelerator]
    rate = options.utilization * kind.peak
    table = Table(
        title=f"predicted efficiency on {options.accelerator}, weak / strong scaling, "
        f"{options.utilization:.0%} of peak, {options.latency * 1e6:g} us a hop",
        title_justify="left",
    )
    table.add_column("net")
    columns = ("parameters", "all-reduced bytes", "batch", "GFLOP/step", *map(str, SIZES))
    for title in (*columns, "batch for 90%"):
        table.add_column(title, justify="right")
    for net in nets:
        parameters, flops = _size(net)
        sent, batch = exchanged_bytes(net), NETS[net].batch
        cells = [f"{parameters:,}", f"{sent:,}", f"{batch}", f"{flops / 1e9:.3g}"]
        for devices in SIZES:
            exchange = exchange_seconds(sent, devices, kind, options.latency)
            weak, strong = (c / (c + exchange) for c in (flops / rate, flops / rate / devices))
            cells.append(f"{weak:.1%} / {strong:.1%}")
        enough = 9 * exchange * rate / (flops / batch)  # `exchange` is that of the last size, 512
        table.add_row(net, *cells, f"{math.ceil(enough):,}")
    console.print(table)
    if options.measure:
        console.print(_measured(nets, options.measure, options.rounds))


def _size(net: str) -> tuple[int, int]:
    """The number of parameters, and the FLOPs of a step with the net's own batch size."""
    ae, tx = NETS[net].model.build(NETS[net].shape), optax.adam(1e-3)
    state = jax.eval_shape(lambda: init_state(ae, tx, jax.random.key(0)))
    x = jax.ShapeDtypeStruct((NETS[net].batch, *NETS[net].shape), np.float32)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return parameters, count_flops(make_train_step(ae, tx), state, {"x": x})


def _measured(nets: Sequence[str], devices: Sequence[int], rounds: int) -> Table:
    """Images/s of simulated devices, which share one CPU: its speed is what they keep of it."""
    table = Table(title="images/s on simulated CPU devices, weak / strong", title_justify="left")
    table.add_column("net")
    for count in devices:
        table.add_column(str(count), justify="right")
    for net in nets:
        cells = []
        for count in devices:
            batches = (NETS[net].batch * count, NETS[net].batch)
            cells.append(" / ".join(_speed(net, count, batch, rounds) for batch in batches))
        table.add_row(net, *cells)
    return table


def _speed(net: str, devices: int, batch: int, rounds: int) -> str:
    command = [sys.executable, "-m", "experiments.benchmarks.ours", net, "--mode", "sharded"]
    command += ["--devices", str(devices), "--batch", str(batch), "--rounds", str(rounds)]
    command += ["--images", str(max(min(NETS[net].images, 20_000), batch))]
    result = run_apart(command)
    return result["error"] if "error" in result else f"{result['images_per_second']:,}"


if __name__ == "__main__":
    run_main(main)

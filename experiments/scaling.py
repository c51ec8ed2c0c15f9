"""How training would scale: what devices exchange, what simulated ones measure, what is predicted.

python -m experiments.scaling                               bytes, and predictions for accelerators
python -m experiments.scaling simple conv --measure 1 2 4   and simulated devices, measured

A step exchanges the gradients and metrics by all-reduce, G bytes as XLA compiles it for two CPU
devices (whose convolutions exchange the gradients of more than one form of a kernel). On N devices,
with a global batch B, a peak of P FLOP/s of which a fraction u is reached, links of W bytes/s each
way and a latency of a second per hop, the prediction is

    compute  c = FLOPs(B / N) / (u P)
    exchange r = 2 (N - 1) / N * G / W + 2 ceil(log2 N) a       (bandwidth-optimal, tree latency)
    efficiency = c / (c + r)

Weak scaling keeps each device's batch, strong scaling the global one; the last column is the batch
of each of 512 devices from which on the efficiency is 90%, which is where c = 9 r. Nothing is
overlapped with compute, which is pessimistic; a step never takes less than its FLOPs, which for the
small nets is optimiztic: what launching kernels costs is not in it.
"""

import argparse
import math
import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

from ae_jax.devices.mesh import data_mesh, replicated, split
from ae_jax.spec import nearest, require
from ae_jax.training import init_state, make_train_step
from experiments.bench import run_apart
from experiments.benchmarks import NETS
from experiments.benchmarks.flops import count_flops
from experiments.cli import parse_all, run_main, use_cpu_devices

SIZES = (8, 64, 512)


class Accelerator(NamedTuple):
    """Published figures of one device; where hosts are joined by a slower network, that counts."""

    peak: float
    """FLOP/s of bfloat16 products, dense."""
    near: float
    """Bytes/s each way, within `host` devices."""
    host: int
    far: float
    """Bytes/s each way, beyond."""


ACCELERATORS = {
    # NVIDIA H100 SXM data sheet: NVLink 900 GB/s both ways; a 400 Gb/s adapter for each GPU.
    "h100": Accelerator(989e12, 450e9, 8, 50e9),
    # Google Cloud, TPU v5p: inter-chip interconnect 1200 GB/s both ways, pods of 8960.
    "tpu-v5p": Accelerator(459e12, 600e9, 8960, 6.25e9),
    # Google Cloud, TPU v5e: 400 GB/s both ways, pods of 256 with 6.4 Tb/s to the network.
    "tpu-v5e": Accelerator(197e12, 200e9, 256, 3.1e9),
}


def exchanged_bytes(net: str) -> int:
    """Bytes that a device puts into the all-reduces of one step, as XLA compiled it for two."""
    mesh, tx = data_mesh(2), optax.adam(1e-3)
    ae, batch = NETS[net].model.build((28, 28, 1)), NETS[net].batch
    here = partial(jax.ShapeDtypeStruct, sharding=replicated(mesh))
    state = jax.tree.map(
        lambda leaf: here(leaf.shape, leaf.dtype),
        jax.eval_shape(lambda: init_state(ae, tx, jax.random.key(0))),
    )
    x = jax.ShapeDtypeStruct((batch, 28, 28, 1), np.uint8, sharding=split(mesh))
    step = jax.jit(make_train_step(ae, tx), out_shardings=replicated(mesh))
    return all_reduced_bytes(step.lower(state, {"x": x}).compile().as_text() or "")


def all_reduced_bytes(program: str) -> int:
    """The bytes that a compiled program's all-reduces return, each counted once."""
    total = 0
    for shapes in re.findall(r"= (.*?) all-reduce(?:-start)?\(", program):
        for bits, sizes in re.findall(r"[a-z]+(\d+)\[([\d,]*)\]", shapes):
            total += int(bits) // 8 * math.prod(int(n) for n in sizes.split(",") if n)
    return total


def exchange_seconds(sent: float, devices: int, kind: Accelerator, latency: float) -> float:
    """r of the formula above."""
    bandwidth = kind.near if devices <= kind.host else kind.far
    moved = 2 * (devices - 1) / devices * sent / bandwidth
    return moved + 2 * math.ceil(math.log2(devices)) * latency


def main(argv: Sequence[str]) -> None:
    options = _options(argv)
    console = Console()
    if not console.is_terminal:
        console.width = 150
    os.environ["JAX_PLATFORMS"] = "cpu"  # of what is measured
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
        enough = 9 * exchange * rate / (flops / batch)  # exchange: of the last size, 512
        table.add_row(net, *cells, f"{math.ceil(enough):,}")
    console.print(table)
    if options.measure:
        console.print(_measured(nets, options.measure, options.rounds))


def _size(net: str) -> tuple[int, int]:
    """Parameters, and FLOPs of a step of the net's own batch."""
    ae, tx = NETS[net].model.build((28, 28, 1)), optax.adam(1e-3)
    state = jax.eval_shape(lambda: init_state(ae, tx, jax.random.key(0)))
    x = jax.ShapeDtypeStruct((NETS[net].batch, 28, 28, 1), np.float32)
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
    found = run_apart(command)
    return found["error"] if "error" in found else f"{found['images_per_second']:,}"


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        exit_on_error=False,
    )
    parser.add_argument("nets", nargs="*", metavar="NET", help="by default all of them")
    parser.add_argument("--measure", nargs="+", type=int, default=[], metavar="DEVICES")
    parser.add_argument("--rounds", type=int, default=2, help="epochs that are timed")
    parser.add_argument("--accelerator", default="h100", help=", ".join(ACCELERATORS))
    parser.add_argument("--utilization", type=float, default=0.3, help="share of the peak reached")
    parser.add_argument("--latency", type=float, default=3e-6, help="seconds a hop")
    options = parse_all(parser, argv)
    for name, given, known in (
        ("net", options.nets, NETS),
        ("--accelerator", [options.accelerator], ACCELERATORS),
    ):
        for value in given:
            if value not in known:
                raise ValueError(f"{name} {value}: {nearest(value, known)}")
    for count in (*options.measure, options.rounds):
        require(count >= 1, "--measure, --rounds", count, "must be at least 1")
    require(0 < options.utilization <= 1, "--utilization", options.utilization, "is in (0, 1]")
    require(options.latency >= 0, "--latency", options.latency, "must not be negative")
    return options


if __name__ == "__main__":
    run_main(main)

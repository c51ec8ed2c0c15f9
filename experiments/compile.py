"""Compile the training of a configuration for devices that this machine lacks. Nothing is run.

python -m experiments.compile vae --for v5e:2x2
python -m experiments.compile my_config.py --for v5e:8x8 v5e:16x16 --model-devices 16 \
    --event-shape 4096

It needs the compiler of TPUs, libtpu, and no TPU. The program is that of `fit` with streamed data:
the loop over batches, split over all devices of the slice. No array is made, so a model may be
larger than the memory of this machine. The tables have the bytes on a device, and what the devices
exchange in a step. (They do so once, or at each turn of a loop inside the step.)
"""

import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from ae_jax.core import Autoencoder
from ae_jax.data.stream import Streamed, chunk_steps
from ae_jax.devices.memory import size
from ae_jax.devices.mesh import AXIS, MODEL, mesh_over, split
from ae_jax.devices.targets import Target, find_target
from ae_jax.files import writable_file
from ae_jax.spec import require
from ae_jax.training.lowering import lower_loop
from ae_jax.training.start import shapes_of
from experiments.benchmarks.collectives import Collective, collectives
from experiments.cli import Command, parse, run_main
from experiments.config import Config
from experiments.configs import CONFIGS
from experiments.data import load_split

STEPS = 1000
"""Updates of the run, on which a schedule of learning rates depends."""
SMALL = 2**16
"""Bytes of a collective that is listed by itself."""


@dataclass(frozen=True, kw_only=True)
class Options(Command):
    """A configuration, and the devices to compile it for."""

    targets: Annotated[tuple[str, ...], tyro.conf.arg(name="for")] = ("v5e:2x2",)
    """Slices of TPUs: v5e:2x2 .. v5e:16x16, v6e:2x2 .. v6e:16x16."""
    event_shape: tuple[int, ...] = ()
    """The shape of an example of float32; by default the data is loaded to look."""
    devices: int = 0
    """Number of devices of the slice to use (0: all)."""
    output: str | None = None
    """A file for the numbers, .json."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ignored = {"run_dir": self.run_dir, "track": self.track, "dry_run": self.dry_run}
        for name, used in ignored.items():
            require(not used, f"--{name.replace('_', '-')}", used, "nothing is run: remove it")
        ok = all(n >= 1 for n in self.event_shape)
        require(ok, "event_shape", self.event_shape, "each must be at least 1")
        ok = self.output is None or self.output.endswith(".json")
        require(ok, "output", self.output, "must end in .json")


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """The program of a target. Bytes are of one device."""

    target: str
    data: int
    """Devices that the batch is split over."""
    model: int
    """Devices that share the arrays of the model."""
    memory: int
    seconds: float
    arguments: int = 0
    temporary: int = 0
    peak: int = 0
    """The most at any time, as the compiler reports it."""
    code: int = 0
    collectives: tuple[Collective, ...] = ()
    error: str = ""
    """Why it does not compile, such as that it does not fit."""


def main(argv: Sequence[str]) -> None:
    about = (__doc__ or "").partition("\n")[0]
    prog = "python -m experiments.compile"
    name, config, options = parse(
        argv, CONFIGS, default="digits", prog=prog, about=about, options=Options
    )
    assert isinstance(options, Options)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)  # only a TPU could read it
    output = None if options.output is None else writable_file(options.output)
    shape = options.event_shape or load_split(config.data, "train")["x"].shape[1:]
    targets = [find_target(target) for target in options.targets]
    programs = [compiled(config, shape, each, options) for each in targets]
    console = Console()
    if not console.is_terminal:
        console.width = 150
    settings = config.train
    batch = settings.batch_size or 256
    console.print(f"{name}: examples of {shape}, batches of {batch}, {settings.optimizer}")
    show(programs, console)
    if output is not None:
        output.write_text(json.dumps([_as_data(program) for program in programs], indent=1) + "\n")


def compiled(config: Config, shape: Sequence[int], target: Target, options: Options) -> Compiled:
    """Compile the training of `config` on examples of `shape` for `target`.

    Raises `ValueError` for a mesh that does not divide the devices or the model.
    """
    available = len(target.devices)
    needs = f"{target.name} has {available}"
    require(options.devices <= available, "devices", options.devices, needs)
    devices = target.devices[: options.devices or None]
    mesh = mesh_over(devices, options.model_devices)
    settings = config.train
    ae = replace(config.model.build(tuple(shape)), dtype=jnp.dtype(settings.dtype))
    tx = settings.make_optimizer(STEPS)
    state = shapes_of(ae, tx, mesh, ema=settings.ema_decay is not None)
    multiple = mesh.shape[AXIS] * settings.accumulate
    width = -(-(settings.batch_size or 256) * settings.accumulate // multiple) * multiple
    piece = _chunk(ae, width, mesh)
    began = time.perf_counter()
    lowered = lower_loop(
        ae,
        tx,
        Streamed.batch_at,
        state,
        piece,
        mesh=mesh,
        max_skips=settings.max_skips,
        ema_decay=settings.ema_decay,
        accumulate=settings.accumulate,
    )
    sizes = {"data": mesh.shape[AXIS], "model": mesh.shape[MODEL], "memory": target.memory}
    try:
        program = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Compiled(
            target=target.name,
            seconds=time.perf_counter() - began,
            arguments=_held((state, piece)),
            error=_reason(str(error)),
            **sizes,
        )
    seconds, analysis = time.perf_counter() - began, program.memory_analysis()
    assert analysis is not None
    return Compiled(
        target=target.name,
        seconds=seconds,
        arguments=analysis.argument_size_in_bytes,
        temporary=analysis.temp_size_in_bytes,
        peak=analysis.peak_memory_in_bytes,
        code=analysis.generated_code_size_in_bytes,
        collectives=tuple(collectives(program.as_text() or "")),
        **sizes,
    )


def show(programs: Sequence[Compiled], console: Console) -> None:
    """Print a table of the memory, and one of the collectives of each program."""
    console.print(memory_table(programs))
    for program in programs:
        if program.collectives:
            console.print(exchange_table(program))


def memory_table(programs: Sequence[Compiled]) -> Table:
    """The bytes on a device, and whether they fit."""
    table = Table(title="memory of a device", title_justify="left")
    titles = ("for", "data x model", "arguments", "temporary", "peak", "of", "compiled in")
    for title in titles:
        table.add_column(title, justify="left" if title == "for" else "right")
    for one in programs:
        cells = [size(one.arguments), size(one.temporary), size(one.peak)]
        cells = [*cells[:1], "does not fit", ""] if one.error else cells
        mesh, seconds = f"{one.data} x {one.model}", f"{one.seconds:.1f} s"
        table.add_row(one.target, mesh, *cells, size(one.memory), seconds)
    reasons = [f"{one.target}: {one.error}" for one in programs if one.error]
    table.caption = "\n".join(reasons) or None
    return table


def exchange_table(program: Compiled) -> Table:
    """The collectives of a step, those of less than `SMALL` bytes together."""
    title = f"exchanged in a step, {program.target}, {program.data} x {program.model}"
    table = Table(title=title, title_justify="left")
    for title in ("collective", "result on a device", "bytes", "times"):
        table.add_column(title, justify="right" if title == "bytes" else "left")
    for cells in exchanges(program):
        table.add_row(*cells)
    return table


def exchanges(program: Compiled) -> list[tuple[str, str, str, str]]:
    """Kind, shapes, bytes and times of each collective, the largest first."""
    large = Counter(one for one in program.collectives if one.bytes >= SMALL)
    rows = []
    for one, count in sorted(large.items(), key=lambda item: -item[0].bytes):
        times = f"{count}" + (", at each turn of a loop" if one.loops > 1 else "")
        rows.append((one.kind, one.shapes, size(one.bytes), times))
    small = [one for one in program.collectives if one.bytes < SMALL]
    if small:
        total = size(sum(one.bytes for one in small))
        inner = sum(one.loops > 1 for one in small)
        times = f"{len(small)}" + (f", {inner} at each turn of a loop" if inner else "")
        rows.append(("smaller ones", "", total, times))
    return rows


def _chunk(ae: Autoencoder, width: int, mesh: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of streamed batches of `width` examples, without padding (see `Streamed`)."""
    shapes = {"x": ae.event_shape, **{name: ae.columns[name] for name in ae.reads}}
    types = {name: np.dtype(np.int32 if name in ae.integers else np.float32) for name in shapes}
    row = sum(types[name].itemsize * math.prod(shape) for name, shape in shapes.items())
    steps, place = chunk_steps(row, width, mesh), split(mesh, 1)
    return {
        name: jax.ShapeDtypeStruct((steps, width, *shape), types[name], sharding=place)
        for name, shape in shapes.items()
    }


def _held(tree: Any) -> int:
    """The bytes of abstract arrays on a device."""
    keys = jax.dtypes.prng_key
    leaves = [leaf for leaf in jax.tree.leaves(tree) if not jax.dtypes.issubdtype(leaf.dtype, keys)]
    parts = [(leaf.sharding.shard_shape(leaf.shape), leaf.dtype.itemsize) for leaf in leaves]
    return sum(math.prod(shape) * item for shape, item in parts)


def _reason(error: str) -> str:
    """The first line of XLA's error, without its code."""
    return error.partition("RESOURCE_EXHAUSTED: ")[2].partition("\n")[0]


def _as_data(program: Compiled) -> dict[str, Any]:
    return {**asdict(program), "collectives": [one._asdict() for one in program.collectives]}


if __name__ == "__main__":
    run_main(main)

"""Measure training (compile time, images/s, FLOPs, memory) and compare it with other libraries.

python -m experiments.bench                                  every net, float32, as `fit` runs it
python -m experiments.bench conv lstm --dtype float32 bfloat16
python -m experiments.bench simple --mode scan step pmap sharded --devices 2
python -m experiments.bench conv --mode scan stream records
python -m experiments.bench simple conv --against torch torch-compile keras
python -m experiments.bench hinton --dataset mnist --rounds 29 --against torch-compile torch-flush
python -m experiments.bench deep --turns 3 --against torch torch-compile
python -m experiments.bench vae16 iwae5 --turns 3 --against pythae
python -m experiments.bench dictionary --turns 3 --against torch-dictionary sae-lens sparsify
python -m experiments.bench --compare before.json after.json

Each measurement runs in a process of its own, one after another. On a shared machine only ratios
within one run are meaningful; several `--turns` show how much they vary. Results are printed, and
written as JSON (after each net, with the speed of every epoch) and as a figure.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console

from ae_jax import plots
from ae_jax.data import load
from ae_jax.files import writable_file
from ae_jax.spec import nearest, require
from experiments.benchmarks import MODES, NETS
from experiments.benchmarks.report import comparison, speeds, table
from experiments.benchmarks.turns import Result, merged
from experiments.cli import parse_options, run_main

PEERS = {
    "torch": ("torch_baseline.py",),
    "torch-compile": ("torch_baseline.py", "--compile"),
    # PyTorch keeps denormal numbers, which XLA and TensorFlow flush to 0. If gradients stay 0, the
    # first moments of Adam become denormal, which is slow.
    "torch-flush": ("torch_baseline.py", "--compile", "--flush"),
    "torch-bfloat16": ("torch_baseline.py", "--bfloat16"),
    "keras": ("keras_baseline.py",),
    "pythae": ("pythae_baseline.py",),
    # Of TopK dictionaries:
    "torch-dictionary": ("dictionary_baselines.py", "torch"),
    "sae-lens": ("dictionary_baselines.py", "sae-lens"),
    "sparsify": ("dictionary_baselines.py", "sparsify"),
}
LIMIT = 1800  # seconds; a slower measurement is stopped


@dataclass(frozen=True, kw_only=True)
class Options:
    nets: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """By default all of them."""
    dtype: tuple[str, ...] = ("float32",)
    """float32, bfloat16 or both."""
    mode: tuple[str, ...] = ("scan",)
    """Forms of the training program."""
    devices: int = 2
    """Number of devices for pmap and sharded."""
    batch: int | None = None
    """Batch size; by default that of each net."""
    dataset: str | None = None
    """Train on the images of this data set; by default on random images."""
    images: int | None = None
    """Images per epoch."""
    rounds: int = 3
    """Number of timed epochs."""
    turns: int = 1
    """How often each net is measured."""
    against: tuple[str, ...] = ()
    """Other libraries to measure."""
    peer_python: str | None = None
    """The interpreter in which torch, keras or pythae is installed."""
    compare: tuple[Path, Path] | None = None
    """Compare the results in two files, instead of measuring."""
    out: Path = Path("runs/bench.json")
    """The file for the results."""

    def __post_init__(self) -> None:
        require_known("net", self.nets, NETS)
        require_known("--dtype", self.dtype, ("float32", "bfloat16"))
        require_known("--mode", self.mode, MODES)
        require_known("--against", self.against, PEERS)
        for name in ("devices", "batch", "images", "rounds", "turns"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"--{name}", value, "must be at least 1")


def require_known(option: str, values: Iterable[str], known: Iterable[str]) -> None:
    """Raise `ValueError` with a suggestion for the first value that is not known."""
    known = list(known)
    for value in values:
        if value not in known:
            raise ValueError(f"{option} {value}: {nearest(value, known)}")


def main(argv: Sequence[str]) -> None:
    names = f"nets: {', '.join(NETS)}; modes: {', '.join(MODES)}; peers: {', '.join(PEERS)}"
    about = f"{__doc__}\n{names}"
    options = parse_options(argv, Options, prog="python -m experiments.bench", about=about)
    console = Console()
    if not console.is_terminal:
        console.width = 150
    if options.compare:
        before, after = (_read(path) for path in options.compare)
        console.print(comparison(before, after))
        return
    out = writable_file(options.out)
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        for of_net in _measure(options, console, Path(folder)):
            results += of_net
            out.write_text(json.dumps(results, indent=2) + "\n")
    console.print(table(results))
    plots.save(speeds(results), out.with_suffix(".png"))
    console.print(f"wrote {out} and {out.with_suffix('.png')}", soft_wrap=True)


def _measure(options: Options, console: Console, folder: Path) -> Iterator[list[Result]]:
    """Yield the results of each net."""
    nets = options.nets or list(NETS)
    images = {net: options.images or NETS[net].images for net in nets}
    data_options: list[str] = []
    if options.dataset:
        data_options = _write_images(options.dataset, max(images.values()), folder)
    for net in nets:
        common = ["--images", str(images[net]), "--rounds", str(options.rounds), *data_options]
        common += [] if options.batch is None else ["--batch", str(options.batch)]
        measurements = [
            partial(_ours, net, dtype, mode, options.devices, common)
            for dtype in options.dtype
            for mode in options.mode
        ]
        peers = [peer for peer in options.against if peer in NETS[net].peers]
        measurements += [partial(_peer, net, peer, options, common) for peer in peers]
        data = {"dataset": options.dataset or "random", "images": images[net]}
        turns: list[list[Result]] = [[] for _ in measurements]
        for turn in range(options.turns):
            if options.turns > 1:
                console.print(f"turn {turn + 1} of {options.turns}")
            for measure, so_far in zip(measurements, turns, strict=True):
                if so_far and "error" in so_far[-1]:
                    continue
                so_far.append(data | measure())
                _say(console, so_far[-1])
        yield [merged(each) for each in turns]


def _ours(net: str, dtype: str, mode: str, devices: int, common: list[str]) -> Result:
    devices = devices if mode in ("pmap", "sharded") else 1
    command = [sys.executable, "-m", "experiments.benchmarks.ours", net]
    command += ["--dtype", dtype, "--mode", mode, "--devices", str(devices)]
    result = run_apart([*command, *common])
    return {"who": "ae_jax", "net": net, "dtype": dtype, "mode": mode, **result}


def _peer(net: str, peer: str, options: Options, common: list[str]) -> Result:
    script, *flags = PEERS[peer]
    python = options.peer_python or sys.executable
    path = Path(__file__).parent / "baselines" / script
    batch = options.batch or NETS[net].batch
    result = run_apart([python, str(path), net, *flags, "--batch", str(batch), *common])
    dtype = "bfloat16" if "bfloat16" in peer else "float32"
    return {"who": peer, "net": net, "dtype": dtype, "mode": "", "batch": batch, **result}


def _write_images(dataset: str, most: int, folder: Path) -> list[str]:
    """Write the images of a data set, and return the options that make a process use them."""
    x = load(dataset, "train")["x"]
    fits = x.shape[1:] == (28, 28, 1)
    require(fits, "--dataset", dataset, f"has examples of {x.shape[1:]}, the nets need (28, 28, 1)")
    require(most <= len(x), "--images", most, f"{dataset} has {len(x)}")
    np.save(folder / "images.npy", x)
    return ["--data", str(folder / "images.npy")]


def run_apart(command: list[str]) -> Result:
    """Run a process and parse the last line of its output; on failure ``{"error": one line}``."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {LIMIT} s"}
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    lines = done.stderr.strip().splitlines()
    return {"error": lines[-1] if lines else f"exit code {done.returncode}"}


def _say(console: Console, result: Result) -> None:
    what = " ".join(str(result[k]) for k in ("net", "who", "dtype", "mode") if result.get(k))
    speed = result.get("images_per_second")
    console.print(f"{what}: {result['error'] if speed is None else f'{speed:,} images/s'}")


def _read(path: Path) -> list[Result]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        raise ValueError(f"{path} is not the JSON of a benchmark") from None


if __name__ == "__main__":
    run_main(main)

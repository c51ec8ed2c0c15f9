"""Measure training: compile time, images/s, FLOPs, memory; beside other libraries; between runs.

python -m experiments.bench                                  every net, float32, as `fit` runs it
python -m experiments.bench conv lstm --dtype float32 bfloat16
python -m experiments.bench simple --mode scan step pmap sharded --devices 2
python -m experiments.bench conv --mode scan stream records
python -m experiments.bench simple conv --against torch torch-compile keras
python -m experiments.bench hinton --dataset mnist --rounds 29 --against torch-compile torch-flush
python -m experiments.bench deep --turns 3 --against torch torch-compile
python -m experiments.bench --compare before.json after.json

Each measurement has a process of its own, one after another: on a shared machine only ratios from
one run mean anything, and several `--turns` tell how much those vary. Results are printed, and kept
as JSON (with the speed of every epoch; written after each net) and as a picture.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from ae_jax import plots
from ae_jax.data import load
from ae_jax.spec import nearest, require
from experiments.benchmarks import MODES, NETS
from experiments.benchmarks.report import comparison, speeds, table
from experiments.benchmarks.turns import Result, merged
from experiments.cli import parse_all, run_main

PEERS = {
    "torch": ("torch_baseline.py",),
    "torch-compile": ("torch_baseline.py", "--compile"),
    # PyTorch keeps denormal numbers, which XLA and TensorFlow flush to 0. The first moments of Adam
    # become such where gradients are 0, some 700 steps after a unit fell silent, and slow it down.
    "torch-flush": ("torch_baseline.py", "--compile", "--flush"),
    "torch-bfloat16": ("torch_baseline.py", "--bfloat16"),
    "keras": ("keras_baseline.py",),
}
LACKING = {"keras": ("vae",)}  # it would be a subclassed model with a step of its own
LIMIT = 1800  # seconds; a peer that takes longer is given up


def main(argv: Sequence[str]) -> None:
    options = _options(argv)
    console = Console()
    if not console.is_terminal:
        console.width = 150
    if options.compare:
        before, after = (_read(path) for path in options.compare)
        console.print(comparison(before, after))
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        for found in _measure(options, console, Path(folder)):
            results += found
            options.out.write_text(json.dumps(results, indent=2) + "\n")
    console.print(table(results))
    plots.save(speeds(results), options.out.with_suffix(".png"))
    console.print(f"wrote {options.out} and {options.out.with_suffix('.png')}", soft_wrap=True)


def _measure(options: argparse.Namespace, console: Console, folder: Path) -> Iterator[list[Result]]:
    """The measurements of one net after the other."""
    nets = options.nets or list(NETS)
    images = {net: options.images or NETS[net].images for net in nets}
    given = _write_images(options.dataset, max(images.values()), folder) if options.dataset else []
    for net in nets:
        common = ["--images", str(images[net]), "--rounds", str(options.rounds), *given]
        common += [] if options.batch is None else ["--batch", str(options.batch)]
        measurements = [
            partial(_ours, net, dtype, mode, options.devices, common)
            for dtype in options.dtype
            for mode in options.mode
        ]
        peers = [peer for peer in options.against if net not in LACKING.get(peer, ())]
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
    found = run_apart([*command, *common])
    return {"who": "ae_jax", "net": net, "dtype": dtype, "mode": mode, **found}


def _peer(net: str, peer: str, options: argparse.Namespace, common: list[str]) -> Result:
    script, *flags = PEERS[peer]
    python = options.peer_python or sys.executable
    path = Path(__file__).parent / "baselines" / script
    batch = options.batch or NETS[net].batch
    found = run_apart([python, str(path), net, *flags, "--batch", str(batch), *common])
    dtype = "bfloat16" if "bfloat16" in peer else "float32"
    return {"who": peer, "net": net, "dtype": dtype, "mode": "", "batch": batch, **found}


def _write_images(dataset: str, most: int, folder: Path) -> list[str]:
    """The options that tell a process to train on them."""
    x = load(dataset, "train")["x"]
    fits = x.shape[1:] == (28, 28, 1)
    require(fits, "--dataset", dataset, f"has examples of {x.shape[1:]}, the nets take (28, 28, 1)")
    require(most <= len(x), "--images", most, f"{dataset} has {len(x)}")
    np.save(folder / "images.npy", x)
    return ["--data", str(folder / "images.npy")]


def run_apart(command: list[str]) -> Result:
    """What the process prints last, or ``{"error": the last line of its errors}``."""
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


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench",
        description=(__doc__ or "").partition("\n")[0],
        epilog=f"nets: {', '.join(NETS)}; modes: {', '.join(MODES)}; peers: {', '.join(PEERS)}",
        exit_on_error=False,
    )
    parser.add_argument("nets", nargs="*", metavar="NET", help="by default all of them")
    parser.add_argument("--dtype", nargs="+", default=["float32"])
    parser.add_argument("--mode", nargs="+", default=["scan"])
    parser.add_argument("--devices", type=int, default=2, help="of pmap and sharded")
    parser.add_argument("--batch", type=int, help="by default each net's own")
    parser.add_argument("--dataset", help="train on its images; by default random ones")
    parser.add_argument("--images", type=int, help="to an epoch")
    parser.add_argument("--rounds", type=int, default=3, help="epochs that are timed")
    parser.add_argument("--turns", type=int, default=1, help="times that each net is measured")
    parser.add_argument("--against", nargs="+", default=[], metavar="PEER")
    parser.add_argument("--peer-python", help="the interpreter that has torch or keras")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A.json", "B.json"))
    parser.add_argument("--out", type=Path, default=Path("runs/bench.json"))
    options = parse_all(parser, argv)
    for name, given, known in (
        ("net", options.nets, NETS),
        ("--dtype", options.dtype, ("float32", "bfloat16")),
        ("--mode", options.mode, MODES),
        ("--against", options.against, PEERS),
    ):
        for value in given:
            if value not in known:
                raise ValueError(f"{name} {value}: {nearest(value, known)}")
    for name in ("devices", "batch", "images", "rounds", "turns"):
        value = getattr(options, name)
        require(value is None or value >= 1, f"--{name}", value, "must be at least 1")
    return options


if __name__ == "__main__":
    run_main(main)

"""Train a grid of hyper-parameters with several seeds, all in one compiled program.

python -m experiments.sweep vae --seeds 0 1 2 3 --grid model.beta=0.1,1,4
python -m experiments.sweep simple --grid train.learning_rate=1e-3,3e-3 --train.epochs 20
python -m experiments.sweep digits --grid objective.kl.weight=0.5,1 --devices 2
python -m experiments.sweep --resume runs/sweep-vae           continue an interrupted sweep

--grid NAME=VALUE,VALUE may be repeated; the grid is the product of the lists. NAME is the learning
rate, a number of the model, or the weight of a loss term. The sweep is saved as it trains. At its
end each run gets its own run directory next to `sweep.json`. A grid of `model.beta` also draws the
test rate and distortion of each point, `rate-distortion.png`. Most options of `experiments.train`
apply too.
"""

import contextlib
import itertools
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import tyro
from rich.console import Console
from rich.table import Table

from ae_jax import plots
from ae_jax.core import Autoencoder
from ae_jax.files import finite, user_path, write_whole
from ae_jax.spec import nearest, require, to_dict
from ae_jax.storage.runs import Run
from ae_jax.training import SweepResult, sweep
from experiments.cli import Command, parse, run_folder, run_main, use_cpu_devices
from experiments.config import Config, Train
from experiments.configs import CONFIGS
from experiments.data import load_split, scaled

RATE, BETA = "train.learning_rate", "model.beta"


@dataclass(frozen=True, kw_only=True)
class Options(Command):
    """The options of a sweep."""

    seeds: tuple[int, ...] = ()
    """The seeds of every point of the grid; by default the configuration's seed."""
    grid: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=VALUE,VALUE,...: a hyper-parameter and its values. May be repeated."""


def main(argv: Sequence[str]) -> None:
    """Run one sweep with the arguments of a command line."""
    name, config, command = parse(
        argv,
        CONFIGS,
        default="digits",
        prog="python -m experiments.sweep",
        about=__doc__ or "",
        options=Options,
        sweep=True,
    )
    grid, seeds = parse_grid(command.grid), command.seeds or (config.seed,)
    if command.resume is not None:
        if command.grid or command.seeds:
            raise ValueError("--grid, --seeds: a resumed sweep keeps its own: remove them")
        stored = Run.open(command.resume).config["sweep"]
        seeds = tuple(stored["seeds"])
        grid = {RATE if k == "learning_rate" else k: v for k, v in stored["grid"].items()}
    if command.several:
        raise ValueError(
            "--distributed, --coordinator: a sweep runs in one process: use --devices instead"
        )
    if command.dry_run:
        raise ValueError("--dry-run: is for one run: use it with experiments.train")
    if command.track:
        raise ValueError(
            f"--track {' '.join(command.track)}: is for one run: use experiments.train"
        )
    for field in ("pretrain", "accumulate", "stream"):
        value, only = getattr(config.train, field), getattr(Train, field)
        option = f"--train.{field.replace('_', '-')}"
        require(value == only, option, value, f"must be {only!r} in a sweep")
    decode = config.data.decode
    require(decode == "once", "--data.decode", decode, "must be 'once' in a sweep")
    use_cpu_devices(command.devices)
    place: Any = contextlib.nullcontext(command.resume)
    if command.resume is None:
        place = run_folder(command.run_dir, f"sweep-{name}")
    with place as run_dir:
        _run(name, config, command, grid, seeds, run_dir)


def _run(
    name: str,
    config: Config,
    command: Options,
    grid: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    run_dir: str | Path,
) -> None:
    console = Console()
    train = load_split(config.data, "train")
    test = load_split(config.data, "test")
    kept = Run.open(command.resume).config.get("statistics") if command.resume else None
    (train, test), statistics = scaled(config.data, (train, test), kept)
    shape = train["x"].shape[1:]
    known = sweepable(config, shape)
    for key in grid:
        if key not in known:
            raise ValueError(f"--grid {key}: cannot be swept: {nearest(key, known)}")
    points = math.prod(map(len, grid.values()))
    console.print(f"{name}: {points} settings x {len(seeds)} seeds, {len(train['x'])} examples")

    for values in itertools.product(*grid.values()):  # check every point before training
        _config_of(config, dict(zip(grid, values, strict=True)))
    sizes = config.train.sizes(len(train["x"]))
    began = time.perf_counter()
    result = sweep(
        lambda **values: build(config, shape, values),
        {"learning_rate" if k == RATE else k: v for k, v in grid.items()},
        seeds,
        train,
        epochs=config.train.epochs,
        batch_size=sizes.part,
        optimizer=partial(config.train.make_optimizer, sizes.total),
        learning_rate=config.train.learning_rate,
        eval_data=test,
        ema_decay=config.train.ema_decay,
        log_every=config.train.log_every,
        checkpoint_every=config.train.checkpoint_every,
        devices=command.devices or None,
        callbacks=[lambda row: _progress(console, row, config.train.epochs)],
        run_dir=run_dir,
        config={**to_dict(config), "statistics": statistics},
        resume=command.resume is not None,
        allow_changes=command.allow_changes,
    )
    seconds = time.perf_counter() - began
    out = user_path(run_dir)
    stored = Run.open(out).config
    of_data = {name: stored[name] for name in ("fingerprint", "statistics")}
    _write(console, out, config, shape, result, seconds, of_data)
    console.print(_table(result))
    if curves := _rate_distortion(result):
        plots.save(plots.rate_distortion(curves), out / "rate-distortion.png")
    console.print(f"{len(result.runs)} runs in {seconds:.1f} s: {out}", soft_wrap=True)


def build(config: Config, shape: tuple[int, ...], values: Mapping[str, Any]) -> Autoencoder:
    """Return the model of `config` with these values of the grid, which may be traced."""
    model: dict[str, Any] = {k[6:]: v for k, v in values.items() if k.startswith("model.")}
    ae = replace(config.model, **model).build(shape)
    objective = dict(ae.objective)
    for key, weight in values.items():
        if key.startswith("objective."):
            term = key.split(".")[1]
            objective[term] = objective[term]._replace(weight=weight)
    return replace(ae, objective=objective, dtype=jnp.dtype(config.train.dtype))


def _config_of(config: Config, point: Mapping[str, float]) -> Config:
    """Return the checked configuration of one point of the grid, without weights of loss terms."""
    model: dict[str, Any] = {k[6:]: v for k, v in point.items() if k.startswith("model.")}
    settings = config.train
    if RATE in point:
        settings = replace(settings, learning_rate=point[RATE])
    return replace(config, model=replace(config.model, **model), train=settings)


def sweepable(config: Config, shape: tuple[int, ...]) -> list[str]:
    """Return the names that a grid may have: numbers that may be traced in building the model."""

    def traces(name: str) -> bool:
        def build_with(value: Any) -> Any:
            build(config, shape, {name: value})
            return value

        try:
            jax.eval_shape(build_with, 1.0)
        except (jax.errors.JAXTypeError, TypeError, ValueError):
            return False
        return True

    numbers = [f"model.{f.name}" for f in fields(config.model) if f.type in (float, "float")]
    terms = [f"objective.{term}.weight" for term in config.model.build(shape).objective]
    return [RATE, *(name for name in numbers if traces(name)), *terms]


def _write(
    console: Console,
    out: Path,
    config: Config,
    shape: tuple[int, ...],
    result: SweepResult,
    seconds: float,
    of_data: Mapping[str, Any],
) -> None:
    """Write `sweep.json`, and a run directory for each run with what is kept of its data."""
    history = [
        {k: v.tolist() if hasattr(v, "tolist") else v for k, v in row.items()}
        for row in result.history
    ]
    data = {"runs": result.runs, "table": result.table(), "history": history, "seconds": seconds}
    write_whole(out / "sweep.json", json.dumps(finite(data), indent=2) + "\n")
    for i, run in enumerate(result.runs):
        point = {RATE if k == "learning_rate" else k: v for k, v in run.items()}
        own_config = replace(_config_of(config, point), seed=int(run["seed"]))
        described = {**to_dict(own_config), "event_shape": list(shape), "dtype": config.train.dtype}
        described |= of_data
        weights = {k: v for k, v in run.items() if k.startswith("objective.")}
        if weights:
            described["objective_weights"] = weights
        path = out / "-".join(f"{k}={v}" for k, v in run.items())
        if (path / "config.json").is_file():  # of the sweep that is resumed
            folder = Run.open(path)
            folder.write_config(described)
        else:
            folder = Run.create(path, described)
        shared = ("images_per_second",)
        rows = [{k: v for k, v in row.items() if k not in shared} for row in result.history]
        folder.rewrite(
            [{k: float(v[i]) if hasattr(v, "shape") else v for k, v in row.items()} for row in rows]
        )
        try:
            folder.checkpoints().save(result.replica(i))
        except ValueError as error:  # this run diverged
            console.print(f"{folder.path}: {error}", soft_wrap=True)


def _table(result: SweepResult) -> Table:
    rows = result.table()
    table = Table(title="last test metrics: mean ± standard deviation over seeds")
    for name in rows[0]:
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        cells = [
            f"{v[0]:.5g} ± {v[1]:.2g}" if isinstance(v, tuple) else f"{v:g}" for v in row.values()
        ]
        table.add_row(*cells)
    return table


def _rate_distortion(result: SweepResult) -> dict[str, list[tuple[float, float, float]]]:
    """Return beta, rate and distortion, means over seeds, by the other values of the grid."""
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for row, point in zip(result.table(), _points_of(result), strict=True):
        if BETA in point and {"kl", "nll"} <= row.keys():
            name = ", ".join(f"{k}={v:g}" for k, v in point.items() if k != BETA)
            curves.setdefault(name, []).append((point[BETA], row["kl"][0], row["nll"][0]))
    return curves


def _points_of(result: SweepResult) -> list[dict[str, float]]:
    """Return the points of the grid, in the order of ``result.table()``."""
    points = [{k: v for k, v in run.items() if k != "seed"} for run in result.runs]
    return [point for i, point in enumerate(points) if point not in points[:i]]


def _progress(console: Console, row: Mapping[str, Any], epochs: int) -> None:
    if row["split"] == "test":
        low, high = float(row["loss"].min()), float(row["loss"].max())
        console.print(f"epoch {row['epoch']:g}/{epochs}: test loss {low:.5g} to {high:.5g}")


def parse_grid(texts: Sequence[str]) -> dict[str, list[float]]:
    """Return the values of each name in ``["NAME=1,2", ...]``; raises `ValueError` for others."""
    grid: dict[str, list[float]] = {}
    for text in texts:
        name, values = _points(text)
        if name in grid:
            raise ValueError(f"--grid {name}: given twice: put all its values in one list")
        grid[name] = values
    return grid


def _points(text: str) -> tuple[str, list[float]]:
    name, _, values = text.partition("=")
    try:
        return name, [float(value) for value in values.split(",")]
    except ValueError:
        raise ValueError(f"--grid {text}: must be NAME=NUMBER,NUMBER,...") from None


if __name__ == "__main__":
    run_main(main)

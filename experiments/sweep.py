"""Train a grid of hyper-parameters with several seeds, all runs in one compiled program.

python -m experiments.sweep vae --seeds 0 1 2 3 --grid model.beta=0.1,1,4
python -m experiments.sweep simple --grid train.learning_rate=1e-3,3e-3 --train.epochs 20
python -m experiments.sweep digits --grid objective.kl.weight=0.5,1 --devices 2

--grid NAME=VALUE,VALUE may be given several times; the grid is the product. NAME is the learning
rate, a number of the model, or the weight of one of its loss terms. Each run leaves a run directory
of its own beside `sweep.json`. The other options of `experiments.train` apply where they can.
"""

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

from ae_jax.core import Autoencoder
from ae_jax.data.memory import steps_per_epoch
from ae_jax.files import finite
from ae_jax.spec import nearest, require, to_dict
from ae_jax.storage.runs import Run
from ae_jax.training import SweepResult, sweep
from experiments.cli import Command, parse, run_main, use_cpu_devices
from experiments.config import Config, Train
from experiments.configs import CONFIGS
from experiments.data import load_split

RATE = "train.learning_rate"


@dataclass(frozen=True, kw_only=True)
class Options(Command):
    """Of one sweep."""

    seeds: tuple[int, ...] = ()
    """The seeds of every setting; by default that of the configuration."""
    grid: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=VALUE,VALUE,...: what is swept. May be given several times."""


def main(argv: Sequence[str]) -> None:
    name, config, command = parse(
        argv,
        CONFIGS,
        default="digits",
        prog="python -m experiments.sweep",
        about=__doc__ or "",
        options=Options,
    )
    grid = parse_grid(command.grid)
    if command.several:
        raise ValueError("--distributed, --coordinator: a sweep runs in one process")
    if command.resume is not None:
        raise ValueError("--resume: a sweep starts from the beginning; resume one of its runs")
    if command.dry_run:
        raise ValueError("--dry-run: is for one run; experiments.train has it")
    if command.track:
        raise ValueError(f"--track {' '.join(command.track)}: is for one run, and not for a sweep")
    for field in ("pretrain", "accumulate", "log_every", "checkpoint_every", "stream"):
        value, only = getattr(config.train, field), getattr(Train, field)
        option = f"--train.{field.replace('_', '-')}"
        require(value == only, option, value, f"a sweep takes only {only!r}")
    decode = config.data.decode
    require(decode == "once", "--data.decode", decode, "a sweep holds its data in memory")
    use_cpu_devices(command.devices)
    console = Console()
    train = load_split(config.data, "train")
    test = load_split(config.data, "test")
    shape = train["x"].shape[1:]
    known = sweepable(config, shape)
    for key in grid:
        if key not in known:
            raise ValueError(f"--grid {key}: not something to sweep: {nearest(key, known)}")
    out = Path(command.run_dir or f"runs/sweep-{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    if out.exists():
        raise ValueError(f"--run-dir {out} exists: choose another")
    seeds = command.seeds or [config.seed]
    points = math.prod(map(len, grid.values()))
    console.print(f"{name}: {points} settings x {len(seeds)} seeds, {len(train['x'])} examples")

    for values in itertools.product(*grid.values()):  # all of them, before any is trained
        _config_of(config, dict(zip(grid, values, strict=True)))
    steps = config.train.epochs * steps_per_epoch(len(train["x"]), config.train.batch_size)
    began = time.perf_counter()
    result = sweep(
        lambda **values: build(config, shape, values),
        {"learning_rate" if k == RATE else k: v for k, v in grid.items()},
        seeds,
        train,
        epochs=config.train.epochs,
        batch_size=config.train.batch_size,
        optimizer=partial(config.train.make_optimizer, steps),
        learning_rate=config.train.learning_rate,
        eval_data=test,
        ema_decay=config.train.ema_decay,
        devices=command.devices or None,
        callbacks=[lambda row: _progress(console, row, config.train.epochs)],
    )
    seconds = time.perf_counter() - began
    _write(console, out, config, shape, result, seconds)
    console.print(_table(result))
    console.print(f"{len(result.runs)} runs in {seconds:.1f} s: {out}", soft_wrap=True)


def build(config: Config, shape: tuple[int, ...], values: Mapping[str, Any]) -> Autoencoder:
    """The configuration's model with these values of the grid, which may be traced."""
    model: dict[str, Any] = {k[6:]: v for k, v in values.items() if k.startswith("model.")}
    ae = replace(config.model, **model).build(shape)
    objective = dict(ae.objective)
    for key, weight in values.items():
        if key.startswith("objective."):
            term = key.split(".")[1]
            objective[term] = objective[term]._replace(weight=weight)
    return replace(ae, objective=objective, dtype=jnp.dtype(config.train.dtype))


def _config_of(config: Config, point: Mapping[str, float]) -> Config:
    """The configuration of one point of the grid, checked; weights of terms have no place in it."""
    model: dict[str, Any] = {k[6:]: v for k, v in point.items() if k.startswith("model.")}
    settings = config.train
    if RATE in point:
        settings = replace(settings, learning_rate=point[RATE])
    return replace(config, model=replace(config.model, **model), train=settings)


def sweepable(config: Config, shape: tuple[int, ...]) -> list[str]:
    """What a grid may name: numbers that the model takes as traced values."""

    def traces(name: str) -> bool:
        def term(value: Any) -> Any:
            build(config, shape, {name: value})
            return value

        try:
            jax.eval_shape(term, 1.0)
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
) -> None:
    """All of it in `sweep.json`, and a run directory for each run."""
    history = [
        {k: v.tolist() if hasattr(v, "tolist") else v for k, v in row.items()}
        for row in result.history
    ]
    data = {"runs": result.runs, "table": result.table(), "history": history, "seconds": seconds}
    out.mkdir(parents=True)
    (out / "sweep.json").write_text(json.dumps(finite(data), indent=2) + "\n")
    for i, run in enumerate(result.runs):
        point = {RATE if k == "learning_rate" else k: v for k, v in run.items()}
        one = replace(_config_of(config, point), seed=int(run["seed"]))
        described = {**to_dict(one), "event_shape": list(shape), "dtype": config.train.dtype}
        weights = {k: v for k, v in run.items() if k.startswith("objective.")}
        if weights:
            described["objective_weights"] = weights
        folder = Run.create(out / "-".join(f"{k}={v}" for k, v in run.items()), described)
        for row in result.history:
            folder.log({k: float(v[i]) if hasattr(v, "shape") else v for k, v in row.items()})
        try:
            folder.checkpoints().save(result.replica(i))
        except ValueError as error:  # this run of them diverged
            console.print(f"{folder.path}: {error}", soft_wrap=True)


def _table(result: SweepResult) -> Table:
    rows = result.table()
    table = Table(title="last test figures: mean ± standard deviation over seeds")
    for name in rows[0]:
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        cells = [
            f"{v[0]:.5g} ± {v[1]:.2g}" if isinstance(v, tuple) else f"{v:g}" for v in row.values()
        ]
        table.add_row(*cells)
    return table


def _progress(console: Console, row: Mapping[str, Any], epochs: int) -> None:
    if row["split"] == "test":
        low, high = float(row["loss"].min()), float(row["loss"].max())
        console.print(f"epoch {row['epoch']}/{epochs}: test loss {low:.5g} to {high:.5g}")


def parse_grid(texts: Sequence[str]) -> dict[str, list[float]]:
    """``["NAME=1,2", ...]`` as the values of each name; `ValueError`, one line, for others."""
    grid: dict[str, list[float]] = {}
    for text in texts:
        name, values = _points(text)
        if name in grid:
            raise ValueError(f"--grid {name}: given twice; one list has all its values")
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

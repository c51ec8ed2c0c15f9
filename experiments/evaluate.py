"""Measure what a trained autoencoder is good for: tables, figures, RUN/evaluation.json.

python -m experiments.evaluate runs/vae2
python -m experiments.evaluate runs/vae2 --metrics reconstruction generation
python -m experiments.evaluate my_config.py runs/mine         a model of one's own
python -m experiments.evaluate --help                         the metrics and all their options

A metric that does not fit the model or the data is skipped, with a line that says why; one that
was asked for by name is an error then. Figures go to RUN/figures.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from ae_jax import load_run, plots
from ae_jax.data import validated
from ae_jax.evaluation import tasks
from ae_jax.evaluation.tasks.subject import Result, Subject
from ae_jax.files import finite, read_json, write_whole
from ae_jax.models import Model
from ae_jax.spec import nearest
from ae_jax.storage.runs import Run
from experiments.cli import parse_options, run_main, stored_config
from experiments.config import Data
from experiments.data import load_split
from experiments.user_file import split_models


@dataclass(frozen=True, kw_only=True)
class Options:
    run: Annotated[str, tyro.conf.Positional]
    """A run directory."""
    metrics: tuple[str, ...] = ()
    """Which to measure; by default all that fit."""
    step: int | None = None
    """Of the checkpoint; by default the newest."""
    data_name: str | None = None
    """Measure on another data set, of the same shape."""
    data_dir: str | None = None
    """Where it is, if not where it was in training."""
    seed: int = 0
    """Of all noise and of the choice of examples."""
    reconstruction: tasks.reconstruction.Settings = field(
        default_factory=tasks.reconstruction.Settings
    )
    dimensionality: tasks.dimensionality.Settings = field(
        default_factory=tasks.dimensionality.Settings
    )
    anomaly: tasks.anomaly.Settings = field(default_factory=tasks.anomaly.Settings)
    denoising: tasks.denoising.Settings = field(default_factory=tasks.denoising.Settings)
    features: tasks.features.Settings = field(default_factory=tasks.features.Settings)
    generation: tasks.generation.Settings = field(default_factory=tasks.generation.Settings)


def main(argv: Sequence[str]) -> None:
    models, argv = split_models(argv)
    options = parse_options(argv, Options, prog="python -m experiments.evaluate", about=__doc__)
    for name in options.metrics:
        if name not in tasks.TASKS:
            raise ValueError(f"--metrics {name}: {nearest(name, tasks.TASKS)}")
    console = Console(markup=False)  # names of metrics have brackets
    subject, step = make_subject(options, models)
    for name in options.metrics:
        if why := tasks.TASKS[name].misfit(subject):
            fitting = [name for name, task in tasks.TASKS.items() if task.misfit(subject) is None]
            raise ValueError(f"--metrics {name}: {why}; what fits: {', '.join(fitting)}")
    count = len(subject.test["x"])
    about = {"step": step, "data": subject.name, "examples": count, "seed": options.seed}
    file = Path(options.run) / "evaluation.json"
    done = _earlier(file, about)
    for name in options.metrics or tasks.TASKS:
        start = time.monotonic()
        try:
            if why := tasks.TASKS[name].misfit(subject):
                raise ValueError(why)
            result = tasks.TASKS[name].measure(subject, getattr(options, name))
        except ValueError as error:  # too few examples, a code that never changes, ...
            if options.metrics:
                raise
            console.print(f"{name}: skipped: {error}")
            continue
        figures = _save(result, Path(options.run) / "figures")
        done[name] = {
            "metrics": result.metrics,
            "conventions": result.conventions,
            "figures": figures,
            "skipped": result.skipped,
            "settings": vars(getattr(options, name)),
        }
        write_whole(file, json.dumps(finite({**about, "tasks": done}), indent=2) + "\n")
        seconds = time.monotonic() - start
        for part in _shown(name, result, subject, seconds):
            console.print(part, highlight=False)
        for part, why in result.skipped.items():
            console.print(f"{name}: {part} skipped: {why}")
        for figure in figures:
            console.print(f"  {options.run}/figures/{figure}", highlight=False, soft_wrap=True)
    console.print(f"  {file}", highlight=False, soft_wrap=True)


def make_subject(options: Options, models: Any = Model) -> tuple[Subject, int]:
    """The model of the run with its data, and the step of its checkpoint."""
    ae, state, _ = load_run(options.run, options.step, models=models)
    data = _data(options, models)
    whole = replace(data, keep_labels=None, decode="once")
    train, test = load_split(replace(data, decode="once"), "train"), load_split(data, "test")
    for split, arrays in {"train": train, "test": test}.items():
        try:
            validated(arrays, unit_interval=ae.unit_interval)
        except ValueError as error:
            raise ValueError(f"{data.name}, {split}: {error}") from None
        shape = arrays["x"].shape[1:]
        if shape != ae.event_shape:
            raise ValueError(
                f"{data.name}: its {split} examples have shape {shape}, and {options.run} was "
                f"trained on {ae.event_shape}: name a set of that shape with --data-name"
            )
    subject = Subject(
        ae=ae,
        variables=state.variables,
        train=train,
        test=test,
        everything=load_split(whole, "test") if data.keep_labels else test,
        name=data.name,
        seed=options.seed,
    )
    return subject, int(state.step)


def _data(options: Options, models: Any) -> Data:
    if "data" in Run.open(options.run).config:
        data = stored_config(options.run, models).data
    elif options.data_name is None:
        raise ValueError(f"{options.run} does not say what it was trained on: give --data-name")
    else:
        data = Data(name=options.data_name)
    name, folder = options.data_name or data.name, options.data_dir or data.dir
    return replace(data, name=name, dir=folder)


def _earlier(file: Path, about: dict[str, Any]) -> dict[str, Any]:
    """What was measured of the same checkpoint on the same data before."""
    try:
        earlier = read_json(file)
        same = {name: earlier[name] for name in about} == about
        return dict(earlier["tasks"]) if same else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _save(result: Result, folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    return [plots.save(f, folder / f"{name}.png").name for name, f in result.figures.items()]


def _shown(name: str, result: Result, subject: Subject, seconds: float) -> Iterator[str | Table]:
    """The numbers with what they mean, then each metric that is a table; lists are not shown."""
    title = f"{name}: {subject.name}, {seconds:.0f} s"
    first = Table(title=title, title_justify="left")
    for column in ("metric", "value", "what it is"):
        first.add_column(column, justify="right" if column == "value" else "left")
    for metric, value in _numbers(result.metrics):
        first.add_row(metric, f"{value:.5g}", result.conventions.get(metric, ""))
    yield first
    for metric, rows in result.metrics.items():
        if not isinstance(rows, dict):
            continue
        cells = {str(row): dict(_numbers(value)) for row, value in rows.items()}
        names = list(dict.fromkeys(name for row in cells.values() for name in row))
        yield f"{metric.replace('_', ' ')}: {result.conventions.get(metric, '')}"
        table = Table("")
        for column in names:
            table.add_column(column.replace("_", " ") or "value", justify="right")
        for row, values in cells.items():
            table.add_row(
                row.replace("_", " "), *(f"{values[n]:.5g}" if n in values else "" for n in names)
            )
        yield table


def _numbers(metrics: Any) -> Iterator[tuple[str, float]]:
    """The numbers of a dict by name; a number alone is called ""."""
    if not isinstance(metrics, dict):
        metrics = {"": metrics}
    for name, value in metrics.items():
        if isinstance(value, int | float):
            yield str(name), value


if __name__ == "__main__":
    run_main(main)

"""Evaluate a trained autoencoder: prints tables, writes RUN/evaluation.json and RUN/figures.

python -m experiments.evaluate runs/vae2
python -m experiments.evaluate runs/vae2 --metrics reconstruction generation
python -m experiments.evaluate runs/vae2 --output elsewhere   of a run that is only to be read
python -m experiments.evaluate my_config.py runs/mine         a model of your own
python -m experiments.evaluate --help                         the metrics and all their options

Metrics that do not fit the model or the data are skipped, each with a line that gives the reason.
If --metrics names such a metric, it is an error.
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
from ae_jax.data.fingerprint import fingerprint, require_unchanged
from ae_jax.evaluation import tasks
from ae_jax.evaluation.tasks.subject import Result, Subject
from ae_jax.files import finite, read_json, writable_folder, write_whole
from ae_jax.models import Model
from ae_jax.spec import nearest
from ae_jax.storage.runs import Run
from experiments.cli import parse_options, run_main, stored_config
from experiments.config import Data
from experiments.data import described, load_split, scaled
from experiments.user_file import split_models


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of an evaluation."""

    run: Annotated[str, tyro.conf.Positional]
    """A run directory."""
    metrics: tuple[str, ...] = ()
    """The metrics to compute; by default all that fit."""
    output: str | None = None
    """The folder for evaluation.json and figures; by default that of the run."""
    step: int | None = None
    """The step of the checkpoint; by default the newest intact one."""
    data_name: str | None = None
    """Another data set of the same shape; by default that of the run."""
    data_dir: str | None = None
    """The directory of the data set; by default that of the run."""
    allow_changes: bool = False
    """Evaluate even if the data has changed since the training."""
    seed: int = 0
    """The seed of all noise and of the choice of examples."""
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
    dictionary: tasks.dictionary.Settings = field(default_factory=tasks.dictionary.Settings)


def main(argv: Sequence[str]) -> None:
    """Evaluate one run with the arguments of a command line."""
    models, argv = split_models(argv)
    options = parse_options(argv, Options, prog="python -m experiments.evaluate", about=__doc__)
    for name in options.metrics:
        if name not in tasks.TASKS:
            raise ValueError(f"--metrics {name}: {nearest(name, tasks.TASKS)}")
    console = Console(markup=False)  # rich would read brackets in metric names as markup
    Run.open(options.run)
    output = options.output or options.run
    folder = writable_folder(Path(output, "figures"))
    subject, step = make_subject(options, models)
    for name in options.metrics:
        if reason := tasks.TASKS[name].misfit(subject):
            fitting = [name for name, task in tasks.TASKS.items() if task.misfit(subject) is None]
            raise ValueError(f"--metrics {name}: {reason}; choose from: {', '.join(fitting)}")
    count = len(subject.test["x"])
    about = {"step": step, "data": subject.name, "examples": count, "seed": options.seed}
    file = folder.with_name("evaluation.json")
    done = _earlier(file, about)
    for name in options.metrics or tasks.TASKS:
        start = time.monotonic()
        try:
            if reason := tasks.TASKS[name].misfit(subject):
                raise ValueError(reason)
            result = tasks.TASKS[name].measure(subject, getattr(options, name))
            if not (result.metrics or result.figures):
                raise ValueError("; ".join(result.skipped.values()))
        except ValueError as error:  # too few examples, constant latents, ...
            if options.metrics:
                raise
            console.print(f"{name}: skipped: {error}")
            continue
        figures = _save(result, folder)
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
        for part, reason in result.skipped.items():
            console.print(f"{name}: {part} skipped: {reason}")
        for figure in figures:
            console.print(f"  {folder / figure}", highlight=False, soft_wrap=True)
    console.print(f"  {file}", highlight=False, soft_wrap=True)


def make_subject(options: Options, models: Any = Model) -> tuple[Subject, int]:
    """Return the model of the run with its data, and the step of its checkpoint.

    Raises `ValueError` if the data does not suit the model.
    """
    ae, state, config = load_run(options.run, options.step, models=models, data_units=False)
    data = _data(options, models)
    all_labels = replace(data, keep_labels=None, decode="once")
    train, test = load_split(replace(data, decode="once"), "train"), load_split(data, "test")
    everything = load_split(all_labels, "test") if data.keep_labels else test
    statistics = config.get("statistics")
    (train, test, everything), _ = scaled(data, (train, test, everything), statistics)
    fingerprints = {}
    for split, arrays in {"train": train, "test": test}.items():
        try:
            fingerprints[split] = fingerprint(validated(arrays, support=ae.support))
        except ValueError as error:
            raise ValueError(f"{data.name}, {split}: {error}") from None
        shape = arrays["x"].shape[1:]
        if shape != ae.event_shape:
            raise ValueError(
                f"{data.name}: its {split} examples have shape {shape}, but {options.run} was "
                f"trained on {ae.event_shape}: choose a data set of that shape with --data-name"
            )
    if data.decode == "always" and options.data_name is None:
        fingerprints["train"] = fingerprint(load_split(data, "train"))
    require_unchanged(
        options.run,
        config,
        fingerprints,
        allow_changes=options.allow_changes or options.data_name is not None,
        name=data.name,
    )
    subject = Subject(
        ae=ae,
        variables=state.variables,
        train=train,
        test=test,
        everything=everything,
        name=described(data),
        seed=options.seed,
    )
    return subject, int(state.step)


def _data(options: Options, models: Any) -> Data:
    if "data" in Run.open(options.run).config:
        data = stored_config(options.run, models).data
    elif options.data_name is None:
        raise ValueError(f"{options.run} has no name of its data set: choose one with --data-name")
    else:
        data = Data(name=options.data_name)
    name, folder = options.data_name or data.name, options.data_dir or data.dir
    return replace(data, name=name, dir=folder)


def _earlier(file: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Return the earlier results for the same checkpoint and data."""
    try:
        earlier = read_json(file)
        same = {name: earlier[name] for name in about} == about
        return dict(earlier["tasks"]) if same else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _save(result: Result, folder: Path) -> list[str]:
    return [plots.save(f, folder / f"{name}.png").name for name, f in result.figures.items()]


def _shown(name: str, result: Result, subject: Subject, seconds: float) -> Iterator[str | Table]:
    """Yield a table of all numbers and their meaning, then each metric that is itself a table.

    Lists are not shown.
    """
    title = f"{name}: {subject.name}, {seconds:.0f} s"
    first = Table(title=title, title_justify="left")
    for column in ("metric", "value", "meaning"):
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
    """Yield the names and numbers of a dict; the name of a single number is ""."""
    if not isinstance(metrics, dict):
        metrics = {"": metrics}
    for name, value in metrics.items():
        if isinstance(value, int | float):
            yield str(name), value


if __name__ == "__main__":
    run_main(main)

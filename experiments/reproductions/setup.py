"""The class of a row, and the setup with which rows are run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ae_jax.core import Autoencoder
from ae_jax.data import load
from ae_jax.evaluation.likelihood import log_likelihood
from ae_jax.evaluation.reconstruction import reconstruction_metrics
from ae_jax.training import TrainState
from experiments.cli import stored_config
from experiments.config import Config
from experiments.training import train

Metrics = dict[str, float]
QUICK_EXAMPLES = 256
SHAPES = {
    "digits": (8, 8, 1),
    "mnist": (28, 28, 1),
    "static_mnist": (28, 28, 1),
    "fashion_mnist": (28, 28, 1),
    "cifar10": (32, 32, 3),
}


@dataclass(frozen=True)
class Setup:
    """The folders of data, runs and results, and whether this is only a quick trial.

    A quick trial trains for one epoch on a few hundred of scikit-learn's digits, enlarged to the
    shape of the real data set. It needs no files, and only shows that a row runs.
    """

    dirs: Mapping[str, str | None]
    runs: Path
    results: Path
    quick: bool = False
    long: bool = False
    """Whether rows train as long as published, where they train less by default."""

    def data(self, name: str, split: str) -> dict[str, np.ndarray]:
        if not self.quick:
            return load(name, split, self.dirs.get(name))
        digits = load("digits", split)
        x = jax.image.resize(
            digits["x"][:QUICK_EXAMPLES].astype(np.float32),
            (min(QUICK_EXAMPLES, len(digits["x"])), *SHAPES[name][:2], 1),
            "nearest",
        )
        x = np.broadcast_to(np.asarray(x, np.uint8), (len(x), *SHAPES[name]))
        if name == "static_mnist":
            return {"x": np.where(x > 127, 255, 0).astype(np.uint8)}
        return {"x": np.ascontiguousarray(x), "label": digits["label"][: len(x)]}

    def train(
        self, run: str, config: Config, seed: int, params: Any = None
    ) -> tuple[Autoencoder, TrainState, dict[str, Any]]:
        """Train, or resume an earlier call for the same run and seed; `params` are where it starts.

        Returns the model, its state, and ``{"test": the test set, **the last row of the history}``.
        """
        data, test = (self.data(config.data.name, split) for split in ("train", "test"))
        settings = config.train
        if self.quick:
            batch_size = min(settings.batch_size or QUICK_EXAMPLES, QUICK_EXAMPLES)
            settings = replace(settings, epochs=1, pretrain_epochs=1, batch_size=batch_size)
        path = self.runs / f"{run}{'-long' if self.long else ''}-{seed}"
        config = replace(config, train=settings, seed=seed)
        resume = (path / "config.json").is_file()
        if resume and stored_config(str(path)) != config:
            raise ValueError(
                f"{path} was run with other settings: delete it, or give another folder with --runs"
            )
        ae, (state, history) = train(config, data, test, params=params, run_dir=path, resume=resume)
        return ae, state, {"test": test, **history[-1]}

    def nll(self, ae: Autoencoder, state: TrainState, x: np.ndarray, *, samples: int) -> float:
        """-log p(x) in nats, the mean over images, importance-weighted.

        For speed `samples` weigh every fifth image only, and 100 samples weigh all: the result is
        the mean of the latter, less the mean difference on the former. With `long` they weigh all.
        """
        bound = partial(log_likelihood, ae, state.variables)
        samples, fewer = (10, 5) if self.quick else (samples, 100)
        if self.long or samples <= fewer:
            return -float(np.mean(bound({"x": x}, samples=samples), dtype=np.float64))
        some = {"x": x[::5]}
        gain = bound(some, samples=samples) - bound(some, samples=fewer)
        return -float(np.mean(bound({"x": x}, samples=fewer)) + np.mean(gain))


@dataclass(frozen=True)
class Row:
    """A published result; `run(setup, name, seed)` returns our metrics, the main one first."""

    setting: str
    published: str
    source: str
    reach: str
    run: Callable[[Setup, str, int], Metrics]
    seeds: int = 1
    shown: int | None = None
    """Number of metrics in the table; by default all."""
    long: bool = False
    """Whether `Setup.long` trains it longer."""
    page: Callable[[Mapping[str, list[float]]], str] | None = None
    """Further Markdown for the page of results, from the metrics of all seeds."""


def trained(config: Config, *keys: str) -> Callable[[Setup, str, int], Metrics]:
    """The `run` of a row that trains one configuration and reports the test metrics `keys`.

    They are terms of the objective, evaluated as in training, or `reconstruction_metrics`.
    """

    def run(setup: Setup, name: str, seed: int) -> Metrics:
        ae, state, last = setup.train(name, config, seed)
        metrics = {**last, **reconstruction_metrics(ae, state.variables, last["test"]["x"])}
        return {key: metrics[key] for key in keys}

    return run

"""A run that a page is about: its model, and the data that it was trained on."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ae_jax.core import Autoencoder, Variables
from ae_jax.data import load, validated
from ae_jax.data.fingerprint import fingerprint, require_unchanged
from ae_jax.data.splits import with_labels
from ae_jax.data.standardize import standardize
from ae_jax.data.words import load_words
from ae_jax.models import Model
from ae_jax.storage.runs import Run, load_run

WORDS = "__words__"  # a column of the test set while its rows are chosen


class Opened(NamedTuple):
    """The checkpoint and the data of a run."""

    run: Run
    ae: Autoencoder
    variables: Variables
    step: int
    source: str
    """The name of the data."""
    test: dict[str, np.ndarray]
    words: np.ndarray | None
    """The word of each test example (see `ae_jax.data.words`)."""
    train: Callable[[], dict[str, np.ndarray]]
    """Load the training set. Raises `ValueError` or `OSError` where that fails."""


def open_run(
    run: Run,
    *,
    step: int | None = None,
    data_name: str | None = None,
    data_dir: str | None = None,
    allow_changes: bool = False,
    models: Any = Model,
    ae: Autoencoder | None = None,
) -> Opened:
    """Load what a page shows of a run.

    Args:
      run: the run directory.
      step: the step of the checkpoint; by default the newest intact one.
      data_name: a data set of the same shape as the training data; by default that of the run.
      data_dir: the directory of the data set; by default that of the run.
      allow_changes: show the data of the run even if it has changed since the training.
      models, ae: for models of your own (see `load_run`).

    Raises:
      ValueError, OSError: no checkpoint, no data, data of another shape than the model's, or data
        that has changed.
    """
    ae, state, config = load_run(run.path, step, models=models, ae=ae, data_units=False)
    statistics = config.get("statistics")
    test, source = _split(run, config, "test", data_name, data_dir)
    words = test.pop(WORDS, None)
    if statistics:
        test, source = standardize(test, statistics), f"{source}, standardized"
    shape = tuple(test["x"].shape[1:])
    if shape != ae.event_shape:
        raise ValueError(
            f"{source}: its test examples have shape {shape}, but {run.path} was trained on "
            f"{ae.event_shape}: choose a data set of that shape with data_name=NAME"
        )
    require_unchanged(
        run.path,
        config,
        {"test": fingerprint(validated(test))},
        allow_changes=allow_changes or data_name is not None,
        name=source,
    )

    def train() -> dict[str, np.ndarray]:
        rows, _ = _split(run, config, "train", data_name, data_dir)
        return standardize(rows, statistics) if statistics else rows

    return Opened(run, ae, state.variables, int(state.step), source, test, words, train)


def _split(
    run: Run, config: Mapping[str, Any], split: str, name: str | None, folder: str | None
) -> tuple[dict[str, Any], str]:
    data = config.get("data")
    described = data if isinstance(data, dict) else {}
    name, folder = name or described.get("name"), folder or described.get("dir")
    if name is None:
        raise ValueError(f"{run.path} has no name of its data set: choose one with data_name=NAME")
    if not isinstance(name, str) or not isinstance(folder, str | None):
        raise ValueError(f"{run.path}/config.json: data={data!r} does not name a data set")
    if split == "train" and described.get("decode", "once") != "once":
        raise ValueError("the training images are decoded while training")
    rows, kept = load(name, split, folder), described.get("keep_labels")
    if split == "test" and (words := load_words(name, split)) is not None:
        rows = {**rows, WORDS: words}
    if isinstance(kept, list):  # the same rows as in training and in evaluation.json
        rows = with_labels(rows, tuple(kept))
        name = f"{name}, labels {', '.join(map(str, kept))}"
    return rows, name

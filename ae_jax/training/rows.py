"""Log the rows of a run to its history, its directory and its callbacks."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ae_jax.core import TrainState
from ae_jax.devices.mesh import is_first_process
from ae_jax.storage.runs import Run
from ae_jax.training.loop import Sums

log = logging.getLogger(__name__)
Row = dict[str, Any]
Callback = Callable[[TrainState, Row], object]


class Logger:
    """Turns sums of metrics into rows. `stop` is True after a callback has returned True.

    The sums are those of one run, or arrays with an entry for each of at least `runs` runs; the
    metrics of a row then are arrays [runs], and its speed is that of all runs together.
    """

    def __init__(self, callbacks: Sequence[Callback], runs: int | None = None) -> None:
        self.callbacks = callbacks
        self.runs = runs
        self.history: list[Row] = []
        self.run: Run | None = None
        self.stop = False
        self.began = 0.0

    def write_to(self, run: Run, step: int) -> None:
        """Write rows to `run` from now on, after its rows up to `step`; later ones are deleted."""
        self.history = run.rows_until(step)
        if self.runs is not None:
            self.history = [
                {k: np.asarray(v, np.float32) if isinstance(v, list) else v for k, v in row.items()}
                for row in self.history
            ]
        if is_first_process():
            self.run = run
            run.rewrite(self.history)

    def start(self) -> None:
        """Start the clock of the next row."""
        self.began = time.perf_counter()

    def has(self, step: int, split: str) -> bool:
        """Return whether a row of this step and split is logged already."""
        recent = self.history[-2:]
        return any((row["step"], row.get("split")) == (step, split) for row in recent)

    def log(self, row: Row, sums: Sums, state: TrainState, images: int | None = None) -> None:
        """Add the means of `sums` and the speed to `row`, and log it.

        `images` is the number of examples since `start`, by default that of `sums`.
        """
        sums = jax.device_get(sums)
        if images is None:
            images = int(np.max(sums.examples))
        with np.errstate(invalid="ignore"):  # 0 / 0 if all updates of the row were skipped
            for name, value in sums.mean().items():
                row[name] = float(value) if self.runs is None else value[: self.runs]
        row["images_per_second"] = images * (self.runs or 1) / (time.perf_counter() - self.began)
        if skipped := int(sums.skips.total):
            row["skipped"] = skipped
            log.warning(
                "step %d: %d updates were not finite and were skipped, the last at step %d",
                row["step"],
                skipped,
                int(sums.skips.last),
            )
        self.history.append(row)
        if self.run is not None:
            self.run.log(row)
        for callback in self.callbacks:
            self.stop |= callback(state, row) is True
